//! A provider whose every change is written down: the intent before it is asked, the result after it.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::JournalError;
use super::asking::{Asking, Note};
use super::record::{Intent, Record};
use super::state::DeedKind;
use crate::model::{Capabilities, Instance, InstanceId, KeyPrint, Leftover, Offer};
use crate::provider::{Provider, ProviderError, Provisioned, Request, Sighting};

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
        let (settings, account) = (self.provider.settings(), self.provider.account());
        let request = request.clone();
        self.record.intend(Intent { kind, provider, settings, account, request, terms }).await
    }

    /// Writes the intent down, or says why nothing may be asked.
    async fn begin(&self, kind: DeedKind, request: &Request) -> Result<Asking, ProviderError> {
        let intent = self.intend(kind, request).await;
        let failure = intent.as_ref().err().map(ToString::to_string);
        let asking = Asking::begin(kind, self.provider.name(), intent)?;
        if asking.is_unwritten() {
            tracing::warn!(error = failure, "given back without being written down");
        }
        Ok(asking)
    }

    /// Writes down what was answered. When that fails, the intent is there, and what came of it can be undone
    /// without it.
    async fn note(&self, note: Option<Note>) {
        let Some(note) = note else { return };
        if let Err(error) = self.record.note(self.provider.name(), note).await {
            tracing::warn!(%error, "what a cloud answered is not in the journal");
        }
    }
}

fn failure<T>(result: &Result<T, ProviderError>) -> Option<String> {
    result.as_ref().err().map(ToString::to_string)
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

    fn account(&self) -> Option<KeyPrint> {
        self.provider.account()
    }

    fn program(&self) -> Option<PathBuf> {
        self.provider.program()
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        self.provider.offers()
    }

    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        let asking = self.begin(DeedKind::Prepare, request).await?;
        let prepared = self.provider.prepare(request).await;
        self.note(asking.ended(failure(&prepared))).await;
        prepared
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        let asking = self.begin(DeedKind::Provision, request).await?;
        let given = self.provider.provision(request, count).await;
        let note = match &given {
            Ok(given) => {
                let is_over = !given.shortfall.as_ref().is_some_and(|it| it.unsure);
                asking.rented(given.instances.iter().map(|it| it.id.clone()).collect(), is_over)
            }
            Err(error) => asking.refused(!error.unsure, error.to_string()),
        };
        self.note(note).await;
        given
    }

    async fn describe(&self, request: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        self.provider.describe(request, id).await
    }

    async fn sightings(&self) -> Result<Option<Vec<Sighting>>, ProviderError> {
        self.provider.sightings().await
    }

    async fn terminate(&self, request: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let asking = self.begin(DeedKind::Terminate, request).await?;
        let ended = self.provider.terminate(request, ids).await;
        let note = match &ended {
            Ok(()) => asking.gone(ids.to_vec()),
            Err(error) => asking.ended(Some(error.to_string())),
        };
        self.note(note).await;
        ended
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let asking = self.begin(DeedKind::Teardown, request).await?;
        let left = self.provider.teardown(request).await;
        self.note(asking.ended(failure(&left))).await;
        left
    }
}
