//! What the queue knows when it is asked: what runs, what waits, and for what. Pure, part of the queue's state.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::State;
use crate::model::{Attempt, Rank, TaskId};
use crate::status::Waits;
use crate::tasks::Target;

/// What the queue wants of a pool that scales.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Tasks that wait and could run on any node.
    pub(crate) queued: u32,
    /// Tasks that nodes have, those that wait for one node alone, and what another owner left that runs.
    pub(crate) running: u32,
    /// Ranks that take tasks, have none and nothing that another owner left, and for which none waits.
    pub(crate) idle: BTreeSet<Rank>,
    /// Ranks for which tasks wait.
    pub(crate) pinned: BTreeSet<Rank>,
}

impl State {
    /// What it wants of its pool.
    pub(crate) fn demand(&self, now: Instant) -> Demand {
        let of = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        if self.stopped {
            return Demand::default();
        }
        let queued: usize = self.waiting.values().map(VecDeque::len).sum();
        Demand {
            queued: of(queued),
            running: of(self.tasks.len().saturating_sub(queued))
                .saturating_add(self.keys.inherited().all_running()),
            idle: self.ranks.keys().copied().filter(|it| self.is_idle(*it, now)).collect(),
            pinned: self.pinned.iter().filter(|(_, it)| !it.is_empty()).map(|(rank, _)| *rank).collect(),
        }
    }

    /// Whether a rank takes tasks, has none and nothing that another owner left, and none waits for it.
    pub(crate) fn is_idle(&self, rank: Rank, now: Instant) -> bool {
        let is_free = self.ranks.get(&rank).is_some_and(|it| it.open && it.used == 0);
        let is_free = is_free && !self.keys.inherited().is_there(rank, now);
        is_free && self.pinned.get(&rank).is_none_or(VecDeque::is_empty)
    }

    /// How many tasks it knows.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn held(&self) -> usize {
        self.tasks.len()
    }

    /// The try of a task that has been granted, and where.
    pub(crate) fn on(&self, id: TaskId) -> Option<(Attempt, Rank)> {
        self.tasks.get(&id).and_then(|it| Some((it.attempt, it.on?.0)))
    }

    /// Whether nodes are to be looked at: one of several has something, has more than it can begin, or takes
    /// nothing for a moment.
    pub(crate) fn wants_a_look(&self) -> bool {
        let several = self.ranks.values().filter(|it| it.open).count() > 1;
        self.ranks.values().any(|it| it.full || it.used > it.slots || (several && it.open && it.used > 0))
    }

    /// How many tasks all open nodes together may be given.
    pub(crate) fn places(&self) -> u32 {
        let open = self.ranks.values().filter(|it| it.open);
        open.map(|it| it.slots.saturating_add(self.paces.most())).fold(0, u32::saturating_add)
    }

    /// What the tasks wait for, counted.
    pub(crate) fn waits(&self) -> Waits {
        let mut waits = Waits::default();
        let is_any_open = self.ranks.values().any(|it| it.open);
        for task in self.tasks.values() {
            match (task.on, task.target) {
                (Some(_), _) => waits.running += 1,
                (None, Target::Rank(rank)) => *waits.for_rank.entry(rank).or_default() += 1,
                (None, Target::Any) if is_any_open => waits.for_slot += 1,
                (None, Target::Any) => waits.for_node += 1,
            }
        }
        waits
    }
}
