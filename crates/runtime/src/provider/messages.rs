//! What the ProviderActor hears.

use futures_util::future::BoxFuture;
use ractor_cluster::RactorMessage;

/// One request to a provider, made up and answered by [`super::ProviderRef`].
pub(super) type Operation = BoxFuture<'static, ()>;

/// Messages of the ProviderActor.
#[derive(RactorMessage)]
pub(super) enum ProviderMessage {
    /// Changes something: one at a time, in the order of arrival.
    Write(Operation),
    /// Changes nothing: at once.
    Read(Operation),
    /// The running write has ended.
    Finished,
}
