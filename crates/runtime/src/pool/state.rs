//! What a pool decides. Pure: what it hears in, effects out.

use std::collections::BTreeSet;
use std::time::Instant;

use super::effect::Effect;
use super::error::StartError;
use super::keeping::Keeping;
use super::lives::{Ended, Lives};
use super::messages::{Heard, Shortfall, Timer};
use crate::model::{Attempt, EventKind, InstanceId, Leftover, Nodes, Offer, PoolPhase, Rank};
use crate::provider::Retry;
use crate::timing::Timing;

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    phase: Phase,
    /// The chosen provider's name, for messages.
    pub(super) provider: String,
    nodes: Nodes,
    /// Every rank that the pool wants to have, until it is given up.
    pub(super) lives: Lives,
    /// Machines that were rented and are not certainly given back.
    pub(super) rented: BTreeSet<InstanceId>,
    /// How many machines are being asked for at this moment, and the number of the last request.
    asking: u32,
    request: Attempt,
    /// How often in a row a request for machines has brought none.
    refusals: Attempt,
    /// Whether a timer will ask again.
    resting: bool,
    /// Why the pool never became ready.
    pub(super) failure: Option<StartError>,
    pub(super) left: Vec<Leftover>,
    /// Machines that failed and are left for a person to look at.
    pub(super) keeping: Keeping,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Unborn,
    Choosing {
        specs: Vec<Nodes>,
    },
    Preparing {
        stop: bool,
    },
    /// Machines are rented and become nodes, for as long as any rank is wanted. `ready`: there were
    /// enough once, and the owner has the pool. `stop`: it is to end as soon as the request for machines
    /// that is under way has been answered.
    Living {
        ready: bool,
        stop: bool,
    },
    Stopping {
        since: Instant,
        step: Step,
        waiting: BTreeSet<Rank>,
    },
    /// It did not start; all that is left are machines that are kept.
    Keeping,
    Stopped,
}

/// How far giving back has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Nodes,
    Machines,
    Provider,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Unborn,
            provider: String::new(),
            nodes: Nodes::default(),
            lives: Lives::default(),
            rented: BTreeSet::new(),
            asking: 0,
            request: Attempt(0),
            refusals: Attempt(0),
            resting: false,
            failure: None,
            left: Vec::new(),
            keeping: Keeping::default(),
        }
    }

    /// The providers' names, by spec, are the shell's to know; the chosen one is told for messages.
    pub(crate) fn hear(
        &mut self,
        heard: Heard,
        now: Instant,
        timing: &Timing,
        names: &[String],
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let phase = std::mem::replace(&mut self.phase, Phase::Stopped);
        self.phase = self.step(phase, heard, now, timing, names, &mut effects);
        effects
    }

    fn step(
        &mut self,
        phase: Phase,
        heard: Heard,
        now: Instant,
        timing: &Timing,
        names: &[String],
        effects: &mut Vec<Effect>,
    ) -> Phase {
        match (phase, heard) {
            (Phase::Unborn, Heard::Born { specs }) => {
                effects.push(announce(PoolPhase::Choosing));
                effects.push(Effect::AskOffers);
                Phase::Choosing { specs }
            }
            (Phase::Unborn, _) => Phase::Unborn,
            (Phase::Choosing { specs }, Heard::Offered(offers)) => {
                self.choose(&specs, offers, names, effects)
            }
            (Phase::Preparing { stop: false }, Heard::Prepared(Ok(()))) => {
                effects.push(announce(PoolPhase::Provisioning));
                self.lives = Lives::wanted_by(self.nodes.desired);
                self.reconcile(effects);
                Phase::Living { ready: false, stop: false }
            }
            (Phase::Preparing { .. }, Heard::Prepared(result)) => {
                self.fail(result.err().unwrap_or(StartError::Stopped));
                self.give_back(now, timing, effects)
            }
            // What has been asked of a cloud is heard to its end: a request for machines that is
            // still under way may bring machines.
            (Phase::Preparing { .. }, Heard::Stop) => Phase::Preparing { stop: true },
            (Phase::Living { ready, .. }, Heard::Stop) => {
                // The owner wants all of it, also what was to be kept.
                self.keeping.forget();
                if !ready {
                    self.fail(StartError::Stopped);
                }
                self.stop_from(now, timing, ready, effects)
            }
            // An answer that comes again must not pass for that of the next request, whose machines would
            // then be nobody's.
            (Phase::Living { ready, stop }, Heard::Provisioned { request, instances, shortfall })
                if self.asking > 0 && request == self.request =>
            {
                self.asking = 0;
                if stop {
                    self.rented.extend(instances);
                    return self.give_back(now, timing, effects);
                }
                self.take(instances, ready, effects);
                self.after_request(ready, shortfall, now, timing, effects)
            }
            (Phase::Living { ready, stop }, Heard::Woke(Timer::Provision)) => {
                self.resting = false;
                if !stop {
                    self.reconcile(effects);
                }
                Phase::Living { ready, stop }
            }
            (Phase::Living { ready, stop }, Heard::NodeReady { rank, attempt }) => {
                if self.lives.becomes_ready(rank, attempt) {
                    effects.push(Effect::QueueReady { rank });
                }
                Phase::Living { ready: self.is_enough(ready, effects), stop }
            }
            (phase @ Phase::Living { .. }, Heard::NodePaused { rank, attempt }) => {
                if self.lives.is_current(rank, attempt) {
                    effects.push(Effect::QueuePaused { rank });
                }
                phase
            }
            (Phase::Living { ready, stop }, Heard::NodeGone { rank, attempt, reason, retry })
                if self.lives.is_current(rank, attempt) =>
            {
                self.node_gone(rank, reason, retry, ready, stop, now, timing, effects)
            }
            (
                phase @ (Phase::Choosing { .. } | Phase::Preparing { .. } | Phase::Living { .. }),
                Heard::QueueEnded { reason },
            ) => {
                self.fail(StartError::Internal(format!(
                    "Skyward's own queue of calls failed: {reason}; see the log, and report this"
                )));
                self.step(phase, Heard::Stop, now, timing, names, effects)
            }
            (phase @ (Phase::Living { .. } | Phase::Stopping { .. }), Heard::Kept { instance, kept }) => {
                self.kept(phase, &instance, kept, now, timing, effects)
            }
            (phase @ (Phase::Living { .. } | Phase::Keeping), Heard::Woke(Timer::Keep)) => {
                self.keep_on(phase, now, timing, effects)
            }
            (Phase::Keeping, Heard::Stop) => self.stop_keeping(now, timing, effects),
            (Phase::Stopping { since, step, waiting }, Heard::Stop) => {
                self.hurry(since, step, waiting, now, effects)
            }
            (Phase::Stopping { since, step: Step::Nodes, mut waiting }, Heard::NodeGone { rank, .. }) => {
                waiting.remove(&rank);
                self.after_nodes(since, waiting, effects)
            }
            (Phase::Stopping { since, step: Step::Nodes, waiting }, Heard::NodeReady { rank, attempt }) => {
                // It became ready while it was told to end: it is told again.
                if self.lives.is_current(rank, attempt) {
                    effects.push(Effect::DrainNode { rank });
                }
                Phase::Stopping { since, step: Step::Nodes, waiting }
            }
            (Phase::Stopping { since, step: Step::Machines, waiting }, Heard::Terminated(result)) => {
                self.terminated(result, since, waiting, now, timing, effects)
            }
            (Phase::Stopping { since, step: Step::Provider, .. }, Heard::TornDown(result)) => {
                self.left = result.unwrap_or_else(|reason| self.unknown(&reason));
                self.end(since, now, effects)
            }
            // Not the one of an earlier stop, which left what was kept.
            (Phase::Stopping { since, .. }, Heard::Woke(Timer::Shutdown))
                if now.saturating_duration_since(since) >= timing.shutdown =>
            {
                let reason = format!("not confirmed gone after {:?}", timing.shutdown);
                self.left = self.unknown(&reason);
                self.end(since, now, effects)
            }
            (phase @ (Phase::Stopping { .. } | Phase::Keeping | Phase::Stopped), _) => phase,
            (_, Heard::Stop) => {
                self.fail(StartError::Stopped);
                self.give_back(now, timing, effects)
            }
            // Late answers of lives and phases that are over.
            (phase, _) => phase,
        }
    }

    fn choose(
        &mut self,
        specs: &[Nodes],
        offers: Vec<Result<Vec<Offer>, String>>,
        names: &[String],
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let mut tried = Vec::new();
        for (spec, (offered, nodes)) in offers.into_iter().zip(specs).enumerate() {
            let name = names.get(spec).cloned().unwrap_or_default();
            match offered.map(|it| it.into_iter().next()) {
                Ok(Some(offer)) => {
                    self.provider.clone_from(&name);
                    self.nodes = *nodes;
                    let nodes = nodes.desired;
                    effects.push(Effect::Announce(EventKind::Chosen {
                        provider: name,
                        offer: offer.clone(),
                        nodes,
                    }));
                    effects.push(Effect::QueueSized { nodes });
                    effects.push(announce(PoolPhase::Preparing));
                    effects.push(Effect::Prepare { spec, offer });
                    return Phase::Preparing { stop: false };
                }
                Ok(None) => tried.push(format!("{name} has none")),
                Err(reason) => tried.push(format!("{name}: {reason}")),
            }
        }
        // Nothing was asked of any cloud but offers: there is nothing to give back.
        self.fail(StartError::NoOffers { tried });
        self.say_failure(effects);
        effects.push(Effect::QueueStop);
        effects.push(Effect::Ended { failure: self.failure.clone(), left: Vec::new() });
        Phase::Stopped
    }

    /// Gives new machines to the ranks that want one; what nobody wants any more is given back.
    fn take(&mut self, instances: Vec<InstanceId>, ready: bool, effects: &mut Vec<Effect>) {
        if instances.is_empty() {
            return;
        }
        self.refusals = Attempt(0);
        let wanted = self.lives.wanted();
        effects.push(Effect::Announce(EventKind::Provisioned { instances: instances.clone(), wanted }));
        self.rented.extend(instances.iter().cloned());
        let (begun, spare) = self.lives.give(instances);
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

    /// Asks for what is still missing: at once, later, or not any more.
    fn after_request(
        &mut self,
        ready: bool,
        shortfall: Option<Shortfall>,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        let living = Phase::Living { ready, stop: false };
        let Some(Shortfall { reason, kind, .. }) = shortfall else {
            // What is wanted now was lost while the machines were asked for.
            self.reconcile(effects);
            return living;
        };
        if self.lives.wanted() == 0 {
            return living;
        }
        self.refusals = self.refusals.next();
        let attempt = self.refusals;
        effects.push(Effect::Announce(EventKind::ProvisionFailed { reason: reason.clone(), attempt }));
        if kind.retry() != Retry::Never && attempt.0 < timing.provision_attempts {
            let delay = timing.provision_retry.delay(attempt.0.saturating_sub(1));
            effects.push(Effect::Wake(Timer::Provision, delay));
            self.resting = true;
            return living;
        }
        let wanted = self.nodes.desired;
        let got = wanted.saturating_sub(self.lives.wanted());
        if !ready && got < self.nodes.least() {
            let (provider, attempts) = (self.provider.clone(), attempt);
            self.fail(StartError::Provision { provider, got, wanted, attempts, reason });
            return self.give_back(now, timing, effects);
        }
        for rank in self.lives.wanting() {
            self.give_up(rank, effects);
        }
        Phase::Living { ready: self.is_enough(ready, effects), stop: false }
    }

    /// Whether the pool is ready: it was, or there are enough ready nodes for the first time.
    fn is_enough(&self, before: bool, effects: &mut Vec<Effect>) -> bool {
        // With a least number of its own the pool begins with that many, the others join as they come.
        let enough = self.nodes.least().min(self.lives.count()).max(1);
        if !before && self.lives.ready() >= enough {
            effects.push(announce(PoolPhase::Ready));
            effects.push(Effect::Started { nodes: self.nodes.desired });
            return true;
        }
        before
    }

    #[expect(clippy::too_many_arguments, reason = "the message and the phase, taken apart by the match")]
    fn node_gone(
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
        let Some(Ended { instance, was_ready, failures }) = self.lives.ends(rank) else {
            return Phase::Living { ready, stop };
        };
        let again = retry && failures < timing.provision_attempts;
        if !was_ready && !stop && self.keeping.ask(rank, &instance, timing.keep) {
            effects.push(Effect::Keep { rank, instance });
        } else {
            // A machine without a node would be paid for nothing.
            effects.push(Effect::Release { instances: vec![instance] });
        }
        if was_ready {
            effects.push(Effect::QueuePaused { rank });
        }
        if stop {
            return Phase::Living { ready, stop };
        }
        if again {
            self.reconcile(effects);
            return Phase::Living { ready, stop };
        }
        let others = self.lives.count().saturating_sub(1);
        if !ready && others < self.nodes.least() {
            self.fail(StartError::Node { rank, reason });
            return self.stop_from(now, timing, ready, effects);
        }
        self.give_up(rank, effects);
        Phase::Living { ready: self.is_enough(ready, effects), stop }
    }

    /// A rank that will not come back.
    fn give_up(&mut self, rank: Rank, effects: &mut Vec<Effect>) {
        self.lives.give_up(rank);
        effects.push(Effect::QueueLost { rank });
    }

    /// Asks for a machine for every rank that wants one, unless that is under way or was refused just now.
    fn reconcile(&mut self, effects: &mut Vec<Effect>) {
        let count = self.lives.wanted();
        if count > 0 && self.asking == 0 && !self.resting {
            self.asking = count;
            self.request = self.request.next();
            effects.push(Effect::Provision { request: self.request, count });
        }
    }

    fn fail(&mut self, why: StartError) {
        // The first failure is the cause; what follows are its consequences.
        self.failure.get_or_insert(why);
    }

    /// Gives back, but not before the answer to a request for machines that is under way.
    fn stop_from(&self, now: Instant, timing: &Timing, ready: bool, effects: &mut Vec<Effect>) -> Phase {
        if self.asking > 0 {
            Phase::Living { ready, stop: true }
        } else {
            self.give_back(now, timing, effects)
        }
    }
}

pub(super) const fn announce(phase: PoolPhase) -> Effect {
    Effect::Announce(EventKind::Pool(phase))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
