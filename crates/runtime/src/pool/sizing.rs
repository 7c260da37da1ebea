//! How a pool changes its number of nodes: by itself, where it scales, and when its owner asks. Pure, a part of
//! [`State`].
//!
//! ```text
//! load | resize → grow:   new ranks are wanted → the one loop rents for them
//!               → shrink: a rank without a machine goes │ one that starts is dropped │ one that is idle closes, leaves
//! ```

use std::time::Instant;

use super::effect::Effect;
use super::lives::{Spare, SparePlace};
use super::messages::Timer;
use super::renting::DEARER;
use super::scale::Refusal;
use super::state::{Phase, State};
use crate::model::{Attempt, EventKind, InvalidRequest, Nodes, Rank, ScaledBecause};
use crate::node::Leave;
use crate::tasks::Demand;
use crate::timing::Timing;

/// Nodes that the queue is asked to close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closing {
    /// How many nodes the pool had.
    from: u32,
    why: ScaledBecause,
    /// How many answers are still to come.
    left: usize,
}

impl State {
    /// Looks whether the pool should have more nodes, or fewer.
    pub(super) fn rescale(
        &mut self,
        ready: bool,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let living = Phase::Living { ready, stop: false };
        if !ready {
            return living;
        }
        self.scale.begin(now);
        self.lift_refusal(now, effects);
        let nodes = self.lives.count();
        let headless = self.scale.demand().pinned.contains(&Rank(0)) && !self.lives.has(Rank(0));
        self.scale.sees(self.lives.ready() == nodes, headless, now);
        let phase = match self.scale.decide(self.lives.ready(), nodes, now) {
            Some((to, why)) if to > nodes => self.grow(to, why, ready, now, timing, effects),
            Some((to, ScaledBecause::Asked)) => {
                let demand = self.scale.demand().clone();
                self.let_go(to, &demand, now, timing, effects);
                living
            }
            Some((to, why)) => {
                self.shrink(to, why, now, timing, effects);
                living
            }
            None => living,
        };
        if let Some(after) = self.scale.alarm(now) {
            effects.push(Effect::Wake(Timer::Scale, after));
        }
        phase
    }

    /// Calls may wait again for nodes that are not there.
    fn lift_refusal(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if !self.scale.is_held(now) && std::mem::take(&mut self.refused) {
            effects.push(Effect::QueueGrows { grows: true });
        }
    }

    /// Whether the pool may have so many nodes, and can pay for them.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn resizable(&self, nodes: u32, now: Instant, timing: &Timing) -> Result<(), InvalidRequest> {
        let (least, most) = self.scale.bounds().map_or((1, Nodes::MOST), |it| (it.least, it.most));
        let refuse = |allowed: String| Err(InvalidRequest::new("nodes", nodes, allowed));
        // One that is starting has what it needs to start, and nobody to ask for another number.
        if !matches!(self.phase, Phase::Living { ready: true, stop: false }) {
            return refuse("the pool does not run yet, or is being given back".to_owned());
        }
        if !(least..=most).contains(&nodes) {
            return refuse(format!("must be from {least} to {most}, as `nodes` says"));
        }
        // What is being given back makes room soon.
        if nodes <= self.lives.count() || self.is_giving_back() {
            return Ok(());
        }
        let there = self.lives.count().saturating_sub(self.lives.wanted());
        if let Some(most) = self.affordable().filter(|it| nodes > *it) {
            return refuse(format!("`max_hourly_cost` has room for {most}"));
        }
        let Some(source) = &self.source else { return Ok(()) };
        let more = nodes.saturating_sub(there);
        match self.budget.affords(more, &source.tariff, now, timing) {
            Ok(paid) if paid < more => {
                refuse(format!("what is left of `max_total_cost` pays for {}", there.saturating_add(paid)))
            }
            Ok(_) => Ok(()),
            Err((projected, cap)) => {
                refuse(format!("it would cost {projected} with one more, and `max_total_cost` is {cap}"))
            }
        }
    }

    /// The owner wants so many nodes.
    pub(super) fn resize(
        &mut self,
        to: u32,
        demand: &Demand,
        ready: bool,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let nodes = self.lives.count();
        self.scale.forgive();
        self.scale.sized(to);
        self.lift_refusal(now, effects);
        if to > nodes {
            return self.grow(to, ScaledBecause::Asked, ready, now, timing, effects);
        }
        if to < nodes {
            self.let_go(to, demand, now, timing, effects);
        }
        let ready = self.is_enough(ready, effects);
        self.rescale(ready, now, timing, effects)
    }

    /// Wants more ranks, as far as they may cost.
    fn grow(
        &mut self,
        to: u32,
        why: ScaledBecause,
        ready: bool,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let from = self.lives.count();
        // What is being given back makes room soon, and is waited for where machines are asked for.
        let most = self.affordable().filter(|_| !self.is_giving_back());
        let to = most.map_or(to, |most| to.min(most));
        if to <= from {
            self.refused_growth(from, DEARER, Refusal::None, now, effects);
            return Phase::Living { ready, stop: false };
        }
        if why == ScaledBecause::Asked {
            self.scale.asked();
        }
        effects.push(Effect::Announce(EventKind::Scaled { from, to, why }));
        let new = self.lives.grow(to);
        effects.extend(new.into_iter().map(|rank| Effect::QueueWanted { rank }));
        self.scale.changed(now);
        // What there was to try is tried again from the beginning, as far as it may be beside what stays.
        let first = match self.lives.machines() {
            _ if self.is_asking() => None,
            0 => self.fallback.restart(),
            _ => self.fallback.restart_beside(),
        };
        match first {
            Some(first) => {
                self.prepare(first, ready, now, timing, effects);
                Phase::Living { ready, stop: false }
            }
            None => self.reconcile(ready, now, timing, effects),
        }
    }

    /// Does without ranks that are not used, at most down to so many.
    fn shrink(
        &mut self,
        to: u32,
        why: ScaledBecause,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) {
        let from = self.lives.count();
        let spare = self.lives.spare(from.saturating_sub(to), self.scale.demand(), false);
        let ready = |it: &&Spare| it.place == SparePlace::Ready;
        let left = spare.iter().filter(ready).count();
        self.closing = Some(Closing { from, why, left });
        for it in spare {
            match it.place {
                // A call may be on its way to it.
                SparePlace::Ready => {
                    effects.push(Effect::QueueClose { rank: it.rank, attempt: it.attempt });
                }
                SparePlace::Wanted | SparePlace::Starting => self.part_with(it, timing, effects),
            }
        }
        self.say_closed(now, effects);
    }

    /// Does without ranks, used or not.
    fn let_go(&mut self, to: u32, load: &Demand, now: Instant, timing: &Timing, effects: &mut Vec<Effect>) {
        let from = self.lives.count();
        for it in self.lives.spare(from.saturating_sub(to), load, true) {
            self.part_with(it, timing, effects);
        }
        self.closing = Some(Closing { from, why: ScaledBecause::Asked, left: 0 });
        self.say_closed(now, effects);
    }

    /// The queue has closed an idle node, or it is idle no more.
    pub(super) fn closed(
        &mut self,
        rank: Rank,
        attempt: Attempt,
        closed: bool,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) {
        if closed && self.lives.is_current(rank, attempt) {
            self.part_with(Spare { rank, attempt, place: SparePlace::Ready }, timing, effects);
        }
        if let Some(closing) = &mut self.closing {
            closing.left = closing.left.saturating_sub(1);
        }
        self.say_closed(now, effects);
    }

    /// Says how many nodes the pool did without, once that is known of all of them.
    fn say_closed(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Some(Closing { from, why, .. }) = self.closing.take_if(|it| it.left == 0) else { return };
        let to = self.lives.count();
        if to < from {
            effects.push(Effect::Announce(EventKind::Scaled { from, to, why }));
            self.scale.changed(now);
        }
    }

    fn part_with(&mut self, spare: Spare, timing: &Timing, effects: &mut Vec<Effect>) {
        let Spare { rank, attempt, place } = spare;
        match place {
            SparePlace::Wanted => {}
            SparePlace::Starting => {
                effects.push(Effect::DropNode { rank, attempt });
                let instances = self.lives.ends(rank).map(|it| it.instance).into_iter().collect();
                effects.push(Effect::Release { instances });
            }
            SparePlace::Ready => {
                self.lives.retires(rank);
                effects.push(Effect::QueueLeaves { rank, attempt, by_choice: true });
                let leave = Leave { within: timing.retire, preempted: false };
                effects.push(Effect::DrainNode { rank, attempt, leave });
            }
        }
        self.give_up(rank, effects);
    }

    /// Of so many wanted nodes some were given up. `ready`: before that a pool is content with what it needs to start.
    pub(super) fn made_do(
        &mut self,
        wanted: u32,
        reason: &str,
        refusal: Refusal,
        ready: bool,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if ready || self.scale.bounds().is_none() {
            return self.refused_growth(wanted, reason, refusal, now, effects);
        }
        let to = self.lives.count();
        if to < wanted {
            let why = ScaledBecause::Refused(reason.to_owned());
            effects.push(Effect::Announce(EventKind::Scaled { from: wanted, to, why }));
        }
    }

    /// More nodes cannot be had now: the pool makes do with those that it has, and tries again later, where that may
    /// help.
    fn refused_growth(
        &mut self,
        wanted: u32,
        reason: &str,
        refusal: Refusal,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        self.scale.hold(refusal, now);
        let scales = self.scale.bounds().is_some();
        let reason = match self.scale.is_final() {
            true => format!("{reason}; it grows again after `resize`"),
            false if scales => reason.to_owned(),
            false => format!("{reason}; it is tried again later, or at once after `resize`"),
        };
        let why = ScaledBecause::Refused(reason);
        effects.push(Effect::Announce(EventKind::Scaled { from: wanted, to: self.lives.count(), why }));
        if scales {
            // What waits for a node that will not be is told so.
            self.refused = true;
            effects.push(Effect::QueueGrows { grows: false });
        }
        if let Some(after) = self.scale.alarm(now) {
            effects.push(Effect::Wake(Timer::Scale, after));
        }
    }

    /// How many nodes all may be, by what they and all else that is rented may cost an hour.
    fn affordable(&self) -> Option<u32> {
        let room = self.budget.room(self.limits.hourly, &self.source.as_ref()?.tariff)?;
        let there = self.lives.count().saturating_sub(self.lives.wanted());
        Some(there.saturating_add(room))
    }
}
