//! What the queue decides when a link breaks and another one leads to the same worker: whose outcome is waited
//! for, and who is tried elsewhere. Pure, part of the queue's state.
//!
//! ```text
//! granted --link broken--> suspended --the same worker--> resumed
//!                              `-- another worker, no node --> lost
//! ```

use std::time::Instant;

use super::{Effect, State};
use crate::model::{Attempt, Incarnation, Key, Rank, TaskId};
use crate::retention::{Left, Try};
use crate::tasks::Target;
use crate::tasks::task::Task;

/// The worker that a rank has, from its first link to its end, links between included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    worker: Incarnation,
    /// Counts its links.
    link: u32,
    /// It has said under which keys it has something.
    heard: bool,
}

impl State {
    /// A node takes tasks over a link to this worker: it is told what is waited for there, and who noticed
    /// that the link before broke is asked about again.
    pub(super) fn linked(&mut self, rank: Rank, worker: Incarnation, effects: &mut Vec<Effect>) {
        let (link, heard) = match self.lives.get(&rank) {
            Some(life) if life.worker == worker => (life.link.wrapping_add(1), life.heard),
            _ => {
                self.end_life(rank, "its worker is another one now", effects);
                (0, false)
            }
        };
        self.lives.insert(rank, Life { worker, link, heard });
        self.keys.linked(rank);
        let on_it = self.tasks.iter_mut().filter(|(_, it)| it.is_on(rank));
        let mut waits: Vec<Try> = self.holding.of(rank).collect();
        let mut resumed = Vec::new();
        for (id, task) in on_it {
            waits.push((*id, task.attempt));
            task.recalled = None;
            if std::mem::take(&mut task.suspended) {
                resumed.push(Effect::Resume { id: *id, attempt: task.attempt, rank });
            }
        }
        effects.push(Effect::Reconcile { rank, waits });
        effects.append(&mut resumed);
    }

    /// A task's link broke. Its worker may go on with it.
    pub(super) fn broken(
        &mut self,
        id: TaskId,
        attempt: Attempt,
        worker: &Incarnation,
        reason: String,
        effects: &mut Vec<Effect>,
    ) {
        let Some(task) = self.current(id, attempt) else { return };
        // What ran on a node that was leaving is lost with its link.
        let Some(rank) = task.place() else { return self.lose(id, attempt, reason, effects) };
        let life = self.lives.get(&rank).filter(|it| it.worker == *worker && !self.stopped);
        if life.is_none() {
            return self.lose(id, attempt, reason, effects);
        }
        let is_linked = self.ranks.get(&rank).is_some_and(|it| it.open);
        if is_linked {
            effects.push(Effect::Resume { id, attempt, rank });
        } else if let Some(task) = self.tasks.get_mut(&id) {
            task.suspended = true;
        }
    }

    /// The worker of a rank has ended, or will not be linked again: what waited for it is lost.
    pub(super) fn end_life(&mut self, rank: Rank, reason: &str, effects: &mut Vec<Effect>) {
        self.lives.remove(&rank);
        self.keys.leave(rank);
        self.holding.give(rank);
        self.unpin(rank);
        self.lose_suspended(Some(rank), reason, effects);
    }

    /// Loses what waits for a link, on one rank or on any.
    pub(super) fn lose_suspended(&mut self, rank: Option<Rank>, reason: &str, effects: &mut Vec<Effect>) {
        let is_it = |it: &Task| it.suspended && rank.is_none_or(|rank| it.is_on(rank));
        let lost = self.tasks.iter().filter(|(_, it)| is_it(it)).map(|(id, it)| (*id, it.attempt));
        for (id, attempt) in lost.collect::<Vec<_>>() {
            self.lose(id, attempt, reason.to_owned(), effects);
        }
    }

    /// A task is over that was sent over a link before the one that its rank has: the worker may still keep it,
    /// because what told it otherwise is lost, or was never sent.
    pub(super) fn leave(&self, id: TaskId, effects: &mut Vec<Effect>) {
        if let Some(task) = self.tasks.get(&id) {
            self.leave_as(id, task, effects);
        }
    }

    /// As [`Self::leave`], of a task that has been found.
    pub(super) fn leave_as(&self, id: TaskId, task: &Task, effects: &mut Vec<Effect>) {
        let Some(rank) = task.place() else { return };
        let is_open = self.ranks.get(&rank).is_some_and(|it| it.open);
        let is_older = self.lives.get(&rank).is_some_and(|it| it.link != task.link);
        if is_open && is_older && !self.holding.is_held(rank, (id, task.attempt)) {
            effects.push(Effect::Release { id, attempt: task.attempt, rank });
        }
    }

    /// A worker says under which keys it has something: tasks that wait with one of them wait for it.
    pub(super) fn found(&mut self, rank: Rank, worker: &Incarnation, keys: Vec<(Key, Left)>, until: Instant) {
        let Some(life) = self.lives.get_mut(&rank).filter(|it| it.worker == *worker) else { return };
        // What has no more to say says that.
        life.heard |= keys.is_empty();
        self.keys.found(rank, keys, until);
        self.count_inherited(rank);
        let waits = |it: &Task| it.on.is_none() && it.target == Target::Any;
        let homed: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(id, it)| waits(it) && self.keys.home_of(**id) == Some(rank))
            .map(|(id, _)| *id)
            .collect();
        for id in homed {
            self.unqueue(id);
            self.requeue(id, Target::Rank(rank), true);
        }
    }

    /// What another owner left that runs on a node has slots of it.
    pub(super) fn count_inherited(&mut self, rank: Rank) {
        if let Some(room) = self.ranks.get_mut(&rank) {
            room.inherited = self.keys.inherited().running(rank);
        }
    }

    /// Whether every worker that is linked has said under which keys it has something.
    pub(crate) fn is_reconciled(&self) -> bool {
        self.lives.values().all(|it| it.heard)
    }

    /// The outcome of a task has been taken, and stays where it is.
    pub(super) fn stays(&mut self, id: TaskId, attempt: Attempt, effects: &mut Vec<Effect>) {
        let Some(rank) = self.current(id, attempt).and_then(Task::place) else { return };
        let Some(key) = self.keys.stay(id, rank) else { return };
        if let Some(((id, attempt), key)) = self.holding.hold(rank, (id, attempt), key) {
            self.keys.let_go(rank, &key);
            effects.push(Effect::Release { id, attempt, rank });
        }
    }

    /// The worker of a rank takes nothing more: what stays there for another owner is in the way of this one.
    pub(super) fn make_room(&mut self, rank: Rank, effects: &mut Vec<Effect>) {
        for ((id, attempt), key) in self.holding.give(rank) {
            self.keys.let_go(rank, &key);
            effects.push(Effect::Release { id, attempt, rank });
        }
    }

    /// The task, meant for the rank that has something under its key.
    pub(super) fn homed(&self, id: TaskId, task: Task) -> Task {
        match (task.target, self.keys.home_of(id)) {
            (Target::Any, Some(rank)) if self.lives.contains_key(&rank) => {
                Task { target: Target::Rank(rank), homing: true, ..task }
            }
            (Target::Any | Target::Rank(_), _) => task,
        }
    }

    /// The task once more, which comes back from a rank, where nothing is under its key any more. Another may have said
    /// meanwhile that it has something.
    pub(super) fn homed_again(&mut self, id: TaskId, task: Task, from: Option<Rank>) -> Task {
        if let Some(rank) = from {
            self.keys.come_back(id, rank);
        }
        let is_homeless = task.homing && self.keys.home_of(id).map(Target::Rank) != Some(task.target);
        let task = match is_homeless {
            true => Task { target: Target::Any, homing: false, ..task },
            false => task,
        };
        self.homed(id, task)
    }

    /// What waits for a rank only because of its key may go anywhere.
    fn unpin(&mut self, rank: Rank) {
        let is_it = |it: &Task| it.homing && it.target == Target::Rank(rank);
        let homing: Vec<TaskId> = self.tasks.iter().filter(|(_, it)| is_it(it)).map(|(id, _)| *id).collect();
        for id in homing {
            let waits = self.tasks.get(&id).is_some_and(|it| it.on.is_none());
            if waits {
                self.unqueue(id);
                self.requeue(id, Target::Any, false);
            } else if let Some(task) = self.tasks.get_mut(&id) {
                (task.target, task.homing) = (Target::Any, false);
            }
        }
    }

    fn requeue(&mut self, id: TaskId, target: Target, homing: bool) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        (task.target, task.homing) = (target, homing);
        let group = task.group;
        self.enqueue(id, target, group);
    }
}

impl Life {
    /// Which of its links the rank has, or had last.
    pub(super) const fn link(&self) -> u32 {
        self.link
    }
}
