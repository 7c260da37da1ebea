//! What a provider of machines is made of, for those who write their own: implement [`Provider`] and
//! pass it to [`Spec::on`](crate::Spec::on).
//!
//! ```
//! use skyward::provider::{
//!     async_trait, BoxStream, Capabilities, Instance, InstanceId, InstanceState, Leftover, Loss, Offer, Provider,
//!     ProviderError, ProviderErrorKind, Provisioned, Request,
//! };
//!
//! /// A cloud that is always sold out.
//! struct SoldOut;
//!
//! #[async_trait]
//! impl Provider for SoldOut {
//!     fn name(&self) -> &str {
//!         "sold-out"
//!     }
//!     fn capabilities(&self) -> Capabilities {
//!         Capabilities { root: true, ends_itself: true, udp: true, ..Capabilities::NONE }
//!     }
//!     fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
//!         Box::pin(skyward::provider::stream::empty())
//!     }
//!     async fn prepare(&self, _: &Request) -> Result<(), ProviderError> {
//!         Ok(())
//!     }
//!     async fn provision(&self, _: &Request, _: u32) -> Result<Provisioned, ProviderError> {
//!         Err(ProviderError::new(ProviderErrorKind::NoCapacity, "sold out; come back tomorrow"))
//!     }
//!     async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
//!         let reason = "never existed".to_owned();
//!         Ok(Instance { id: id.clone(), state: InstanceState::Gone { reason, loss: Loss::Stopped } })
//!     }
//!     async fn terminate(&self, _: &Request, _: &[InstanceId]) -> Result<(), ProviderError> {
//!         Ok(())
//!     }
//!     async fn teardown(&self, _: &Request) -> Result<Vec<Leftover>, ProviderError> {
//!         Ok(Vec::new())
//!     }
//! }
//!
//! let spec = skyward::Spec::on(SoldOut);
//! ```

pub use async_trait::async_trait;
pub use futures_util::stream::{self, BoxStream};
pub use skyward_providers::{cloud, http};
pub use skyward_runtime::model::{
    Architecture, Billing, BillingUnit, Capabilities, Conversion, End, HostKey, Identity, Instance,
    InstanceId, InstanceState, InstanceType, KeyPrint, Leftover, Login, Loss, Market, Notice, Offer, PoolId,
    Price, SshEndpoint, Volume,
};
pub use skyward_runtime::provider::{
    Provider, ProviderError, ProviderErrorKind, Provisioned, Request, Retry, Sighting,
};
