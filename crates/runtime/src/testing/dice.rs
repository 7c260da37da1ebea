//! The one source of chance of a simulated life: every draw comes from its seed, in order.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014; the
/// constants are those of Vigna's public-domain `splitmix64.c`). Any seed is a good one, 0 as well.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 when there is none.
    pub(super) const fn below(&mut self, limit: u64) -> u64 {
        // The bias of the remainder is far below what a simulation could show.
        match self.draw().checked_rem(limit) {
            Some(number) => number,
            None => 0,
        }
    }

    pub(super) fn count(&mut self, least: u32, most: u32) -> u32 {
        let span = u64::from(most.saturating_sub(least)) + 1;
        least + u32::try_from(self.below(span)).unwrap_or(0)
    }

    /// Whether something happens that happens this often in a thousand.
    pub(super) const fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < per_mille as u64
    }

    pub(super) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.below(span.saturating_add(1)))
    }

    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        self.between(Duration::ZERO, most)
    }
}
