//! Offers, and the machines that come of them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{End, InstanceId};

/// Something that a provider has for rent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The provider's id of this offer, meaningful to the provider alone.
    pub id: String,
    /// The kind of machine, in the provider's words.
    pub instance_type: String,
    /// The processor's architecture as `std::env::consts::ARCH` spells it.
    pub architecture: String,
}

/// One machine as its provider describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The provider's id.
    pub id: InstanceId,
    /// Where it is in its life.
    pub state: InstanceState,
}

/// Where an instance is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    /// Accepted, not reachable yet.
    Pending,
    /// Booted far enough to have an address.
    Running {
        /// How to reach it.
        ssh: SshEndpoint,
        /// The address at which a worker's port is reached, where it is not the SSH host's.
        address: IpAddr,
        /// How it ends itself.
        end: End,
    },
    /// Ended, or never heard of.
    Gone {
        /// Why, in the provider's words.
        reason: String,
    },
}

/// Where an SSH server listens and who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshEndpoint {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// What the server's key must be.
    pub host_key: HostKey,
}

/// How a server's host key is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostKey {
    /// The key is known, because we injected it or the cloud reports it: an OpenSSH public key line.
    Known(String),
    /// Nobody could tell us: the first key seen on this instance is pinned, and that is said.
    PinOnFirstUse,
}

impl std::fmt::Display for SshEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.host, self.port)
    }
}
