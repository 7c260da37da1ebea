//! A pool as its owner sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorRef, SpawnErr};
use tokio::sync::{broadcast, oneshot, watch};

use super::actor::{self, Birth};
use super::error::StartError;
use super::messages::PoolMessage;
use super::request::PoolRequest;
use crate::events::Events;
use crate::link::{InUse, Link};
use crate::model::{Bill, Event, Incarnation, InvalidRequest, Leftover, Mode, PoolId, Rank, Usd};
use crate::output::{Hub, Reader};
use crate::provider::ProviderRef;
use crate::spread::Spreads;
use crate::status::Explanation;
use crate::tasks::{Retries, Tasks};

/// One pool. Clones share it. Dropping the last one does not stop it: its owner says `stop`.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    actor: ActorRef<PoolMessage>,
    tasks: Tasks,
    events: Events,
    output: Hub,
    progress: watch::Receiver<Progress>,
    /// How long the workers of a pool that had another owner may take to say what they keep.
    adopted: Option<Duration>,
    /// Another program can find it.
    can_be_left: bool,
    /// The most that it may cost.
    cap: Option<Usd>,
}

/// How far a pool has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Starting,
    Ready {
        nodes: u32,
    },
    /// It will not start, and machines that say why are kept.
    Failed(StartError),
    Ended(Stopped),
}

/// How a pool ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Why it never became ready, if it did not.
    pub failure: Option<StartError>,
    /// What could not be given back, to be removed by hand.
    pub left: Vec<Leftover>,
    /// What all of it has cost.
    pub bill: Bill,
}

impl Pool {
    /// Starts the actors of a pool. `ended` is called once, when all is over.
    pub(crate) async fn open(
        request: PoolRequest,
        providers: Vec<ProviderRef>,
        ended: Box<dyn FnOnce() + Send>,
        supervisor: ActorCell,
    ) -> Result<Self, SpawnErr> {
        let (events, output) = (request.events.clone(), request.output.clone());
        let spreads = (request.mode() == Mode::Cluster).then(|| Spreads::new(events.clone()));
        let tasks = Tasks::start(
            Retries { own: 0, infrastructure: request.interruptions, crashes: request.crash_limit },
            request.queue,
            request.timing.call,
            request.timing.detect,
            request.output.clone(),
            events.clone(),
            spreads,
        );
        let (can_be_left, cap) = (request.holds, request.max_total_cost);
        if can_be_left {
            let longest = request.specs.iter().filter_map(|it| it.requirements.ttl).max();
            tasks.hold(longest.unwrap_or_default().max(request.timing.ttl));
        }
        let adopted = request.adopted.as_ref().map(|_| request.timing.grace);
        let (sender, progress) = watch::channel(Progress::Starting);
        let birth =
            Birth { request: Arc::new(request), providers, tasks: tasks.clone(), progress: sender, ended };
        let actor = actor::spawn(birth, supervisor).await?;
        Ok(Self {
            inner: Arc::new(Inner { actor, tasks, events, output, progress, adopted, can_be_left, cap }),
        })
    }

    /// Its id.
    pub fn id(&self) -> &PoolId {
        self.inner.events.pool()
    }

    /// Its queue.
    pub fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }

    /// The links of the nodes that there are, by rank. A link may be over, and is dialled again then. None of them is
    /// given up as idle until what comes with its link is dropped.
    pub async fn links(&self) -> Vec<(Rank, Link, InUse)> {
        let (to, links) = oneshot::channel();
        // Fails only when the pool is over, and then there are none.
        let _ = self.inner.actor.cast(PoolMessage::Links(to));
        links.await.unwrap_or_default()
    }

    /// The link of this worker, which may be leaving; `None` when it is gone. What is said at [`links`](Self::links)
    /// holds.
    pub async fn link_of(&self, worker: &Incarnation) -> Option<(Rank, Link, InUse)> {
        let (to, link) = oneshot::channel();
        // Fails only when the pool is over.
        let _ = self.inner.actor.cast(PoolMessage::LinkOf(worker.clone(), to));
        link.await.ok().flatten()
    }

    /// What happens in it, from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// What runs on its nodes writes, from now on.
    pub fn output(&self) -> Reader {
        self.inner.output.read()
    }

    /// Waits until it is ready and tells the number of its nodes. May be called again and again.
    ///
    /// # Errors
    /// Why it could not start. Everything has been given back by then; after [`StartError::Kept`] all but
    /// what it names, which is given back later.
    pub async fn started(&self) -> Result<u32, StartError> {
        let mut progress = self.inner.progress.clone();
        let reached = progress.wait_for(|it| *it != Progress::Starting).await.map(|it| it.clone());
        match reached {
            Ok(Progress::Ready { nodes }) => {
                // A call whose key a worker has must not be sent to another before that is known.
                if let Some(within) = self.inner.adopted {
                    let _ = tokio::time::timeout(within, self.inner.tasks.reconciled()).await;
                }
                Ok(nodes)
            }
            Ok(Progress::Failed(failure)) => Err(failure),
            Ok(Progress::Ended(stopped)) => Err(stopped.failure.unwrap_or(StartError::Stopped)),
            Ok(Progress::Starting) | Err(_) => Err(gone()),
        }
    }

    /// Has it want so many nodes from now on. Returns when that is decided, not when they are there.
    ///
    /// # Errors
    /// When it may not have so many, or does not run.
    pub async fn resize(&self, nodes: u32) -> Result<(), InvalidRequest> {
        let (told, answer) = oneshot::channel();
        // Fails only when the pool is over.
        let _ = self.inner.actor.cast(PoolMessage::Resize(nodes, told));
        let over = || InvalidRequest::new("nodes", nodes, "the pool has ended");
        answer.await.unwrap_or_else(|_| Err(over()))
    }

    /// How many nodes it has, or wants to have, now.
    pub fn nodes(&self) -> u32 {
        self.inner.events.status().wanted
    }

    /// What it has cost until now.
    pub fn bill(&self) -> Bill {
        self.inner.events.bill()
    }

    /// Why it is waiting.
    pub async fn explain(&self) -> Explanation {
        let events = &self.inner.events;
        let calls = self.inner.tasks.explain();
        Explanation { after: events.elapsed(), status: events.status(), calls }
    }

    /// Gives everything back and tells how that went. May be called again and again; dropping the
    /// future does not take the order back.
    pub async fn stop(&self) -> Stopped {
        self.begin_stop();
        self.ended().await
    }

    /// Waits until it has ended, without asking it to.
    pub async fn ended(&self) -> Stopped {
        let mut progress = self.inner.progress.clone();
        let ended = progress.wait_for(|it| matches!(it, Progress::Ended(_))).await.map(|it| it.clone());
        match ended {
            Ok(Progress::Ended(stopped)) => stopped,
            Ok(_) | Err(_) => Stopped {
                failure: Some(gone()),
                left: vec![Leftover {
                    what: format!("machines of pool {}", self.id()),
                    reason: "the pool's actor failed; leases end those that can end themselves".to_owned(),
                }],
                bill: self.bill(),
            },
        }
    }

    /// Whether it has a name, and is in the journal.
    pub fn can_be_left(&self) -> bool {
        self.inner.can_be_left
    }

    /// The providers of machines that it has and that nothing ends but their cloud, when it is asked to.
    pub async fn unattended(&self) -> BTreeSet<String> {
        let (to, providers) = oneshot::channel();
        // Fails only when the pool is over, and then there are none.
        let _ = self.inner.actor.cast(PoolMessage::Unattended(to));
        providers.await.unwrap_or_default()
    }

    /// The most that it may cost, if there is a limit.
    pub fn max_total_cost(&self) -> Option<Usd> {
        self.inner.cap
    }

    /// Leaves everything as it is, for another program that attaches to it, and lets go of it. Only a pool that
    /// is ready and in the journal can be left.
    pub async fn detach(&self) -> Stopped {
        // Fails only when the pool is over.
        let _ = self.inner.actor.cast(PoolMessage::Detach);
        self.ended().await
    }

    /// Orders everything to be given back, and does not wait.
    pub fn begin_stop(&self) {
        // Fails only when the pool is over.
        let _ = self.inner.actor.cast(PoolMessage::Stop);
    }
}

fn gone() -> StartError {
    StartError::Internal("the pool's actor failed; see the log, and report this".to_owned())
}
