//! What the pool tells the queue, and what the queue tells callers.

use tokio::sync::oneshot;

use super::queue::Tasks;
use crate::link::Link;
use crate::model::{Attempt, Key, Rank, TaskId};

use super::order::Undone;

/// What the pool tells the queue about nodes.
#[derive(Debug)]
pub(crate) enum TasksMessage {
    /// The pool has this many ranks.
    Sized {
        /// Ready or not.
        nodes: u32,
    },
    /// The pool may get nodes that it does not have, whenever calls wait; or not.
    Grows {
        /// Whether it may.
        grows: bool,
    },
    /// The pool will have a node of this rank.
    NodeWanted {
        /// Its rank.
        rank: Rank,
    },
    /// A node takes tasks over this link.
    NodeReady {
        /// Its rank.
        rank: Rank,
        /// How many at once.
        slots: u32,
        /// The way to it.
        link: Link,
    },
    /// A node takes nothing new until it is ready again.
    NodePaused {
        /// Its rank.
        rank: Rank,
    },
    /// The process of a node's worker has ended, while its machine lives.
    WorkerDied {
        /// The node's rank.
        rank: Rank,
    },
    /// A node takes nothing new, and ends when what it has is over.
    NodeLeaves {
        /// Its rank.
        rank: Rank,
        /// The pool itself gives it up: what is lost by that costs no try.
        by_choice: bool,
    },
    /// A node is over; its rank may get another one.
    NodeGone {
        /// Its rank.
        rank: Rank,
    },
    /// A node will not come back.
    NodeLost {
        /// Its rank.
        rank: Rank,
    },
    /// The pool ends.
    Stop,
}

/// What the queue decided about one try of a task.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It may run.
    Grant(Grant),
    /// The same try goes on over another link to the same worker, if it was ever there.
    Resume(Grant),
    /// It gets no (further) try.
    Refuse(Undone),
    /// It failed by its own fault as often as it may: the outcome that it had counts.
    Exhausted,
}

/// The right to run one task once on one node.
#[derive(Debug)]
pub(crate) struct Grant {
    /// Which try this is.
    pub(crate) attempt: Attempt,
    /// Where.
    pub(crate) rank: Rank,
    /// The way there.
    pub(crate) link: Link,
}

/// One rank's part of a broadcast. One that is dropped instead of taken cancels its task: the caller
/// may go away while its shares are on their way to it.
#[derive(Debug)]
pub(crate) struct Share {
    rank: Rank,
    id: TaskId,
    queue: Tasks,
    /// Where the decision comes from; `None` when taken.
    decision: Option<oneshot::Receiver<Decision>>,
}

impl Share {
    pub(super) const fn new(
        rank: Rank,
        id: TaskId,
        decision: oneshot::Receiver<Decision>,
        queue: Tasks,
    ) -> Self {
        Self { rank, id, queue, decision: Some(decision) }
    }

    /// Its task.
    pub(super) const fn id(&self) -> TaskId {
        self.id
    }

    /// Its part of the broadcast's key.
    pub(super) fn key(&self, whole: &Key) -> Key {
        whole.at(usize::try_from(self.rank.0).unwrap_or(usize::MAX))
    }

    /// The rank, its task, and where the decision comes from. Whoever takes them cancels the task.
    pub(super) fn take(mut self) -> (Rank, TaskId, oneshot::Receiver<Decision>) {
        let decision = self.decision.take().unwrap_or_else(|| oneshot::channel().1);
        (self.rank, self.id, decision)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.decision.is_some() {
            self.queue.cancel(self.id, None);
        }
    }
}
