//! What a pool is asked to be.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::events::Events;
use crate::model::{Image, Nodes, Secret, Worker};
use crate::output::Hub;
use crate::provider::Provider;
use crate::timing::Timing;

/// One description of machines: what is wanted, and from whom.
///
/// Several specs are alternatives, in order: the first whose provider has an offer is taken.
#[derive(Clone)]
pub struct Spec {
    provider: Arc<dyn Provider>,
    pub(crate) nodes: Option<Nodes>,
    pub(crate) image: Option<Image>,
}

impl Spec {
    /// Machines of this provider.
    pub fn on(provider: impl Provider) -> Self {
        Self::on_shared(Arc::new(provider))
    }

    /// Machines of a provider that other specs or pools use as well: its writes take turns.
    pub fn on_shared(provider: Arc<dyn Provider>) -> Self {
        Self { provider, nodes: None, image: None }
    }

    /// How many nodes, if this spec is taken. Default: what the pool says.
    #[must_use]
    pub fn nodes(mut self, nodes: impl Into<Nodes>) -> Self {
        self.nodes = Some(nodes.into());
        self
    }

    /// What the machines need, if this spec is taken. Default: what the pool says.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }
}

impl Spec {
    /// Whose machines.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.provider
    }
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spec")
            .field("provider", &self.provider.name())
            .field("nodes", &self.nodes)
            .field("image", &self.image)
            .finish()
    }
}

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
