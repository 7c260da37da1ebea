//! What is still to happen in a simulated world, in the order of its clock.

use std::collections::BTreeMap;
use std::time::Duration;

/// Events by their time; those of one moment in the order in which they were planned.
#[derive(Debug)]
pub(super) struct Agenda<E> {
    events: BTreeMap<(Duration, u64), E>,
    planned: u64,
}

impl<E> Agenda<E> {
    pub(super) const fn new() -> Self {
        Self { events: BTreeMap::new(), planned: 0 }
    }

    pub(super) fn plan(&mut self, at: Duration, event: E) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn next(&mut self) -> Option<(Duration, E)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }

    /// Drops what the judge does not keep.
    pub(super) fn retain(&mut self, mut judge: impl FnMut(&E) -> bool) {
        self.events.retain(|_, event| judge(event));
    }

    /// Puts off by so long what the judge names.
    pub(super) fn put_off(&mut self, length: Duration, judge: impl Fn(&E) -> bool) {
        let events = std::mem::take(&mut self.events).into_iter();
        let later = |((at, number), event)| match judge(&event) {
            true => ((at + length, number), event),
            false => ((at, number), event),
        };
        self.events = events.map(later).collect();
    }
}
