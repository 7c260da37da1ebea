//! The ranks of a pool and where each is in its life. Pure; the pool's state asks and decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::{Attempt, InstanceId, Rank};
use crate::tasks::Demand;

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
    /// What lives of ranks that were given up have used of attempts, so that none comes again.
    spent: Attempt,
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

/// A rank that the pool can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spare {
    pub(super) rank: Rank,
    pub(super) attempt: Attempt,
    pub(super) place: SparePlace,
}

/// How far a spare rank has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SparePlace {
    Wanted,
    Starting,
    Ready,
}

impl Lives {
    /// Ranks from 0, all of which want a machine. Reports of lives before are of older attempts.
    pub(super) fn begin(&mut self, ranks: u32) {
        let attempt =
            self.ranks.values().map(|it| it.attempt.next()).max().unwrap_or_default().max(self.spent);
        let wanted = || Life { attempt, failures: 0, taken: 0, place: Place::Wanted };
        self.ranks = (0..ranks).map(|rank| (Rank(rank), wanted())).collect();
    }

    /// Has a rank go on with the machine and the life that another owner of the pool gave it.
    pub(super) fn adopt(&mut self, rank: Rank, attempt: Attempt, instance: InstanceId) {
        self.spent = self.spent.max(attempt.next());
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
        let is_soon = self.is_new(rank, now);
        let Some(Ended { attempt, instance, .. }) = self.ends(rank) else { return 0 };
        self.leaving.insert((rank, attempt), instance);
        self.did_not_last(rank, is_soon)
    }

    /// Whether the present life of a rank has not been ready for long.
    pub(super) fn is_new(&self, rank: Rank, now: Instant) -> bool {
        self.ranks.get(&rank).is_some_and(|it| match &it.place {
            Place::Ready { since, .. } => now.saturating_duration_since(*since) < SOON,
            // Its worker is ready, though the others do not know it yet.
            Place::Starting { .. } | Place::Adopted { .. } => true,
            Place::Wanted => false,
        })
    }

    /// A life that was ready is over, soon after that or not: how many in a row it was soon.
    pub(super) fn did_not_last(&mut self, rank: Rank, is_soon: bool) -> u32 {
        let Some(life) = self.ranks.get_mut(&rank) else { return 0 };
        // It did nothing wrong itself.
        life.failures = 0;
        life.taken = if is_soon { life.taken.saturating_add(1) } else { 0 };
        life.taken
    }

    /// The pool does without the present life of a rank, which finishes what it has.
    pub(super) fn retires(&mut self, rank: Rank) {
        if let Some(Ended { attempt, instance, .. }) = self.ends(rank) {
            self.leaving.insert((rank, attempt), instance);
        }
    }

    /// A life that was leaving is over: its machine.
    pub(super) fn left(&mut self, rank: Rank, attempt: Attempt) -> Option<InstanceId> {
        self.leaving.remove(&(rank, attempt))
    }

    /// The rank will not come back.
    pub(super) fn give_up(&mut self, rank: Rank) {
        if let Some(life) = self.ranks.remove(&rank) {
            self.spent = self.spent.max(life.attempt.next());
        }
    }

    /// Ranks that want a machine, the lowest that there are not, until there are so many. Returns the new ones.
    pub(super) fn grow(&mut self, to: u32) -> Vec<Rank> {
        let missing = usize::try_from(to.saturating_sub(self.count())).unwrap_or(usize::MAX);
        let free = (0..).map(Rank).filter(|it| !self.ranks.contains_key(it));
        let new: Vec<Rank> = free.take(missing).collect();
        let wanted = Life { attempt: self.spent, failures: 0, taken: 0, place: Place::Wanted };
        self.ranks.extend(new.iter().map(|it| (*it, wanted.clone())));
        new
    }

    /// Which ranks the pool can do without best, so many: those without a machine, then those that are not ready,
    /// then the idle, then, with `any`, those that are used or waited for; of each kind the highest first. The head goes
    /// with the last of the others only.
    pub(super) fn spare(&self, count: u32, load: &Demand, any: bool) -> Vec<Spare> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let spare = |(rank, life): (&Rank, &Life)| {
            let (rank, attempt) = (*rank, life.attempt);
            let (worth, place) = match life.place {
                _ if load.pinned.contains(&rank) && !any => return None,
                Place::Wanted => (0, SparePlace::Wanted),
                Place::Starting { .. } => (1, SparePlace::Starting),
                Place::Ready { .. } if load.idle.contains(&rank) => (2, SparePlace::Ready),
                Place::Ready { .. } if any => (3, SparePlace::Ready),
                // What another owner left is linked before it is judged.
                Place::Ready { .. } | Place::Adopted { .. } => return None,
            };
            let worth = if load.pinned.contains(&rank) { worth + 4 } else { worth };
            Some((worth, Spare { rank, attempt, place }))
        };
        let mut spare: Vec<(u8, Spare)> = self.ranks.iter().filter_map(spare).collect();
        spare.sort_by_key(|(worth, it)| (it.rank.0 == 0, *worth, std::cmp::Reverse(it.rank)));
        let is_all = spare.len() == self.ranks.len() && count >= spare.len();
        let kept = |it: &(u8, Spare)| is_all || it.1.rank.0 != 0;
        spare.into_iter().filter(kept).take(count).map(|(_, it)| it).collect()
    }

    /// Whether a node that came after this moment has been ready for so long that its kind can be relied upon.
    pub(super) fn is_proven(&self, after: Instant, now: Instant) -> bool {
        self.ranks.values().any(|it| {
            let Place::Ready { since, .. } = &it.place else { return false };
            *since > after && now.saturating_duration_since(*since) >= SOON
        })
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

    /// Whether the pool has this rank, or wants to have it.
    pub(super) fn has(&self, rank: Rank) -> bool {
        self.ranks.contains_key(&rank)
    }

    /// Whether machines of ranks that want one have failed before.
    pub(super) fn has_failed(&self) -> bool {
        self.ranks.values().any(|it| it.place == Place::Wanted && it.failures.max(it.taken) > 0)
    }

    /// How many ranks have a machine.
    pub(super) fn machines(&self) -> usize {
        self.ranks.values().filter(|it| it.place != Place::Wanted).count()
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
pub(super) const SOON: Duration = Duration::from_mins(10);
