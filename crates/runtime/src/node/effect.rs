//! What a node wants done. Its actor does it; each step ends in something heard.

use std::time::Duration;

use super::messages::{Leave, Timer};
use crate::bootstrap::Listening;
use crate::model::{Attempt, EventKind, Loss, NodePhase, Rank, SshEndpoint};

/// What a node wants done. Each step ends in something heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ask the provider about the machine.
    Describe,
    /// Dial its SSH server.
    Reach(SshEndpoint),
    /// Run the bootstrap.
    Bootstrap,
    /// Upload the program and start it as a worker that ends its machine as told.
    StartWorker,
    /// Dial the worker and join it to the cluster.
    Link(Listening),
    /// Look whether the worker's process still runs, over SSH.
    CheckWorker { pid: u32 },
    /// Renew the lease: over the link when there is one, else over SSH.
    Renew,
    /// Ask the worker to finish what runs.
    Drain(Leave),
    /// Wake up after a while; replaces the timer of the same name.
    Wake(Timer, Duration),
    /// Forget the timer.
    Quiet(Timer),
    /// Say what happened.
    Announce(Said),
    /// Tell the pool.
    ReportReady,
    /// Tell the pool.
    ReportPaused,
    /// Tell the pool that the worker's process has ended, while its machine lives.
    ReportCrashed,
    /// Tell the pool that the node will end: its machine will be taken, or it is not well.
    ReportNoticed { within: Duration, reason: String },
    /// Let everything go and tell the pool why.
    End { reason: String, retry: bool },
}

/// What is announced; the shell adds rank and attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Entered(NodePhase),
    LinkLost(String),
    LinkRestored,
    WorkerRestarted,
    /// Its machine will be taken.
    Noticed(Duration, String),
    /// Its probe failed, the how-manieth time in a row.
    ProbeFailed(u32, String),
    Lost(String, Option<Loss>),
}

impl Said {
    /// The event of a rank's attempt.
    pub(crate) fn event(self, rank: Rank, attempt: Attempt) -> EventKind {
        match self {
            Self::Entered(phase) => EventKind::Node { rank, attempt, phase },
            Self::LinkLost(reason) => EventKind::LinkLost { rank, reason },
            Self::LinkRestored => EventKind::LinkRestored { rank },
            Self::WorkerRestarted => EventKind::WorkerRestarted { rank },
            Self::ProbeFailed(failed, reason) => EventKind::ProbeFailed { rank, attempt, failed, reason },
            Self::Noticed(within, reason) => EventKind::Preempting { rank, attempt, within, reason },
            Self::Lost(reason, loss) => EventKind::NodeLost { rank, attempt, reason, loss },
        }
    }
}
