//! What the PoolActor hears.

use std::sync::Arc;

use ractor_cluster::RactorMessage;

use super::error::StartError;
use super::state::{Heard, Timer};
use crate::node::{NodeKit, NodeReport};

/// Messages of the PoolActor: the results of its own steps, its nodes' reports, and one order.
#[derive(Debug, RactorMessage)]
pub(super) enum PoolMessage {
    /// A step ended.
    Heard(Heard),
    /// The provider is set up; this is what the nodes are given.
    Prepared(Arc<NodeKit>),
    /// The provider is not set up, or not entirely: what is there has to be undone with this.
    Unprepared(Arc<NodeKit>, StartError),
    /// A node says what became of it.
    Node(NodeReport),
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
