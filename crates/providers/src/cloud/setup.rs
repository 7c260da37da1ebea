//! What every cloud does around its own calls: opening the way to it, undoing half a preparation, renting until
//! something is in the way, and removing what may not be there.

use std::sync::OnceLock;

use futures_util::stream::{self, BoxStream, StreamExt};
use serde::de::IgnoredAny;
use skyward_runtime::model::{Instance, Leftover, Offer};
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request};

use crate::http::{Access, Auth, Call, Client, Service};

/// The way to a cloud, opened when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Way(OnceLock<Client>);

impl Way {
    /// The client; `auth` finds the key and is asked once.
    ///
    /// # Errors
    /// Those of `auth`, and of [`Client::new`].
    pub(crate) fn open(
        &self,
        service: Service,
        access: &Access,
        auth: impl FnOnce() -> Result<Auth, ProviderError>,
    ) -> Result<&Client, ProviderError> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let client = Client::new(service, access.clone(), auth()?)?;
        Ok(self.0.get_or_init(|| client))
    }
}

/// Prepares with `set_up`; when that fails, what it made is removed again.
///
/// # Errors
/// Those of `set_up`.
pub(crate) async fn prepare(
    provider: &(impl Provider + ?Sized),
    request: &Request,
    set_up: impl Future<Output = Result<(), ProviderError>> + Send,
) -> Result<(), ProviderError> {
    let failed = match set_up.await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if let Ok(left) = provider.teardown(request).await
        && !left.is_empty()
    {
        tracing::warn!(?left, "a preparation that failed left something behind");
    }
    Err(failed)
}

/// Rents with one request after the other until one fails.
///
/// # Errors
/// That of the first request, when it is the one that fails.
pub(crate) async fn rent<T, F>(
    requests: impl IntoIterator<Item = T, IntoIter: Send> + Send,
    rent: impl Fn(T) -> F + Send + Sync,
) -> Result<Provisioned, ProviderError>
where
    T: Send,
    F: Future<Output = Result<Vec<Instance>, ProviderError>> + Send,
{
    let mut instances = Vec::new();
    for request in requests {
        match rent(request).await {
            Ok(rented) => instances.extend(rented),
            Err(error) if instances.is_empty() => return Err(error),
            Err(error) => return Ok(Provisioned { instances, shortfall: Some(error) }),
        }
    }
    Ok(Provisioned { instances, shortfall: None })
}

/// Removes one thing that may not be there; what is left of it.
pub(crate) async fn remove(client: &Client, what: String, call: &Call) -> Option<Leftover> {
    match client.send::<IgnoredAny>(call).await {
        Ok(_) => None,
        Err(error) if error.kind == ProviderErrorKind::NotFound => None,
        Err(error) => Some(Leftover { what, reason: error.to_string() }),
    }
}

/// Offers that come all at once, as the stream that a provider has.
pub(crate) fn all_at_once<'a>(
    offers: impl Future<Output = Result<Vec<Offer>, ProviderError>> + Send + 'a,
) -> BoxStream<'a, Result<Offer, ProviderError>> {
    let each = |offers: Result<Vec<Offer>, ProviderError>| {
        let (offers, error) = match offers {
            Ok(offers) => (offers, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        stream::iter(offers.into_iter().map(Ok).chain(error))
    };
    stream::once(offers).flat_map(each).boxed()
}
