//! Who is in a pool, as its nodes are told.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Epoch, Incarnation, Rank};

/// One node of a pool as the others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Peer {
    /// Its rank.
    pub rank: Rank,
    /// The name of this life of it.
    pub name: Incarnation,
    /// The address at which the pool's client reaches it.
    pub address: IpAddr,
}

impl Peer {
    /// A node.
    pub const fn new(rank: Rank, name: Incarnation, address: IpAddr) -> Self {
        Self { rank, name, address }
    }
}

/// The nodes of a pool at one moment. Of two rosters the one of the newer owner counts, and of two of
/// the same owner the one with the greater number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Who says so.
    pub epoch: Epoch,
    /// Grows with each change.
    pub number: u64,
    /// The nodes, by rank.
    pub peers: Vec<Peer>,
}

impl Roster {
    /// What decides which of two is newer.
    pub const fn age(&self) -> (Epoch, u64) {
        (self.epoch, self.number)
    }
}

/// Accelerators of one kind on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerator {
    /// What it is called, such as `A100`.
    pub name: String,
    /// How many of them.
    pub count: u32,
    /// The memory of each, in GB; `None` where it is not known, or not asked for.
    #[serde(default)]
    pub memory_gb: Option<u32>,
}

impl Accelerator {
    /// Whether a machine's accelerators are what is wanted: the same model, as many of them, and memory
    /// within a tenth of what is asked for, because cards of one size are sold as 39, 40 or 42 GB.
    pub fn fits(&self, machine: &Self) -> bool {
        let memory = match (self.memory_gb, machine.memory_gb) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(has)) => wanted.abs_diff(has).saturating_mul(10) <= wanted,
        };
        memory && self.count == machine.count && self.name == machine.name
    }
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.count)
    }
}
