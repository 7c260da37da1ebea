//! The ProviderActor: one per distinct provider of the process. It serialises the provider's writes,
//! so that a teardown never overtakes the request for machines that it has to undo.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, TryStreamExt};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::messages::{Operation, ProviderMessage};
use super::state::{State, WriteId};
use super::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request, Sighting};
use crate::model::{Instance, InstanceId, Leftover, Offer};

/// A provider behind its actor. Clones share it.
#[derive(Clone)]
pub struct ProviderRef {
    provider: Arc<dyn Provider>,
    actor: ActorRef<ProviderMessage>,
}

impl ProviderRef {
    /// Starts the actor of a provider.
    ///
    /// # Errors
    /// When the actor cannot be started.
    pub async fn start(provider: Arc<dyn Provider>) -> Result<Self, ractor::SpawnErr> {
        let (actor, _) = Actor::spawn(None, ProviderActor, ()).await?;
        Ok(Self { provider, actor })
    }

    /// The same actor, asked by way of another provider around it.
    #[must_use]
    pub fn by_way_of(&self, around: impl FnOnce(Arc<dyn Provider>) -> Arc<dyn Provider>) -> Self {
        Self { provider: around(Arc::clone(&self.provider)), actor: self.actor.clone() }
    }

    /// The provider itself, for what it says about itself.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.provider
    }

    /// All offers.
    ///
    /// # Errors
    /// The provider's, or a time-out after `deadline`.
    pub async fn offers(&self, deadline: Duration) -> Result<Vec<Offer>, ProviderError> {
        self.ask(Kind::Read, "list offers", deadline, |it| {
            async move { it.offers().try_collect().await }.boxed()
        })
        .await
    }

    /// See [`Provider::prepare`].
    ///
    /// # Errors
    /// The provider's, or a time-out after `deadline`.
    pub async fn prepare(&self, request: Arc<Request>, deadline: Duration) -> Result<(), ProviderError> {
        self.ask(Kind::Write, "prepare", deadline, |it| async move { it.prepare(&request).await }.boxed())
            .await
    }

    /// See [`Provider::provision`].
    ///
    /// # Errors
    /// The provider's, or a time-out after `deadline`.
    pub async fn provision(
        &self,
        request: Arc<Request>,
        count: u32,
        deadline: Duration,
    ) -> Result<Provisioned, ProviderError> {
        let provision =
            move |it: Arc<dyn Provider>| async move { it.provision(&request, count).await }.boxed();
        self.ask(Kind::Write, "rent machines", deadline, provision).await
    }

    /// See [`Provider::describe`].
    ///
    /// # Errors
    /// The provider's, or a time-out after `deadline`.
    pub async fn describe(
        &self,
        request: Arc<Request>,
        id: InstanceId,
        deadline: Duration,
    ) -> Result<Instance, ProviderError> {
        let describe = move |it: Arc<dyn Provider>| async move { it.describe(&request, &id).await }.boxed();
        self.ask(Kind::Read, "describe a machine", deadline, describe).await
    }

    /// See [`Provider::sightings`].
    ///
    /// # Errors
    /// The provider's, or a time-out after `deadline`.
    pub async fn sightings(&self, deadline: Duration) -> Result<Option<Vec<Sighting>>, ProviderError> {
        let look = move |it: Arc<dyn Provider>| async move { it.sightings().await }.boxed();
        self.ask(Kind::Read, "list all machines", deadline, look).await
    }

    /// See [`Provider::terminate`].
    ///
    /// # Errors
    /// The provider's, or a time-out after `deadline`.
    pub async fn terminate(
        &self,
        request: Arc<Request>,
        ids: Vec<InstanceId>,
        deadline: Duration,
    ) -> Result<(), ProviderError> {
        let terminate =
            move |it: Arc<dyn Provider>| async move { it.terminate(&request, &ids).await }.boxed();
        self.ask(Kind::Write, "give machines back", deadline, terminate).await
    }

    /// See [`Provider::teardown`].
    ///
    /// # Errors
    /// The provider's, or a time-out after `deadline`.
    pub async fn teardown(
        &self,
        request: Arc<Request>,
        deadline: Duration,
    ) -> Result<Vec<Leftover>, ProviderError> {
        let teardown = move |it: Arc<dyn Provider>| async move { it.teardown(&request).await }.boxed();
        self.ask(Kind::Write, "tear down", deadline, teardown).await
    }

    /// Ends the actor after what it has been asked.
    pub(crate) fn end(&self) {
        self.actor.stop(None);
    }

    /// Runs one request in its turn. The deadline counts from the moment that it starts. A caller that
    /// goes away does not stop it: what was begun at a cloud is heard to its end.
    async fn ask<T: Send + 'static>(
        &self,
        kind: Kind,
        what: &'static str,
        deadline: Duration,
        request: impl FnOnce(
            Arc<dyn Provider>,
        ) -> futures_util::future::BoxFuture<'static, Result<T, ProviderError>>
        + Send
        + 'static,
    ) -> Result<T, ProviderError> {
        let provider = Arc::clone(&self.provider);
        let name = self.provider.name().to_owned();
        let (reply, answer) = oneshot::channel();
        let operation: Operation = async move {
            let result = tokio::time::timeout(deadline, request(provider)).await.unwrap_or_else(|_| {
                let message = format!("{name} did not {what} within {deadline:?}; is it reachable?");
                Err(ProviderError::new(ProviderErrorKind::Transient, message))
            });
            // Nobody may be waiting any more.
            let _ = reply.send(result);
        }
        .boxed();
        let message = match kind {
            Kind::Read => ProviderMessage::Read(operation),
            Kind::Write => ProviderMessage::Write(operation),
        };
        let ended = || {
            let message = format!("failed to {what}: the provider's actor has ended with its pool");
            ProviderError::new(ProviderErrorKind::Local, message)
        };
        self.actor.cast(message).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

impl std::fmt::Debug for ProviderRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ProviderRef").field(&self.provider.name()).finish()
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
}

struct ProviderActor;

#[derive(Default)]
struct Doing {
    state: State,
    next: u64,
    writes: BTreeMap<WriteId, Operation>,
}

impl Actor for ProviderActor {
    type Msg = ProviderMessage;
    type State = Doing;
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(Doing::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        doing: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let start = match message {
            ProviderMessage::Read(operation) => {
                tokio::spawn(operation);
                None
            }
            ProviderMessage::Write(operation) => {
                let id = WriteId(doing.next);
                doing.next += 1;
                doing.writes.insert(id, operation);
                doing.state.arrived(id)
            }
            ProviderMessage::Finished => doing.state.finished(),
        };
        if let Some(operation) = start.and_then(|it| doing.writes.remove(&it)) {
            tokio::spawn(async move {
                // A provider that panics must not hold up the writes behind it.
                let _ = std::panic::AssertUnwindSafe(operation).catch_unwind().await;
                let _ = myself.cast(ProviderMessage::Finished);
            });
        }
        Ok(())
    }
}
