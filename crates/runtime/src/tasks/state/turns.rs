//! Who waits in the queue, and whose turn it is. Pure, part of the queue's state.

use super::State;
use crate::model::TaskId;
use crate::tasks::ahead::Load;
use crate::tasks::{GroupId, Target};

impl State {
    /// What the task weighs whose turn it is.
    pub(super) fn next_load(&self) -> Option<Load> {
        let id = self.waiting.get(self.turns.front()?)?.front()?;
        self.tasks.get(id).map(|it| it.load)
    }

    pub(super) fn next_waiting(&mut self) -> Option<TaskId> {
        let group = self.turns.pop_front()?;
        let queue = self.waiting.get_mut(&group)?;
        let id = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&group);
        } else {
            self.turns.push_back(group);
        }
        id
    }

    pub(super) fn enqueue(&mut self, id: TaskId, target: Target, group: GroupId) {
        match target {
            Target::Rank(rank) => self.pinned.entry(rank).or_default().push_back(id),
            Target::Any => {
                let queue = self.waiting.entry(group).or_default();
                if queue.is_empty() {
                    self.turns.push_back(group);
                }
                queue.push_back(id);
            }
        }
    }

    /// Takes a task out of the queue that it waits in.
    pub(super) fn unqueue(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        match (task.on, task.target) {
            (Some(_), _) => {}
            (None, Target::Rank(rank)) => {
                if let Some(queue) = self.pinned.get_mut(&rank) {
                    queue.retain(|it| *it != id);
                    if queue.is_empty() {
                        self.pinned.remove(&rank);
                    }
                }
            }
            (None, Target::Any) => {
                if let Some(queue) = self.waiting.get_mut(&task.group) {
                    queue.retain(|it| *it != id);
                    if queue.is_empty() {
                        self.waiting.remove(&task.group);
                        self.turns.retain(|it| *it != task.group);
                    }
                }
            }
        }
    }
}
