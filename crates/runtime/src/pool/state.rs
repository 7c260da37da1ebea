//! What a pool decides. Pure: what it hears in, effects out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::adopting::Adoption;
use super::budget::{Budget, Look};
use super::effect::Effect;
use super::error::StartError;
use super::fallback::Fallback;
use super::keeping::Keeping;
use super::lives::Lives;
use super::messages::{Heard, Limits, Timer};
use super::plan::Candidate;
use super::scale::Scale;
use super::sizing::Closing;
use crate::model::{Attempt, EventKind, InstanceId, Leftover, PoolPhase, Rank, Scaling};
use crate::node::Leave;
use crate::timing::Timing;

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(super) phase: Phase,
    /// What is tried in which order.
    pub(super) fallback: Fallback,
    /// The candidate that is being set up.
    pub(super) preparing: Option<Box<Candidate>>,
    /// The candidate that machines are rented from.
    pub(super) source: Option<Candidate>,
    /// The providers that something was set up at.
    pub(super) prepared: BTreeSet<String>,
    pub(super) budget: Budget,
    pub(super) limits: Limits,
    /// How many nodes there should be.
    pub(super) scale: Scale,
    /// Calls were told that there will be no nodes for a while.
    pub(super) refused: bool,
    /// Nodes that the queue is asked to close, and what the pool had before.
    pub(super) closing: Option<Closing>,
    /// Every rank that the pool wants to have, until it is given up.
    pub(super) lives: Lives,
    /// Machines that were rented and are not certainly given back, and from whom.
    pub(super) rented: BTreeMap<InstanceId, String>,
    /// Those whose clouds did not give them back, until that is tried again; and how often it was.
    pub(super) unreleased: BTreeSet<InstanceId>,
    pub(super) releases: u32,
    /// How many machines are being asked for at this moment, and since when; the number of the last
    /// request.
    pub(super) asking: u32,
    pub(super) asked: Option<Instant>,
    pub(super) request: Attempt,
    /// Whether a timer will ask again.
    pub(super) resting: bool,
    /// Why the pool never became ready.
    pub(super) failure: Option<StartError>,
    pub(super) left: Vec<Leftover>,
    /// Machines that failed and are left for a person to look at.
    pub(super) keeping: Keeping,
    /// What an owner before has left, until it is taken over.
    pub(super) adoption: Option<Box<Adoption>>,
    /// It was taken over: what lives of it is never given back for the rest.
    pub(super) adopted: bool,
    /// What an owner before may have rented is being looked for, and nothing is rented in its place meanwhile.
    pub(super) looking: bool,
    /// It is to be left as it is, as soon as no cloud has anything to answer.
    pub(super) leaving: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Unborn,
    Choosing,
    /// A candidate is set up, machines are rented and become nodes, for as long as any rank is wanted.
    /// `ready`: there were enough once, and the owner has the pool. `stop`: it is to end as soon as the
    /// request to a cloud that is under way has been answered.
    Living {
        ready: bool,
        stop: bool,
    },
    Stopping {
        since: Instant,
        step: Step,
        waiting: BTreeSet<(Rank, Attempt)>,
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
    /// Machines that could not be ended before are asked for by their names once more.
    Names,
    /// What is left is asked for again in a while.
    Again,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Unborn,
            fallback: Fallback::default(),
            preparing: None,
            source: None,
            prepared: BTreeSet::new(),
            budget: Budget::default(),
            limits: Limits::default(),
            scale: Scale::new(Scaling::default(), 1),
            refused: false,
            closing: None,
            lives: Lives::default(),
            rented: BTreeMap::new(),
            unreleased: BTreeSet::new(),
            releases: 0,
            asking: 0,
            asked: None,
            request: Attempt(0),
            resting: false,
            failure: None,
            left: Vec::new(),
            keeping: Keeping::default(),
            adoption: None,
            adopted: false,
            looking: false,
            leaving: false,
        }
    }

    pub(crate) fn hear(&mut self, heard: Heard, now: Instant, timing: &Timing) -> Vec<Effect> {
        let mut effects = Vec::new();
        let phase = std::mem::replace(&mut self.phase, Phase::Stopped);
        let phase = self.step(phase, heard, now, timing, &mut effects);
        let phase = self.look_at_budget(phase, now, timing, &mut effects);
        let leaves = self.leaving && matches!(phase, Phase::Living { ready: true, stop: false });
        self.phase = if leaves && !self.is_asking() { self.detach(&mut effects) } else { phase };
        effects
    }

    fn step(
        &mut self,
        phase: Phase,
        heard: Heard,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        match (phase, heard) {
            (Phase::Stopped, _) => Phase::Stopped,
            (_, Heard::Superseded(by)) => Self::leave_to(by, effects),
            (Phase::Unborn, Heard::Born { limits }) => {
                self.budget.begin(limits.total, now);
                self.scale = Scale::new(limits.scaling, limits.slots);
                self.limits = limits;
                self.inherit(now, timing);
                effects.push(announce(PoolPhase::Choosing));
                effects.push(Effect::AskOffers);
                Phase::Choosing
            }
            (Phase::Unborn, Heard::Adopted(adoption)) => {
                self.adoption = Some(adoption);
                Phase::Unborn
            }
            (Phase::Unborn, _) => Phase::Unborn,
            (phase @ Phase::Living { ready: true, stop: false }, Heard::Detach) => {
                self.leaving = true;
                phase
            }
            (Phase::Choosing, Heard::Offered(plan)) => self.choose(plan, now, timing, effects),
            (Phase::Living { ready, stop }, Heard::Prepared(result)) if self.preparing.is_some() => {
                self.prepared(ready, stop, result, now, timing, effects)
            }
            // What has been asked of a cloud is heard to its end: a request for machines that is
            // still under way may bring machines.
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
                    self.rent(&instances, now);
                    return self.stop_from(now, timing, ready, effects);
                }
                self.take(instances, ready, now, effects);
                self.after_request(ready, shortfall, now, timing, effects)
            }
            (Phase::Living { ready, stop }, Heard::Looked) => {
                self.looking = false;
                match stop {
                    true => Phase::Living { ready, stop },
                    false => self.reconcile(ready, now, timing, effects),
                }
            }
            (Phase::Living { ready, stop }, Heard::Woke(Timer::Provision)) => {
                self.resting = false;
                match stop {
                    true => Phase::Living { ready, stop },
                    false => self.reconcile(ready, now, timing, effects),
                }
            }
            (Phase::Living { ready, stop }, Heard::NodeReady { rank, attempt }) => {
                if self.lives.becomes_ready(rank, attempt, now) {
                    effects.push(Effect::QueueReady { rank });
                }
                let ready = self.is_enough(ready, effects);
                match stop {
                    true => Phase::Living { ready, stop },
                    false => self.rescale(ready, now, timing, effects),
                }
            }
            (Phase::Living { ready, stop: false }, Heard::Demanded(demand)) => {
                self.scale.hears(demand, self.lives.ready(), now);
                self.rescale(ready, now, timing, effects)
            }
            (Phase::Living { ready, stop: false }, Heard::Woke(Timer::Scale)) => {
                self.rescale(ready, now, timing, effects)
            }
            (Phase::Living { ready, stop: false }, Heard::Resized { nodes, demand }) => {
                self.resize(nodes, &demand, ready, now, timing, effects)
            }
            (phase @ Phase::Living { stop: false, .. }, Heard::NodeClosed { rank, attempt, closed }) => {
                self.closed(rank, attempt, closed, now, timing, effects);
                phase
            }
            (phase @ Phase::Living { .. }, Heard::NodePaused { rank, attempt }) => {
                if self.lives.is_current(rank, attempt) {
                    effects.push(Effect::QueuePaused { rank });
                }
                phase
            }
            (Phase::Living { ready, stop }, Heard::NodeNoticed { rank, attempt, within, reason })
                if self.lives.is_current(rank, attempt) =>
            {
                self.noticed((rank, attempt), (within, reason), ready, stop, now, timing, effects)
            }
            (phase @ Phase::Living { .. }, Heard::NodeGone { rank, attempt, .. })
                if self.lives.is_leaving(rank, attempt) =>
            {
                let instances = self.lives.left(rank, attempt).into_iter().collect();
                effects.push(Effect::Release { instances });
                phase
            }
            (Phase::Living { ready, stop }, Heard::NodeGone { rank, attempt, reason, retry })
                if self.lives.is_current(rank, attempt) =>
            {
                self.node_gone(rank, reason, retry, ready, stop, now, timing, effects)
            }
            (phase @ (Phase::Choosing | Phase::Living { .. }), Heard::QueueEnded { reason }) => {
                self.fail(StartError::Internal(format!(
                    "Skyward's own queue of calls failed: {reason}; see the log, and report this"
                )));
                self.step(phase, Heard::Stop, now, timing, effects)
            }
            (phase @ (Phase::Living { .. } | Phase::Stopping { .. }), Heard::Kept { instance, kept }) => {
                self.kept(phase, &instance, kept, now, timing, effects)
            }
            (phase @ (Phase::Living { .. } | Phase::Keeping), Heard::Woke(Timer::Keep)) => {
                self.keep_on(phase, now, timing, effects)
            }
            (
                phase @ (Phase::Living { .. } | Phase::Stopping { .. } | Phase::Keeping),
                Heard::Released { instances, result },
            ) => {
                self.released(instances, result, now, timing, effects);
                match phase {
                    // What is gone may have kept others from being rented.
                    Phase::Living { ready, stop: false } => {
                        match self.reconcile(ready, now, timing, effects) {
                            Phase::Living { ready, stop: false } => self.rescale(ready, now, timing, effects),
                            phase => phase,
                        }
                    }
                    phase => phase,
                }
            }
            (phase @ (Phase::Living { stop: false, .. } | Phase::Keeping), Heard::Woke(Timer::Release)) => {
                self.release_again(effects);
                phase
            }
            (Phase::Keeping, Heard::Stop) => self.stop_keeping(now, timing, effects),
            (Phase::Stopping { since, step, waiting }, Heard::Stop) => {
                self.hurry(since, step, waiting, now, effects)
            }
            (
                Phase::Stopping { since, step: Step::Nodes, mut waiting },
                Heard::NodeGone { rank, attempt, .. },
            ) => {
                waiting.remove(&(rank, attempt));
                self.after_nodes(since, waiting, effects)
            }
            (Phase::Stopping { since, step: Step::Nodes, waiting }, Heard::NodeReady { rank, attempt }) => {
                // It became ready while it was told to end: it is told again.
                if self.lives.is_current(rank, attempt) {
                    effects.push(drain((rank, attempt), timing));
                }
                Phase::Stopping { since, step: Step::Nodes, waiting }
            }
            (Phase::Stopping { since, step: Step::Machines, waiting }, Heard::Terminated(result)) => {
                self.terminated(result, since, waiting, now, timing, effects)
            }
            (Phase::Stopping { since, step: Step::Provider, .. }, Heard::TornDown(result)) => {
                self.torn_down(result, since, now, timing, effects)
            }
            (Phase::Stopping { since, step: Step::Names, .. }, Heard::Terminated(result)) => {
                self.made_sure(result, since, now, timing, effects)
            }
            (Phase::Stopping { since, step: Step::Again, .. }, Heard::Woke(Timer::Release)) => {
                self.give_back_again(since, effects)
            }
            // Not the one of an earlier stop, which left what was kept.
            (Phase::Stopping { since, step, .. }, Heard::Woke(Timer::Shutdown))
                if now.saturating_duration_since(since) >= self.patience(timing) =>
            {
                self.out_of_time(since, step, now, timing, effects)
            }
            (phase @ (Phase::Stopping { .. } | Phase::Keeping), _) => phase,
            (_, Heard::Stop) => {
                self.fail(StartError::Stopped);
                if self.adoption.is_some() {
                    return self.leave_be(effects);
                }
                self.give_back(now, timing, effects)
            }
            // Late answers of lives and phases that are over.
            (phase, _) => phase,
        }
    }

    /// Whether the pool is ready: it was, or there are enough ready nodes for the first time.
    pub(super) fn is_enough(&self, before: bool, effects: &mut Vec<Effect>) -> bool {
        // With a least number of its own the pool begins with that many, the others join as they come.
        let any = self.source.as_ref().map_or(1, |it| it.nodes.min(1));
        let enough = self.least().min(self.lives.count()).max(any);
        if !before && self.lives.ready() >= enough && !self.lives.is_adopting() {
            effects.push(announce(PoolPhase::Ready));
            let nodes = self.source.as_ref().map_or(0, |it| it.nodes);
            effects.push(Effect::Started { nodes });
            return true;
        }
        before
    }

    /// With how many nodes the pool is ready.
    pub(super) fn least(&self) -> u32 {
        if self.adopted {
            return 1;
        }
        self.preparing.as_deref().or(self.source.as_ref()).map_or(0, |it| it.least)
    }

    /// Whether a cloud has yet to answer a request that may bring machines, or that sets something up.
    pub(super) fn is_asking(&self) -> bool {
        self.asking > 0 || self.preparing.is_some()
    }

    pub(super) fn may_keep(&self, now: Instant, timing: &Timing) -> bool {
        self.budget.allows_for(timing.keep, now, timing)
    }

    /// Ends a pool that has cost what it may, says when it nearly has, and has itself woken for both.
    fn look_at_budget(
        &mut self,
        phase: Phase,
        now: Instant,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        if !matches!(phase, Phase::Living { stop: false, .. } | Phase::Keeping) {
            return phase;
        }
        match self.budget.look(now, timing) {
            Some(Look::Spent { spent, cap }) => {
                effects.push(Effect::Announce(EventKind::BudgetSpent { spent, cap }));
                if let Phase::Living { ready: false, .. } = phase {
                    self.fail(StartError::Budget { projected: spent, cap });
                }
                self.keeping.forget();
                return match phase {
                    Phase::Living { ready, .. } => self.stop_from(now, timing, ready, effects),
                    _ => self.stop_keeping(now, timing, effects),
                };
            }
            Some(Look::Low { spent, cap }) => {
                effects.push(Effect::Announce(EventKind::BudgetLow { spent, cap }));
            }
            None => {}
        }
        if let Some(after) = self.budget.alarm(now, timing) {
            effects.push(Effect::Wake(Timer::Budget, after));
        }
        phase
    }

    pub(super) fn fail(&mut self, why: StartError) {
        // The first failure is the cause; what follows are its consequences.
        self.failure.get_or_insert(why);
    }

    /// Gives back, but not before the answer to a request for machines that is under way.
    pub(super) fn stop_from(
        &self,
        now: Instant,
        timing: &Timing,
        ready: bool,
        effects: &mut Vec<Effect>,
    ) -> Phase {
        if self.is_asking() {
            Phase::Living { ready, stop: true }
        } else {
            self.give_back(now, timing, effects)
        }
    }
}

/// Lets a node finish, as long as the end of a pool may take.
pub(super) const fn drain((rank, attempt): (Rank, Attempt), timing: &Timing) -> Effect {
    let leave = Leave { within: timing.drain, preempted: false };
    Effect::DrainNode { rank, attempt, leave }
}

pub(super) const fn announce(phase: PoolPhase) -> Effect {
    Effect::Announce(EventKind::Pool(phase))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
