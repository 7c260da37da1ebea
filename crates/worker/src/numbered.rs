//! Values by number, for numbers that rise: what is added last has nearly always the highest. The books of a link keep
//! its calls so; a tree takes memory for every few of them, and gives it back, which costs more than a small call.

use std::collections::VecDeque;

/// Values by number, in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Numbered<T> {
    /// What was removed from between others is empty until enough of them are.
    entries: VecDeque<(u64, Option<T>)>,
    count: usize,
}

/// So many empty places are not worth a look.
const EMPTY: usize = 64;

impl<T> Numbered<T> {
    /// Adds a value. Returns whether its number was free; otherwise nothing has changed.
    pub(crate) fn insert(&mut self, number: u64, value: T) -> bool {
        if self.entries.back().is_none_or(|(last, _)| *last < number) {
            self.entries.push_back((number, Some(value)));
        } else {
            match self.find(number) {
                Err(place) => self.entries.insert(place, (number, Some(value))),
                Ok(place) => match self.entries.get_mut(place) {
                    Some((_, empty @ None)) => *empty = Some(value),
                    _ => return false,
                },
            }
        }
        self.count += 1;
        true
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let place = self.find(number).ok()?;
        let removed = self.entries.get_mut(place)?.1.take()?;
        self.count -= 1;
        while self.entries.pop_front_if(|(_, it)| it.is_none()).is_some() {}
        // One that stays for long must not keep the places of all that came after it.
        if self.entries.len() > 2 * self.count + EMPTY {
            self.entries.retain(|(_, it)| it.is_some());
        }
        Some(removed)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.entries.get(self.find(number).ok()?)?.1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.find(number).ok()?;
        self.entries.get_mut(place)?.1.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.entries.iter().filter_map(|(number, it)| Some((*number, it.as_ref()?)))
    }

    /// Looks at each value, and removes those for which this is false.
    pub(crate) fn retain_mut(&mut self, mut keeps: impl FnMut(&mut T) -> bool) {
        self.entries.retain_mut(|(_, it)| it.as_mut().is_some_and(&mut keeps));
        self.count = self.entries.len();
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where the number is, or would be.
    fn find(&self, number: u64) -> Result<usize, usize> {
        // Without gaps it is as far from the first as their numbers are.
        let ahead =
            self.entries.front().and_then(|(first, _)| usize::try_from(number.checked_sub(*first)?).ok());
        match ahead.and_then(|it| Some((it, self.entries.get(it)?))) {
            Some((place, (at, _))) if *at == number => Ok(place),
            _ => self.entries.binary_search_by_key(&number, |(at, _)| *at),
        }
    }
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), count: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_that_stays_does_not_keep_the_places_of_those_that_went() {
        let mut numbered = Numbered::default();
        for number in 0..10_000 {
            assert!(numbered.insert(number, ()));
            assert!(number == 0 || numbered.remove(number).is_some());
        }
        assert!(numbered.len() == 1 && numbered.entries.len() <= 2 + EMPTY, "{}", numbered.entries.len());
        assert!(numbered.remove(0).is_some() && numbered.is_empty() && numbered.entries.is_empty());
    }

    proptest! {
        #[test]
        fn it_has_what_a_map_has(steps in proptest::collection::vec((any::<bool>(), 0_u64..90), 0..300)) {
            let (mut numbered, mut map) = (Numbered::default(), BTreeMap::new());
            for (adds, number) in steps {
                if adds {
                    let is_free = !map.contains_key(&number);
                    prop_assert_eq!(numbered.insert(number, number * 2), is_free);
                    map.insert(number, number * 2);
                } else {
                    prop_assert_eq!(numbered.remove(number), map.remove(&number));
                }
                prop_assert_eq!(numbered.get(number), map.get(&number));
                prop_assert_eq!(numbered.get_mut(number).copied(), map.get(&number).copied());
                prop_assert!(numbered.iter().eq(map.iter().map(|(number, it)| (*number, it))));
                prop_assert_eq!((numbered.len(), numbered.is_empty()), (map.len(), map.is_empty()));
            }
            numbered.retain_mut(|it| *it % 4 == 0);
            map.retain(|_, it| *it % 4 == 0);
            prop_assert!(numbered.len() == map.len() && numbered.iter().map(|it| it.0).eq(map.into_keys()));
        }
    }
}
