//! The room in the file of outcomes that do not fit into memory: which parts of it are free. Pure.

use std::collections::BTreeMap;

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// The parts of a file of a bounded size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extents {
    limit: u64,
    used: u64,
    /// Up to where anything is used.
    end: u64,
    /// The free parts before that, by where they begin; no two of them touch.
    free: BTreeMap<u64, u64>,
}

impl Extents {
    pub(super) const fn new(limit: u64) -> Self {
        Self { limit, used: 0, end: 0, free: BTreeMap::new() }
    }

    /// The first part of this length that is free; `None` when there is none within the limit.
    pub(super) fn take(&mut self, length: u64) -> Option<Extent> {
        let length = length.max(1);
        let found =
            self.free.iter().find(|(_, free)| **free >= length).map(|(offset, free)| (*offset, *free));
        let offset = match found {
            Some((offset, free)) => {
                self.free.remove(&offset);
                if free > length {
                    self.free.insert(offset + length, free - length);
                }
                offset
            }
            None => {
                let offset = self.end;
                self.end = offset.checked_add(length).filter(|it| *it <= self.limit)?;
                offset
            }
        };
        self.used += length;
        Some(Extent { offset, length })
    }

    /// Whether a part of this length is free.
    pub(super) fn has_room(&self, length: u64) -> bool {
        self.end.saturating_add(length.max(1)) <= self.limit || self.free.values().any(|it| *it >= length)
    }

    /// Gives a part back.
    pub(super) fn give(&mut self, extent: Extent) {
        let Extent { mut offset, mut length } = extent;
        self.used = self.used.saturating_sub(length);
        if let Some((before, free)) = self.free.range(..offset).next_back().map(|(at, free)| (*at, *free))
            && before + free == offset
        {
            self.free.remove(&before);
            (offset, length) = (before, length + free);
        }
        if let Some(free) = self.free.remove(&(offset + length)) {
            length += free;
        }
        if offset + length == self.end {
            self.end = offset;
        } else {
            self.free.insert(offset, length);
        }
    }

    /// How many bytes are used.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_given_back_is_taken_again_and_the_file_shrinks() {
        let mut extents = Extents::new(10);
        let [first, second, third] = [4, 3, 3].map(|it| extents.take(it).expect("room"));
        assert_eq!((extents.take(1), extents.used()), (None, 10));
        extents.give(second);
        assert_eq!(extents.take(4), None);
        assert_eq!(extents.take(2), Some(Extent { offset: 4, length: 2 }));
        extents.give(Extent { offset: 4, length: 2 });
        extents.give(first);
        assert!(extents.has_room(7) && !extents.has_room(8));
        extents.give(third);
        assert_eq!(extents, Extents::new(10));
    }

    proptest! {
        #[test]
        fn no_two_parts_overlap_and_none_is_lost(steps in prop::collection::vec((any::<bool>(), 0_usize..8, 1_u64..40), 0..200)) {
            let (mut extents, mut taken) = (Extents::new(200), Vec::<Extent>::new());
            for (takes, index, length) in steps {
                if takes {
                    let had_room = extents.has_room(length);
                    let extent = extents.take(length);
                    prop_assert_eq!(extent.is_some(), had_room);
                    if let Some(new) = extent {
                        prop_assert!(new.offset + new.length <= 200);
                        let apart = |it: &Extent| it.offset + it.length <= new.offset || new.offset + new.length <= it.offset;
                        prop_assert!(taken.iter().all(apart));
                        taken.push(new);
                    }
                } else if index < taken.len() {
                    extents.give(taken.swap_remove(index));
                }
                prop_assert_eq!(extents.used(), taken.iter().map(|it| it.length).sum::<u64>());
            }
            taken.into_iter().for_each(|it| extents.give(it));
            prop_assert_eq!(extents, Extents::new(200));
        }
    }
}
