//! Who is in a pool, as its nodes are told.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Epoch, Incarnation, Mode, Rank};

/// One node of a pool as the others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Peer {
    /// Its rank.
    pub rank: Rank,
    /// The name of this life of it.
    pub name: Incarnation,
    /// The address at which the other nodes reach it, in a [cluster](super::Mode); else that at which the pool's client
    /// does.
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
    /// What they are to each other.
    #[serde(default)]
    pub mode: Mode,
    /// The nodes, by rank.
    pub peers: Vec<Peer>,
}

impl Roster {
    /// What decides which of two is newer.
    pub const fn age(&self) -> (Epoch, u64) {
        (self.epoch, self.number)
    }
}
