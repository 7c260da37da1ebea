//! How much a node is given ahead, so that it has the next call when it is done with one: what covers the
//! way there and back and a little work. Pure, part of the queue's state.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::FunctionId;

/// The bounds of what a node may have ahead of what its slots run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// How many outcomes of a function have to be known before any of its calls is sent ahead.
    pub(crate) known: u32,
    /// The most calls of one node. More keep a single call waiting behind them.
    pub(crate) calls: u32,
    /// The most bytes of arguments that a node has, running calls included, before no more go ahead.
    pub(crate) bytes: u64,
    /// How much work, beyond what covers the way there and back.
    pub(crate) work: Duration,
}

/// What a call weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Its function.
    pub(crate) function: FunctionId,
    /// The size of its arguments.
    pub(crate) bytes: u64,
}

/// A node as the queue sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) slots: u32,
    /// How many calls it has been given, waiting ones included.
    pub(super) used: u32,
    pub(super) open: bool,
    pub(super) round_trip: Duration,
    /// How many looks ago it last answered a call.
    pub(super) silent: u32,
    /// It gave a call back that by these books had a slot, and has answered nothing since: a function that nobody
    /// waits for any more may have that slot for as long as it likes.
    pub(super) doubted: bool,
    /// It takes nothing until the next look, because its worker keeps as much as it may, or gave a call back.
    pub(super) full: bool,
    /// How many calls an owner of the pool before this one left there, which still run.
    pub(super) inherited: u32,
    bytes: u64,
    work: Duration,
}

/// How long functions take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paces {
    ahead: Ahead,
    functions: BTreeMap<FunctionId, Pace>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pace {
    seen: u32,
    /// Smoothed.
    takes: Duration,
}

impl Default for Ahead {
    fn default() -> Self {
        Self { known: 8, calls: 256, bytes: 4 << 20, work: Duration::from_millis(10) }
    }
}

impl Room {
    pub(super) const fn new(slots: u32) -> Self {
        Self {
            slots,
            used: 0,
            open: true,
            round_trip: Duration::ZERO,
            silent: 1,
            doubted: false,
            full: false,
            inherited: 0,
            bytes: 0,
            work: Duration::ZERO,
        }
    }

    /// Whether a call that is given to it now begins at once, as far as is known.
    pub(super) const fn is_free(&self) -> bool {
        self.open && !self.full && self.used < self.own_slots()
    }

    /// How many of its slots are not taken by what another owner left.
    pub(super) const fn own_slots(&self) -> u32 {
        self.slots.saturating_sub(self.inherited)
    }

    pub(super) const fn take(&mut self, load: Load, expected: Duration) {
        self.used = self.used.saturating_add(1);
        self.bytes = self.bytes.saturating_add(load.bytes);
        self.work = self.work.saturating_add(expected);
    }

    pub(super) const fn give(&mut self, load: Load, expected: Duration) {
        self.used = self.used.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(load.bytes);
        self.work = self.work.saturating_sub(expected);
    }
}

impl Paces {
    pub(super) const fn new(ahead: Ahead) -> Self {
        Self { ahead, functions: BTreeMap::new() }
    }

    /// The most calls of one node ahead of its slots.
    pub(super) const fn most(&self) -> u32 {
        self.ahead.calls
    }

    /// Takes in how long a call took.
    pub(super) fn learn(&mut self, function: FunctionId, took: Duration) {
        let pace = self.functions.entry(function).or_default();
        // A time that changes is followed within some ten calls; a single slow one is not believed.
        pace.takes = if pace.seen == 0 { took } else { (pace.takes * 7 + took) / 8 };
        pace.seen = pace.seen.saturating_add(1);
    }

    /// How long a call is thought to run; zero when that is not known.
    pub(super) fn expected(&self, load: Load) -> Duration {
        self.functions.get(&load.function).map_or(Duration::ZERO, |it| it.takes)
    }

    /// Whether a node without a free slot may have this call ahead.
    pub(super) fn fits(&self, load: Load, room: &Room) -> bool {
        let pace = self.functions.get(&load.function).copied().unwrap_or_default();
        let most = room.round_trip.saturating_add(self.ahead.work).saturating_mul(room.slots.max(1));
        room.open
            && !room.full
            && room.inherited < room.slots.max(1)
            && pace.seen >= self.ahead.known
            && room.used < room.own_slots().saturating_add(self.ahead.calls)
            && room.bytes.saturating_add(load.bytes) <= self.ahead.bytes
            && room.work.saturating_add(pace.takes) <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Load = Load { function: FunctionId(1), bytes: 10 };

    fn learned(took: Duration) -> Paces {
        let mut paces = Paces::new(Ahead::default());
        (0..Ahead::default().known).for_each(|_| paces.learn(CALL.function, took));
        paces
    }

    /// How many calls a node with two slots takes.
    fn taken(paces: &Paces, load: Load, round_trip: Duration) -> u32 {
        let mut room = Room { round_trip, ..Room::new(2) };
        while room.used < 100_000 && (room.is_free() || paces.fits(load, &room)) {
            room.take(load, paces.expected(load));
        }
        room.used
    }

    #[test]
    fn nothing_of_an_unknown_function_is_sent_ahead() {
        let mut paces = Paces::new(Ahead::default());
        for _ in 1..Ahead::default().known {
            paces.learn(CALL.function, Duration::from_micros(1));
            assert_eq!(taken(&paces, CALL, Duration::ZERO), 2);
        }
        paces.learn(CALL.function, Duration::from_micros(1));
        assert!(taken(&paces, CALL, Duration::ZERO) > 2);
        assert_eq!(taken(&paces, Load { function: FunctionId(2), ..CALL }, Duration::ZERO), 2);
    }

    #[test]
    fn what_is_sent_ahead_covers_the_way_and_a_little_work() {
        let (milli, second) = (Duration::from_millis, Duration::from_secs(1));
        for (took, round_trip, expected) in [
            (milli(1), milli(0), 20),
            (milli(1), milli(40), 100),
            (milli(5), milli(0), 4),
            (second, milli(100), 2),
            (Duration::from_micros(1), milli(0), 258),
        ] {
            assert_eq!(taken(&learned(took), CALL, round_trip), expected, "{took:?} {round_trip:?}");
        }
    }

    #[test]
    fn large_arguments_are_not_piled_up() {
        let large = Load { bytes: 1 << 20, ..CALL };
        assert_eq!(taken(&learned(Duration::from_micros(1)), large, Duration::ZERO), 4);
    }
}
