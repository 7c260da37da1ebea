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
    /// At which look this try was asked for back.
    pub(super) recalled: Option<u32>,
    pub(super) blame: Blame,
    /// Which of its rank's links this try was sent over.
    pub(super) link: u32,
    /// That link broke, and the worker may go on with it.
    pub(super) suspended: bool,
    /// It waits for the rank that has something under its key, and for another when that is lost.
    pub(super) homing: bool,
    /// The node that it runs on is leaving: it has none of its rank's slots.
    pub(super) apart: bool,
    /// That node leaves because the pool itself gives it up.
    pub(super) excused: bool,
    /// It never runs a second time, whatever it was lost to.
    pub(super) once: bool,
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
            recalled: None,
            blame: Blame::default(),
            link: 0,
            suspended: false,
            homing: false,
            apart: false,
            excused: false,
            once: left.infrastructure == 0,
        }
    }

    /// Whether it runs, or waits to, on the node that this rank has now.
    pub(super) fn is_on(&self, rank: Rank) -> bool {
        self.place() == Some(rank)
    }

    /// The rank whose node has it, unless that is leaving.
    pub(super) fn place(&self) -> Option<Rank> {
        self.on.filter(|_| !self.apart).map(|(rank, _)| rank)
    }

    /// How long it was thought to run when it was sent; zero while it waits.
    pub(super) fn expected(&self) -> Duration {
        self.on.map_or(Duration::ZERO, |(_, expected)| expected)
    }
}
