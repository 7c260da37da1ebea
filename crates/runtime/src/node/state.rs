//! What a node decides. Pure: what it hears and the time in, effects out.

use std::time::{Duration, Instant};

use super::effect::{Effect, Said};
use super::messages::{Heard, Leave, Timer, Trouble};
use crate::bootstrap::Listening;
use crate::model::{InstanceState, Loss, NodePhase, SshEndpoint};
use crate::timing::Timing;

/// Longer than any node drains.
const YEAR: Duration = Duration::from_hours(24 * 365);

/// How often the worker of one life of a node may be restarted: a task that ends its worker again and
/// again is the likelier cause then than bad luck.
const RESTARTS: u32 = 3;

/// Where a node is in its life; each state has its own data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Unborn,
    Launching { since: Instant, looks: u32 },
    Reaching(Reaching),
    Bootstrapping,
    Joining(Joining),
    Ready { worker: Listening, restarts: u32 },
    Redialling(Redialling),
    Draining(Draining),
    Gone,
}

/// An SSH server is being dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reaching {
    ssh: SshEndpoint,
    since: Instant,
    tries: u32,
    last: String,
    /// Whether the last try failed because our key was refused.
    refused: bool,
}

/// What runs there may come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draining {
    until: Instant,
    /// What the node is lost to after that, and why; nothing where its pool wanted it to end.
    loss: Option<(Loss, String)>,
}

/// A worker is being started, then linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joining {
    worker: Option<Listening>,
    restarts: u32,
    tries: u32,
    /// Another owner of the pool started the worker, and nobody has renewed its lease since.
    adopted: bool,
}

/// The link to a worker broke and is dialled again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redialling {
    worker: Listening,
    restarts: u32,
    tries: u32,
    /// Why it broke.
    reason: String,
    /// It has been said that the machine will be taken.
    noticed: bool,
    /// How it is to end once it is linked again, and when it is taken.
    leave: Option<(Leave, Instant)>,
}

impl State {
    /// Takes in what was heard. Something that does not fit the state is dropped here: it is the late
    /// answer of a step that no longer matters.
    pub(crate) fn hear(&mut self, heard: Heard, now: Instant, timing: &Timing) -> Vec<Effect> {
        let state = std::mem::replace(self, Self::Gone);
        let (next, effects) = state.step(heard, now, timing);
        *self = next;
        effects
    }

    /// The UDP port of its worker, when that is ready.
    pub(crate) const fn port(&self) -> Option<u16> {
        match self {
            Self::Ready { worker, .. } => Some(worker.port),
            Self::Unborn
            | Self::Launching { .. }
            | Self::Reaching(_)
            | Self::Bootstrapping
            | Self::Joining(_)
            | Self::Redialling(_)
            | Self::Draining(..)
            | Self::Gone => None,
        }
    }

    fn step(self, heard: Heard, now: Instant, timing: &Timing) -> (Self, Vec<Effect>) {
        match (self, heard) {
            (Self::Gone, _) => (Self::Gone, vec![]),
            (_, Heard::Stop) => Self::end("stopped", true, vec![]),
            (Self::Ready { .. }, Heard::Drain(leave)) => Self::drain(leave, Self::taken(leave), now, vec![]),
            (Self::Draining(at), Heard::Drain(sooner)) if end_of(sooner, now) < at.until => {
                let effects = vec![wake(Timer::Deadline, sooner.within)];
                (Self::Draining(Draining { until: end_of(sooner, now), ..at }), effects)
            }
            (state @ Self::Draining(_), Heard::Drain(_)) => (state, vec![]),
            (Self::Ready { .. }, Heard::Unhealthy { was_ready: false, reason }) => {
                Self::lost_to(Loss::Unhealthy, reason)
            }
            // What runs there has the time that it has when a pool ends; its rank gets another machine meanwhile.
            (Self::Ready { .. }, Heard::Unhealthy { was_ready: true, reason }) => {
                let leave = Leave { within: timing.drain, preempted: true };
                let told = Effect::ReportNoticed { within: leave.within, reason: reason.clone() };
                Self::drain(leave, Some((Loss::Unhealthy, reason)), now, vec![told])
            }
            // What runs there may still come to its end, and is told of it, once there is a link.
            (Self::Redialling(at), Heard::Drain(leave)) if leave.preempted => {
                // A time beyond all counting is as good as a long one.
                let until = now.checked_add(leave.within).unwrap_or(now + timing.grace);
                let effects = vec![wake(Timer::Deadline, leave.within.min(timing.grace))];
                (Self::Redialling(Redialling { leave: Some((leave, until)), ..at }), effects)
            }
            (_, Heard::Drain(_)) => Self::end("stopped", true, vec![]),
            // The lease is renewed for as long as there is a way to.
            (state, Heard::Woke(Timer::Renew)) => {
                (state, vec![Effect::Renew, wake(Timer::Renew, timing.renew())])
            }
            (Self::Unborn, Heard::Born) => {
                let effects =
                    vec![enter(NodePhase::Launching), wake(Timer::Deadline, timing.boot), Effect::Describe];
                (Self::Launching { since: now, looks: 0 }, effects)
            }
            // Its machine may be gone, and its lease has not been renewed for a while.
            (Self::Unborn, Heard::Adopted(worker)) => {
                let at = Joining { worker: Some(worker), restarts: 0, tries: 0, adopted: true };
                let effects = vec![
                    enter(NodePhase::Joining),
                    wake(Timer::Deadline, timing.grace),
                    wake(Timer::Renew, timing.renew()),
                    Effect::Describe,
                    Effect::Link(worker),
                ];
                (Self::Joining(at), effects)
            }
            (Self::Launching { since, looks }, heard) => Self::launching(since, looks, heard, now, timing),
            (Self::Reaching(at), heard) => at.step(heard, now, timing),
            (Self::Bootstrapping, Heard::Bootstrapped(Ok(()))) => {
                let at = Joining { worker: None, restarts: 0, tries: 0, adopted: false };
                (Self::Joining(at), vec![enter(NodePhase::Joining), Effect::StartWorker])
            }
            (Self::Bootstrapping, Heard::Bootstrapped(Err(trouble))) => Self::lost(trouble),
            (Self::Joining(at), heard) => at.step(heard, timing),
            (Self::Ready { worker, restarts }, Heard::LinkClosed { reason }) => {
                let effects = vec![
                    Effect::Announce(Said::LinkLost(reason.clone())),
                    Effect::ReportPaused,
                    wake(Timer::Deadline, timing.grace),
                    Effect::Describe,
                    Effect::CheckWorker { pid: worker.pid },
                    Effect::Link(worker),
                ];
                let at = Redialling { worker, restarts, tries: 0, reason, noticed: false, leave: None };
                (Self::Redialling(at), effects)
            }
            // A machine that ends closes it long before its silence shows. Its provider may learn of that a
            // moment later, so it is asked once more.
            (state @ Self::Ready { .. }, Heard::SessionClosed) => {
                (state, vec![Effect::Describe, wake(Timer::Retry, timing.boot_poll.delay(2))])
            }
            (state @ Self::Ready { .. }, Heard::Woke(Timer::Retry)) => (state, vec![Effect::Describe]),
            (Self::Ready { .. }, Heard::Described(Ok(InstanceState::Gone { reason, loss }))) => {
                Self::lost_to(loss, format!("the machine has ended: {reason}"))
            }
            (
                state @ Self::Ready { .. },
                Heard::Noticed { within, reason }
                | Heard::Described(Ok(InstanceState::Leaving { within, reason })),
            ) => {
                let told = Effect::Announce(Said::Noticed(within, reason.clone()));
                (state, vec![told, Effect::ReportNoticed { within, reason }])
            }
            (Self::Redialling(at), heard) => at.step(heard, now, timing),
            (
                Self::Draining(Draining { loss, .. }),
                Heard::Drained | Heard::LinkClosed { .. } | Heard::Woke(Timer::Deadline),
            ) => match loss {
                Some((loss, reason)) => Self::lost_to(loss, reason),
                None => Self::end("drained", true, vec![]),
            },
            (state, _) => (state, vec![]),
        }
    }

    fn launching(
        since: Instant,
        looks: u32,
        heard: Heard,
        now: Instant,
        timing: &Timing,
    ) -> (Self, Vec<Effect>) {
        let stay = |looks| Self::Launching { since, looks };
        match heard {
            Heard::Described(Ok(InstanceState::Running { ssh, .. })) => {
                let effects = vec![
                    enter(NodePhase::Reaching),
                    wake(Timer::Deadline, timing.ssh),
                    Effect::Reach(ssh.clone()),
                ];
                let at = Reaching { ssh, since: now, tries: 0, last: String::new(), refused: false };
                (Self::Reaching(at), effects)
            }
            Heard::Described(Ok(InstanceState::Gone { reason, loss })) => {
                Self::lost_to(loss, format!("the machine ended while it booted: {reason}"))
            }
            Heard::Described(Ok(InstanceState::Leaving { reason, .. })) => {
                Self::lost_to(Loss::Preempted, format!("the machine is taken while it booted: {reason}"))
            }
            // The cloud may not know the machine yet, or may not have answered: look again.
            Heard::Described(Ok(InstanceState::Pending) | Err(_)) => {
                (stay(looks.saturating_add(1)), vec![wake(Timer::Retry, timing.boot_poll.delay(looks))])
            }
            Heard::Woke(Timer::Retry) => (stay(looks), vec![Effect::Describe]),
            Heard::Woke(Timer::Deadline) => {
                let waited = now.saturating_duration_since(since);
                let reason =
                    format!("the machine had no address after {waited:.0?}; its provider may be slow");
                Self::lost(passing(reason))
            }
            _ => (stay(looks), vec![]),
        }
    }

    /// What runs there may go on for a while, and then it ends.
    fn drain(
        leave: Leave,
        loss: Option<(Loss, String)>,
        now: Instant,
        mut effects: Vec<Effect>,
    ) -> (Self, Vec<Effect>) {
        effects.extend([
            enter(NodePhase::Draining),
            Effect::Drain(leave),
            wake(Timer::Deadline, leave.within),
        ]);
        (Self::Draining(Draining { until: end_of(leave, now), loss }), effects)
    }

    /// What a node is lost to that is told to leave.
    fn taken(leave: Leave) -> Option<(Loss, String)> {
        leave.preempted.then(|| (Loss::Preempted, "its machine is taken".to_owned()))
    }

    /// The end that nobody wanted.
    fn lost(trouble: Trouble) -> (Self, Vec<Effect>) {
        let Trouble { reason, retry } = trouble;
        let said = Effect::Announce(Said::Lost(reason.clone(), None));
        Self::end(&reason, retry, vec![said])
    }

    /// The end of its machine, or of the way there.
    fn lost_to(loss: Loss, reason: String) -> (Self, Vec<Effect>) {
        let said = Effect::Announce(Said::Lost(reason.clone(), Some(loss)));
        Self::end(&reason, true, vec![said])
    }

    fn end(reason: &str, retry: bool, mut effects: Vec<Effect>) -> (Self, Vec<Effect>) {
        effects.push(enter(NodePhase::Gone));
        effects.push(Effect::End { reason: reason.to_owned(), retry });
        (Self::Gone, effects)
    }
}

impl Redialling {
    fn step(mut self, heard: Heard, now: Instant, timing: &Timing) -> (State, Vec<Effect>) {
        match (heard, self.leave) {
            (Heard::Linked(Ok(())), None) => {
                let effects = vec![
                    Effect::Quiet(Timer::Deadline),
                    Effect::Announce(Said::LinkRestored),
                    Effect::ReportReady,
                ];
                (State::Ready { worker: self.worker, restarts: self.restarts }, effects)
            }
            (Heard::Linked(Ok(())), Some((leave, until))) => {
                let leave = Leave { within: until.saturating_duration_since(now), ..leave };
                State::drain(leave, State::taken(leave), now, vec![Effect::Announce(Said::LinkRestored)])
            }
            (Heard::Linked(Err(trouble @ Trouble { retry: false, .. })), _) => State::lost(trouble),
            (Heard::Linked(Err(Trouble { retry: true, .. })), _) => {
                let effects = vec![wake(Timer::Retry, timing.redial.delay(self.tries))];
                self.tries = self.tries.saturating_add(1);
                (State::Redialling(self), effects)
            }
            (Heard::Described(Ok(InstanceState::Gone { reason, loss })), _) => {
                State::lost_to(loss, format!("the machine has ended: {reason}"))
            }
            (
                Heard::Noticed { within, reason }
                | Heard::Described(Ok(InstanceState::Leaving { within, reason })),
                _,
            ) if !self.noticed => {
                self.noticed = true;
                let told = Effect::Announce(Said::Noticed(within, reason.clone()));
                (State::Redialling(self), vec![told, Effect::ReportNoticed { within, reason }])
            }
            // Another worker would be taken along too.
            (Heard::WorkerEnded(true) | Heard::Woke(Timer::Deadline), Some(_)) => {
                State::lost_to(Loss::Preempted, "its machine is taken".to_owned())
            }
            (Heard::WorkerEnded(true), None) => self.worker_ended(),
            (Heard::Woke(Timer::Retry), _) => {
                let worker = self.worker;
                let effects =
                    vec![Effect::Describe, Effect::CheckWorker { pid: worker.pid }, Effect::Link(worker)];
                (State::Redialling(self), effects)
            }
            (Heard::Woke(Timer::Deadline), None) => {
                let reason = format!("no link within {:.0?} after it broke: {}", timing.grace, self.reason);
                State::lost_to(Loss::Network, reason)
            }
            _ => (State::Redialling(self), vec![]),
        }
    }

    /// The worker's process has ended, while its machine has not.
    fn worker_ended(self) -> (State, Vec<Effect>) {
        let restarts = self.restarts;
        if restarts < RESTARTS {
            let at = Joining { worker: None, restarts: restarts + 1, tries: 0, adopted: false };
            let effects = vec![
                Effect::Quiet(Timer::Deadline),
                Effect::Quiet(Timer::Retry),
                Effect::ReportCrashed,
                Effect::Announce(Said::WorkerRestarted),
                enter(NodePhase::Joining),
                Effect::StartWorker,
            ];
            return (State::Joining(at), effects);
        }
        let reason = format!("its worker ended {} times; see the task that it ran", restarts + 1);
        let said = Effect::Announce(Said::Lost(reason.clone(), Some(Loss::Crashed)));
        State::end(&reason, true, vec![Effect::ReportCrashed, said])
    }
}

impl Reaching {
    fn step(self, heard: Heard, now: Instant, timing: &Timing) -> (State, Vec<Effect>) {
        match heard {
            Heard::Reached(Ok(())) => {
                let effects = vec![
                    Effect::Quiet(Timer::Deadline),
                    Effect::Renew,
                    wake(Timer::Renew, timing.renew()),
                    enter(NodePhase::Bootstrapping),
                    Effect::Bootstrap,
                ];
                (State::Bootstrapping, effects)
            }
            Heard::Reached(Err(trouble @ Trouble { retry: false, .. })) => State::lost(trouble),
            // The machine may have ended: its provider is asked before the next try.
            Heard::Reached(Err(Trouble { reason, retry: true })) => self.again(reason, false),
            // Many images start their SSH server before the keys are put in place.
            Heard::KeyRefused { reason } => self.again(reason, true),
            Heard::Described(Ok(InstanceState::Gone { reason, loss })) => {
                State::lost_to(loss, format!("the machine ended before it could be reached: {reason}"))
            }
            Heard::Described(Ok(InstanceState::Leaving { reason, .. })) => State::lost_to(
                Loss::Preempted,
                format!("the machine is taken before it could be reached: {reason}"),
            ),
            Heard::Described(_) => {
                let delay = timing.ssh_retry.delay(self.tries.saturating_sub(1));
                (State::Reaching(self), vec![wake(Timer::Retry, delay)])
            }
            Heard::Woke(Timer::Retry) => {
                let ssh = self.ssh.clone();
                (State::Reaching(self), vec![Effect::Reach(ssh)])
            }
            Heard::Woke(Timer::Deadline) => {
                let waited = now.saturating_duration_since(self.since);
                let Self { ssh, tries, last, refused, .. } = self;
                let reason = format!("no ssh to {ssh} after {tries} tries in {waited:.0?}: {last}");
                // A machine that has refused it for so long always will, and so will the next one.
                State::lost(Trouble { reason, retry: !refused })
            }
            _ => (State::Reaching(self), vec![]),
        }
    }

    fn again(mut self, reason: String, refused: bool) -> (State, Vec<Effect>) {
        self.tries = self.tries.saturating_add(1);
        (self.last, self.refused) = (reason, refused);
        (State::Reaching(self), vec![Effect::Describe])
    }
}

impl Joining {
    fn step(mut self, heard: Heard, timing: &Timing) -> (State, Vec<Effect>) {
        match (heard, self.worker) {
            (Heard::Started(Ok(worker)), None) => {
                self.worker = Some(worker);
                let effects = vec![wake(Timer::Deadline, timing.join), Effect::Link(worker)];
                (State::Joining(self), effects)
            }
            (Heard::Started(Err(trouble)), None) => State::lost(trouble),
            (Heard::Linked(Ok(())), Some(worker)) => {
                let mut effects =
                    vec![Effect::Quiet(Timer::Deadline), enter(NodePhase::Ready), Effect::ReportReady];
                effects.extend(self.adopted.then_some(Effect::Renew));
                (State::Ready { worker, restarts: self.restarts }, effects)
            }
            (Heard::Linked(Err(trouble @ Trouble { retry: false, .. })), Some(_)) => State::lost(trouble),
            (Heard::Linked(Err(Trouble { retry: true, .. })), Some(_)) => {
                let delay = timing.redial.delay(self.tries);
                self.tries = self.tries.saturating_add(1);
                (State::Joining(self), vec![wake(Timer::Retry, delay)])
            }
            (Heard::Woke(Timer::Retry), Some(worker)) => (State::Joining(self), vec![Effect::Link(worker)]),
            (Heard::SessionClosed, Some(_)) => (State::Joining(self), vec![Effect::Describe]),
            (Heard::Described(Ok(InstanceState::Gone { reason, loss })), _) => {
                State::lost_to(loss, format!("the machine ended while its worker joined: {reason}"))
            }
            (Heard::Described(Ok(InstanceState::Leaving { reason, .. })), _) => State::lost_to(
                Loss::Preempted,
                format!("the machine is taken while its worker joined: {reason}"),
            ),
            (Heard::Woke(Timer::Deadline), Some(worker)) => State::lost(passing(format!(
                "the worker listens on port {} but could not be linked within {:.0?}; with `Carrier::Quic` a firewall \
                 may drop udp",
                worker.port, timing.join
            ))),
            _ => (State::Joining(self), vec![]),
        }
    }
}

/// When a node that leaves has to be over. A time beyond all counting is as good as a year.
fn end_of(leave: Leave, now: Instant) -> Instant {
    now.checked_add(leave.within).unwrap_or(now + YEAR)
}

/// Trouble of this machine, which another one may not have.
const fn passing(reason: String) -> Trouble {
    Trouble { reason, retry: true }
}

const fn enter(phase: NodePhase) -> Effect {
    Effect::Announce(Said::Entered(phase))
}

const fn wake(timer: Timer, after: Duration) -> Effect {
    Effect::Wake(timer, after)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
