//! What a node decides. Pure: what it hears and the time in, effects out.

use std::time::{Duration, Instant};

use crate::model::{EventKind, InstanceState, NodePhase, SshEndpoint};
use crate::timing::Timing;

/// What a node hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It begins.
    Born,
    /// What the provider says of the machine.
    Described(Result<InstanceState, String>),
    /// Whether the SSH server let us in.
    Reached(Result<(), Trouble>),
    /// Whether the machine is what the image asks for.
    Bootstrapped(Result<(), String>),
    /// Whether a worker listens, and on which port.
    Started(Result<u16, String>),
    /// Whether the worker is linked and a member of the cluster.
    Linked(Result<(), Trouble>),
    /// The link is over.
    LinkClosed { reason: String },
    /// Whether the worker has finished what ran.
    Drained,
    /// A timer went off.
    Woke(Timer),
    /// The pool wants it to finish.
    Drain,
    /// The pool wants it to end now.
    Stop,
}

/// Why something failed, and whether trying again may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) reason: String,
    pub(crate) retry: bool,
}

/// Why a node wakes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The phase has lasted too long.
    Deadline,
    /// Time for the next try or look.
    Retry,
    /// Time to renew the lease.
    Renew,
}

/// What a node wants done. Each step ends in something heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ask the provider about the machine.
    Describe,
    /// Dial its SSH server.
    Reach(SshEndpoint),
    /// Run the bootstrap.
    Bootstrap,
    /// Upload the program and start it as a worker that ends its machine as told.
    StartWorker,
    /// Dial the worker and join it to the cluster.
    Link { port: u16 },
    /// Renew the lease: over the link when there is one, else over SSH.
    Renew,
    /// Ask the worker to finish what runs.
    Drain,
    /// Wake up after a while; replaces the timer of the same name.
    Wake(Timer, Duration),
    /// Forget the timer.
    Quiet(Timer),
    /// Say what happened.
    Announce(Said),
    /// Tell the pool.
    ReportReady,
    /// Tell the pool.
    ReportPaused,
    /// Let everything go and tell the pool why.
    End { reason: String },
}

/// What is announced; the shell adds rank and attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Entered(NodePhase),
    LinkLost(String),
    LinkRestored,
    Lost(String),
}

/// Where a node is in its life; each state has its own data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Unborn,
    Launching { since: Instant, looks: u32 },
    Reaching { ssh: SshEndpoint, since: Instant, tries: u32, last: String },
    Bootstrapping,
    Joining { port: Option<u16>, since: Instant, tries: u32 },
    Ready { port: u16 },
    Redialling { port: u16, tries: u32, reason: String },
    Draining,
    Gone,
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

    fn step(self, heard: Heard, now: Instant, timing: &Timing) -> (Self, Vec<Effect>) {
        match (self, heard) {
            (Self::Gone, _) => (Self::Gone, vec![]),
            (_, Heard::Stop) => Self::end("stopped", vec![]),
            (Self::Ready { .. }, Heard::Drain) => {
                let effects =
                    vec![enter(NodePhase::Draining), Effect::Drain, wake(Timer::Deadline, timing.drain)];
                (Self::Draining, effects)
            }
            (Self::Draining, Heard::Drain) => (Self::Draining, vec![]),
            (_, Heard::Drain) => Self::end("stopped", vec![]),
            (Self::Unborn, Heard::Born) => {
                let effects =
                    vec![enter(NodePhase::Launching), wake(Timer::Deadline, timing.boot), Effect::Describe];
                (Self::Launching { since: now, looks: 0 }, effects)
            }
            (Self::Launching { since, looks }, heard) => Self::launching(since, looks, heard, now, timing),
            (Self::Reaching { ssh, since, tries, last }, heard) => {
                Self::reaching(Reaching { ssh, since, tries, last }, heard, now, timing)
            }
            (Self::Bootstrapping, Heard::Bootstrapped(Ok(()))) => {
                let effects = vec![enter(NodePhase::Joining), Effect::StartWorker];
                (Self::Joining { port: None, since: now, tries: 0 }, effects)
            }
            (Self::Bootstrapping, Heard::Bootstrapped(Err(reason))) => Self::lost(reason),
            (Self::Joining { port, since, tries }, heard) => {
                Self::joining(port, since, tries, heard, now, timing)
            }
            (Self::Ready { port }, Heard::LinkClosed { reason }) => {
                let effects = vec![
                    Effect::Announce(Said::LinkLost(reason.clone())),
                    Effect::ReportPaused,
                    wake(Timer::Deadline, timing.grace),
                    Effect::Describe,
                    Effect::Link { port },
                ];
                (Self::Redialling { port, tries: 0, reason }, effects)
            }
            (Self::Redialling { port, tries, reason }, heard) => {
                Self::redialling(port, tries, reason, heard, timing)
            }
            (Self::Draining, Heard::Drained | Heard::LinkClosed { .. } | Heard::Woke(Timer::Deadline)) => {
                Self::end("drained", vec![])
            }
            // The lease is renewed for as long as there is a way to.
            (state, Heard::Woke(Timer::Renew)) => {
                (state, vec![Effect::Renew, wake(Timer::Renew, timing.renew())])
            }
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
                (Self::Reaching { ssh, since: now, tries: 0, last: String::new() }, effects)
            }
            Heard::Described(Ok(InstanceState::Gone { reason })) => {
                Self::lost(format!("the machine ended while it booted: {reason}"))
            }
            // The cloud may not know the machine yet, or may not have answered: look again.
            Heard::Described(Ok(InstanceState::Pending) | Err(_)) => {
                (stay(looks.saturating_add(1)), vec![wake(Timer::Retry, timing.boot_poll.delay(looks))])
            }
            Heard::Woke(Timer::Retry) => (stay(looks), vec![Effect::Describe]),
            Heard::Woke(Timer::Deadline) => {
                let waited = now.saturating_duration_since(since);
                Self::lost(format!("the machine had no address after {waited:.0?}; its provider may be slow"))
            }
            _ => (stay(looks), vec![]),
        }
    }

    fn reaching(at: Reaching, heard: Heard, now: Instant, timing: &Timing) -> (Self, Vec<Effect>) {
        match heard {
            Heard::Reached(Ok(())) => {
                let effects = vec![
                    Effect::Quiet(Timer::Deadline),
                    Effect::Renew,
                    wake(Timer::Renew, timing.renew()),
                    enter(NodePhase::Bootstrapping),
                    Effect::Bootstrap,
                ];
                (Self::Bootstrapping, effects)
            }
            Heard::Reached(Err(Trouble { reason, retry: false })) => Self::lost(reason),
            // The machine may have ended: its provider is asked before the next try.
            Heard::Reached(Err(Trouble { reason, retry: true })) => {
                (at.after(reason).into_state(), vec![Effect::Describe])
            }
            Heard::Described(Ok(InstanceState::Gone { reason })) => {
                Self::lost(format!("the machine ended before it could be reached: {reason}"))
            }
            Heard::Described(_) => {
                let delay = timing.ssh_retry.delay(at.tries.saturating_sub(1));
                (at.into_state(), vec![wake(Timer::Retry, delay)])
            }
            Heard::Woke(Timer::Retry) => {
                let ssh = at.ssh.clone();
                (at.into_state(), vec![Effect::Reach(ssh)])
            }
            Heard::Woke(Timer::Deadline) => {
                let waited = now.saturating_duration_since(at.since);
                let Reaching { ssh, tries, last, .. } = at;
                Self::lost(format!("no ssh to {ssh} after {tries} tries in {waited:.0?}: {last}"))
            }
            _ => (at.into_state(), vec![]),
        }
    }

    fn joining(
        port: Option<u16>,
        since: Instant,
        tries: u32,
        heard: Heard,
        now: Instant,
        timing: &Timing,
    ) -> (Self, Vec<Effect>) {
        match (heard, port) {
            (Heard::Started(Ok(port)), None) => {
                let effects = vec![wake(Timer::Deadline, timing.join), Effect::Link { port }];
                (Self::Joining { port: Some(port), since: now, tries }, effects)
            }
            (Heard::Started(Err(reason)), None) => Self::lost(reason),
            (Heard::Linked(Ok(())), Some(port)) => {
                let effects =
                    vec![Effect::Quiet(Timer::Deadline), enter(NodePhase::Ready), Effect::ReportReady];
                (Self::Ready { port }, effects)
            }
            (Heard::Linked(Err(Trouble { reason, retry: false })), Some(_)) => Self::lost(reason),
            (Heard::Linked(Err(Trouble { retry: true, .. })), Some(_)) => {
                let tries = tries.saturating_add(1);
                (
                    Self::Joining { port, since, tries },
                    vec![wake(Timer::Retry, timing.redial.delay(tries - 1))],
                )
            }
            (Heard::Woke(Timer::Retry), Some(port)) => {
                (Self::Joining { port: Some(port), since, tries }, vec![Effect::Link { port }])
            }
            (Heard::Woke(Timer::Deadline), Some(port)) => Self::lost(format!(
                "the worker listens on port {port} but could not be linked within {:.0?}; \
                 does a firewall drop udp?",
                timing.join
            )),
            (Heard::Woke(Timer::Renew), port) => {
                let effects = vec![Effect::Renew, wake(Timer::Renew, timing.renew())];
                (Self::Joining { port, since, tries }, effects)
            }
            (_, port) => (Self::Joining { port, since, tries }, vec![]),
        }
    }

    fn redialling(
        port: u16,
        tries: u32,
        reason: String,
        heard: Heard,
        timing: &Timing,
    ) -> (Self, Vec<Effect>) {
        match heard {
            Heard::Linked(Ok(())) => {
                let effects = vec![
                    Effect::Quiet(Timer::Deadline),
                    Effect::Announce(Said::LinkRestored),
                    Effect::ReportReady,
                ];
                (Self::Ready { port }, effects)
            }
            Heard::Linked(Err(Trouble { reason, retry: false })) => Self::lost(reason),
            Heard::Linked(Err(Trouble { retry: true, .. })) => {
                let effects = vec![wake(Timer::Retry, timing.redial.delay(tries))];
                (Self::Redialling { port, tries: tries.saturating_add(1), reason }, effects)
            }
            Heard::Described(Ok(InstanceState::Gone { reason: why })) => {
                Self::lost(format!("the machine has ended: {why}"))
            }
            Heard::Woke(Timer::Retry) => {
                let effects = vec![Effect::Describe, Effect::Link { port }];
                (Self::Redialling { port, tries, reason }, effects)
            }
            Heard::Woke(Timer::Deadline) => {
                Self::lost(format!("no link within {:.0?} after it broke: {reason}", timing.grace))
            }
            Heard::Woke(Timer::Renew) => {
                let effects = vec![Effect::Renew, wake(Timer::Renew, timing.renew())];
                (Self::Redialling { port, tries, reason }, effects)
            }
            _ => (Self::Redialling { port, tries, reason }, vec![]),
        }
    }

    /// The end that nobody wanted.
    fn lost(reason: String) -> (Self, Vec<Effect>) {
        let said = Effect::Announce(Said::Lost(reason.clone()));
        Self::end(&reason, vec![said])
    }

    fn end(reason: &str, mut effects: Vec<Effect>) -> (Self, Vec<Effect>) {
        effects.push(enter(NodePhase::Gone));
        effects.push(Effect::End { reason: reason.to_owned() });
        (Self::Gone, effects)
    }
}

/// The data of the reaching state, taken apart and put together again.
struct Reaching {
    ssh: SshEndpoint,
    since: Instant,
    tries: u32,
    last: String,
}

impl Reaching {
    fn after(self, reason: String) -> Self {
        Self { tries: self.tries.saturating_add(1), last: reason, ..self }
    }

    fn into_state(self) -> State {
        State::Reaching { ssh: self.ssh, since: self.since, tries: self.tries, last: self.last }
    }
}

impl Said {
    /// The event of a rank's attempt.
    pub(crate) fn event(self, rank: crate::model::Rank, attempt: crate::model::Attempt) -> EventKind {
        match self {
            Self::Entered(phase) => EventKind::Node { rank, attempt, phase },
            Self::LinkLost(reason) => EventKind::LinkLost { rank, reason },
            Self::LinkRestored => EventKind::LinkRestored { rank },
            Self::Lost(reason) => EventKind::NodeLost { rank, attempt, reason },
        }
    }
}

fn enter(phase: NodePhase) -> Effect {
    Effect::Announce(Said::Entered(phase))
}

const fn wake(timer: Timer, after: Duration) -> Effect {
    Effect::Wake(timer, after)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
