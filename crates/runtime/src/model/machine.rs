//! The machines that come of an offer.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{End, InstanceId, Loss, Notice, Rank};

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
        /// The address at which other machines of its pool reach it, where that is another.
        private: Option<IpAddr>,
        /// How it ends itself.
        end: End,
        /// How it is heard that it will be taken.
        notice: Notice,
    },
    /// It runs, and its cloud has said that it takes it.
    Leaving {
        /// Why, in the provider's words.
        reason: String,
        /// In how long from now.
        within: Duration,
    },
    /// Ended, or never heard of.
    Gone {
        /// Why, in the provider's words.
        reason: String,
        /// Why, in ours. Where a cloud does not say, it is [`Loss::Crashed`].
        loss: Loss,
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
    /// How to come in, where the pool's key and the shortest way do not lead there. Default: they do.
    #[serde(default)]
    pub login: Box<Login>,
}

/// How to come in to a machine that was there before its pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Who logs in.
    pub identity: Identity,
    /// The servers that lead there, the first of them first.
    pub through: Vec<SshEndpoint>,
    /// The folder that is `$HOME` to whatever is run there, where the user's own is not to be touched; all that
    /// runs has `SKYWARD_MACHINE`, too, which says the same. Nothing runs when it is not there.
    pub home: Option<String>,
}

/// Who logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// The pool, whose key the machine was given.
    #[default]
    Pool,
    /// The user of this computer, as `ssh` would: with the keys of an agent, then with those of files.
    Own {
        /// The agent's socket.
        agent: Option<PathBuf>,
        /// The files of private keys; those that are not there are passed over.
        files: Vec<PathBuf>,
        /// Of the agent's keys, only those whose file is named are used.
        only: bool,
    },
}

/// How a server's host key is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostKey {
    /// The key is known, because we injected it or the cloud reports it: an OpenSSH public key line.
    Known(String),
    /// It must be one of these, as `known_hosts` may list several: OpenSSH public key lines.
    OneOf(Vec<String>),
    /// Nobody could tell us: the first key seen on this instance is pinned, and that is said.
    PinOnFirstUse,
}

/// A machine that did not become a node and is kept for a while, so that a person can see why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMachine {
    /// The rank that it was to be.
    pub rank: Rank,
    /// The provider's id.
    pub instance: InstanceId,
    /// The command that leads there, ready to be pasted. The key that it names is readable by this user
    /// alone, and is removed with the machine.
    pub ssh: String,
    /// How long it lives from when it was kept.
    pub length: Duration,
    /// When it ends by itself, by this computer's clock.
    pub until: SystemTime,
}

impl fmt::Display for KeptMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, instance, ssh, length, until } = self;
        let second = until.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs()) % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "machine {instance} of node {rank} lives for {length:?}, until {hour:02}:{minute:02}:{second:02} \
             UTC; look at it with: {ssh}"
        )
    }
}

impl fmt::Display for SshEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.host, self.port)
    }
}
