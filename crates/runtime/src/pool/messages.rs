//! What the PoolActor hears.

use std::sync::Arc;

use ractor_cluster::RactorMessage;
use tokio::sync::oneshot;

use super::state::{Heard, Timer};
use crate::link::Link;
use crate::model::{Attempt, Rank};
use crate::node::{NodeKit, NodeReport};

/// Messages of the PoolActor: the results of its own steps, its nodes' reports, and one order.
#[derive(Debug, RactorMessage)]
pub(super) enum PoolMessage {
    /// A step ended.
    Heard(Heard),
    /// The provider is set up; this is what the nodes are given.
    Prepared(Arc<NodeKit>),
    /// A node says what became of it.
    Node(NodeReport),
    /// A node that became ready knows its peers, and they know it.
    Introduced {
        /// Its rank.
        rank: Rank,
        /// Which life of it.
        attempt: Attempt,
        /// Its link.
        link: Link,
    },
    /// Somebody wants the links of the nodes that there are.
    Links(oneshot::Sender<Vec<(Rank, Link)>>),
    /// Give everything back.
    Stop,
}

impl PoolMessage {
    pub(super) const fn heard(heard: Heard) -> Self {
        Self::Heard(heard)
    }

    pub(super) const fn woke(timer: Timer) -> Self {
        Self::heard(Heard::Woke(timer))
    }
}
