//! What a pool is asked to be.

use std::collections::BTreeMap;

use super::spec::Spec;
use crate::events::Events;
use crate::model::{Carrier, Image, Nodes, Secret, Worker};
use crate::output::Hub;
use crate::timing::Timing;

/// Everything that a pool needs to know to start.
#[derive(Clone, Debug)]
pub struct PoolRequest {
    /// The alternatives, in order.
    pub specs: Vec<Spec>,
    /// How many nodes, where a spec does not say.
    pub nodes: Nodes,
    /// What the machines need, where a spec does not say.
    pub image: Image,
    /// How nodes run tasks.
    pub worker: Worker,
    /// What the links run over.
    pub carrier: Carrier,
    /// What functions may ask for by name. It reaches workers on their standard input alone.
    pub secrets: BTreeMap<String, Secret<String>>,
    /// Every time-out.
    pub timing: Timing,
    /// How many calls may wait for a slot at once.
    pub queue: usize,
    /// How often a call is tried again when its node or the link to it is lost, where it does not say.
    pub interruptions: u32,
    /// How many workers may end while a call runs there before it is not tried again.
    pub crash_limit: u32,
    /// Where what runs on the nodes writes goes.
    pub output: Hub,
    /// Where facts go; it also names the pool.
    pub events: Events,
}
