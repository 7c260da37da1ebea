//! The keys of calls: which of them are in use, and which node has something under one. Pure, part of the queue's
//! state.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Key, Rank, TaskId};

/// The keys that the queue knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    used: BTreeMap<Key, TaskId>,
    of: BTreeMap<TaskId, Key>,
    held: BTreeMap<Key, Rank>,
    /// Those of outcomes that stay at their workers when they were taken.
    staying: BTreeSet<Key>,
}

impl Keys {
    /// Takes a key for a task. Returns whether no other has it.
    pub(super) fn take(&mut self, key: Key, id: TaskId) -> bool {
        if self.used.contains_key(&key) {
            return false;
        }
        self.of.insert(id, key.clone());
        self.used.insert(key, id);
        true
    }

    /// A task is over; its key is free, and nobody keeps anything under it.
    pub(super) fn give(&mut self, id: TaskId) {
        if let Some(key) = self.of.remove(&id) {
            self.used.remove(&key);
            if !self.staying.contains(&key) {
                self.held.remove(&key);
            }
        }
    }

    /// A node says under which keys it has something.
    pub(super) fn found(&mut self, rank: Rank, keys: Vec<Key>) {
        self.held.extend(keys.into_iter().map(|key| (key, rank)));
    }

    /// The outcome of a task stays at this node, for who asks for its key again.
    pub(super) fn stay(&mut self, id: TaskId, rank: Rank) {
        if let Some(key) = self.of.get(&id) {
            self.held.insert(key.clone(), rank);
            self.staying.insert(key.clone());
        }
    }

    /// The worker of a node has ended, with all that it had, or has let go of what stayed there.
    pub(super) fn leave(&mut self, rank: Rank) {
        let staying = &mut self.staying;
        self.held.retain(|key, it| {
            let stays = *it != rank;
            if !stays {
                staying.remove(key);
            }
            stays
        });
    }

    /// Which node has something under the key of a task.
    pub(super) fn home_of(&self, id: TaskId) -> Option<Rank> {
        self.held.get(self.of.get(&id)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_tasks_at_a_time_and_leads_to_who_has_it() {
        let (mut keys, key) = (Keys::default(), Key::new("k").expect("fits"));
        assert!(keys.take(key.clone(), TaskId(1)));
        assert!(!keys.take(key.clone(), TaskId(2)));
        keys.give(TaskId(2));
        keys.found(Rank(3), vec![key.clone()]);
        assert_eq!(keys.home_of(TaskId(1)), Some(Rank(3)));
        keys.give(TaskId(1));
        assert!(keys.take(key.clone(), TaskId(2)));
        assert_eq!(keys.home_of(TaskId(2)), None);
        keys.found(Rank(3), vec![key]);
        keys.leave(Rank(3));
        assert_eq!(keys.home_of(TaskId(2)), None);
    }

    #[test]
    fn the_key_of_an_outcome_that_stays_leads_to_it_again() {
        let (mut keys, key) = (Keys::default(), Key::new("k").expect("fits"));
        assert!(keys.take(key.clone(), TaskId(1)));
        keys.stay(TaskId(1), Rank(2));
        keys.give(TaskId(1));
        assert!(keys.take(key.clone(), TaskId(2)));
        assert_eq!(keys.home_of(TaskId(2)), Some(Rank(2)));
        keys.leave(Rank(2));
        assert_eq!(keys.home_of(TaskId(2)), None);
        assert!(keys.staying.is_empty());
    }
}
