//! One task as the queue's state knows it. Pure.

use std::time::Duration;

use super::ahead::Load;
use super::blame::Blame;
use super::order::{GroupId, Retries, Target};
use crate::model::{Attempt, Rank};

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) target: Target,
    pub(super) group: GroupId,
    pub(super) attempt: Attempt,
    /// How often it may still be tried again.
    pub(super) left: Retries,
    pub(super) load: Load,
    /// Where it runs, and how long it was thought to when it was sent there; `None` while it waits.
    pub(super) on: Option<(Rank, Duration)>,
    /// This try has been asked for back.
    pub(super) recalled: bool,
    pub(super) blame: Blame,
}

impl Task {
    pub(super) fn new(target: Target, group: GroupId, left: Retries, load: Load) -> Self {
        Self {
            target,
            group,
            left,
            attempt: Attempt::default(),
            load,
            on: None,
            recalled: false,
            blame: Blame::default(),
        }
    }

    /// How long it was thought to run when it was sent; zero while it waits.
    pub(super) fn expected(&self) -> Duration {
        self.on.map_or(Duration::ZERO, |(_, expected)| expected)
    }
}
