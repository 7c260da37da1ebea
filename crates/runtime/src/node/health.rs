//! Whether a node is well, by what its probe says. Pure; the node's actor tells it what happens and does what it says.
//!
//! ```text
//! linked, a new worker --initial delay--> probed --passes--> well: ready --interval--> probed ...
//!                                            '-- fails so often in a row --> bad
//! link over -> nothing is probed, what was asked counts for nothing --linked, the same worker--> as it was
//! ```

use std::time::Duration;

use crate::model::Health as Terms;

/// A node's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    terms: Terms,
    /// The probe of the present worker has passed before.
    is_well: bool,
    /// How often in a row it has failed.
    failed: u32,
    /// Counts probes, so that what is heard of an older one is not taken for news.
    number: u64,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// There is no link.
    Unlinked,
    /// The next probe is some time off.
    Resting,
    /// A probe is under way.
    Probing,
    /// It is over with this node.
    Bad,
}

/// What it hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// There is a link: to a worker that nobody has probed, or to the one before.
    Linked { fresh: bool },
    /// The link is over.
    Unlinked,
    /// It is time for this probe.
    Due { number: u64 },
    /// What this probe said, or why it said nothing.
    Answered { number: u64, said: Result<(), String> },
    /// This probe went with its link: it says nothing of the node.
    Lost { number: u64 },
}

/// What it wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Say when it is time for this probe.
    Wait { number: u64, after: Duration },
    /// Probe.
    Probe { number: u64 },
    /// The node is to take calls, again or for the first time.
    Ready { first: bool },
    /// A probe failed, which is the how-manieth in a row.
    Failed { failed: u32, reason: String },
    /// The node is bad. `was_ready`: it has taken calls.
    Bad { was_ready: bool, reason: String },
}

impl Health {
    pub(crate) const fn new(terms: Terms) -> Self {
        Self { terms, is_well: false, failed: 0, number: 0, at: At::Unlinked }
    }

    /// Whether the probe of the present worker has passed.
    pub(crate) const fn is_well(&self) -> bool {
        self.is_well
    }

    pub(crate) fn hear(&mut self, heard: Heard) -> Vec<Effect> {
        match (self.at, heard) {
            (At::Bad, _) => vec![],
            (_, Heard::Linked { fresh }) => self.linked(fresh),
            (_, Heard::Unlinked) => {
                self.at = At::Unlinked;
                vec![]
            }
            (At::Resting, Heard::Due { number }) if number == self.number => {
                self.at = At::Probing;
                vec![Effect::Probe { number }]
            }
            (At::Probing, Heard::Answered { number, said }) if number == self.number => self.answered(said),
            (At::Probing, Heard::Lost { number }) if number == self.number => {
                self.at = At::Unlinked;
                vec![]
            }
            // Of a probe before, or of a link before.
            (
                At::Unlinked | At::Resting | At::Probing,
                Heard::Due { .. } | Heard::Answered { .. } | Heard::Lost { .. },
            ) => vec![],
        }
    }

    fn linked(&mut self, fresh: bool) -> Vec<Effect> {
        self.is_well &= !fresh;
        if self.is_well {
            // What made the link break may have made a probe fail.
            self.failed = 0;
            return vec![Effect::Ready { first: false }, self.rest(self.terms.interval)];
        }
        if fresh {
            self.failed = 0;
        }
        vec![self.rest(self.terms.initial_delay)]
    }

    fn answered(&mut self, said: Result<(), String>) -> Vec<Effect> {
        let Err(reason) = said else {
            self.failed = 0;
            let first = !std::mem::replace(&mut self.is_well, true);
            let ready = first.then_some(Effect::Ready { first });
            return ready.into_iter().chain([self.rest(self.terms.interval)]).collect();
        };
        self.failed = self.failed.saturating_add(1);
        let failed = self.failed;
        let told = Effect::Failed { failed, reason: reason.clone() };
        if failed < self.terms.failures {
            return vec![told, self.rest(self.terms.interval)];
        }
        self.at = At::Bad;
        let reason = match failed {
            1 => format!("its probe failed: {reason}"),
            _ => format!("its probe failed {failed} times in a row, the last time: {reason}"),
        };
        vec![told, Effect::Bad { was_ready: self.is_well, reason }]
    }

    fn rest(&mut self, after: Duration) -> Effect {
        self.at = At::Resting;
        self.number = self.number.wrapping_add(1);
        Effect::Wait { number: self.number, after }
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
