//! The ranks of a pool and where each is in its life. Pure; the pool's state asks and decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::{Attempt, InstanceId, Rank};

/// One life for each rank that the pool has not given up.
///
/// ```text
/// wanted --machine--> starting --becomes_ready--> ready --leaves--> leaving --left--> over
///    ^-------------------ends--------------------'  (its rank wants another one at once)
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lives {
    ranks: BTreeMap<Rank, Life>,
    /// Lives that finish what they have, whose ranks are others' now.
    leaving: BTreeMap<(Rank, Attempt), InstanceId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    attempt: Attempt,
    /// How many of its lives in a row ended before they were ready.
    failures: u32,
    /// How many of its lives in a row were to be taken soon after they were ready.
    taken: u32,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// It has no machine.
    Wanted,
    /// Its machine becomes a node.
    Starting { instance: InstanceId },
    /// Its worker, which another owner of the pool started, is being linked again.
    Adopted { instance: InstanceId },
    /// It takes tasks, or its link is being dialled again.
    Ready { instance: InstanceId, since: Instant },
}

/// A life that is over; the rank wants another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) attempt: Attempt,
    pub(super) instance: InstanceId,
    pub(super) was_ready: bool,
    /// How many lives in a row have ended before they were ready, this one counted.
    pub(super) failures: u32,
}

impl Lives {
    /// Ranks from 0, all of which want a machine. Reports of lives before are of older attempts.
    pub(super) fn begin(&mut self, ranks: u32) {
        let attempt = self.ranks.values().map(|it| it.attempt.next()).max().unwrap_or_default();
        let wanted = || Life { attempt, failures: 0, taken: 0, place: Place::Wanted };
        self.ranks = (0..ranks).map(|rank| (Rank(rank), wanted())).collect();
    }

    /// Has a rank go on with the machine and the life that another owner of the pool gave it.
    pub(super) fn adopt(&mut self, rank: Rank, attempt: Attempt, instance: InstanceId) {
        self.ranks.insert(rank, Life { attempt, failures: 0, taken: 0, place: Place::Adopted { instance } });
    }

    /// Whether a rank that was taken over is not linked yet.
    pub(super) fn is_adopting(&self) -> bool {
        self.ranks.values().any(|it| matches!(it.place, Place::Adopted { .. }))
    }

    /// Ends the present life of every rank that has a machine: the life, the machine, and whether it was
    /// ready.
    pub(super) fn end_all(&mut self) -> Vec<(Rank, Attempt, InstanceId, bool)> {
        let ranks: Vec<Rank> = self.ranks.keys().copied().collect();
        let end = |rank: Rank| self.ends(rank).map(|it| (rank, it.attempt, it.instance, it.was_ready));
        ranks.into_iter().filter_map(end).collect()
    }

    /// Gives machines to the ranks that want one, lowest first. Returns the lives that begin, and the
    /// machines that nobody wants.
    pub(super) fn give(
        &mut self,
        instances: Vec<InstanceId>,
    ) -> (Vec<(Rank, Attempt, InstanceId)>, Vec<InstanceId>) {
        let mut instances = instances.into_iter();
        let mut begun = Vec::new();
        for (rank, life) in self.ranks.iter_mut().filter(|(_, it)| it.place == Place::Wanted) {
            let Some(instance) = instances.next() else { break };
            life.place = Place::Starting { instance: instance.clone() };
            begun.push((*rank, life.attempt, instance));
        }
        (begun, instances.collect())
    }

    /// A node takes tasks. Returns whether it is of the present life of its rank.
    pub(super) fn becomes_ready(&mut self, rank: Rank, attempt: Attempt, now: Instant) -> bool {
        let Some(life) = self.ranks.get_mut(&rank).filter(|it| it.attempt == attempt) else { return false };
        if let Place::Starting { instance } | Place::Adopted { instance } = &life.place {
            life.place = Place::Ready { instance: instance.clone(), since: now };
        }
        if life.place == Place::Wanted {
            return false;
        }
        life.failures = 0;
        true
    }

    /// The present life of a rank is over; `None` when it had no machine.
    pub(super) fn ends(&mut self, rank: Rank) -> Option<Ended> {
        let life = self.ranks.get_mut(&rank)?;
        let (instance, was_ready) = match std::mem::replace(&mut life.place, Place::Wanted) {
            Place::Wanted => return None,
            Place::Starting { instance } | Place::Adopted { instance } => (instance, false),
            Place::Ready { instance, .. } => (instance, true),
        };
        let attempt = life.attempt;
        life.attempt = attempt.next();
        life.failures = if was_ready { 0 } else { life.failures.saturating_add(1) };
        Some(Ended { attempt, instance, was_ready, failures: life.failures })
    }

    /// The present life of a rank finishes what it has, and its rank wants another machine. How many of its lives in
    /// a row have come to that soon after they were ready, this one counted.
    pub(super) fn leaves(&mut self, rank: Rank, now: Instant) -> u32 {
        let is_soon = self.ranks.get(&rank).is_some_and(|it| match &it.place {
            Place::Ready { since, .. } => now.saturating_duration_since(*since) < SOON,
            // Its worker is ready, though the others do not know it yet.
            Place::Starting { .. } | Place::Adopted { .. } => true,
            Place::Wanted => false,
        });
        let Some(Ended { attempt, instance, .. }) = self.ends(rank) else { return 0 };
        self.leaving.insert((rank, attempt), instance);
        let Some(life) = self.ranks.get_mut(&rank) else { return 0 };
        // It did nothing wrong itself.
        life.failures = 0;
        life.taken = if is_soon { life.taken.saturating_add(1) } else { 0 };
        life.taken
    }

    /// A life that was leaving is over: its machine.
    pub(super) fn left(&mut self, rank: Rank, attempt: Attempt) -> Option<InstanceId> {
        self.leaving.remove(&(rank, attempt))
    }

    /// The rank will not come back.
    pub(super) fn give_up(&mut self, rank: Rank) {
        self.ranks.remove(&rank);
    }

    /// Whether this is the present life of the rank, and has a machine.
    pub(super) fn is_current(&self, rank: Rank, attempt: Attempt) -> bool {
        self.ranks.get(&rank).is_some_and(|it| it.attempt == attempt && it.place != Place::Wanted)
    }

    /// Whether this life finishes what it has.
    pub(super) fn is_leaving(&self, rank: Rank, attempt: Attempt) -> bool {
        self.leaving.contains_key(&(rank, attempt))
    }

    /// The ranks that want a machine.
    pub(super) fn wanting(&self) -> Vec<Rank> {
        self.ranks.iter().filter(|(_, it)| it.place == Place::Wanted).map(|(rank, _)| *rank).collect()
    }

    /// How many ranks want a machine.
    pub(super) fn wanted(&self) -> u32 {
        self.number(|it| *it == Place::Wanted)
    }

    /// How many ranks are ready.
    pub(super) fn ready(&self) -> u32 {
        self.number(|it| matches!(it, Place::Ready { .. }))
    }

    /// How many ranks there are.
    pub(super) fn count(&self) -> u32 {
        self.number(|_| true)
    }

    /// The lives that have a machine, those that are leaving included.
    pub(super) fn living(&self) -> BTreeSet<(Rank, Attempt)> {
        let present = self.ranks.iter().filter(|(_, it)| it.place != Place::Wanted);
        present.map(|(rank, it)| (*rank, it.attempt)).chain(self.leaving.keys().copied()).collect()
    }

    fn number(&self, which: impl Fn(&Place) -> bool) -> u32 {
        u32::try_from(self.ranks.values().filter(|it| which(&it.place)).count()).unwrap_or(u32::MAX)
    }
}

/// Machines that are to be taken so soon after they were ready are not worth renting again and again. Shorter, and a
/// market that takes everything back after a while is paid for ever; longer, and bad luck passes for that.
const SOON: Duration = Duration::from_mins(10);
