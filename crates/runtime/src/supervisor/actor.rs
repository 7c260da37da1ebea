//! The Supervisor does what its state decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use super::messages::SupervisorMessage;
use super::state::{Effect, Heard, ProviderKey, State};
use crate::model::PoolId;
use crate::pool::{Pool, PoolRequest, StartError};
use crate::provider::{Provider, ProviderRef};

/// The root of all actors of this process. Clones share it.
#[derive(Clone, Debug)]
pub struct Supervisor {
    actor: ActorRef<SupervisorMessage>,
}

impl Supervisor {
    /// Starts the root actor on the current tokio runtime.
    ///
    /// # Errors
    /// When the actor cannot be started.
    pub async fn start() -> Result<Self, ractor::SpawnErr> {
        let (actor, _) = Actor::spawn(None, SupervisorActor, ()).await?;
        Ok(Self { actor })
    }

    /// Opens a pool and returns its handle at once: whoever holds it can wait for it and stop it.
    ///
    /// # Errors
    /// When the request is invalid, or everything is being stopped.
    pub async fn open(&self, request: PoolRequest) -> Result<Pool, StartError> {
        let (reply, answer) = oneshot::channel();
        let ended = || StartError::Internal("Skyward's root actor has ended; see the log".to_owned());
        self.actor
            .cast(SupervisorMessage::Open { request: Box::new(request), reply })
            .map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Stops every pool, lets no more be opened, and returns when the last has ended.
    pub async fn stop_all(&self) {
        let (done, ended) = oneshot::channel();
        if self.actor.cast(SupervisorMessage::StopAll { done }).is_ok() {
            let _ = ended.await;
        }
    }
}

struct SupervisorActor;

#[derive(Default)]
struct Doing {
    state: State,
    providers: BTreeMap<ProviderKey, ProviderRef>,
    pools: BTreeMap<PoolId, Pool>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Actor for SupervisorActor {
    type Msg = SupervisorMessage;
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
        match message {
            SupervisorMessage::Open { request, reply } => {
                let opened = doing.open(*request, &myself).await;
                if let Err(Ok(unwanted)) = reply.send(opened) {
                    // The caller went away before it had the handle: nobody else would stop the pool.
                    unwanted.begin_stop();
                }
            }
            SupervisorMessage::Ended { pool } => doing.ended(pool),
            SupervisorMessage::StopAll { done } => {
                doing.waiting.push(done);
                let effects = doing.state.hear(Heard::StopAll);
                doing.act(effects);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        _: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        // A failing pool takes nothing else down; its machines end with their leases.
        if let SupervisionEvent::ActorFailed(actor, error) = event {
            tracing::error!(actor = %actor.get_id(), %error, "a pool's actor failed; please report this");
        }
        Ok(())
    }
}

impl Doing {
    async fn open(
        &mut self,
        request: PoolRequest,
        myself: &ActorRef<SupervisorMessage>,
    ) -> Result<Pool, StartError> {
        if request.specs.is_empty() {
            return Err(StartError::NoSpec);
        }
        request.validated().map_err(StartError::Invalid)?;
        let pool = request.events.pool().clone();
        let keys: Vec<ProviderKey> = request.specs.iter().map(|it| key(it.provider())).collect();
        let heard = Heard::Open { pool: pool.clone(), providers: keys.iter().copied().collect() };
        let internal =
            |error: ractor::SpawnErr| StartError::Internal(format!("failed to start an actor: {error}"));
        for effect in self.state.hear(heard) {
            match effect {
                Effect::StartProvider(wanted) => {
                    let provider = request.specs.iter().map(|it| it.provider()).find(|it| key(it) == wanted);
                    if let Some(provider) = provider {
                        let started = ProviderRef::start(Arc::clone(provider)).await.map_err(internal);
                        let started = self.or_ended(&pool, started)?;
                        self.providers.insert(wanted, started);
                    }
                }
                Effect::OpenPool => {
                    let providers = keys.iter().filter_map(|it| self.providers.get(it).cloned()).collect();
                    let (to, name) = (myself.clone(), pool.clone());
                    let ended = Box::new(move || {
                        let _ = to.cast(SupervisorMessage::Ended { pool: name });
                    });
                    let opened = Pool::open(request.clone(), providers, ended, myself.get_cell()).await;
                    let opened = self.or_ended(&pool, opened.map_err(internal))?;
                    self.pools.insert(pool.clone(), opened.clone());
                    return Ok(opened);
                }
                Effect::RefusePool => break,
                Effect::StopPool(_) | Effect::EndProvider(_) | Effect::AllEnded => {}
            }
        }
        Err(StartError::Stopped)
    }

    /// Forgets a pool that could not be opened.
    fn or_ended<T>(&mut self, pool: &PoolId, result: Result<T, StartError>) -> Result<T, StartError> {
        if result.is_err() {
            self.ended(pool.clone());
        }
        result
    }

    fn ended(&mut self, pool: PoolId) {
        self.pools.remove(&pool);
        let effects = self.state.hear(Heard::Ended { pool });
        self.act(effects);
    }

    fn act(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::StopPool(pool) => {
                    if let Some(pool) = self.pools.get(&pool) {
                        pool.begin_stop();
                    }
                }
                Effect::EndProvider(key) => {
                    if let Some(provider) = self.providers.remove(&key) {
                        provider.end();
                    }
                }
                Effect::AllEnded => {
                    for done in self.waiting.drain(..) {
                        let _ = done.send(());
                    }
                }
                Effect::StartProvider(_) | Effect::OpenPool | Effect::RefusePool => {}
            }
        }
    }
}

fn key(provider: &Arc<dyn Provider>) -> ProviderKey {
    ProviderKey(Arc::as_ptr(provider).cast::<()>().addr())
}
