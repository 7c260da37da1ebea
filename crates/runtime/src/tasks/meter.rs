//! What some calls cost together, counted while they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::Usd;

/// A sum that many calls add to. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<AtomicI64>);

impl Meter {
    /// What was added so far.
    pub fn total(&self) -> Usd {
        Usd::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Adds what one try of a call has cost.
    pub fn add(&self, cost: Usd) {
        self.0.fetch_add(cost.nanos(), Ordering::Relaxed);
    }
}
