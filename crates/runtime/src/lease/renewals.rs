//! Who may renew the lease of a worker, and what counts as a renewal. Pure; the worker and the simulated world drive
//! it.

use crate::model::Epoch;

/// The newest owner of a pool that a worker has heard of: whoever is older is not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    epoch: Epoch,
}

impl Owner {
    /// The owner who started the worker.
    pub const fn new(epoch: Epoch) -> Self {
        Self { epoch }
    }

    /// Takes an order of this owner, who is the newest from now on.
    ///
    /// # Errors
    /// The newest owner, when that is a later one.
    pub fn claim(&mut self, epoch: Epoch) -> Result<(), Epoch> {
        if epoch < self.epoch {
            return Err(self.epoch);
        }
        self.epoch = epoch;
        Ok(())
    }
}

/// What is known of the renewals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewals {
    /// The newest: owner and number.
    newest: Option<(Epoch, u64)>,
    /// What the lease's file says; it grows.
    count: u64,
    lapsed: bool,
}

impl Renewals {
    /// Goes on from what the file says.
    pub fn from(count: u64) -> Self {
        Self { count, ..Self::default() }
    }

    /// What to write down; `None` when the lease has lapsed. A renewal that was overtaken counts for nothing and is
    /// no error.
    pub fn renew(&mut self, epoch: Epoch, number: u64) -> Option<u64> {
        if self.lapsed {
            return None;
        }
        let this = Some((epoch, number));
        if this > self.newest {
            self.newest = this;
            self.count = self.count.wrapping_add(1);
        }
        Some(self.count)
    }

    /// How often it was renewed, counted on from what the file said at first.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The lease has lapsed, for good.
    pub const fn lapse(&mut self) {
        self.lapsed = true;
    }

    /// Whether it has.
    pub const fn has_lapsed(&self) -> bool {
        self.lapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_owner_is_refused_and_a_newer_one_taken() {
        let mut owner = Owner::new(Epoch(2));
        for (epoch, expected) in [(1, Err(Epoch(2))), (2, Ok(())), (4, Ok(())), (3, Err(Epoch(4)))] {
            assert_eq!(owner.claim(Epoch(epoch)), expected, "{epoch}");
        }
    }

    #[test]
    fn a_renewal_counts_when_it_is_newer_and_never_after_a_lapse() {
        let mut renewals = Renewals::from(5);
        for (epoch, number, expected) in [(1, 7, 6), (1, 7, 6), (1, 3, 6), (1, 8, 7), (2, 1, 8), (1, 9, 8)] {
            assert_eq!(renewals.renew(Epoch(epoch), number), Some(expected), "{epoch}/{number}");
        }
        renewals.lapse();
        assert_eq!(renewals.renew(Epoch(3), 1), None);
    }
}
