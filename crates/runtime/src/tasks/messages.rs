//! What the TasksActor hears.

use ractor::ActorRef;
use ractor_cluster::RactorMessage;
use tokio::sync::oneshot;

use super::order::{GroupId, Target, Undone};
use crate::link::Link;
use crate::model::{Attempt, Rank, TaskId};

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
    /// A granted task lost its node.
    Lost {
        /// The task.
        id: TaskId,
        /// Its attempt.
        attempt: Attempt,
        /// What happened.
        reason: String,
        /// Where the next decision goes.
        decide: oneshot::Sender<Decision>,
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
    /// It gets no (further) try.
    Refuse(Undone),
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

/// One rank's part of a broadcast.
#[derive(Debug)]
pub(crate) struct Share {
    /// The rank.
    pub(crate) rank: Rank,
    /// Its task.
    pub(crate) id: TaskId,
    /// Where the decision comes from.
    pub(crate) decision: oneshot::Receiver<Decision>,
    /// Cancels the task, should the list of shares be dropped before its caller has read it.
    pub(crate) claim: Claim,
}

/// Somebody's interest in a task that is in the queue already; the task is cancelled when it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    queue: ActorRef<TasksMessage>,
    id: TaskId,
    open: bool,
}

impl Claim {
    pub(super) const fn new(queue: ActorRef<TasksMessage>, id: TaskId) -> Self {
        Self { queue, id, open: true }
    }

    /// Somebody else cares for the task from now on.
    pub(super) fn hand_over(mut self) {
        self.open = false;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.open {
            // Fails only when the queue has ended, and its tasks with it.
            let _ = self.queue.cast(TasksMessage::Cancelled { id: self.id });
        }
    }
}

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr};
    use tokio::sync::mpsc;

    use super::*;

    /// Tells what it hears.
    struct Ear;

    impl Actor for Ear {
        type Msg = TasksMessage;
        type State = mpsc::UnboundedSender<TasksMessage>;
        type Arguments = Self::State;

        async fn pre_start(
            &self,
            _: ActorRef<Self::Msg>,
            told: Self::Arguments,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(told)
        }

        async fn handle(
            &self,
            _: ActorRef<Self::Msg>,
            message: Self::Msg,
            told: &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            Ok(told.send(message)?)
        }
    }

    #[tokio::test]
    async fn a_claim_cancels_its_task_unless_it_was_handed_over() {
        let (told, mut heard) = mpsc::unbounded_channel();
        let (queue, running) = Actor::spawn(None, Ear, told).await.expect("spawned");
        Claim::new(queue.clone(), TaskId(1)).hand_over();
        drop(Claim::new(queue.clone(), TaskId(2)));
        assert!(matches!(heard.recv().await, Some(TasksMessage::Cancelled { id: TaskId(2) })));
        queue.drain().expect("running");
        running.await.expect("ended");
        assert!(heard.recv().await.is_none());
    }
}
