//! What an owner of the pool before this one left at workers under keys, and the present one has not asked for: calls
//! that run, and outcomes. A node that has some is not idle. Pure, part of the queue's keys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::model::{Key, Rank};
use crate::retention::Left;

/// What is left, by node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inherited {
    ranks: BTreeMap<Rank, There>,
}

/// What is left at one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct There {
    /// Its worker has still to say what it has.
    unheard: bool,
    running: BTreeSet<Key>,
    kept: BTreeSet<Key>,
    /// Until when the outcomes are waited with.
    until: Option<Instant>,
}

impl Inherited {
    /// A worker is linked, and will say what it has. What it said before may be over.
    pub(super) fn linked(&mut self, rank: Rank) {
        self.ranks.insert(rank, There { unheard: true, ..There::default() });
    }

    /// A worker says what is left under some of its keys; with none, that it has said all. Outcomes that nobody has
    /// asked for until then are nobody's. Whether it is still saying what it has, and not what became of that.
    pub(super) fn heard(&mut self, rank: Rank, keys: &[(Key, Left)], until: Instant) -> bool {
        let Some(there) = self.ranks.get_mut(&rank) else { return false };
        there.unheard &= !keys.is_empty();
        for (key, left) in keys {
            // What became of something is nobody's business once the present owner has asked for it.
            if !there.unheard && !there.running.contains(key) {
                continue;
            }
            let (runs, is_kept) = (*left == Left::Running, *left == Left::Kept);
            if runs {
                there.running.insert(key.clone())
            } else {
                there.running.remove(key)
            };
            if is_kept {
                there.kept.insert(key.clone())
            } else {
                there.kept.remove(key)
            };
            there.until = if is_kept { Some(until) } else { there.until };
        }
        there.unheard
    }

    /// What was left there under a key is the present owner's now. Whether there was anything.
    pub(super) fn take(&mut self, rank: Rank, key: &Key) -> bool {
        let there = self.ranks.get_mut(&rank);
        there.is_some_and(|it| it.running.remove(key) || it.kept.remove(key))
    }

    /// Nobody waits any more for an outcome that is kept there.
    pub(super) fn forget(&mut self, rank: Rank, key: &Key) {
        if let Some(there) = self.ranks.get_mut(&rank) {
            there.kept.remove(key);
        }
    }

    /// The worker of a node has ended, or counts no more.
    pub(super) fn leave(&mut self, rank: Rank) {
        self.ranks.remove(&rank);
    }

    /// Whether anything is left there under a key.
    pub(super) fn has(&self, rank: Rank, key: &Key) -> bool {
        self.ranks.get(&rank).is_some_and(|it| it.running.contains(key) || it.kept.contains(key))
    }

    /// How many calls run there, or wait to.
    pub(super) fn running(&self, rank: Rank) -> u32 {
        self.ranks.get(&rank).map_or(0, |it| u32::try_from(it.running.len()).unwrap_or(u32::MAX))
    }

    /// How many calls run, or wait to, on all nodes.
    pub(super) fn all_running(&self) -> u32 {
        self.ranks.keys().map(|rank| self.running(*rank)).fold(0, u32::saturating_add)
    }

    /// Whether a node has something, as far as is known, that would be lost with it.
    pub(super) fn is_there(&self, rank: Rank, now: Instant) -> bool {
        self.ranks.get(&rank).is_some_and(|it| {
            let is_waited_with = it.until.is_some_and(|until| now < until);
            it.unheard || !it.running.is_empty() || (is_waited_with && !it.kept.is_empty())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_node_has_something_until_its_work_has_ended_and_was_taken_or_nobody_came_for_it() {
        let key = |name: &str| Key::new(name).expect("fits");
        let (mut left, rank, now) = (Inherited::default(), Rank(1), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(!left.is_there(rank, now));
        left.linked(rank);
        assert!(left.is_there(rank, later(1_000_000)), "it has not said what it has");
        left.heard(rank, &[(key("own"), Left::Nothing), (key("runs"), Left::Running)], later(10));
        left.heard(rank, &[(key("also"), Left::Running), (key("kept"), Left::Kept)], later(10));
        left.heard(rank, &[], later(10));
        assert_eq!((left.running(rank), left.all_running(), left.running(Rank(0))), (2, 2, 0));
        // What runs has no bound.
        assert!(left.is_there(rank, later(1_000_000)));
        assert!(
            left.has(rank, &key("runs")) && !left.has(rank, &key("own")) && !left.has(Rank(0), &key("runs"))
        );
        assert!(left.take(rank, &key("runs")) && !left.take(rank, &key("runs")));
        assert!(left.take(rank, &key("kept")));
        let ended = [(key("also"), Left::Kept), (key("runs"), Left::Kept), (key("kept"), Left::Nothing)];
        left.heard(rank, &ended, later(20));
        assert!(!left.has(rank, &key("runs")), "it is the present owner's");
        assert!(left.is_there(rank, later(19)) && !left.is_there(rank, later(20)));
        assert_eq!(left.all_running(), 0);
        left.forget(rank, &key("also"));
        assert!(!left.is_there(rank, now));
        left.leave(rank);
        assert_eq!(left, Inherited::default());
        // Another worker of that rank says what it has.
        left.linked(rank);
        left.heard(rank, &[], now);
        assert!(!left.is_there(rank, now));
    }
}
