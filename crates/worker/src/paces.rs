//! Which functions come to a stop soon, whenever they are polled for the first time. The relay asks before it lets
//! outcomes that it has wait for one more.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use skyward_runtime::model::FunctionId;

/// Of each function of the program, how often in a row it stopped soon.
#[derive(Debug)]
pub(crate) struct Paces(Box<[AtomicU8]>);

/// A function stops soon if it does within this time. It is what outcomes may wait for one more.
pub(crate) const SOON: Duration = Duration::from_micros(50);

/// So often in a row it has to, before it is believed. One that was interrupted is not believed for so long.
const BELIEVED: u8 = 4;

impl Paces {
    /// Nothing is known yet of so many functions.
    pub(crate) fn new(functions: usize) -> Self {
        Self((0..functions).map(|_| AtomicU8::new(0)).collect())
    }

    /// The first poll of a call took so long.
    pub(crate) fn note(&self, function: FunctionId, took: Duration) {
        let Some(row) = self.of(function) else { return };
        let before = row.load(Ordering::Relaxed);
        let after = if took < SOON { before.saturating_add(1).min(BELIEVED) } else { 0 };
        if after != before {
            row.store(after, Ordering::Relaxed);
        }
    }

    /// Whether its next first poll is believed to be over soon.
    pub(crate) fn is_soon(&self, function: FunctionId) -> bool {
        self.of(function).is_some_and(|it| it.load(Ordering::Relaxed) >= BELIEVED)
    }

    fn of(&self, function: FunctionId) -> Option<&AtomicU8> {
        self.0.get(usize::try_from(function.0).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_believed_to_stop_soon_after_it_did_a_few_times_in_a_row() {
        let (paces, function) = (Paces::new(2), FunctionId(1));
        for _ in 0..BELIEVED {
            assert!(!paces.is_soon(function));
            paces.note(function, Duration::ZERO);
        }
        assert!(paces.is_soon(function) && !paces.is_soon(FunctionId(0)));
        paces.note(function, SOON);
        assert!(!paces.is_soon(function));
        paces.note(FunctionId(2), Duration::ZERO);
        assert!(!paces.is_soon(FunctionId(2)), "there is none");
    }
}
