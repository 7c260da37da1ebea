//! What a pool wants done. Its actor does it.

use std::time::Duration;

use super::error::StartError;
use super::messages::Timer;
use super::plan::Candidate;
use crate::journal::JournalError;
use crate::model::{Attempt, EventKind, InstanceId, Leftover, Rank};
use crate::node::Leave;

/// What a pool wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ask every spec's provider for offers.
    AskOffers,
    /// Check the image, pack the files, make the keys, set the provider up. Machines are rented from there
    /// once it is heard that it is.
    Prepare { candidate: Box<Candidate>, lease: Duration },
    /// Rent machines; the answer names the request.
    Provision { request: Attempt, count: u32 },
    /// Begin a node on a machine.
    Spawn { rank: Rank, attempt: Attempt, instance: InstanceId },
    /// End a node at once, and forget it: its machine is given back.
    DropNode { rank: Rank, attempt: Attempt },
    /// Let a node finish and end.
    DrainNode { rank: Rank, attempt: Attempt, leave: Leave },
    /// The queue may expect this many ranks.
    QueueSized { nodes: u32 },
    /// Calls may wait for nodes that are not wanted yet, or not any more.
    QueueGrows { grows: bool },
    /// The queue may expect this rank.
    QueueWanted { rank: Rank },
    /// The queue may not use this node again, if it is idle; the answer says whether it is.
    QueueClose { rank: Rank, attempt: Attempt },
    /// The queue may use the node.
    QueueReady { rank: Rank },
    /// The queue may not use the node for now.
    QueuePaused { rank: Rank },
    /// The queue may not use this node again, which finishes what it has; its rank may get another one meanwhile.
    /// `by_choice`: nobody takes it, the pool gives it up.
    QueueLeaves { rank: Rank, attempt: Attempt, by_choice: bool },
    /// The node is over; its rank may get another one.
    QueueGone { rank: Rank },
    /// The queue may not use the node again.
    QueueLost { rank: Rank },
    /// The queue refuses everything.
    QueueStop,
    /// The queue refuses everything, because another program has the pool.
    QueueSuperseded(JournalError),
    /// Let a machine that failed live on for a while; the answer says how to get there.
    Keep { rank: Rank, instance: InstanceId },
    /// Give machines back while the pool goes on.
    Release { instances: Vec<InstanceId> },
    /// Give all machines back.
    Terminate { instances: Vec<InstanceId> },
    /// Undo the preparation.
    Teardown,
    /// Let go of all nodes, and leave everything as it is.
    Detach,
    /// Wake up after a while.
    Wake(Timer, Duration),
    /// Say what happened.
    Announce(EventKind),
    /// The pool is ready with this many nodes.
    Started { nodes: u32 },
    /// The pool will not become ready; machines are kept that say why.
    Failed { failure: StartError },
    /// All is over. The failure is why it never started, if it did not.
    Ended { failure: Option<StartError>, left: Vec<Leftover> },
}
