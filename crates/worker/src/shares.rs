//! Which shared values this worker was given. They outlive the link that they came over; who links again says which of
//! them are still needed, because what was forgotten meanwhile was said to nobody.
//!
//! ```text
//! comes --all of it is here--> here --forgotten, or not needed by the next link--> gone
//!   `--forgotten meanwhile: let go of as soon as it is here
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{MutexGuard, PoisonError};

use skyward_runtime::model::Epoch;
use skyward_runtime::payload::CommonKey;

use crate::worker::Worker;

/// One link of one owner. No two links are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) epoch: Epoch,
    link: u64,
}

/// What was given, and over what.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    given: BTreeMap<CommonKey, Source>,
    /// What was forgotten last. A stream may be read after the word that nobody needs what it brings.
    forgotten: VecDeque<(Epoch, CommonKey)>,
    links: u64,
}

/// How many forgotten values are told from new ones. Their streams are read within moments; more take memory, fewer may
/// keep something until the next link.
const FORGOTTEN: usize = 1024;

impl Shares {
    /// Another link of this owner.
    fn link(&mut self, epoch: Epoch) -> Source {
        self.links += 1;
        Source { epoch, link: self.links }
    }

    /// Something begins to come. Whether it is still needed.
    fn comes(&mut self, key: CommonKey, over: Source) -> bool {
        // Its owner gives no other value this key; another owner may.
        let is_needed = !self.forgotten.contains(&(over.epoch, key));
        if is_needed {
            self.given.insert(key, over);
        }
        is_needed
    }

    /// Nobody needs it any more.
    fn forget(&mut self, key: &CommonKey, epoch: Epoch) {
        self.given.remove(key);
        if self.forgotten.len() >= FORGOTTEN {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back((epoch, *key));
    }

    /// An owner's new link says what it needs; what else came over the same owner's other links goes, and is told. What
    /// came over the new one may have come before this, and what another owner gave may be in calls that still wait.
    fn need(&mut self, over: Source, keys: &BTreeSet<CommonKey>) -> Vec<CommonKey> {
        let is_over = |key: &CommonKey, of: &mut Source| {
            of.epoch == over.epoch && of.link != over.link && !keys.contains(key)
        };
        self.given.extract_if(.., is_over).map(|(key, _)| key).collect()
    }
}

impl Worker {
    /// A link of this owner, by which what it gives is told from what others gave.
    pub(crate) fn source(&self, epoch: Epoch) -> Source {
        self.shares().link(epoch)
    }

    /// A shared value begins to come. Whether it is still needed.
    pub(crate) fn share_comes(&self, key: CommonKey, over: Source) -> bool {
        self.shares().comes(key, over)
    }

    /// All of a shared value is here. Whether it is still needed; otherwise it is let go of.
    pub(crate) fn share_is_here(&self, key: &CommonKey) -> bool {
        let shares = self.shares();
        let is_needed = shares.given.contains_key(key);
        if !is_needed {
            self.let_go(key);
        }
        is_needed
    }

    /// Nobody needs a shared value any more.
    pub(crate) fn forget_share(&self, key: &CommonKey, over: Source) {
        let mut shares = self.shares();
        shares.forget(key, over.epoch);
        self.let_go(key);
    }

    /// These are the shared values that an owner needs who has linked again.
    pub(crate) fn need_shares(&self, over: Source, keys: &BTreeSet<CommonKey>) {
        let mut shares = self.shares();
        shares.need(over, keys).iter().for_each(|it| self.let_go(it));
    }

    /// Under the lock: otherwise it could be what has just come anew.
    fn let_go(&self, key: &CommonKey) {
        self.executor.forget_common(key);
        self.mesh.store.forget(key);
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn key(of: u8) -> CommonKey {
        [of; 40]
    }

    fn given(shares: &Shares) -> Vec<u8> {
        shares.given.keys().map(|it| it[0]).collect()
    }

    #[test]
    fn a_new_link_keeps_what_it_needs_and_what_it_has_brought_and_nothing_else_of_its_owner() {
        let mut shares = Shares::default();
        let older = shares.link(Epoch(1));
        assert!(shares.comes(key(0), older));
        let (first, second) = (shares.link(Epoch(2)), shares.link(Epoch(2)));
        for of in [1, 2, 3] {
            assert!(shares.comes(key(of), first));
        }
        // Its streams may be read before its lane.
        assert!(shares.comes(key(4), second) && shares.comes(key(3), second));
        assert_eq!(shares.need(second, &[key(1), key(9)].into()), [key(2)]);
        assert_eq!(given(&shares), [0, 1, 3, 4]);
        let third = shares.link(Epoch(2));
        assert_eq!(shares.need(third, &BTreeSet::new()), [key(1), key(3), key(4)]);
        assert_eq!(given(&shares), [0]);
    }

    #[test]
    fn what_is_forgotten_before_it_is_read_is_not_taken_but_from_another_owner() {
        let mut shares = Shares::default();
        let link = shares.link(Epoch(1));
        shares.forget(&key(1), Epoch(1));
        assert!(!shares.comes(key(1), link) && given(&shares).is_empty());
        let again = shares.link(Epoch(1));
        assert!(!shares.comes(key(1), again));
        let next = shares.link(Epoch(2));
        assert!(shares.comes(key(1), next));
        shares.forget(&key(1), Epoch(2));
        assert!(given(&shares).is_empty());
    }

    #[test]
    fn no_more_is_remembered_of_what_was_forgotten_than_that() {
        let mut shares = Shares::default();
        let link = shares.link(Epoch(1));
        shares.forget(&key(1), Epoch(1));
        for _ in 0..FORGOTTEN {
            shares.forget(&key(2), Epoch(1));
        }
        assert_eq!(shares.forgotten.len(), FORGOTTEN);
        assert!(shares.comes(key(1), link) && !shares.comes(key(2), link));
    }
}
