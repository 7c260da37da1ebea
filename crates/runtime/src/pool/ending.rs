//! How a pool ends: what its state decides from the moment that everything is to be given back, and of
//! machines that are kept for a person before that. Pure, a part of [`State`].
//!
//! nodes → machines (but the kept) → [keeping → machines] → provider → [machines that may be left] → stopped
//!            ↑                                                                                   │
//!            └────────────── again, while what is left is paid for until its cloud ends it ──────┘

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::effect::Effect;
use super::error::StartError;
use super::messages::Timer;
use super::state::{Phase, State, Step, announce, drain};
use crate::model::{Attempt, EventKind, InstanceId, KeptMachine, Leftover, PoolPhase, Rank};
use crate::timing::Timing;

impl State {
    /// Says why the pool ends. That its owner stopped it, its owner knows.
    pub(super) fn say_failure(&self, effects: &mut Vec<Effect>) {
        effects.extend(match &self.failure {
            None | Some(StartError::Stopped) => None,
            // It may have been ready before.
            Some(StartError::Internal(reason)) => {
                Some(Effect::Announce(EventKind::PoolFailed { reason: reason.clone() }))
            }
            Some(failure) => Some(Effect::Announce(EventKind::StartFailed { reason: failure.to_string() })),
        });
    }

    pub(super) fn give_back(&self, now: Instant, timing: &Timing, effects: &mut Vec<Effect>) -> Phase {
        self.say_failure(effects);
        effects.push(announce(PoolPhase::Stopping));
        self.set_deadlines(timing, effects);
        effects.push(Effect::QueueStop);
        let waiting = self.lives.living();
        effects.extend(waiting.iter().map(|it| drain(*it, timing)));
        self.after_nodes(now, waiting, effects)
    }

    /// Has the pool woken when all is to be over, and once more where it does not leave machines before.
    fn set_deadlines(&self, timing: &Timing, effects: &mut Vec<Effect>) {
        let patience = self.patience(timing);
        effects.push(Effect::Wake(Timer::Shutdown, patience));
        if timing.insist > patience && !self.unattended().is_empty() {
            effects.push(Effect::Wake(Timer::Shutdown, timing.insist));
        }
    }

    /// How long giving everything back may take, at clouds that take their time.
    pub(super) fn patience(&self, timing: &Timing) -> Duration {
        let paces = self.rented.values().filter_map(|it| self.limits.clouds.get(it)).map(|it| it.pace);
        timing.ending(self.rented.len(), paces.max().unwrap_or_default())
    }

    /// Machines that nothing ends but their cloud, when it is asked to, and where they are.
    pub(super) fn unattended(&self) -> BTreeMap<&InstanceId, &String> {
        self.rented.iter().filter(|(_, provider)| self.is_unattended(provider)).collect()
    }

    fn is_unattended(&self, provider: &str) -> bool {
        self.limits.clouds.get(provider).is_some_and(|it| !it.ends_itself)
    }

    /// The time is up in which everything was to be given back. Machines that nothing else ends are not left yet.
    pub(super) fn out_of_time(
        &mut self,
        since: Instant,
        step: Step,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let took = now.saturating_duration_since(since);
        if took < timing.insist && !self.unattended().is_empty() {
            return match step {
                Step::Nodes => {
                    self.keeping.forget();
                    self.after_nodes(since, BTreeSet::new(), effects)
                }
                step => Phase::Stopping { since, step, waiting: BTreeSet::new() },
            };
        }
        if step != Step::Again {
            self.left = self.unknown(&format!("not confirmed gone after {took:.0?}"));
        }
        self.end(since, now, effects)
    }

    /// Ends, or asks for what is left once more, a while later: for as long as machines are paid for that nothing else
    /// ends, and for as long as giving back may take where anything is left of a cloud whose machines do not end
    /// themselves.
    fn end_or_again(
        &mut self,
        since: Instant,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let took = now.saturating_duration_since(since);
        let machines: Vec<String> =
            self.unattended().into_iter().map(|(it, provider)| format!("{provider} machine {it}")).collect();
        let is_left = || !self.left.is_empty() && self.prepared.iter().any(|it| self.is_unattended(it));
        let (what, until) = match machines.is_empty() {
            false => (machines.join(", "), timing.insist),
            true if is_left() => {
                let left: Vec<String> = self.left.iter().map(ToString::to_string).collect();
                (left.join(", "), self.patience(timing))
            }
            true => return self.end(since, now, effects),
        };
        let after = timing.release_retry.delay(self.releases).min(SOON);
        if took + after >= until {
            return self.end(since, now, effects);
        }
        self.releases = self.releases.saturating_add(1);
        let reason = format!(
            "{what}: nothing but the cloud can end the bill, so it is asked again in {after:.0?}, for {:.0?} at most",
            until.saturating_sub(took)
        );
        effects.push(Effect::Announce(EventKind::TerminateFailed { reason }));
        effects.push(Effect::Wake(Timer::Release, after));
        Phase::Stopping { since, step: Step::Again, waiting: BTreeSet::new() }
    }

    /// Asks for everything once more that is left.
    pub(super) fn give_back_again(&self, since: Instant, effects: &mut Vec<Effect>) -> Phase {
        let instances: Vec<InstanceId> = self.rented.keys().cloned().collect();
        let (effect, step) = match instances.is_empty() {
            true => (Effect::Teardown, Step::Provider),
            false => (Effect::Terminate { instances }, Step::Machines),
        };
        effects.push(effect);
        Phase::Stopping { since, step, waiting: BTreeSet::new() }
    }

    pub(super) fn after_nodes(
        &self,
        since: Instant,
        waiting: BTreeSet<(Rank, Attempt)>,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        if !waiting.is_empty() || self.keeping.is_asking() {
            return Phase::Stopping { since, step: Step::Nodes, waiting };
        }
        effects.push(Effect::Terminate { instances: self.keeping.others(&self.rented) });
        Phase::Stopping { since, step: Step::Machines, waiting }
    }

    pub(super) fn end(&mut self, since: Instant, now: Instant, effects: &mut Vec<Effect>) -> Phase {
        let took = now.saturating_duration_since(since);
        effects.push(Effect::Announce(EventKind::Stopped {
            left: self.left.clone(),
            took,
            bill: Box::default(),
        }));
        effects.push(Effect::Ended { failure: self.failure.clone(), left: std::mem::take(&mut self.left) });
        Phase::Stopped
    }

    /// What may still exist when nobody could tell.
    pub(super) fn unknown(&self, reason: &str) -> Vec<Leftover> {
        let leftover = |what: String| Leftover { what, reason: reason.to_owned() };
        if self.rented.is_empty() {
            let set_up = |it: &String| leftover(format!("what {it} set up for the pool"));
            return self.prepared.iter().map(set_up).collect();
        }
        self.rented.iter().map(|(it, provider)| self.leftover(it, provider, reason)).collect()
    }

    /// A machine that may be left, and what ends it.
    fn leftover(&self, machine: &InstanceId, provider: &str, reason: &str) -> Leftover {
        let ends = match self.limits.clouds.get(provider) {
            None => "",
            Some(it) if it.ends_itself => "; its lease ends it",
            Some(_) => "; it is paid for until it is ended there",
        };
        Leftover { what: format!("{provider} machine {machine}"), reason: format!("{reason}{ends}") }
    }

    /// The machines are given back, or not; then what all of them shared is, unless some are kept.
    pub(super) fn terminated(
        &mut self,
        result: Result<(), String>,
        since: Instant,
        waiting: BTreeSet<(Rank, Attempt)>,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        if let Err(reason) = result {
            // The teardown tries again, and after it their names are asked for once more.
            effects.push(Effect::Announce(EventKind::TerminateFailed { reason }));
        } else {
            self.given_back(self.keeping.others(&self.rented), now, effects);
        }
        if self.keeping.is_empty() {
            effects.push(Effect::Teardown);
            return Phase::Stopping { since, step: Step::Provider, waiting };
        }
        let phase = self.keep_on(Phase::Keeping, now, timing, effects);
        if phase == Phase::Keeping
            && let Some(failure) = self.failure.take()
        {
            let failure = StartError::Kept { failure: Box::new(failure), machines: self.keeping.machines() };
            effects.push(announce(PoolPhase::Keeping));
            effects.push(Effect::Failed { failure: failure.clone() });
            self.failure = Some(failure);
        }
        phase
    }

    /// What the pool had is removed, but for this. A machine that could not be ended before may not be on its cloud's
    /// list, which lags behind or has lost its tags.
    pub(super) fn torn_down(
        &mut self,
        result: Result<Vec<Leftover>, String>,
        since: Instant,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        self.left = result.unwrap_or_else(|reason| self.unknown(&reason));
        let is_named = |it: &InstanceId| self.left.iter().any(|left| names(left, it));
        let instances: Vec<InstanceId> = self.rented.keys().filter(|it| !is_named(it)).cloned().collect();
        if instances.is_empty() {
            return self.end_or_again(since, now, timing, effects);
        }
        effects.push(Effect::Terminate { instances });
        Phase::Stopping { since, step: Step::Names, waiting: BTreeSet::new() }
    }

    /// Whether the machines that were asked for by their names are gone.
    pub(super) fn made_sure(
        &mut self,
        result: Result<(), String>,
        since: Instant,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        // What its cloud has said to be left was not asked for, and is there still.
        let is_named = |it: &InstanceId| self.left.iter().any(|left| names(left, it));
        match result {
            Ok(()) => {
                let asked = self.rented.keys().filter(|it| !is_named(it)).cloned().collect();
                self.given_back(asked, now, effects);
            }
            Err(reason) => {
                let unnamed = self.rented.iter().filter(|(it, _)| !is_named(it));
                let left: Vec<Leftover> =
                    unnamed.map(|(it, provider)| self.leftover(it, provider, &reason)).collect();
                self.left.extend(left);
            }
        }
        self.end_or_again(since, now, timing, effects)
    }

    /// Machines are certainly gone.
    pub(super) fn given_back(&mut self, instances: Vec<InstanceId>, now: Instant, effects: &mut Vec<Effect>) {
        for instance in instances {
            self.budget.gone(&instance, now);
            if self.rented.remove(&instance).is_some() {
                effects.push(Effect::Announce(EventKind::Terminated { instance }));
            }
        }
    }

    /// A machine is kept, or cannot be.
    pub(super) fn kept(
        &mut self,
        phase: Phase,
        instance: &InstanceId,
        kept: Result<KeptMachine, String>,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let Some(rank) = self.keeping.answered(instance) else { return phase };
        match kept {
            Ok(machine) => {
                effects.push(Effect::Announce(EventKind::Kept { machine: machine.clone() }));
                effects.push(Effect::Wake(Timer::Keep, timing.keep));
                self.keeping.keep(machine, now + timing.keep);
            }
            Err(reason) => {
                let instance = instance.clone();
                let said = EventKind::NotKept { rank, instance: instance.clone(), reason };
                effects.push(Effect::Announce(said));
                effects.push(Effect::Release { instances: vec![instance] });
            }
        }
        match phase {
            Phase::Stopping { since, step: Step::Nodes, waiting } => {
                self.after_nodes(since, waiting, effects)
            }
            phase => phase,
        }
    }

    /// Gives back the kept machines whose time is over; with the last of them the pool ends, if that is
    /// all that it still does.
    pub(super) fn keep_on(
        &mut self,
        phase: Phase,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let over = self.keeping.expire(now);
        if phase == Phase::Keeping && self.keeping.is_empty() {
            return self.stop_keeping(now, timing, effects);
        }
        if !over.is_empty() {
            effects.push(Effect::Release { instances: over });
        }
        phase
    }

    /// Gives back what was kept.
    pub(super) fn stop_keeping(&mut self, now: Instant, timing: &Timing, effects: &mut Vec<Effect>) -> Phase {
        self.keeping.forget();
        effects.push(announce(PoolPhase::Stopping));
        self.set_deadlines(timing, effects);
        self.after_nodes(now, BTreeSet::new(), effects)
    }

    /// The owner wants everything given back, also what was to be kept.
    pub(super) fn hurry(
        &mut self,
        since: Instant,
        step: Step,
        waiting: BTreeSet<(Rank, Attempt)>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        match step {
            Step::Nodes if self.keeping.is_asking() || !self.keeping.is_empty() => {
                self.keeping.forget();
                self.after_nodes(since, waiting, effects)
            }
            // What is kept is not among the machines that are being given back now: it is next.
            Step::Machines => {
                self.keeping.shorten(now);
                Phase::Stopping { since, step, waiting }
            }
            Step::Nodes | Step::Provider | Step::Names | Step::Again => {
                Phase::Stopping { since, step, waiting }
            }
        }
    }
}

/// The longest wait before what is left is asked for again: somebody sits there and waits.
const SOON: Duration = Duration::from_secs(30);

/// Whether it is said of this machine that it is left: clouds have words of their own around its name.
fn names(left: &Leftover, machine: &InstanceId) -> bool {
    let is_part = |it: char| it.is_ascii_alphanumeric() || "-_.:/".contains(it);
    left.what.split(|it| !is_part(it)).any(|word| word == machine.as_str())
}

#[test]
fn a_machine_is_named_whatever_its_cloud_says_around_it() {
    let left = |what: &str| Leftover { what: what.to_owned(), reason: "in use".to_owned() };
    for (what, named) in [
        ("machine i-1", true),
        ("instance i-1 (skyward-p-0)", true),
        ("instance i-12 (skyward-p-0)", false),
        ("the network of i", false),
    ] {
        assert_eq!(names(&left(what), &InstanceId::new("i-1")), named, "{what}");
    }
}
