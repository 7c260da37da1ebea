//! What the TasksActor hears.

use ractor::ActorRef;
use ractor_cluster::RactorMessage;
use tokio::sync::oneshot;

use super::order::{GroupId, OnLost, Retries, Target, Undone};
use crate::link::Link;
use crate::model::{Attempt, Rank, TaskId};
use crate::status::Waits;

/// Messages of the queue. Callers send through [`super::Tasks`]; the pool tells about nodes.
#[derive(Debug, RactorMessage)]
pub(crate) enum TasksMessage {
    /// A caller waits for a grant.
    Submit {
        /// Chosen by the caller's handle.
        id: TaskId,
        /// Where it may run.
        target: Target,
        /// What it shares its turn with.
        group: GroupId,
        /// How often it may be tried again.
        retries: Retries,
        /// The function's name, for events.
        function: &'static str,
        /// Where the decision goes.
        decide: oneshot::Sender<Decision>,
    },
    /// A caller wants a grant on each ready rank.
    Broadcast {
        /// The first of a row of ids that is long enough for every rank.
        first: TaskId,
        /// What its shares take turns as.
        group: GroupId,
        /// How often a share may be tried again.
        retries: Retries,
        /// What becomes of the share of a lost node.
        lost: OnLost,
        /// The function's name, for events.
        function: &'static str,
        /// Where the list of shares goes.
        shares: oneshot::Sender<Vec<Share>>,
    },
    /// A granted task has its outcome.
    Answered {
        /// The task.
        id: TaskId,
        /// Its attempt.
        attempt: Attempt,
        /// Where it ran.
        rank: Rank,
        /// Whether it returned a value.
        ok: bool,
    },
    /// A granted task failed by its own fault, and its caller would try again.
    Failed {
        /// The task.
        id: TaskId,
        /// Its attempt.
        attempt: Attempt,
        /// Where it ran.
        rank: Rank,
        /// What it said.
        reason: String,
        /// Where the next decision goes; dropped when there is no try left.
        decide: oneshot::Sender<Decision>,
    },
    /// A granted task lost its node.
    Lost {
        /// The task.
        id: TaskId,
        /// Its attempt.
        attempt: Attempt,
        /// Where it ran.
        rank: Rank,
        /// What happened.
        reason: String,
        /// Where the next decision goes.
        decide: oneshot::Sender<Decision>,
    },
    /// A task cannot be tried again: some of what it gives, or takes, has been taken.
    Committed {
        /// The task.
        id: TaskId,
    },
    /// The caller is no longer interested.
    Cancelled {
        /// The task.
        id: TaskId,
    },
    /// The pool has this many ranks.
    Sized {
        /// Ready or not.
        nodes: u32,
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
    /// A node will not come back.
    NodeLost {
        /// Its rank.
        rank: Rank,
    },
    /// Somebody asks what the calls wait for.
    Explain {
        /// Where the answer goes.
        reply: oneshot::Sender<Waits>,
    },
    /// The pool ends.
    Stop,
}

/// What the queue decided about one try of a task.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It may run.
    Grant(Grant),
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
    queue: ActorRef<TasksMessage>,
    /// Where the decision comes from; `None` when taken.
    decision: Option<oneshot::Receiver<Decision>>,
}

impl Share {
    pub(super) const fn new(
        rank: Rank,
        id: TaskId,
        decision: oneshot::Receiver<Decision>,
        queue: ActorRef<TasksMessage>,
    ) -> Self {
        Self { rank, id, queue, decision: Some(decision) }
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
            // Fails only when the queue is over.
            let _ = self.queue.cast(TasksMessage::Cancelled { id: self.id });
        }
    }
}
