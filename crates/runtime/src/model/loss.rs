//! Why a machine, or the way to it, is not there any more.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of a machine that its pool wanted to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Loss {
    /// Its cloud took it back, or said that it would.
    Preempted,
    /// Somebody stopped or deleted it, or its lease has ended it.
    Stopped,
    /// It ended by itself, or nobody knows why; or its worker ended again and again.
    Crashed,
    /// It may still be there, and could not be reached any more.
    Network,
    /// Its probe failed too often in a row.
    Unhealthy,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preempted => "preempted",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Network => "network",
            Self::Unhealthy => "unhealthy",
        })
    }
}
