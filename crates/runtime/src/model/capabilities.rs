//! What a provider can and cannot do, as data: nobody decides by a provider's name.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Usd;

/// What to expect from a provider's machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Commands run as root, or may become root, on a machine that is ours alone. Where this is
    /// false an image that asks for system packages is refused before anything is rented.
    pub root: bool,
    /// The machine can end itself in the way that stops the bill (see [`super::End`]).
    pub ends_itself: bool,
    /// UDP packets reach the machine, so that QUIC can be used.
    pub udp: bool,
    /// Machines run on the client's own computer: bytes cost nothing to move, so what is uploaded is
    /// not worth compressing.
    pub same_computer: bool,
    /// The size of a machine's disk can be chosen. Where this is false, and an offer does not come with
    /// a disk that is large enough, a spec that asks for one is refused.
    pub sized_disk: bool,
    /// Where the size can be chosen: what a GB that an offer does not come with costs in an hour. Nothing where that is
    /// not known; a plan says so then.
    #[serde(default)]
    pub disk_gb_hour: Option<Usd>,
    /// Machines of one pool reach each other: what one listens on by UDP the others can dial, at
    /// [`InstanceState::Running`](super::InstanceState)'s `private` address where there is one. Where this is false
    /// the nodes of a pool stand alone, and a pool that asks to be a cluster is refused.
    pub peers: bool,
    /// The provider mounts a spec's volumes. Where this is false, a spec with one is refused.
    pub volumes: bool,
    /// How long its slowest machines take from rented to running. Where this is longer than
    /// [`Timing::boot`](crate::timing::Timing::boot), and that was not set, a machine may take so long.
    #[serde(default)]
    pub boot: Duration,
    /// How long a machine lives that runs and that nobody has reached yet, whatever its lease says.
    #[serde(default)]
    pub arrival: Duration,
    /// How long it takes to give back one more machine, where a cloud takes only so many requests a minute.
    #[serde(default)]
    pub pace: Duration,
}

impl Capabilities {
    /// Nothing: what a provider can is said on top of it, so that it can no more than it says.
    pub const NONE: Self = Self {
        root: false,
        ends_itself: false,
        udp: false,
        same_computer: false,
        sized_disk: false,
        disk_gb_hour: None,
        peers: false,
        volumes: false,
        boot: Duration::ZERO,
        arrival: Duration::ZERO,
        pace: Duration::ZERO,
    };
}
