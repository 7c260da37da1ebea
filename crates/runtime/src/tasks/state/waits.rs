//! What the queue knows when it is asked: what runs, what waits, and for what. Pure, part of the queue's state.

use super::State;
use crate::model::{Attempt, Rank, TaskId};
use crate::status::Waits;
use crate::tasks::Target;

impl State {
    /// How many tasks it knows.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn held(&self) -> usize {
        self.tasks.len()
    }

    /// The try of a task that has been granted, and where.
    pub(crate) fn on(&self, id: TaskId) -> Option<(Attempt, Rank)> {
        self.tasks.get(&id).and_then(|it| Some((it.attempt, it.on?.0)))
    }

    /// Whether a node is to be looked at: it has been given more than it can begin, or takes nothing for a
    /// moment.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ranks.values().any(|it| it.used > it.slots || it.full)
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
