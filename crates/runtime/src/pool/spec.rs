//! What is wanted, and from whom.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Accelerator, Allocation, Architecture, Image, InvalidRequest, Nodes, Requirements, Usd, Volume,
};
use crate::provider::Provider;

/// One description of machines: what is wanted, and from whom.
///
/// Several specs are alternatives; the pool's [`Selection`](crate::model::Selection) says in which order
/// what they find is tried. What a spec says of nodes and image wins over what the pool says.
#[derive(Clone)]
pub struct Spec {
    provider: Arc<dyn Provider>,
    pub(crate) requirements: Requirements,
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
        Self { provider, requirements: Requirements::default(), nodes: None, image: None }
    }

    /// Everything that the machines must have, at once.
    #[must_use]
    pub fn requirements(mut self, requirements: Requirements) -> Self {
        self.requirements = requirements;
        self
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

    /// The accelerators of each machine: this model, exactly this many, and memory within a tenth of
    /// what is asked for. Default: any or none.
    #[must_use]
    pub fn accelerator(mut self, accelerator: impl Into<Accelerator>) -> Self {
        self.requirements.accelerator = Some(accelerator.into());
        self
    }

    /// At least so many processors. Default: any number.
    #[must_use]
    pub fn vcpus(mut self, least: u32) -> Self {
        self.requirements.vcpus = Some(least);
        self
    }

    /// At least so much memory, in GB as the provider counts them. Default: any.
    #[must_use]
    pub fn memory_gb(mut self, least: u32) -> Self {
        self.requirements.memory_gb = Some(least);
        self
    }

    /// A disk of at least this size, in GB. Default: what the provider gives.
    #[must_use]
    pub fn disk_gb(mut self, least: u32) -> Self {
        self.requirements.disk_gb = Some(least);
        self
    }

    /// The processor. Default: that of the running program, which is what the machines run; a pool with
    /// another can be planned, but not started.
    #[must_use]
    pub fn architecture(mut self, architecture: Architecture) -> Self {
        self.requirements.architecture = Some(architecture);
        self
    }

    /// The market. Default [`Allocation::SpotIfAvailable`].
    #[must_use]
    pub fn allocation(mut self, allocation: Allocation) -> Self {
        self.requirements.allocation = allocation;
        self
    }

    /// Machines that their cloud may take back, alone: [`Allocation::Spot`].
    #[must_use]
    pub fn spot(self) -> Self {
        self.allocation(Allocation::Spot)
    }

    /// Machines that stay, alone: [`Allocation::OnDemand`].
    #[must_use]
    pub fn on_demand(self) -> Self {
        self.allocation(Allocation::OnDemand)
    }

    /// The region, as the provider calls it. Default: any.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.requirements.region = Some(region.into());
        self
    }

    /// The most that one machine may cost an hour: the price that is really paid, spot or on demand.
    /// Default: no limit.
    #[must_use]
    pub fn max_hourly_cost(mut self, most: Usd) -> Self {
        self.requirements.max_hourly_cost = Some(most);
        self
    }

    /// How long a machine lives on without its client before it ends itself. It is the machine's lease,
    /// which the client renews: it does not end a machine that is in use. Default: the pool's
    /// [`Timing::lease`](crate::timing::Timing::lease) on this computer, [`Timing::ttl`](crate::timing::Timing::ttl)
    /// elsewhere; between 3 s and 7 days.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.requirements.ttl = Some(ttl);
        self
    }

    /// Mounts a volume on every machine. Refused where the provider cannot; none of those that come with Skyward can, so
    /// it is for a provider of your own.
    #[must_use]
    pub fn volume(mut self, volume: Volume) -> Self {
        self.requirements.volumes.push(volume);
        self
    }

    /// Lets machines of other offers, which also say so, be nodes of the same pool. Default: what an
    /// offer that runs out gave is given back, and the next has to give all.
    #[must_use]
    pub fn mixed(mut self) -> Self {
        self.requirements.mixed = true;
        self
    }
}

impl Spec {
    /// Whose machines.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.provider
    }

    /// How many, where it is not what the pool says.
    pub const fn own_nodes(&self) -> Option<Nodes> {
        self.nodes
    }

    /// What they need, where the pool's image does not do.
    pub const fn own_image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    /// What they must have.
    pub const fn wanted(&self) -> &Requirements {
        &self.requirements
    }

    /// Checks what it asks for. `nodes` is what the pool says.
    ///
    /// # Errors
    /// Which field cannot be met, and what it may say.
    pub fn validated(&self, nodes: Nodes) -> Result<(), InvalidRequest> {
        self.nodes.unwrap_or(nodes).validated()?;
        self.requirements.validated()?;
        let (name, can) = (self.provider.name(), self.provider.capabilities());
        match self.requirements.volumes.first().filter(|_| !can.volumes) {
            Some(volume) => {
                let allowed = format!("{name} mounts no volumes: leave it out, or use `Image::include`");
                Err(InvalidRequest::new("volume", &volume.bucket, allowed))
            }
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spec")
            .field("provider", &self.provider.name())
            .field("requirements", &self.requirements)
            .field("nodes", &self.nodes)
            .field("image", &self.image)
            .finish()
    }
}
