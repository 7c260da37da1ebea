//! What the PoolActor hears.

use std::sync::Arc;

use ractor_cluster::RactorMessage;

use super::state::{Heard, Timer};
use crate::node::{NodeKit, NodeReport};

/// Messages of the PoolActor: the results of its own steps, its nodes' reports, and one order.
#[derive(Debug, RactorMessage)]
pub enum PoolMessage {
    /// A step ended.
    #[doc(hidden)]
    Heard(HeardBox),
    /// The provider is set up; this is what the nodes are given.
    Prepared(Arc<NodeKit>),
    /// A node says what became of it.
    Node(NodeReport),
    /// Give everything back.
    Stop,
}

/// What a pool hears from its own steps and timers; opaque outside of the pool.
#[derive(Debug)]
pub struct HeardBox(pub(super) Heard);

impl PoolMessage {
    pub(super) const fn heard(heard: Heard) -> Self {
        Self::Heard(HeardBox(heard))
    }

    pub(super) const fn woke(timer: Timer) -> Self {
        Self::heard(Heard::Woke(timer))
    }
}
