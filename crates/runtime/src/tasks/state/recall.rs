//! What the queue decides about calls that a node was given and does not come to: those that it has ahead, and those
//! whose slot, free by the queue's books, is still a function's that nobody waits for. Pure, part of the queue's state.
//!
//! ```text
//! given --looks without an answer, others idle--> recalled --begun: stays | waits: given back--> elsewhere
//! a node that gave back what had a slot --> doubted --answers--> trusted
//! ```

use std::time::Duration;

use super::{Effect, State};
use crate::model::{Attempt, Rank, TaskId};
use crate::tasks::Target;
use crate::tasks::ahead::Room;
use crate::tasks::task::Task;

/// A call that was asked for back so many looks ago, and did not come, has begun. Fewer have more asked for than idle
/// nodes can begin where the way is long.
const ANSWERS: u32 = 20;

/// A node that has answered nothing for so many looks is asked for what it has though nobody is idle. Fewer have long
/// calls asked for in vain more often; more keep those that wait there for longer.
const LONG: u32 = 100;

impl State {
    /// A task has its outcome: its node comes to what it has, and its function is known better.
    pub(super) fn answered(
        &mut self,
        id: TaskId,
        attempt: Attempt,
        took: Option<Duration>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(task) = self.current(id, attempt) else { return };
        let (function, on) = (task.load.function, task.place());
        self.leave_as(id, task, effects);
        if let Some(took) = took {
            self.paces.learn(function, took);
        }
        if let Some(room) = on.and_then(|rank| self.ranks.get_mut(&rank)) {
            (room.silent, room.doubted) = (0, false);
        }
        // It is on a node, so it waits in no queue.
        if let Some(task) = self.remove(id) {
            self.release(&task);
        }
    }

    /// A task is over, which says nothing of its node.
    pub(super) fn expired(&mut self, id: TaskId, attempt: Attempt, effects: &mut Vec<Effect>) {
        if self.current(id, attempt).is_some() {
            self.leave(id, effects);
            self.forget(id);
        }
    }

    /// A task comes back that was asked for. Where it had a slot by these books that is another's.
    pub(super) fn given_back(&mut self, id: TaskId, attempt: Attempt, effects: &mut Vec<Effect>) {
        let on = self.current(id, attempt).and_then(Task::place);
        if let Some(room) = on.and_then(|rank| self.ranks.get_mut(&rank))
            && room.used <= room.slots
        {
            (room.full, room.doubted) = (true, true);
        }
        self.give_back(id, attempt, effects);
    }

    /// Asks for tasks back from nodes that have answered nothing since the last look: as many of those that they have
    /// ahead as other nodes could begin at once, and, where they have none, all. What has begun stays.
    pub(super) fn recall(&mut self, effects: &mut Vec<Effect>) {
        self.looks = self.looks.wrapping_add(1);
        let (now, waits) = (self.looks, !self.turns.is_empty());
        let idle: u32 = if waits { 0 } else { self.ranks.values().map(free).fold(0, u32::saturating_add) };
        let several = self.ranks.values().filter(|it| it.open).count() > 1;
        let is_awaited = |it: &Task| it.recalled.is_some_and(|at| now.wrapping_sub(at) < ANSWERS);
        // One that had not arrived is asked for again.
        let is_asked = |it: &Task| it.recalled.is_some_and(|at| now.wrapping_sub(at) < LONG);
        let mut stuck: Vec<(Rank, Wanted)> = Vec::new();
        for (rank, room) in &mut self.ranks {
            let silent = room.silent;
            room.silent = silent.saturating_add(1);
            if silent == 0 || room.used == 0 {
                continue;
            }
            let ahead = room.used.saturating_sub(room.own_slots());
            if several && silent.is_multiple_of(LONG) {
                stuck.push((*rank, Wanted::All));
            } else if idle > free(room) {
                stuck.push((*rank, if ahead > 0 { Wanted::Ahead(ahead) } else { Wanted::All }));
            }
        }
        if stuck.is_empty() {
            return;
        }
        let mut room = idle.saturating_sub(count(self.tasks.values().filter(|it| is_awaited(it)).count()));
        for (rank, wanted) in stuck {
            let most = match wanted {
                Wanted::All => u32::MAX,
                Wanted::Ahead(ahead) => ahead.min(room),
            };
            // Workers begin in order, so the newest are the ones that wait.
            let newest = self
                .tasks
                .iter_mut()
                .rev()
                .filter(|(_, it)| !is_asked(it) && it.target == Target::Any && it.is_on(rank));
            for (id, task) in newest.take(usize::try_from(most).unwrap_or(usize::MAX)) {
                if matches!(wanted, Wanted::Ahead(_)) {
                    room = room.saturating_sub(1);
                }
                task.recalled = Some(now);
                effects.push(Effect::Recall { id: *id, attempt: task.attempt, rank });
            }
        }
    }

    /// Whether a node could begin with something at once, as far as is known.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is_free(&self, rank: Rank) -> bool {
        self.ranks.get(&rank).is_some_and(|it| free(it) > 0)
    }
}

/// What is wanted of a node that is stuck.
#[derive(Clone, Copy)]
enum Wanted {
    /// So many, of those that it was given ahead.
    Ahead(u32),
    All,
}

/// How many tasks a node could begin at once, as far as is known.
const fn free(room: &Room) -> u32 {
    if room.open && !room.full && !room.doubted { room.own_slots().saturating_sub(room.used) } else { 0 }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
