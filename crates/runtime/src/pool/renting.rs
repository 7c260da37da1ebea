//! How a pool comes by its machines: what its state decides from the first offer on, whenever a rank wants
//! one. Pure, a part of [`State`].
//!
//! plan → prepare → rent → (too few: again → the next offer: prepare → rent) → enough | given up

use std::time::Instant;

use super::effect::Effect;
use super::error::StartError;
use super::messages::{Shortfall, Timer};
use super::plan::{Candidate, Plan};
use super::scale::{Bounds, Refusal};
use super::state::{Phase, State, announce};
use crate::model::{EventKind, InstanceId, PoolPhase, Rank, Rented, Usd};
use crate::provider::ProviderErrorKind;
use crate::timing::Timing;

impl State {
    /// Takes the plan's first candidate, or ends.
    pub(super) fn choose(
        &mut self,
        plan: Plan,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let candidates = self.with_adopted(plan.candidates.clone());
        let Some(first) = self.fallback.begin(candidates) else {
            // Nothing was asked of any cloud but offers: there is nothing to give back.
            self.fail(StartError::NoOffers { plan: Box::new(plan) });
            self.say_failure(effects);
            effects.push(Effect::QueueStop);
            effects.push(Effect::Ended { failure: self.failure.clone(), left: Vec::new() });
            return Phase::Stopped;
        };
        self.begin_with(first, false, now, timing, effects);
        Phase::Living { ready: false, stop: false }
    }

    /// What the candidate's provider needs is set up, or is not.
    pub(super) fn prepared(
        &mut self,
        ready: bool,
        stop: bool,
        result: Result<(), StartError>,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let candidate = self.preparing.take();
        if self.adoption.is_some()
            && let Err(error) = result
        {
            self.fail(error);
            return self.leave_be(effects);
        }
        if stop {
            if let Err(error) = result {
                self.fail(error);
            }
            self.take_over(now, effects);
            return self.stop_from(now, timing, ready, effects);
        }
        match (result, candidate) {
            (Ok(()), Some(candidate)) => {
                if !ready {
                    effects.push(announce(PoolPhase::Provisioning));
                }
                self.source = Some(*candidate);
                self.take_over(now, effects);
                // One that begins without a node is ready when its machines could be rented.
                let ready = self.is_enough(ready, effects);
                match self.reconcile(ready, now, timing, effects) {
                    // Calls may have come before.
                    Phase::Living { ready: true, stop: false } => self.rescale(true, now, timing, effects),
                    phase => phase,
                }
            }
            (Ok(()), None) => Phase::Living { ready, stop },
            (Err(error), _) => self.try_others(ready, ProviderErrorKind::Local, error, now, timing, effects),
        }
    }

    /// Gives new machines to the ranks that want one; what nobody wants any more is given back.
    pub(super) fn take(
        &mut self,
        instances: Vec<InstanceId>,
        ready: bool,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if instances.is_empty() {
            return;
        }
        self.fallback.gave();
        self.scale.had();
        let wanted = self.lives.wanted();
        self.rent(&instances, now);
        let (begun, spare) = self.lives.give(instances);
        if let Some(Candidate { offer, tariff, .. }) = &self.source {
            let told = |instance: &InstanceId, rank| Rented {
                instance: instance.clone(),
                rank,
                tariff: *tariff,
                converted: offer.price.converted.clone(),
            };
            let used = begun.iter().map(|(rank, _, instance)| told(instance, Some(*rank)));
            let machines = used.chain(spare.iter().map(|it| told(it, None))).collect();
            let took = self.asked.map_or_else(Default::default, |it| now.saturating_duration_since(it));
            effects.push(Effect::Announce(EventKind::Provisioned { machines, wanted, took }));
        }
        if !ready && self.lives.wanted() == 0 {
            effects.push(announce(PoolPhase::Starting));
        }
        effects.extend(begun.into_iter().map(|(rank, attempt, instance)| Effect::Spawn {
            rank,
            attempt,
            instance,
        }));
        if !spare.is_empty() {
            effects.push(Effect::Release { instances: spare });
        }
    }

    /// Counts machines as there, until their provider says that they are not.
    pub(super) fn rent(&mut self, instances: &[InstanceId], now: Instant) {
        let Some(Candidate { offer, tariff, .. }) = &self.source else { return };
        for instance in instances {
            self.rented.insert(instance.clone(), offer.provider.clone());
            self.budget.rented(instance.clone(), *tariff, self.asked.unwrap_or(now));
        }
    }

    /// Asks for what is still missing: at once, later, elsewhere, or not any more.
    pub(super) fn after_request(
        &mut self,
        ready: bool,
        shortfall: Option<Shortfall>,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let Some(shortfall) = shortfall else {
            // What is wanted now was lost while the machines were asked for.
            return self.reconcile(ready, now, timing, effects);
        };
        if self.lives.wanted() == 0 {
            return Phase::Living { ready, stop: false };
        }
        let (attempt, again) = self.fallback.falls_short(&shortfall, timing);
        let Shortfall { reason, kind, .. } = shortfall;
        effects.push(Effect::Announce(EventKind::ProvisionFailed { reason: reason.clone(), attempt }));
        if let Some(after) = again {
            effects.push(Effect::Wake(Timer::Provision, after));
            self.resting = true;
            return Phase::Living { ready, stop: false };
        }
        let (wanted, missing) = self.source.as_ref().map_or((0, 0), |it| (it.nodes, self.lives.wanted()));
        let got = wanted.saturating_sub(missing);
        let provider = self.source.as_ref().map_or_else(String::new, |it| it.offer.provider.clone());
        let error = StartError::Provision { provider, got, wanted, attempts: attempt, reason };
        self.try_others(ready, kind, error, now, timing, effects)
    }

    /// The present candidate gives no more. Another one is tried, where the pool cannot do without.
    fn try_others(
        &mut self,
        ready: bool,
        kind: ProviderErrorKind,
        error: StartError,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let wanted = self.lives.count();
        let got = wanted.saturating_sub(self.lives.wanted());
        let enough = ready || got >= self.least().max(1);
        // What works is never given back for the rest of it.
        let stays = enough && self.lives.machines() > 0;
        let Some((next, keep)) = self.fallback.next(kind, &error.to_string(), stays) else {
            if !enough {
                let tried = self.fallback.tried();
                self.fail(match tried.len() {
                    0 | 1 => error,
                    _ => StartError::Exhausted { tried: tried.to_vec() },
                });
                return self.give_back(now, timing, effects);
            }
            // Whose machine has failed was paid for, whatever became of the next.
            let refusal = if self.lives.has_failed() { self.failed(now) } else { Refusal::None };
            for rank in self.lives.wanting() {
                self.give_up(rank, effects);
            }
            self.made_do(wanted, &error.to_string(), refusal, ready, now, effects);
            return Phase::Living { ready: self.is_enough(ready, effects), stop: false };
        };
        if !keep {
            self.drop_all(effects);
        }
        // A pool that runs wants the ranks that it wants, whoever gives them.
        if keep || ready {
            self.prepare(next, ready, now, timing, effects);
        } else {
            self.begin_with(next, ready, now, timing, effects);
        }
        Phase::Living { ready, stop: false }
    }

    /// Wants a machine of this candidate for every rank.
    fn begin_with(
        &mut self,
        candidate: Candidate,
        ready: bool,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) {
        self.lives.begin(candidate.nodes);
        let bounds = candidate.scales.map(|(least, most)| Bounds { least, most });
        let scaled = self.scale.bounds().is_some();
        self.scale.bound(bounds);
        self.scale.sized(candidate.nodes);
        if scaled || bounds.is_some() {
            effects.push(Effect::QueueGrows { grows: bounds.is_some() });
        }
        self.prepare(candidate, ready, now, timing, effects);
    }

    /// Has what this candidate's provider needs set up.
    pub(super) fn prepare(
        &mut self,
        candidate: Candidate,
        ready: bool,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) {
        let Candidate { offer, tariff, .. } = candidate.clone();
        let nodes = if ready { self.lives.count() } else { candidate.nodes };
        let most = candidate.scales.map_or(nodes, |(_, most)| most.max(nodes));
        let lease = candidate.lease.unwrap_or(timing.lease);
        if let Some(cloud) = self.limits.clouds.get(&offer.provider) {
            self.budget.rents_from(cloud);
        }
        let lease = match &self.adoption {
            // What its machines have.
            Some(adoption) => adoption.lease,
            None => self.budget.lease(lease, most, &tariff, now),
        };
        let provider = offer.provider.clone();
        self.prepared.insert(provider.clone());
        effects.push(Effect::Announce(EventKind::Chosen { provider, offer: Box::new(offer), tariff, nodes }));
        if !ready {
            effects.push(Effect::QueueSized { nodes });
            effects.push(announce(PoolPhase::Preparing));
        }
        effects.push(Effect::Prepare { candidate: Box::new(candidate.clone()), lease });
        self.preparing = Some(Box::new(candidate));
    }

    /// Gives back what a candidate gave that cannot give all.
    fn drop_all(&mut self, effects: &mut Vec<Effect>) {
        let ended = self.lives.end_all();
        for (rank, attempt, _, was_ready) in &ended {
            if *was_ready {
                effects.push(Effect::QueueGone { rank: *rank });
            }
            effects.push(Effect::DropNode { rank: *rank, attempt: *attempt });
        }
        if !ended.is_empty() {
            let instances = ended.into_iter().map(|(_, _, instance, _)| instance).collect();
            effects.push(Effect::Release { instances });
        }
    }

    /// Asks for a machine for every rank that wants one, unless that is under way, was refused just now, or costs more
    /// than the pool may.
    pub(super) fn reconcile(
        &mut self,
        ready: bool,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let wanted = self.lives.wanted();
        let is_free = wanted > 0 && !self.is_asking() && !self.resting && !self.looking;
        let tariff = self.source.as_ref().filter(|_| is_free).map(|it| it.tariff);
        let Some(tariff) = tariff else { return Phase::Living { ready, stop: false } };
        let within = self.budget.room(self.limits.hourly, &tariff).map_or(wanted, |it| it.min(wanted));
        let mut phase = Phase::Living { ready, stop: false };
        // What is being given back makes room for the rest soon.
        if within < wanted && !self.is_giving_back() {
            phase = self.refuse_dearer(within, ready, now, timing, effects);
        }
        let Phase::Living { ready, stop: false } = phase else { return phase };
        // Another candidate may be under way instead.
        if within == 0 || self.is_asking() {
            return phase;
        }
        let (count, refused) = match self.budget.affords(within, &tariff, now, timing) {
            Ok(count) => (count, self.budget.allows(within, &tariff, now, timing).err()),
            Err(refused) => (0, Some(refused)),
        };
        match refused {
            Some(refused) => phase = self.refuse_growth(count, ready, refused, now, timing, effects),
            None => self.budget.forgets_refusal(),
        }
        if count > 0 && matches!(phase, Phase::Living { stop: false, .. }) {
            self.asking = count;
            self.asked = Some(now);
            self.request = self.request.next();
            effects.push(Effect::Provision { request: self.request, count });
        }
        phase
    }

    /// Whether machines are there that no rank has: they are leaving, or are being given back.
    pub(super) fn is_giving_back(&self) -> bool {
        let kept = self.keeping.count();
        self.rented.len() > self.lives.machines().saturating_add(kept)
    }

    /// More machines than so many would cost more an hour than all may: the pool goes on with those, if it can.
    fn refuse_dearer(
        &mut self,
        within: u32,
        ready: bool,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let wanting = self.lives.wanting();
        let got = self.lives.count().saturating_sub(self.lives.wanted());
        if !ready && got.saturating_add(within) < self.least().max(1) {
            let provider = self.source.as_ref().map_or_else(String::new, |it| it.offer.provider.clone());
            let (wanted, attempts) = (self.lives.count(), self.request);
            let error = StartError::Provision { provider, got, wanted, attempts, reason: DEARER.to_owned() };
            return self.try_others(ready, ProviderErrorKind::OfferGone, error, now, timing, effects);
        }
        let wanted = self.lives.count();
        for rank in wanting.into_iter().skip(usize::try_from(within).unwrap_or(usize::MAX)) {
            self.give_up(rank, effects);
        }
        self.made_do(wanted, DEARER, Refusal::None, ready, now, effects);
        Phase::Living { ready: self.is_enough(ready, effects), stop: false }
    }

    /// Of the machines that are wanted only so many can be paid: the pool goes on with those, if it can.
    fn refuse_growth(
        &mut self,
        paid: u32,
        ready: bool,
        (projected, cap): (Usd, Usd),
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let wanting = self.lives.wanting();
        let got = self.lives.count().saturating_sub(self.lives.wanted());
        if !ready && got.saturating_add(paid) < self.least().max(1) {
            self.fail(StartError::Budget { projected, cap });
            return self.stop_from(now, timing, ready, effects);
        }
        let dearer: Vec<Rank> =
            wanting.into_iter().skip(usize::try_from(paid).unwrap_or(usize::MAX)).collect();
        if self.budget.says_refusal() {
            let machines = u32::try_from(dearer.len()).unwrap_or(u32::MAX);
            effects.push(Effect::Announce(EventKind::BudgetRefused { machines, projected, cap }));
        }
        let wanted = self.lives.count();
        for rank in dearer {
            self.give_up(rank, effects);
        }
        let why = "they would cost more than max_total_cost";
        self.made_do(wanted, why, Refusal::None, ready, now, effects);
        Phase::Living { ready: self.is_enough(ready, effects), stop: false }
    }
}

/// Why machines are not rented that are too dear together.
pub(super) const DEARER: &str = "they would cost more than max_hourly_cost";
