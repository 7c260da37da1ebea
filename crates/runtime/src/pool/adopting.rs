//! How a pool goes on that another program began and did not end: what its state takes over. Pure, a part of
//! [`State`].
//!
//! ```text
//! adopted → offers → the adopted candidate is prepared → its machines are linked again → ready
//!                          '- failed, stopped: everything stays as it is, for another try
//! ```

use std::time::Instant;

use super::effect::Effect;
use super::plan::Candidate;
use super::state::{Phase, State, announce};
use crate::journal::{Deed, KnownPool, Machine};
use crate::model::{Attempt, EventKind, InstanceId, Leftover, PoolPhase, Rank, ScaledBecause, Tariff};
use crate::tasks::Demand;

/// What the owner before has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adoption {
    /// What its machines were rented with last; what is missing is asked for there first.
    pub(super) candidate: Candidate,
    /// The machines that had become nodes.
    pub(super) machines: Vec<Adopted>,
    /// The machines that had not, and their providers: they are given back.
    pub(super) spare: Vec<(InstanceId, String)>,
}

/// A machine with a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Adopted {
    pub(super) rank: Rank,
    pub(super) attempt: Attempt,
    pub(super) instance: InstanceId,
    provider: String,
    tariff: Tariff,
}

impl Adoption {
    /// What is to be taken over of a pool, if any of its machines had become a node.
    pub(crate) fn of(pool: &KnownPool) -> Option<Self> {
        let terms = |machine: &Machine| {
            let deed = pool.deeds.iter().find(|it| it.number == machine.deed)?;
            serde_json::from_str::<Candidate>(&deed.terms).ok()
        };
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
                    let (rank, attempt, tariff) = (node.rank, node.attempt, candidate.tariff);
                    let adopted = Adopted { rank, attempt, instance, provider, tariff };
                    let begun = || Self { candidate, machines: Vec::new(), spare: Vec::new() };
                    adoption.get_or_insert_with(begun).machines.push(adopted);
                }
                _ => spare.push((instance, provider)),
            }
        }
        let mut adoption = adoption?;
        adoption.machines.sort_by_key(|it| it.rank);
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
}

/// All that can be gone on with of a pool. What is missing is rented with the last of them.
pub(crate) fn inherited(pool: &KnownPool) -> Vec<Inherited<'_>> {
    let source = Adoption::of(pool).and_then(|it| serde_json::to_string(&it.candidate).ok());
    let mut undos = pool.undos();
    undos.reverse();
    undos.sort_by_key(|it| Some(&it.terms) == source.as_ref());
    let inherited = undos.into_iter().filter_map(|deed| {
        let of_deed = |number: i64| pool.deed(number).is_some_and(|it| it.request == deed.request);
        let machines = pool.machines.iter().filter(|it| of_deed(it.deed)).map(|it| it.instance.clone());
        let candidate = serde_json::from_str(&deed.terms).ok()?;
        Some(Inherited { candidate, deed, machines: machines.collect() })
    });
    inherited.collect()
}

impl State {
    /// The candidates of a plan, with the adopted one before all others.
    pub(super) fn with_adopted(&self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let Some(candidate) = self.adoption.as_ref().map(|it| &it.candidate) else { return candidates };
        let others = candidates.into_iter();
        let others = others.filter(|it| (&it.offer.id, it.tariff) != (&candidate.offer.id, candidate.tariff));
        std::iter::once(candidate.clone()).chain(others).collect()
    }

    /// Takes over what the owner before has left, once its provider is ready for it.
    pub(super) fn take_over(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Some(Adoption { machines, spare, .. }) = self.adoption.take().map(|it| *it) else {
            return;
        };
        self.adopted = true;
        let nodes = u32::try_from(machines.len()).unwrap_or(u32::MAX);
        let wanted = self.lives.count();
        effects.push(Effect::Announce(EventKind::Attached { nodes }));
        effects.push(announce(PoolPhase::Starting));
        for (instance, provider) in &spare {
            self.rented.insert(instance.clone(), provider.clone());
        }
        if !spare.is_empty() {
            let instances = spare.into_iter().map(|(instance, _)| instance).collect();
            effects.push(Effect::Release { instances });
        }
        for Adopted { rank, attempt, instance, provider, tariff } in machines {
            self.rented.insert(instance.clone(), provider);
            self.budget.rented(instance.clone(), tariff, now);
            self.lives.adopt(rank, attempt, instance.clone());
            if rank.0 >= wanted {
                effects.push(Effect::QueueWanted { rank });
            }
            effects.push(Effect::Spawn { rank, attempt, instance });
        }
        self.go_on_from(nodes, wanted, effects);
    }

    /// A pool that scales goes on with as many nodes as it had, or its least number: not with those that it began with.
    fn go_on_from(&mut self, nodes: u32, before: u32, effects: &mut Vec<Effect>) {
        if let Some(bounds) = self.scale.bounds() {
            let spare = self.lives.count().saturating_sub(nodes.max(bounds.least));
            for it in self.lives.spare(spare, &Demand::default(), false) {
                self.give_up(it.rank, effects);
            }
        }
        let count = self.lives.count();
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

    /// The owner leaves the pool to whoever attaches to it next. Only one that is ready can be left.
    pub(super) fn detach(&self, effects: &mut Vec<Effect>) -> Phase {
        effects.push(Effect::Detach);
        effects.push(Effect::Announce(EventKind::Detached));
        effects.push(Effect::Ended { failure: None, left: Vec::new() });
        Phase::Stopped
    }
}

#[cfg(test)]
#[path = "adopting_tests.rs"]
mod tests;
