//! What happened, as plain facts. `compute.events()` streams them; the console prints one line each.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Attempt, Bill, Carrier, Earlier, InstanceId, KeptMachine, Loss, Offer, PoolId, Rank, Rented,
    ScaledBecause, Tariff, TaskId, Usd,
};

/// One fact about one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The pool that it happened in.
    pub pool: PoolId,
    /// How long after the pool's start.
    pub after: Duration,
    /// What happened.
    pub kind: EventKind,
}

/// What can happen. The fields say what their names say.
#[expect(missing_docs, reason = "the fields of a fact are named for what they hold")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EventKind {
    /// The pool entered a phase.
    Pool(PoolPhase),
    /// A provider and one of its offers were chosen.
    Chosen { provider: String, offer: Box<Offer>, tariff: Tariff, nodes: u32 },
    /// Something about the included files that a person should know, such as what ignore files left out.
    Included { note: String },
    /// The pool was begun by another program, so long ago, of whose nodes so many are there to be linked again. What
    /// its machines have cost is in the pool's bill.
    Attached { nodes: u32, age: Duration, machines: Vec<Earlier> },
    /// The pool's owner has left it as it is, for another program.
    Detached,
    /// Another program has the pool, which ends here: its machines are left to that one.
    Superseded { reason: String },
    /// The pool is in no journal: another program can neither attach to it nor give it back.
    Unrecorded { reason: String },
    /// The journal cannot be written just now: what becomes of the pool is written down once it can be.
    Unwritten { reason: String },
    /// The provider's machines cannot end their own bill when nobody is left to give them back.
    Unattended { provider: String },
    /// A provider gave machines, so long after it was asked for as many as are wanted.
    Provisioned { machines: Vec<Rented>, wanted: u32, took: Duration },
    /// The pool will not become ready.
    StartFailed { reason: String },
    /// Skyward itself failed; everything is given back.
    PoolFailed { reason: String },
    /// A request for machines failed.
    ProvisionFailed { reason: String, attempt: Attempt },
    /// A node entered a phase.
    Node { rank: Rank, attempt: Attempt, phase: NodePhase },
    /// A host key could not be verified by anybody and was pinned.
    HostKeyPinned { rank: Rank, fingerprint: String },
    /// Another bootstrap runs on the same machine and is waited for.
    BootstrapWaiting { rank: Rank },
    /// A bootstrap step began.
    StepStarted { rank: Rank, step: String },
    /// A bootstrap step was found done.
    StepSkipped { rank: Rank, step: String },
    /// A bootstrap step printed a line.
    StepOutput { rank: Rank, step: String, line: String },
    /// A bootstrap step ended well.
    StepFinished { rank: Rank, step: String, took: Duration },
    /// The program is on the machine.
    Deployed { rank: Rank, bytes: u64, sent: bool },
    /// A worker is linked, over this carrier: for the first time or again.
    Linked { rank: Rank, carrier: Carrier },
    /// A node has what nodes share: from another node, or from the client.
    Given { rank: Rank, from: Option<Rank>, bytes: u64 },
    /// A node could not have something from another node, and has it from elsewhere.
    PeerFailed { rank: Rank, peer: Rank, reason: String },
    /// A link broke and is dialled again.
    LinkLost { rank: Rank, reason: String },
    /// A link is back.
    LinkRestored { rank: Rank },
    /// A worker ended, its machine lives: another worker is started there.
    WorkerRestarted { rank: Rank },
    /// A node's probe failed, the how-manieth time in a row.
    ProbeFailed { rank: Rank, attempt: Attempt, failed: u32, reason: String },
    /// The machine of a node will be taken by its cloud within so long: the node takes nothing new, what runs there
    /// may go on until then, and another machine is rented for its rank.
    Preempting { rank: Rank, attempt: Attempt, within: Duration, reason: String },
    /// So many machines of a rank in a row did not last: the next is rented only after a pause.
    ReplacementPaused { rank: Rank, machines: u32, pause: Duration },
    /// This life of a node is over. `loss` says what became of its machine, where it is that which is lost.
    NodeLost { rank: Rank, attempt: Attempt, reason: String, loss: Option<Loss> },
    /// The machine of a node that did not become ready is kept for a person to look at.
    Kept { machine: KeptMachine },
    /// The machine of a node that did not become ready was to be kept, and could not be.
    NotKept { rank: Rank, instance: InstanceId, reason: String },
    /// A task was handed to a node.
    TaskStarted { task: TaskId, attempt: Attempt, rank: Rank, function: String },
    /// A task ended on a node, well or not.
    /// `cost` is what this try of it has cost: its part of its node's time.
    TaskFinished { task: TaskId, attempt: Attempt, rank: Rank, ok: bool, cost: Usd },
    /// A task will be tried again because of the infrastructure under it.
    TaskRetried { task: TaskId, attempt: Attempt, reason: String },
    /// A task that had started was lost for good, with the infrastructure under it.
    TaskLost { task: TaskId, reason: String },
    /// A task that had started has no outcome, because its caller does not wait for it any more: it was
    /// dropped, its time was over, or the pool ends.
    TaskCancelled { task: TaskId, attempt: Attempt, rank: Rank },
    /// The pool wants another number of nodes than before.
    Scaled { from: u32, to: u32, why: ScaledBecause },
    /// The pool has cost four fifths of what it may.
    BudgetLow { spent: Usd, cap: Usd },
    /// More machines would cost more than the pool may: they are not rented.
    BudgetRefused { machines: u32, projected: Usd, cap: Usd },
    /// With giving its machines back the pool will have cost what it may: it ends.
    BudgetSpent { spent: Usd, cap: Usd },
    /// Machines could not be given back; the teardown tries again.
    TerminateFailed { reason: String },
    /// A machine was given back.
    Terminated { instance: InstanceId },
    /// Everything was given back, but for what is named. The bill is what all of it has cost.
    Stopped { left: Vec<Leftover>, took: Duration, bill: Box<Bill> },
}

/// A pool's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PoolPhase {
    /// Asking providers for offers.
    Choosing,
    /// Setting up what the machines need: keys, networks.
    Preparing,
    /// Renting.
    Provisioning,
    /// Waiting for the nodes to become ready.
    Starting,
    /// Enough nodes are ready (`Nodes::min`).
    Ready,
    /// The start has failed, and machines are kept for a person to look at.
    Keeping,
    /// Giving everything back.
    Stopping,
}

/// A node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NodePhase {
    /// Waiting for the machine to have an address.
    Launching,
    /// Dialling its SSH server.
    Reaching,
    /// Making it what the image asks for.
    Bootstrapping,
    /// Starting the worker and linking to it.
    Joining,
    /// Its worker is linked; its probe has to pass before it takes tasks.
    Probing,
    /// Taking tasks.
    Ready,
    /// Finishing what runs, taking nothing new.
    Draining,
    /// Over.
    Gone,
}

/// Something that could not be given back, named so that a person can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// What it is, with the provider's own id.
    pub what: String,
    /// Why it is still there.
    pub reason: String,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.reason)
    }
}

impl fmt::Display for PoolPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Choosing => "asking for offers",
            Self::Preparing => "preparing",
            Self::Provisioning => "renting machines",
            Self::Starting => "starting nodes",
            Self::Ready => "ready",
            Self::Keeping => "keeping machines that failed, for you to look at",
            Self::Stopping => "giving everything back",
        })
    }
}

impl fmt::Display for NodePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Launching => "launching",
            Self::Reaching => "reaching over ssh",
            Self::Bootstrapping => "bootstrapping",
            Self::Joining => "joining",
            Self::Probing => "waiting for its probe to pass",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Gone => "gone",
        })
    }
}

/// The line that the console prints.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} {:>6.2}s] {}", self.pool, self.after.as_secs_f64(), self.kind)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(phase) => phase.fmt(f),
            Self::Chosen { offer, tariff, nodes, .. } => {
                write!(f, "chose {nodes} x {offer}, {tariff}")?;
                match &offer.price.converted {
                    Some(conversion) => write!(f, " ({conversion})"),
                    None => Ok(()),
                }
            }
            Self::Included { note } => write!(f, "include: {note}"),
            Self::Attached { nodes, .. } => {
                write!(f, "attached: {nodes} nodes that another program left are dialled")
            }
            Self::Detached => f.write_str("detached: its machines live on until their leases lapse"),
            Self::Superseded { reason } => f.write_str(reason),
            Self::Unrecorded { reason } => write!(
                f,
                "not written down: {reason}; if this program is killed its machines end by their leases, and no \
                 other can attach to them"
            ),
            Self::Unwritten { reason } => write!(
                f,
                "for now nothing of the pool is written down: {reason}; a program that attaches to it meanwhile looks \
                 whether its machines live, and `sky reap --yes` takes them for nobody's"
            ),
            Self::Unattended { provider } => write!(
                f,
                "machines of {provider} cannot end their own bill: if this program is killed they cost until \
                 they are given back, which `sky reap --yes --watch` does"
            ),
            Self::Provisioned { machines, wanted, .. } => {
                write!(f, "{} of {wanted} machines rented", machines.len())
            }
            Self::StartFailed { reason } => write!(f, "cannot start: {reason}"),
            Self::PoolFailed { reason } => write!(f, "the pool failed and is given back: {reason}"),
            Self::ProvisionFailed { reason, attempt } => {
                write!(f, "renting failed (attempt {attempt}): {reason}")
            }
            Self::Node { rank, phase, .. } => write!(f, "node {rank}: {phase}"),
            Self::HostKeyPinned { rank, fingerprint } => {
                write!(f, "node {rank}: host key pinned on first use: {fingerprint}")
            }
            Self::BootstrapWaiting { rank } => {
                write!(f, "node {rank}: waiting for another bootstrap of this machine")
            }
            Self::StepStarted { rank, step } => write!(f, "node {rank}: {step}"),
            Self::StepSkipped { rank, step } => write!(f, "node {rank}: {step}: already done"),
            Self::StepOutput { rank, step, line } => write!(f, "node {rank}: {step}: {line}"),
            Self::StepFinished { rank, step, took } => {
                write!(f, "node {rank}: {step}: done in {:.1}s", took.as_secs_f64())
            }
            Self::Deployed { rank, bytes, sent: true } => {
                write!(f, "node {rank}: program uploaded ({:.1} MB)", *bytes as f64 / 1e6)
            }
            Self::Deployed { rank, sent: false, .. } => write!(f, "node {rank}: program already there"),
            Self::Linked { rank, carrier } => write!(f, "node {rank}: linked over {carrier}"),
            Self::Given { rank, from, bytes } => {
                let megabytes = *bytes as f64 / 1e6;
                match from {
                    Some(from) => write!(f, "node {rank}: has {megabytes:.1} MB from node {from}"),
                    None => write!(f, "node {rank}: has {megabytes:.1} MB from the client"),
                }
            }
            Self::PeerFailed { rank, peer, reason } => {
                write!(f, "node {rank}: cannot have it from node {peer}, and has it from elsewhere: {reason}")
            }
            Self::LinkLost { rank, reason } => write!(f, "node {rank}: link lost, redialling: {reason}"),
            Self::LinkRestored { rank } => write!(f, "node {rank}: link restored"),
            Self::WorkerRestarted { rank } => write!(f, "node {rank}: its worker ended and is restarted"),
            Self::ProbeFailed { rank, failed, reason, .. } => {
                write!(f, "node {rank}: its probe failed ({failed} in a row): {reason}")
            }
            Self::Preempting { rank, within, reason, .. } => {
                write!(f, "node {rank}: its machine will be taken within {within:.0?}: {reason}")
            }
            Self::ReplacementPaused { rank, machines, pause } => {
                write!(
                    f,
                    "node {rank}: {machines} machines in a row did not last; the next is rented in {pause:.0?}"
                )
            }
            Self::NodeLost { rank, reason, loss: Some(loss), .. } => {
                write!(f, "node {rank}: lost ({loss}): {reason}")
            }
            Self::NodeLost { rank, reason, loss: None, .. } => write!(f, "node {rank}: lost: {reason}"),
            Self::Kept { machine } => write!(f, "kept: {machine}"),
            Self::NotKept { rank, instance, reason } => {
                write!(f, "node {rank}: its machine {instance} cannot be kept and is given back: {reason}")
            }
            Self::TaskStarted { task, rank, function, .. } => {
                write!(f, "task {task}: {function} on node {rank}")
            }
            Self::TaskFinished { task, rank, ok, .. } => {
                write!(f, "task {task}: {} on node {rank}", if *ok { "done" } else { "failed" })
            }
            Self::TaskRetried { task, reason, .. } => write!(f, "task {task}: tried again: {reason}"),
            Self::TaskLost { task, reason } => write!(f, "task {task}: {reason}"),
            Self::TaskCancelled { task, rank, .. } => write!(f, "task {task}: cancelled on node {rank}"),
            Self::Scaled { from, to, why } => write!(f, "{to} nodes are wanted, not {from}: {why}"),
            Self::BudgetLow { spent, cap } => write!(f, "{spent} of at most {cap} are spent"),
            Self::BudgetRefused { machines, projected, cap } => write!(
                f,
                "{machines} more machines are not rented: the pool would cost {projected}, at most {cap} is allowed"
            ),
            Self::BudgetSpent { spent, cap } => {
                write!(
                    f,
                    "{spent} are spent, and giving the machines back costs the rest of {cap}: the pool ends"
                )
            }
            Self::TerminateFailed { reason } => write!(f, "giving machines back failed: {reason}"),
            Self::Terminated { instance } => write!(f, "machine {instance} given back"),
            Self::Stopped { left, took, bill } => {
                if left.is_empty() {
                    write!(f, "everything given back in {:.2}s", took.as_secs_f64())?;
                } else {
                    write!(f, "could not give back:")?;
                    left.iter().try_for_each(|it| write!(f, " {it};"))?;
                    f.write_str(" let `sky reap` try again, or remove it by hand")?;
                }
                if bill.total > Usd::ZERO { write!(f, "; it cost {bill}") } else { Ok(()) }
            }
        }
    }
}
