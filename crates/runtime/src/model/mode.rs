//! Whether the nodes of a pool know ways to each other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the nodes of a pool are to each other. Calls, groups, gathers and broadcasts are the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Each is linked to the client alone.
    #[default]
    Standalone,
    /// They reach each other, and open links among them when there is something to pass on.
    Cluster,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standalone => "standalone",
            Self::Cluster => "cluster",
        })
    }
}

/// Why a node knows no way to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standalone;

impl fmt::Display for Standalone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the nodes of this pool stand alone, because their machines cannot reach each other or the pool was \
             started with `.cluster(false)`: rent where machines share a network, or say `.cluster(true)`",
        )
    }
}

impl std::error::Error for Standalone {}
