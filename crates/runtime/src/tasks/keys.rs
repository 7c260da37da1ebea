//! The keys of calls: which of them are in use, and which node has something under one. Pure, part of the queue's
//! state.

use std::collections::BTreeMap;
use std::time::Instant;

use super::inherited::Inherited;
use crate::model::{Key, Rank, TaskId};
use crate::retention::Left;

/// The keys that the queue knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    used: BTreeMap<Key, TaskId>,
    of: BTreeMap<TaskId, Key>,
    held: BTreeMap<Key, Home>,
    inherited: Inherited,
}

/// Who has something under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Home {
    rank: Rank,
    /// It stays there when it was taken.
    stays: bool,
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

    /// A task is over; its key is free. Where it `asked` for what a node had under it, nobody keeps that any more but
    /// what stays.
    pub(super) fn give(&mut self, id: TaskId, asked: bool) {
        let Some(key) = self.of.remove(&id) else { return };
        self.used.remove(&key);
        if let Some(home) = self.held.get(&key).copied().filter(|_| asked) {
            self.inherited.forget(home.rank, &key);
            if !home.stays {
                self.held.remove(&key);
            }
        }
    }

    /// A worker is linked, and will say under which keys it has something.
    pub(super) fn linked(&mut self, rank: Rank) {
        self.inherited.linked(rank);
    }

    /// A node says under which keys it has something. What another owner left of that, and nobody has asked for until
    /// then, is nobody's.
    pub(super) fn found(&mut self, rank: Rank, keys: Vec<(Key, Left)>, until: Instant) {
        let has_more = self.inherited.heard(rank, &keys, until);
        for (key, _) in keys.into_iter().filter(|(_, left)| has_more || *left != Left::Nothing) {
            self.held.entry(key).or_insert(Home { rank, stays: false }).rank = rank;
        }
    }

    /// A task goes to a node: what is left there under its key is its now.
    pub(super) fn go(&mut self, id: TaskId, rank: Rank) {
        if let Some(key) = self.of.get(&id) {
            self.inherited.take(rank, key);
        }
    }

    /// A task comes back from a node, which has nothing under its key any more.
    pub(super) fn come_back(&mut self, id: TaskId, rank: Rank) {
        if let Some(key) = self.of.get(&id)
            && self.held.get(key).is_some_and(|it| it.rank == rank && !it.stays)
        {
            self.held.remove(key);
        }
    }

    /// The outcome of a task stays at this node, for who asks for its key again. The key.
    pub(super) fn stay(&mut self, id: TaskId, rank: Rank) -> Option<Key> {
        let key = self.of.get(&id)?.clone();
        self.held.insert(key.clone(), Home { rank, stays: true });
        Some(key)
    }

    /// What stayed at this node under a key does not any more.
    pub(super) fn let_go(&mut self, rank: Rank, key: &Key) {
        if self.held.get(key).is_some_and(|it| it.rank == rank && it.stays) {
            self.held.remove(key);
        }
    }

    /// The worker of a node has ended, with all that it had.
    pub(super) fn leave(&mut self, rank: Rank) {
        self.held.retain(|_, it| it.rank != rank);
        self.inherited.leave(rank);
    }

    /// Which node has something under the key of a task.
    pub(super) fn home_of(&self, id: TaskId) -> Option<Rank> {
        self.held.get(self.of.get(&id)?).map(|it| it.rank)
    }

    /// Whether another owner has left something at this node under the key of a task.
    pub(super) fn is_left(&self, id: TaskId, rank: Rank) -> bool {
        self.of.get(&id).is_some_and(|key| self.inherited.has(rank, key))
    }

    /// Of how many keys it is known who has something under them.
    #[cfg(test)]
    pub(super) fn homes(&self) -> usize {
        self.held.len()
    }

    /// What other owners have left.
    pub(super) const fn inherited(&self) -> &Inherited {
        &self.inherited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new("k").expect("fits")
    }

    #[test]
    fn a_key_is_one_tasks_at_a_time_and_leads_to_who_has_it() {
        let mut keys = Keys::default();
        assert!(keys.take(key(), TaskId(1)));
        assert!(!keys.take(key(), TaskId(2)));
        keys.give(TaskId(2), true);
        keys.linked(Rank(3));
        keys.found(Rank(3), vec![(key(), Left::Nothing)], Instant::now());
        assert_eq!(keys.home_of(TaskId(1)), Some(Rank(3)));
        keys.give(TaskId(1), true);
        assert!(keys.take(key(), TaskId(2)));
        assert_eq!(keys.home_of(TaskId(2)), None);
        keys.found(Rank(3), vec![(key(), Left::Nothing)], Instant::now());
        keys.leave(Rank(3));
        assert_eq!(keys.home_of(TaskId(2)), None);
        // What has ended is no place to go to.
        keys.linked(Rank(3));
        keys.found(Rank(3), Vec::new(), Instant::now());
        keys.found(Rank(3), vec![(key(), Left::Nothing)], Instant::now());
        assert_eq!(keys.home_of(TaskId(2)), None);
    }

    #[test]
    fn who_goes_before_it_was_anywhere_leaves_a_key_where_it_was() {
        let mut keys = Keys::default();
        keys.linked(Rank(1));
        keys.found(Rank(1), vec![(key(), Left::Running)], Instant::now());
        assert!(keys.take(key(), TaskId(1)) && keys.is_left(TaskId(1), Rank(1)));
        keys.give(TaskId(1), false);
        assert!(keys.take(key(), TaskId(2)) && keys.is_left(TaskId(2), Rank(1)));
        assert_eq!(keys.home_of(TaskId(2)), Some(Rank(1)));
        keys.go(TaskId(2), Rank(1));
        assert!(!keys.is_left(TaskId(2), Rank(1)));
        // It has ended there while this was on its way.
        keys.found(Rank(1), vec![(key(), Left::Kept)], Instant::now());
        keys.give(TaskId(2), true);
        assert!(keys.take(key(), TaskId(3)) && !keys.is_left(TaskId(3), Rank(1)));
        assert_eq!(keys.home_of(TaskId(3)), None);
    }

    #[test]
    fn the_key_of_an_outcome_that_stays_leads_to_it_until_it_stays_no_more() {
        let mut keys = Keys::default();
        assert!(keys.take(key(), TaskId(1)));
        assert_eq!(keys.stay(TaskId(1), Rank(2)), Some(key()));
        keys.give(TaskId(1), true);
        assert!(keys.take(key(), TaskId(2)));
        assert_eq!(keys.home_of(TaskId(2)), Some(Rank(2)));
        keys.let_go(Rank(1), &key());
        assert_eq!(keys.home_of(TaskId(2)), Some(Rank(2)));
        keys.let_go(Rank(2), &key());
        assert_eq!(keys.home_of(TaskId(2)), None);
        assert!(keys.held.is_empty());
    }
}
