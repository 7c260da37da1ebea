//! The machines that did not become nodes and are kept for a person to look at. Pure; the pool's state
//! asks and decides.
//!
//! ```text
//! failed --ask--> asked --kept--> kept --its time is over--> given back
//!                   '--refused--> given back
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::{InstanceId, KeptMachine, Rank};

/// At most one machine for each rank: one tells what is wrong, more would only cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keeping {
    /// Machines that are being told to live on.
    asked: BTreeMap<InstanceId, Rank>,
    /// Machines that do, and until when.
    kept: BTreeMap<InstanceId, (KeptMachine, Instant)>,
}

impl Keeping {
    /// Whether the machine of a rank that failed is to be kept; then its answer is waited for.
    pub(super) fn ask(&mut self, rank: Rank, instance: &InstanceId, length: Duration) -> bool {
        let of_kept = self.kept.values().map(|(it, _)| it.rank);
        let wanted = !length.is_zero() && !self.asked.values().copied().chain(of_kept).any(|it| it == rank);
        if wanted {
            self.asked.insert(instance.clone(), rank);
        }
        wanted
    }

    /// The rank of a machine whose answer was waited for.
    pub(super) fn answered(&mut self, instance: &InstanceId) -> Option<Rank> {
        self.asked.remove(instance)
    }

    /// The machine lives on until then.
    pub(super) fn keep(&mut self, machine: KeptMachine, until: Instant) {
        self.kept.insert(machine.instance.clone(), (machine, until));
    }

    /// The machines whose time is over, which are kept no longer.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<InstanceId> {
        let over = self.kept.iter().filter(|(_, (_, until))| *until <= now);
        let over: Vec<InstanceId> = over.map(|(instance, _)| instance.clone()).collect();
        for instance in &over {
            self.kept.remove(instance);
        }
        over
    }

    /// Keeps everything until now and no longer.
    pub(super) fn shorten(&mut self, now: Instant) {
        for (_, until) in self.kept.values_mut() {
            *until = (*until).min(now);
        }
    }

    /// Keeps nothing any more. Answers that are still to come are late.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether an answer is still waited for.
    pub(super) fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// How many machines are kept, or may be.
    pub(super) fn count(&self) -> usize {
        self.asked.len().saturating_add(self.kept.len())
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What is kept.
    pub(super) fn machines(&self) -> Vec<KeptMachine> {
        self.kept.values().map(|(machine, _)| machine.clone()).collect()
    }

    /// Of these machines, those that are not kept.
    pub(super) fn others(&self, rented: &BTreeMap<InstanceId, String>) -> Vec<InstanceId> {
        rented.keys().filter(|it| !self.kept.contains_key(*it)).cloned().collect()
    }
}
