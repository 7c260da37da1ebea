//! Machines of this computer that pass for those of a cloud.

use skyward::Local;
use skyward::provider::{
    BoxStream, Capabilities, Instance, InstanceId, Leftover, Offer, Provider, ProviderError, Provisioned,
    Request, async_trait,
};

/// Machines of this computer, of which nobody knows that they are.
#[derive(Debug)]
pub struct Elsewhere {
    /// What they are really.
    pub local: Local,
    /// Whether they are said to end their own bill.
    pub ends_itself: bool,
}

#[async_trait]
impl Provider for Elsewhere {
    fn name(&self) -> &str {
        "elsewhere"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { same_computer: false, ends_itself: self.ends_itself, ..self.local.capabilities() }
    }
    fn settings(&self) -> String {
        self.local.settings()
    }
    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        self.local.offers()
    }
    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        self.local.prepare(request).await
    }
    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        self.local.provision(request, count).await
    }
    async fn describe(&self, request: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        self.local.describe(request, id).await
    }
    async fn terminate(&self, request: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        self.local.terminate(request, ids).await
    }
    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        self.local.teardown(request).await
    }
}
