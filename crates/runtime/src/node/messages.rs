//! What the NodeActor hears, and what it reports.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ractor_cluster::RactorMessage;

use super::health;
use crate::bootstrap::Listening;
use crate::control::Member;
use crate::link::Link;
use crate::model::{Attempt, InstanceState, Rank};
use crate::ssh::{Session, SshError};

/// Messages of the NodeActor: the results of its own steps, its timers, and two orders.
#[derive(Debug, RactorMessage)]
pub(super) enum NodeMessage {
    /// A step ended; what it brought is kept by the shell.
    Heard(Heard),
    /// The machine's SSH server let us in.
    Reached(Session),
    /// A session that was over had to be dialled anew.
    Reconnected(Session),
    /// The worker is linked and a member of the cluster.
    Linked(Link, Member),
    /// A timer went off.
    Woke(Timer),
    /// Its health.
    Health(health::Heard),
    /// Finish what runs, then end.
    Drain(Leave),
    /// End now.
    Stop,
}

/// How a node is to end that may finish what runs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave {
    /// How long what runs may go on.
    pub within: Duration,
    /// Its machine will be taken then.
    pub preempted: bool,
}

/// Where a child's reports go: the child knows nothing else of its parent.
pub type Recipient<T> = Arc<dyn Fn(T) + Send + Sync>;

/// What became of a node.
#[derive(Debug)]
pub struct NodeReport {
    /// The rank.
    pub rank: Rank,
    /// Which life of it.
    pub attempt: Attempt,
    /// What happened.
    pub what: Reported,
}

/// What a node reports.
#[derive(Debug)]
pub enum Reported {
    /// It takes tasks.
    Ready {
        /// Over this link.
        link: Link,
        /// As this member of the cluster.
        member: Member,
        /// At this address, as its pool's mode has it.
        address: IpAddr,
        /// On this port, by UDP.
        port: u16,
    },
    /// Its link is being dialled again.
    Paused,
    /// Its worker's process has ended, while its machine lives.
    Crashed,
    /// It will end: its machine will be taken, or it is not well.
    Noticed {
        /// In how long.
        within: Duration,
        /// Why.
        reason: String,
    },
    /// It has ended, or will never be.
    Gone {
        /// Why.
        reason: String,
        /// Whether another machine may do better.
        retry: bool,
    },
}

/// What a node hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It begins.
    Born,
    /// It begins with a worker that another owner of the pool has started.
    Adopted(Listening),
    /// What the provider says of the machine.
    Described(Result<InstanceState, String>),
    /// Whether the SSH server let us in.
    Reached(Result<(), Trouble>),
    /// The SSH server answers and does not take our key, or not yet.
    KeyRefused {
        /// Its words.
        reason: String,
    },
    /// Whether the machine is what the image asks for.
    Bootstrapped(Result<(), Trouble>),
    /// Whether a worker listens, and where.
    Started(Result<Listening, Trouble>),
    /// Whether the worker's process has ended, while its machine has not.
    WorkerEnded(bool),
    /// Whether the worker is linked and a member of the cluster.
    Linked(Result<(), Trouble>),
    /// The SSH session is over: the machine may be.
    SessionClosed,
    /// The link is over.
    LinkClosed { reason: String },
    /// Whether the worker has finished what ran.
    Drained,
    /// A timer went off.
    Woke(Timer),
    /// Its machine will be taken in so long.
    Noticed { within: Duration, reason: String },
    /// Its probe has failed too often. `was_ready`: it has taken calls.
    Unhealthy { was_ready: bool, reason: String },
    /// The pool wants it to finish.
    Drain(Leave),
    /// The pool wants it to end now.
    Stop,
}

/// Why something failed, and whether trying again may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) reason: String,
    pub(crate) retry: bool,
}

impl From<&SshError> for Trouble {
    fn from(error: &SshError) -> Self {
        Self { retry: error.retry(), reason: error.to_string() }
    }
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
    /// Time to ask again how it is told that the machine will be taken.
    Look,
}
