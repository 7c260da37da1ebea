//! What the NodeActor hears, and what it reports.

use std::net::IpAddr;
use std::sync::Arc;

use ractor_cluster::RactorMessage;

use super::state::{Heard, Timer};
use crate::control::Member;
use crate::link::Link;
use crate::model::{Attempt, Rank};
use crate::ssh::Session;

/// Messages of the NodeActor: the results of its own steps, its timers, and two orders.
#[derive(Debug, RactorMessage)]
pub(super) enum NodeMessage {
    /// A step ended; what it brought is kept by the shell.
    Heard(Heard),
    /// The machine's SSH server let us in.
    Reached(Session),
    /// The worker is linked and a member of the cluster.
    Linked(Link, Member),
    /// A timer went off.
    Woke(Timer),
    /// Finish what runs, then end.
    Drain,
    /// End now.
    Stop,
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
        /// At this address.
        address: IpAddr,
    },
    /// Its link is being dialled again.
    Paused,
    /// It has ended, or will never be.
    Gone {
        /// Why.
        reason: String,
    },
}
