//! A provider whose every change is written down: the intent before it is asked, the result after it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::JournalError;
use super::record::{Intent, Record};
use super::state::DeedKind;
use crate::model::{Capabilities, Instance, InstanceId, Leftover, Offer};
use crate::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request};

/// A provider as one pool uses it. What cannot be written down is not rented; what is to be given back is given
/// back all the same, unless the pool has another owner by now.
pub struct Recorded {
    provider: Arc<dyn Provider>,
    record: Arc<Record>,
    terms: String,
}

impl Recorded {
    /// The provider, written about in this entry. `terms` is what the pool wants to read again when it is
    /// attached to.
    pub const fn new(provider: Arc<dyn Provider>, record: Arc<Record>, terms: String) -> Self {
        Self { provider, record, terms }
    }

    async fn intend(&self, kind: DeedKind, request: &Request) -> Result<i64, JournalError> {
        let (provider, terms) = (self.provider.name().to_owned(), self.terms.clone());
        let (settings, request) = (self.provider.settings(), request.clone());
        self.record.intend(Intent { kind, provider, settings, request, terms }).await
    }

    /// The number of the intent, or that nothing may be asked.
    async fn begin(&self, kind: DeedKind, request: &Request) -> Result<i64, ProviderError> {
        self.intend(kind, request).await.map_err(|error| {
            let name = self.provider.name();
            let message = format!("nothing was asked of {name}, because it cannot be written down: {error}");
            ProviderError::new(ProviderErrorKind::Local, message)
        })
    }

    /// The number of the intent to give something back, if it could be written.
    async fn begin_to_end(&self, kind: DeedKind, request: &Request) -> Result<Option<i64>, ProviderError> {
        match self.intend(kind, request).await {
            Ok(deed) => Ok(Some(deed)),
            Err(error @ JournalError::Superseded { .. }) => {
                Err(ProviderError::new(ProviderErrorKind::Local, error.to_string()))
            }
            Err(error) => {
                tracing::warn!(%error, "given back without being written down");
                Ok(None)
            }
        }
    }
}

/// The result could not be written. The intent is, so what came of it can be undone without it.
fn told(written: Result<(), JournalError>) {
    if let Err(error) = written {
        tracing::warn!(%error, "what a cloud answered is not in the journal");
    }
}

fn words<T>(result: &Result<T, ProviderError>) -> String {
    result.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned())
}

#[async_trait]
impl Provider for Recorded {
    fn name(&self) -> &str {
        self.provider.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    fn settings(&self) -> String {
        self.provider.settings()
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        self.provider.offers()
    }

    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        let deed = self.begin(DeedKind::Prepare, request).await?;
        let prepared = self.provider.prepare(request).await;
        told(self.record.ended(deed, words(&prepared)).await);
        prepared
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        let deed = self.begin(DeedKind::Provision, request).await?;
        let given = self.provider.provision(request, count).await;
        told(match &given {
            Ok(given) => {
                let instances = given.instances.iter().map(|it| it.id.clone()).collect();
                self.record.rented(deed, self.provider.name().to_owned(), instances).await
            }
            Err(error) => self.record.ended(deed, error.to_string()).await,
        });
        given
    }

    async fn describe(&self, request: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        self.provider.describe(request, id).await
    }

    async fn terminate(&self, request: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let deed = self.begin_to_end(DeedKind::Terminate, request).await?;
        let ended = self.provider.terminate(request, ids).await;
        if let Some(deed) = deed {
            told(match &ended {
                Ok(()) => self.record.gone(deed, ids.to_vec()).await,
                Err(error) => self.record.ended(deed, error.to_string()).await,
            });
        }
        ended
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let deed = self.begin_to_end(DeedKind::Teardown, request).await?;
        let left = self.provider.teardown(request).await;
        if let Some(deed) = deed {
            told(self.record.ended(deed, words(&left)).await);
        }
        left
    }
}
