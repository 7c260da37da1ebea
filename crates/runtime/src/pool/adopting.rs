//! How a pool goes on that another program began and did not end: what its state takes over. Pure, a part of
//! [`State`].
//!
//! ```text
//! adopted → offers → the adopted candidate is prepared → its machines are linked again → ready
//!                          '- failed, stopped: everything stays as it is, for another try
//!
//! another program has it → its nodes are let go of → ended, with who that is
//! ```

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::budget::Look;
use super::effect::Effect;
use super::error::StartError;
use super::plan::Candidate;
use super::state::{Phase, State, announce};
use crate::journal::{Deed, JournalError, KnownPool, Machine};
use crate::model::{
    Attempt, Earlier, EventKind, InstanceId, Leftover, PoolPhase, Rank, Rented, ScaledBecause, Usd,
};
use crate::tasks::Demand;
use crate::timing::Timing;

/// What the owner before has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adoption {
    /// What its machines were rented with last; what is missing is asked for there first.
    pub(super) candidate: Candidate,
    /// With how many nodes it is to go on, if an owner has asked for a number and it keeps that.
    pub(super) size: Option<u32>,
    /// The machines that had become nodes.
    pub(super) machines: Vec<Adopted>,
    /// The machines that had not, and their providers: they are given back.
    pub(super) spare: Vec<(InstanceId, String)>,
    /// How old the pool is.
    pub(super) age: Duration,
    /// Everything that was rented for it.
    pub(super) rented: Vec<Earlier>,
    /// The longest lease of its machines.
    pub(super) lease: Duration,
    /// Something was asked for whose answer nobody heard: what came of it is looked for before more is rented.
    pub(super) unheard: bool,
}

/// A machine with a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Adopted {
    pub(super) rank: Rank,
    pub(super) attempt: Attempt,
    pub(super) instance: InstanceId,
    provider: String,
}

impl Adoption {
    /// What is to be taken over of a pool, so long after 1970, if any of its machines had become a node.
    pub(crate) fn of(pool: &KnownPool, now: Duration) -> Option<Self> {
        let terms = |machine: &Machine| candidate(pool.deed(machine.deed)?);
        let mut adoption: Option<Self> = None;
        let mut spare = Vec::new();
        // The last that was rented first: an older machine of the same rank was to be given back.
        let mut machines: Vec<&Machine> = pool.machines.iter().collect();
        machines.sort_by_key(|it| std::cmp::Reverse((it.node.as_ref().map(|it| it.attempt), it.deed)));
        for machine in machines {
            let (instance, provider) = (machine.instance.clone(), machine.provider.clone());
            let is_taken = |rank: Rank| adoption.iter().flat_map(|it| &it.machines).any(|it| it.rank == rank);
            match (&machine.node, terms(machine)) {
                (Some(node), Some(candidate)) if !is_taken(node.rank) => {
                    let adopted = Adopted { rank: node.rank, attempt: node.attempt, instance, provider };
                    let begun = || Self {
                        candidate,
                        size: pool.size,
                        machines: Vec::new(),
                        spare: Vec::new(),
                        age: age(pool, now),
                        rented: earlier(pool),
                        unheard: pool.deeds.iter().any(Deed::is_unheard),
                        lease: pool.deeds.iter().map(|it| it.request.lease).max().unwrap_or_default(),
                    };
                    adoption.get_or_insert_with(begun).machines.push(adopted);
                }
                _ => spare.push((instance, provider)),
            }
        }
        let mut adoption = adoption?;
        adoption.machines.sort_by_key(|it| it.rank);
        // A rank is its last life's.
        let is_spare = |it: &Earlier| spare.iter().any(|(instance, _)| *instance == it.rented.instance);
        adoption.rented.iter_mut().filter(|it| is_spare(it)).for_each(|it| it.rented.rank = None);
        adoption.spare = spare;
        Some(adoption)
    }
}

/// What another program has set up or rented with one request, to go on with.
#[derive(Debug)]
pub(crate) struct Inherited<'a> {
    pub(crate) candidate: Candidate,
    pub(crate) deed: &'a Deed,
    pub(crate) machines: Vec<InstanceId>,
    /// Nobody heard what came of it, or of the same once more.
    pub(crate) is_unheard: bool,
}

/// All that can be gone on with of a pool. What is missing is rented with the last of them.
pub(crate) fn inherited(pool: &KnownPool) -> Vec<Inherited<'_>> {
    let source = Adoption::of(pool, pool.begun).and_then(|it| serde_json::to_string(&it.candidate).ok());
    let mut undos = pool.undos();
    undos.reverse();
    undos.sort_by_key(|it| Some(&it.terms) == source.as_ref());
    let inherited = undos.into_iter().filter_map(|deed| {
        let of_deed = |number: i64| pool.deed(number).is_some_and(|it| it.is_undone_with(deed));
        let machines = pool.machines.iter().filter(|it| of_deed(it.deed)).map(|it| it.instance.clone());
        let open = |it: &&Deed| it.is_unheard() && it.is_undone_with(deed);
        let is_unheard = pool.deeds.iter().any(|it| open(&it));
        Some(Inherited { candidate: candidate(deed)?, deed, machines: machines.collect(), is_unheard })
    });
    inherited.collect()
}

/// What everything that was rented for a pool has cost until so long after 1970.
pub fn spent(pool: &KnownPool, now: Duration) -> Usd {
    let age = age(pool, now);
    let cost = |it: &Earlier| it.rented.tariff.cost(it.until.unwrap_or(age).saturating_sub(it.since));
    earlier(pool).iter().map(cost).sum()
}

/// How old a pool is. A clock that was set back hides nothing of what is written down.
fn age(pool: &KnownPool, now: Duration) -> Duration {
    let asked = pool.deeds.iter().map(|it| it.begun);
    let known = asked.chain(pool.past.iter().map(|it| it.gone)).chain([pool.seen]);
    known.fold(now, Duration::max).saturating_sub(pool.begun)
}

/// What was rented for a pool, by its time since it was begun.
fn earlier(pool: &KnownPool) -> Vec<Earlier> {
    let since = |moment: Duration| moment.saturating_sub(pool.begun);
    let of = |instance: &InstanceId, deed: i64, rank: Option<Rank>, gone: Option<Duration>| {
        let deed = pool.deed(deed)?;
        let Candidate { tariff, offer, .. } = candidate(deed)?;
        let rented = Rented { instance: instance.clone(), rank, tariff, converted: offer.price.converted };
        Some(Earlier { rented, since: since(deed.begun), until: gone.map(since) })
    };
    let past = pool.past.iter().filter_map(|it| of(&it.instance, it.deed, None, Some(it.gone)));
    let there = pool
        .machines
        .iter()
        .filter_map(|it| of(&it.instance, it.deed, it.node.as_ref().map(|it| it.rank), None));
    past.chain(there).collect()
}

/// What a deed was asked for.
fn candidate(deed: &Deed) -> Option<Candidate> {
    serde_json::from_str(&deed.terms).ok()
}

impl State {
    /// Counts what the owner before has spent. A pool that may not cost any more is given back once its machines can be
    /// asked for, as one that has spent what it may while it lived: not every machine ends its own bill.
    pub(super) fn inherit(&mut self, now: Instant, timing: &Timing) {
        let Some(Adoption { age, rented, lease, .. }) = self.adoption.as_deref() else { return };
        self.budget.inherit(*age, rented, *lease);
        if let Some(Look::Spent { spent, cap }) = self.budget.look(now, timing) {
            self.fail(StartError::Spent { spent, cap });
        }
    }

    /// The candidates of a plan, with the adopted one before all others. Those that keep their number have the one that
    /// an owner before has asked for.
    pub(super) fn with_adopted(&self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let Some(Adoption { candidate, size, .. }) = self.adoption.as_deref() else { return candidates };
        let others = candidates.into_iter();
        let others = others.filter(|it| (&it.offer.id, it.tariff) != (&candidate.offer.id, candidate.tariff));
        let sized = |it: Candidate| match *size {
            Some(nodes) if it.scales.is_none() => Candidate { nodes, ..it },
            _ => it,
        };
        std::iter::once(candidate.clone()).chain(others).map(sized).collect()
    }

    /// Takes over what the owner before has left, once its provider is ready for it.
    pub(super) fn take_over(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Some(adoption) = self.adoption.take() else { return };
        let Adoption { machines, size, spare, age, rented, unheard, .. } = *adoption;
        (self.adopted, self.looking) = (true, unheard);
        let nodes = u32::try_from(machines.len()).unwrap_or(u32::MAX);
        let wanted = self.lives.count();
        let age = self.budget.age(age, now);
        effects.push(Effect::Announce(EventKind::Attached { nodes, age, machines: rented }));
        effects.push(announce(PoolPhase::Starting));
        for (instance, provider) in &spare {
            self.rented.insert(instance.clone(), provider.clone());
        }
        if !spare.is_empty() {
            let instances = spare.into_iter().map(|(instance, _)| instance).collect();
            effects.push(Effect::Release { instances });
        }
        for Adopted { rank, attempt, instance, provider } in machines {
            self.rented.insert(instance.clone(), provider);
            self.lives.adopt(rank, attempt, instance.clone());
            if rank.0 >= wanted {
                effects.push(Effect::QueueWanted { rank });
            }
            effects.push(Effect::Spawn { rank, attempt, instance });
        }
        self.go_on_from(nodes, wanted, size, effects);
    }

    /// A pool that scales goes on with as many nodes as it had, or its least number: not with those that it began with.
    /// One that keeps its number goes on with what it was asked for. What it has beyond that leaves once all of it is
    /// linked.
    fn go_on_from(&mut self, nodes: u32, before: u32, size: Option<u32>, effects: &mut Vec<Effect>) {
        let bounds = self.scale.bounds();
        if let Some(least) = bounds.map(|it| it.least).or(size) {
            let spare = self.lives.count().saturating_sub(nodes.max(least));
            for it in self.lives.spare(spare, &Demand::default(), false) {
                self.give_up(it.rank, effects);
            }
        }
        let count = self.lives.count();
        if bounds.is_none() {
            self.scale.sized(size.unwrap_or(count));
        }
        if count != before {
            let why = ScaledBecause::Attached;
            effects.push(Effect::Announce(EventKind::Scaled { from: before, to: count, why }));
        }
    }

    /// The pool ends before it has taken anything over: all of it stays as it is.
    pub(super) fn leave_be(&mut self, effects: &mut Vec<Effect>) -> Phase {
        self.say_failure(effects);
        effects.push(Effect::QueueStop);
        let adoption = self.adoption.take();
        let left = adoption.iter().map(|it| Leftover {
            what: format!("{} machines that another program rented for this pool", it.machines.len()),
            reason: "they could not be attached to; run this program again, or `sky reap`".to_owned(),
        });
        effects.push(Effect::Ended { failure: self.failure.clone(), left: left.collect() });
        Phase::Stopped
    }

    /// Another program has the pool. It ends here at once, whatever it was about to do: its nodes and machines are
    /// that program's, and nothing of them is touched.
    pub(super) fn leave_to(by: JournalError, effects: &mut Vec<Effect>) -> Phase {
        let reason = by.to_string();
        effects.push(Effect::QueueSuperseded(by.clone()));
        effects.push(Effect::Detach);
        effects.push(Effect::Announce(EventKind::Superseded { reason }));
        let failure = Some(StartError::Journal(by));
        effects.push(Effect::Ended { failure, left: Vec::new() });
        Phase::Stopped
    }

    /// The owner leaves the pool to whoever attaches to it next. Only one that is ready can be left.
    pub(super) fn detach(&self, effects: &mut Vec<Effect>) -> Phase {
        effects.push(Effect::Detach);
        let outside: BTreeSet<&String> = self.unattended().into_values().collect();
        let said = |provider: &String| Effect::Announce(EventKind::Unattended { provider: provider.clone() });
        effects.extend(outside.into_iter().map(said));
        effects.push(Effect::Announce(EventKind::Detached));
        effects.push(Effect::Ended { failure: None, left: Vec::new() });
        Phase::Stopped
    }
}

#[cfg(test)]
#[path = "adopting_tests.rs"]
mod tests;
