//! The outcomes of calls with a key that their callers have taken, and that stay at their workers: another owner of
//! the pool may ask for them. Pure, part of the queue's state.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Key, Rank};
use crate::retention::Try;

/// What stays where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holding {
    held: BTreeMap<Rank, VecDeque<(Try, Key)>>,
}

impl Holding {
    /// An outcome stays under this key at the worker of this rank. When there are too many, the oldest there does not
    /// any more.
    pub(super) fn hold(&mut self, rank: Rank, it: Try, key: Key) -> Option<(Try, Key)> {
        let held = self.held.entry(rank).or_default();
        held.push_back((it, key));
        if held.len() > MOST { held.pop_front() } else { None }
    }

    /// Whether this outcome stays there.
    pub(super) fn is_held(&self, rank: Rank, it: Try) -> bool {
        self.of(rank).any(|held| held == it)
    }

    /// What stays at the worker of this rank.
    pub(super) fn of(&self, rank: Rank) -> impl Iterator<Item = Try> + '_ {
        self.held.get(&rank).into_iter().flatten().map(|(it, _)| *it)
    }

    /// The worker of this rank has ended, or needs the room: nothing stays there any more. What did.
    pub(super) fn give(&mut self, rank: Rank) -> VecDeque<(Try, Key)> {
        self.held.remove(&rank).unwrap_or_default()
    }
}

/// The most outcomes that stay at one worker: what is remembered of each is its key and some bytes, and the worker itself
/// says when it has no more room. A quarter of what a worker lets its client wait for, so that what runs has room too.
pub(super) const MOST: usize = 1 << 18;

#[test]
fn what_is_held_stays_until_its_worker_has_ended_or_has_no_room() {
    use crate::model::{Attempt, TaskId};
    let mut holding = Holding::default();
    for number in 0..3 {
        let key = Key::new("k").expect("fits").at(number);
        let id = TaskId(u64::try_from(number).expect("fits"));
        assert_eq!(holding.hold(Rank(1), (id, Attempt(0)), key), None);
    }
    assert!(holding.is_held(Rank(1), (TaskId(2), Attempt(0))));
    assert!(!holding.is_held(Rank(0), (TaskId(2), Attempt(0))));
    assert_eq!(holding.of(Rank(1)).count(), 3);
    assert_eq!(holding.of(Rank(0)).count(), 0);
    assert_eq!(holding.give(Rank(1)).len(), 3);
    assert_eq!(holding.of(Rank(1)).count(), 0);
}
