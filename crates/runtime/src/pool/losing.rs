//! How a pool loses nodes: what its state decides when a machine is taken, fails or is gone, and how one that could not
//! be given back is given back after all. Pure, a part of [`State`].
//!
//! ```text
//! noticed │ gone → the rank wants another at once │ after a pause │ is given up: the pool goes on without it, or cannot start
//! release failed → again, later and later, until it is certain
//! ```

use std::time::{Duration, Instant};

use super::effect::Effect;
use super::error::StartError;
use super::lives::{Ended, SOON};
use super::messages::Timer;
use super::scale::Refusal;
use super::state::{Phase, State};
use crate::model::{Attempt, EventKind, InstanceId, Rank};
use crate::node::Leave;
use crate::timing::Timing;

impl State {
    /// A node will end soon: what runs there may go on until then, and its rank gets another one.
    #[expect(clippy::too_many_arguments, reason = "the message and the phase, taken apart by the match")]
    pub(super) fn noticed(
        &mut self,
        (rank, attempt): (Rank, Attempt),
        (within, reason): (Duration, String),
        ready: bool,
        stop: bool,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let taken = self.lives.leaves(rank, now);
        effects.push(Effect::QueueLeaves { rank, attempt, by_choice: false });
        let leave = Leave { within, preempted: true };
        effects.push(Effect::DrainNode { rank, attempt, leave });
        if stop {
            return Phase::Living { ready, stop };
        }
        if taken >= timing.provision_attempts {
            let reason = short_lived(taken, &reason);
            return self.does_without(rank, reason, true, ready, now, timing, effects);
        }
        self.pause_after(rank, taken, timing, effects);
        self.reconcile(ready, now, timing, effects)
    }

    /// One that did not last is bad luck, and has its successor at once; the next has it later.
    fn pause_after(&mut self, rank: Rank, taken: u32, timing: &Timing, effects: &mut Vec<Effect>) {
        if let Some(before) = taken.checked_sub(2) {
            let pause = timing.provision_retry.delay(before);
            effects.push(Effect::Announce(EventKind::ReplacementPaused { rank, machines: taken, pause }));
            effects.push(Effect::Wake(Timer::Provision, pause));
            self.resting = true;
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the message and the phase, taken apart by the match")]
    pub(super) fn node_gone(
        &mut self,
        rank: Rank,
        reason: String,
        retry: bool,
        ready: bool,
        stop: bool,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let is_new = self.lives.is_new(rank, now);
        let Some(Ended { instance, was_ready, failures, .. }) = self.lives.ends(rank) else {
            return Phase::Living { ready, stop };
        };
        let taken = if was_ready { self.lives.did_not_last(rank, is_new) } else { 0 };
        let again = retry && failures.max(taken) < timing.provision_attempts;
        if !was_ready && !stop && self.may_keep(now, timing) && self.keeping.ask(rank, &instance, timing.keep)
        {
            effects.push(Effect::Keep { rank, instance });
        } else {
            // A machine without a node would be paid for nothing.
            effects.push(Effect::Release { instances: vec![instance] });
        }
        if was_ready {
            effects.push(Effect::QueueGone { rank });
        }
        if stop {
            return Phase::Living { ready, stop };
        }
        if again {
            self.pause_after(rank, taken, timing, effects);
            return self.reconcile(ready, now, timing, effects);
        }
        let reason = if retry && taken > 0 { short_lived(taken, &reason) } else { reason };
        self.does_without(rank, reason, retry, ready, now, timing, effects)
    }

    /// A rank gets no other machine: the pool goes on without it, or cannot start. `retry`: another may do better.
    #[expect(clippy::too_many_arguments, reason = "what became of the rank, and the phase")]
    fn does_without(
        &mut self,
        rank: Rank,
        reason: String,
        retry: bool,
        ready: bool,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let others = self.lives.count().saturating_sub(1);
        if !ready && others < self.least().max(1) {
            self.fail(StartError::Node { rank, reason });
            return self.stop_from(now, timing, ready, effects);
        }
        let wanted = self.lives.count();
        self.give_up(rank, effects);
        let refusal = if retry { self.failed(now) } else { Refusal::Final };
        self.made_do(wanted, &reason, refusal, ready, now, effects);
        Phase::Living { ready: self.is_enough(ready, effects), stop: false }
    }

    /// Machines were paid for and did not serve.
    pub(super) fn failed(&self, now: Instant) -> Refusal {
        let proven = self.scale.failed_at().is_none_or(|it| self.lives.is_proven(it, now));
        Refusal::Failed { proven }
    }

    /// A rank that will not come back.
    pub(super) fn give_up(&mut self, rank: Rank, effects: &mut Vec<Effect>) {
        self.lives.give_up(rank);
        effects.push(Effect::QueueLost { rank });
    }

    /// Machines were given back while the pool goes on, or are still there: those are given back again later.
    pub(super) fn released(
        &mut self,
        instances: Vec<InstanceId>,
        result: Result<(), String>,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(()) => {
                self.unreleased.retain(|it| !instances.contains(it));
                if self.unreleased.is_empty() {
                    self.releases = 0;
                }
                self.given_back(instances, now, effects);
            }
            Err(reason) => {
                effects.push(Effect::Announce(EventKind::TerminateFailed { reason }));
                let is_first = self.unreleased.is_empty();
                self.unreleased.extend(instances.into_iter().filter(|it| self.rented.contains_key(it)));
                if is_first && !self.unreleased.is_empty() {
                    effects.push(Effect::Wake(Timer::Release, timing.release_retry.delay(self.releases)));
                    self.releases = self.releases.saturating_add(1);
                }
            }
        }
    }

    /// Machines that could not be given back are given back again. What fails once more is told, and waits for longer.
    pub(super) fn release_again(&mut self, effects: &mut Vec<Effect>) {
        let instances: Vec<InstanceId> = std::mem::take(&mut self.unreleased).into_iter().collect();
        if !instances.is_empty() {
            effects.push(Effect::Release { instances });
        }
    }
}

/// Why a rank gets no other machine after so many.
fn short_lived(machines: u32, last: &str) -> String {
    format!(
        "{machines} machines in a row did not last for {SOON:.0?}, the last one because: {last}; another market, region or \
         type may last longer"
    )
}
