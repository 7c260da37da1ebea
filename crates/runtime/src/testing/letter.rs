//! What the simulated queue is told, by its pool, its nodes and its callers.

use std::time::Duration;

use super::link::LinkId;
use crate::model::{Attempt, Incarnation, Key, Rank, TaskId};
use crate::retention::Left;
use crate::tasks::ahead::Load;
use crate::tasks::state::Heard;
use crate::tasks::{GroupId, Target};

/// What the queue is told.
#[derive(Clone, Debug)]
pub(super) enum Letter {
    Submit {
        id: TaskId,
        target: Target,
        group: GroupId,
        load: Load,
    },
    /// The task that is submitted next has this key.
    Keyed {
        id: TaskId,
        key: Key,
    },
    /// A worker has something under these keys.
    Held {
        rank: Rank,
        worker: Incarnation,
        keys: Vec<(Key, Left)>,
    },
    /// What a task came to stays at its worker.
    Stays {
        id: TaskId,
        attempt: Attempt,
    },
    Broadcast {
        first: TaskId,
        group: GroupId,
        load: Load,
    },
    Answered {
        id: TaskId,
        attempt: Attempt,
        took: Duration,
    },
    GivenBack {
        id: TaskId,
        attempt: Attempt,
    },
    Full {
        id: TaskId,
        attempt: Attempt,
    },
    Broken {
        id: TaskId,
        attempt: Attempt,
        link: LinkId,
        worker: Incarnation,
        reason: String,
    },
    NodeLeaves {
        rank: Rank,
        by_choice: bool,
    },
    NodeGone {
        rank: Rank,
    },
    Looked,
    Lost {
        id: TaskId,
        attempt: Attempt,
        reason: String,
    },
    Committed {
        id: TaskId,
    },
    Cancelled {
        id: TaskId,
    },
    Sized {
        nodes: u32,
    },
    Grows {
        grows: bool,
    },
    NodeWanted {
        rank: Rank,
    },
    NodeReady {
        rank: Rank,
        link: LinkId,
    },
    NodePaused {
        rank: Rank,
    },
    WorkerDied {
        rank: Rank,
    },
    NodeLost {
        rank: Rank,
    },
    Stop,
    /// Something that was said long ago and comes again; the shell has no part in it.
    Again(Heard),
}
