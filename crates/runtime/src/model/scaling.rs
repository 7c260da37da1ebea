//! When a pool changes its number of nodes, and why it did.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a pool that may scale gives nodes back. It grows at once, whenever calls wait that another node could run;
/// see [`Nodes`](super::Nodes) for between which numbers.
///
/// ```
/// use skyward_runtime::model::Scaling;
/// use std::time::Duration;
/// let patient = Scaling { idle: Duration::from_secs(600), ..Scaling::default() };
/// assert_eq!(patient.cooldown, Duration::from_secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaling {
    /// How long nothing may run and nothing wait before the pool goes back to its least number of nodes. Default
    /// 60 s. Shorter pays less for idle machines, and waits for them to boot more often.
    pub idle: Duration,
    /// How long after its number of nodes has changed a pool keeps it, and how long less than three tenths of its slots
    /// must be in use before it gives up what it does not use. Default 30 s. It never delays growing for calls that
    /// wait, unless renting has just failed: then it is the first wait before more is rented, which doubles each time.
    pub cooldown: Duration,
}

impl Default for Scaling {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), cooldown: Duration::from_secs(30) }
    }
}

/// Why a pool changed its number of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ScaledBecause {
    /// So many calls waited that any node could run.
    Queued(u32),
    /// Nothing ran and nothing waited for this long.
    Idle(Duration),
    /// No more than so many calls ran, in less than three tenths of the slots.
    Unused(u32),
    /// There were fewer than the least number.
    Missing,
    /// The pool's owner asked for it.
    Asked,
    /// The program that had it before left it with so many.
    Attached,
    /// The machines could not be had, for this reason.
    Refused(String),
}

impl fmt::Display for ScaledBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queued(1) => f.write_str("a call waits"),
            Self::Queued(calls) => write!(f, "{calls} calls wait"),
            Self::Idle(idle) => write!(f, "nothing ran for {idle:.0?}"),
            Self::Unused(calls) => write!(f, "only {calls} running, in less than three tenths of the slots"),
            Self::Missing => f.write_str("fewer than the least number"),
            Self::Asked => f.write_str("asked for"),
            Self::Attached => f.write_str("as it was left"),
            Self::Refused(reason) => write!(f, "no more could be had: {reason}"),
        }
    }
}
