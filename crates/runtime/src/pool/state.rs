//! What a pool decides. Pure: what it hears in, effects out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::error::StartError;
use crate::model::{Attempt, EventKind, InstanceId, Leftover, Nodes, Offer, PoolPhase, Rank};
use crate::timing::Timing;

/// What a pool hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It begins: the specs' numbers of nodes, in order.
    Born { specs: Vec<Nodes> },
    /// What each spec's provider offers, or why nothing.
    Offered(Vec<Result<Vec<Offer>, String>>),
    /// Whether the image is possible, its files are packed and the provider is set up.
    Prepared(Result<(), StartError>),
    /// What came of a request for machines, by its attempt.
    Provisioned { attempt: Attempt, instances: Vec<InstanceId>, shortfall: Option<Shortfall> },
    /// A node takes tasks.
    NodeReady { rank: Rank, attempt: Attempt },
    /// A node's link is being dialled again.
    NodePaused { rank: Rank, attempt: Attempt },
    /// A node has ended.
    NodeGone { rank: Rank, attempt: Attempt, reason: String },
    /// The owner wants everything given back.
    Stop,
    /// A timer went off.
    Woke(Timer),
    /// The machines are given back, or not.
    Terminated(Result<(), String>),
    /// What the provider could not remove.
    TornDown(Result<Vec<Leftover>, String>),
}

/// Why there are fewer machines than were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortfall {
    pub(crate) reason: String,
    pub(crate) retry: bool,
}

/// Why a pool wakes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Time to ask for the missing machines again.
    Provision,
    /// Giving everything back has taken too long.
    Shutdown,
}

/// What a pool wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ask every spec's provider for offers.
    AskOffers,
    /// Check the image, pack the files, make the keys, set the provider up.
    Prepare { spec: usize, offer: Offer },
    /// Rent machines; the answer belongs to this attempt.
    Provision { attempt: Attempt, count: u32 },
    /// Begin a node on a machine.
    Spawn { rank: Rank, attempt: Attempt, instance: InstanceId },
    /// Let a node finish and end.
    DrainNode { rank: Rank },
    /// The queue may expect this many ranks.
    QueueSized { nodes: u32 },
    /// The queue may use the node.
    QueueReady { rank: Rank },
    /// The queue may not use the node for now.
    QueuePaused { rank: Rank },
    /// The queue may not use the node again.
    QueueLost { rank: Rank },
    /// The queue refuses everything.
    QueueStop,
    /// Give machines back while the pool goes on.
    Release { instances: Vec<InstanceId> },
    /// Give all machines back.
    Terminate { instances: Vec<InstanceId> },
    /// Undo the preparation.
    Teardown,
    /// Wake up after a while.
    Wake(Timer, Duration),
    /// Say what happened.
    Announce(EventKind),
    /// The pool is ready.
    Started,
    /// All is over. The failure is why it never started, if it did not.
    Ended { failure: Option<StartError>, left: Vec<Leftover> },
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    phase: Phase,
    /// The chosen provider's name, for messages.
    provider: String,
    nodes: u32,
    /// Every machine that was ever rented and not yet certainly given back, by rank where it has one.
    rented: Vec<InstanceId>,
    ranks: BTreeMap<Rank, Life>,
    /// Why the pool never became ready.
    failure: Option<StartError>,
    left: Vec<Leftover>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    attempt: Attempt,
    instance: InstanceId,
    ready: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Unborn,
    Choosing { specs: Vec<Nodes> },
    Preparing { stop: bool },
    Provisioning { attempt: Attempt, waiting: bool, stop: bool },
    Starting,
    Ready,
    Stopping { since: Instant, step: Step, waiting: BTreeSet<Rank> },
    Stopped,
}

/// How far giving back has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Nodes,
    Machines,
    Provider,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Unborn,
            provider: String::new(),
            nodes: 0,
            rented: Vec::new(),
            ranks: BTreeMap::new(),
            failure: None,
            left: Vec::new(),
        }
    }

    /// The providers' names, by spec, are the shell's to know; the chosen one is told for messages.
    pub(crate) fn hear(
        &mut self,
        heard: Heard,
        now: Instant,
        timing: &Timing,
        names: &[String],
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let phase = std::mem::replace(&mut self.phase, Phase::Stopped);
        self.phase = self.step(phase, heard, now, timing, names, &mut effects);
        effects
    }

    fn step(
        &mut self,
        phase: Phase,
        heard: Heard,
        now: Instant,
        timing: &Timing,
        names: &[String],
        effects: &mut Vec<Effect>,
    ) -> Phase {
        match (phase, heard) {
            (Phase::Unborn, Heard::Born { specs }) => self.begin(specs, effects),
            (Phase::Unborn, _) => Phase::Unborn,
            (Phase::Choosing { specs }, Heard::Offered(offers)) => {
                self.choose(&specs, offers, names, effects)
            }
            (Phase::Preparing { stop: false }, Heard::Prepared(Ok(()))) => {
                effects.push(announce(PoolPhase::Provisioning));
                let attempt = Attempt(1);
                effects.push(Effect::Provision { attempt, count: self.nodes });
                Phase::Provisioning { attempt, waiting: false, stop: false }
            }
            (Phase::Preparing { .. }, Heard::Prepared(result)) => {
                self.fail(result.err().unwrap_or(StartError::Stopped));
                self.give_back(now, timing, effects)
            }
            // What has been asked of a cloud is heard to its end: a request for machines that is
            // still under way may bring machines.
            (Phase::Preparing { .. }, Heard::Stop) => Phase::Preparing { stop: true },
            (Phase::Provisioning { attempt, waiting: false, .. }, Heard::Stop) => {
                Phase::Provisioning { attempt, waiting: false, stop: true }
            }
            // An answer that comes again must not pass for that of the next request: the machines which
            // that one brings would then be nobody's.
            (
                Phase::Provisioning { attempt, waiting: false, stop },
                Heard::Provisioned { attempt: of, instances, shortfall },
            ) if of == attempt => self.provisioned(attempt, stop, instances, shortfall, now, timing, effects),
            (Phase::Provisioning { attempt, waiting: true, .. }, Heard::Woke(Timer::Provision)) => {
                let attempt = attempt.next();
                effects.push(Effect::Provision { attempt, count: self.missing() });
                Phase::Provisioning { attempt, waiting: false, stop: false }
            }
            (phase @ (Phase::Starting | Phase::Ready), Heard::NodeReady { rank, attempt }) => {
                self.node_ready(phase, rank, attempt, effects)
            }
            (phase @ (Phase::Starting | Phase::Ready), Heard::NodePaused { rank, attempt }) => {
                if self.is_current(rank, attempt) {
                    effects.push(Effect::QueuePaused { rank });
                }
                phase
            }
            (Phase::Starting, Heard::NodeGone { rank, attempt, reason })
                if self.is_current(rank, attempt) =>
            {
                self.ranks.remove(&rank);
                self.fail(StartError::Node { rank, reason });
                self.give_back(now, timing, effects)
            }
            (Phase::Ready, Heard::NodeGone { rank, attempt, .. }) if self.is_current(rank, attempt) => {
                effects.push(Effect::QueueLost { rank });
                // A machine without a node would be paid for nothing.
                if let Some(life) = self.ranks.remove(&rank) {
                    effects.push(Effect::Release { instances: vec![life.instance] });
                }
                Phase::Ready
            }
            (Phase::Stopping { since, step: Step::Nodes, mut waiting }, Heard::NodeGone { rank, .. }) => {
                waiting.remove(&rank);
                self.after_nodes(since, waiting, effects)
            }
            (Phase::Stopping { since, step: Step::Nodes, waiting }, Heard::NodeReady { rank, attempt }) => {
                // It became ready while it was told to end: it is told again.
                if self.is_current(rank, attempt) {
                    effects.push(Effect::DrainNode { rank });
                }
                Phase::Stopping { since, step: Step::Nodes, waiting }
            }
            (Phase::Stopping { since, step: Step::Machines, waiting }, Heard::Terminated(result)) => {
                // The teardown tries again and reports what it cannot remove.
                if let Err(reason) = result {
                    effects.push(Effect::Announce(EventKind::TerminateFailed { reason }));
                } else {
                    let gone = self.rented.drain(..);
                    effects.extend(gone.map(|instance| Effect::Announce(EventKind::Terminated { instance })));
                }
                effects.push(Effect::Teardown);
                Phase::Stopping { since, step: Step::Provider, waiting }
            }
            (Phase::Stopping { since, step: Step::Provider, .. }, Heard::TornDown(result)) => {
                match result {
                    Ok(left) => self.left = left,
                    Err(reason) => self.left = self.unknown(&reason),
                }
                self.end(since, now, effects)
            }
            (Phase::Stopping { since, .. }, Heard::Woke(Timer::Shutdown)) => {
                let reason = format!("not confirmed gone after {:?}", timing.shutdown);
                self.left = self.unknown(&reason);
                self.end(since, now, effects)
            }
            (phase @ (Phase::Stopping { .. } | Phase::Stopped), _) => phase,
            (Phase::Ready, Heard::Stop) => self.give_back(now, timing, effects),
            (_, Heard::Stop) => {
                self.fail(StartError::Stopped);
                self.give_back(now, timing, effects)
            }
            // Late answers of lives and phases that are over.
            (phase, _) => phase,
        }
    }

    fn begin(&mut self, specs: Vec<Nodes>, effects: &mut Vec<Effect>) -> Phase {
        effects.push(announce(PoolPhase::Choosing));
        effects.push(Effect::AskOffers);
        Phase::Choosing { specs }
    }

    fn choose(
        &mut self,
        specs: &[Nodes],
        offers: Vec<Result<Vec<Offer>, String>>,
        names: &[String],
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let mut tried = Vec::new();
        for (spec, (offered, nodes)) in offers.into_iter().zip(specs).enumerate() {
            let name = names.get(spec).cloned().unwrap_or_default();
            match offered.map(|it| it.into_iter().next()) {
                Ok(Some(offer)) => {
                    self.provider.clone_from(&name);
                    self.nodes = nodes.desired;
                    let nodes = nodes.desired;
                    effects.push(Effect::Announce(EventKind::Chosen {
                        provider: name,
                        offer: offer.clone(),
                        nodes,
                    }));
                    effects.push(Effect::QueueSized { nodes });
                    effects.push(announce(PoolPhase::Preparing));
                    effects.push(Effect::Prepare { spec, offer });
                    return Phase::Preparing { stop: false };
                }
                Ok(None) => tried.push(format!("{name} has none")),
                Err(reason) => tried.push(format!("{name}: {reason}")),
            }
        }
        // Nothing was asked of any cloud but offers: there is nothing to give back.
        self.fail(StartError::NoOffers { tried });
        effects.push(Effect::QueueStop);
        effects.push(Effect::Ended { failure: self.failure.clone(), left: Vec::new() });
        Phase::Stopped
    }

    #[expect(clippy::too_many_arguments, reason = "the phase's data, taken apart by the match")]
    fn provisioned(
        &mut self,
        attempt: Attempt,
        stop: bool,
        instances: Vec<InstanceId>,
        shortfall: Option<Shortfall>,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        if !instances.is_empty() {
            effects.push(Effect::Announce(EventKind::Provisioned {
                instances: instances.clone(),
                wanted: self.nodes,
            }));
            self.rented.extend(instances);
        }
        if stop {
            self.fail(StartError::Stopped);
            return self.give_back(now, timing, effects);
        }
        if self.missing() == 0 {
            effects.push(announce(PoolPhase::Starting));
            let machines = self.rented.clone();
            for (rank, instance) in (0..self.nodes).map(Rank).zip(machines) {
                let attempt = Attempt::default();
                self.ranks.insert(rank, Life { attempt, instance: instance.clone(), ready: false });
                effects.push(Effect::Spawn { rank, attempt, instance });
            }
            return Phase::Starting;
        }
        let nothing = || Shortfall { reason: "it did not say why".to_owned(), retry: true };
        let Shortfall { reason, retry } = shortfall.unwrap_or_else(nothing);
        effects.push(Effect::Announce(EventKind::ProvisionFailed { reason: reason.clone(), attempt }));
        if retry && attempt.0 < timing.provision_attempts {
            let delay = timing.provision_retry.delay(attempt.0.saturating_sub(1));
            effects.push(Effect::Wake(Timer::Provision, delay));
            return Phase::Provisioning { attempt, waiting: true, stop: false };
        }
        let got = self.nodes.saturating_sub(self.missing());
        let (provider, wanted) = (self.provider.clone(), self.nodes);
        self.fail(StartError::Provision { provider, got, wanted, attempts: attempt, reason });
        self.give_back(now, timing, effects)
    }

    fn node_ready(&mut self, phase: Phase, rank: Rank, attempt: Attempt, effects: &mut Vec<Effect>) -> Phase {
        if !self.is_current(rank, attempt) {
            return phase;
        }
        effects.push(Effect::QueueReady { rank });
        if let Some(life) = self.ranks.get_mut(&rank) {
            life.ready = true;
        }
        if phase == Phase::Starting && self.ranks.values().all(|it| it.ready) {
            effects.push(announce(PoolPhase::Ready));
            effects.push(Effect::Started);
            return Phase::Ready;
        }
        phase
    }

    fn fail(&mut self, why: StartError) {
        // The first failure is the cause; what follows are its consequences.
        self.failure.get_or_insert(why);
    }

    fn give_back(&self, now: Instant, timing: &Timing, effects: &mut Vec<Effect>) -> Phase {
        effects.push(announce(PoolPhase::Stopping));
        effects.push(Effect::Wake(Timer::Shutdown, timing.shutdown));
        effects.push(Effect::QueueStop);
        let waiting: BTreeSet<Rank> = self.ranks.keys().copied().collect();
        effects.extend(waiting.iter().map(|rank| Effect::DrainNode { rank: *rank }));
        self.after_nodes(now, waiting, effects)
    }

    fn after_nodes(&self, since: Instant, waiting: BTreeSet<Rank>, effects: &mut Vec<Effect>) -> Phase {
        if !waiting.is_empty() {
            return Phase::Stopping { since, step: Step::Nodes, waiting };
        }
        effects.push(Effect::Terminate { instances: self.rented.clone() });
        Phase::Stopping { since, step: Step::Machines, waiting }
    }

    fn end(&mut self, since: Instant, now: Instant, effects: &mut Vec<Effect>) -> Phase {
        let took = now.saturating_duration_since(since);
        effects.push(Effect::Announce(EventKind::Stopped { left: self.left.clone(), took }));
        effects.push(Effect::Ended { failure: self.failure.clone(), left: std::mem::take(&mut self.left) });
        Phase::Stopped
    }

    /// What may still exist when nobody could tell.
    fn unknown(&self, reason: &str) -> Vec<Leftover> {
        let name = |it: &InstanceId| format!("{} machine {it}", self.provider);
        let mut left: Vec<Leftover> =
            self.rented.iter().map(|it| Leftover { what: name(it), reason: reason.to_owned() }).collect();
        if left.is_empty() {
            let what = format!("what {} set up for the pool", self.provider);
            left.push(Leftover { what, reason: reason.to_owned() });
        }
        left
    }

    fn missing(&self) -> u32 {
        self.nodes.saturating_sub(u32::try_from(self.rented.len()).unwrap_or(u32::MAX))
    }

    fn is_current(&self, rank: Rank, attempt: Attempt) -> bool {
        self.ranks.get(&rank).is_some_and(|it| it.attempt == attempt)
    }
}

const fn announce(phase: PoolPhase) -> Effect {
    Effect::Announce(EventKind::Pool(phase))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
