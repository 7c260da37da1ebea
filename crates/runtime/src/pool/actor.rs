//! The PoolActor does what its state decides. Steps run beside it and end in a message.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::future::join_all;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use super::adopting::Adoption;
use super::effect::Effect;
use super::error::StartError;
use super::handle::{Progress, Stopped};
use super::key_file::KeyFile;
use super::messages::{Heard, Limits, PoolMessage};
use super::owner;
use super::request::PoolRequest;
use super::roster::Rosters;
use super::state::State;
use super::steps;
use super::strays::Watch;
use crate::journal::{Journal, KnownNode, Machine};
use crate::link::Link;
use crate::model::{Attempt, EventKind, InstanceId, InvalidRequest, PoolPhase, Rank};
use crate::node::{NodeKit, NodeRef, NodeReport, Reported};
use crate::provider::ProviderRef;
use crate::tasks::{Tasks, TasksMessage};

/// What a PoolActor is born with.
pub(super) struct Birth {
    pub(super) request: Arc<PoolRequest>,
    /// The specs' providers, in order.
    pub(super) providers: Vec<ProviderRef>,
    pub(super) tasks: Tasks,
    pub(super) progress: watch::Sender<Progress>,
    /// Called once, when all is over.
    pub(super) ended: Box<dyn FnOnce() + Send>,
}

pub(super) async fn spawn(
    birth: Birth,
    supervisor: ActorCell,
) -> Result<ActorRef<PoolMessage>, ractor::SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, PoolActor, birth, supervisor).await?;
    Ok(actor)
}

struct PoolActor;

struct Doing {
    request: Arc<PoolRequest>,
    providers: Vec<ProviderRef>,
    tasks: Tasks,
    progress: watch::Sender<Progress>,
    ended: Option<Box<dyn FnOnce() + Send>>,
    state: State,
    /// What was set up, or may be: all of it is undone in the end. Machines are rented with the last that is.
    kits: Vec<Arc<NodeKit>>,
    kit: Option<Arc<NodeKit>>,
    /// What each machine was rented with.
    homes: BTreeMap<InstanceId, Arc<NodeKit>>,
    nodes: BTreeMap<(Rank, Attempt), NodeRef>,
    links: BTreeMap<Rank, Link>,
    /// Timers that may still be waiting. A program that starts many pools must not gather them.
    timers: Vec<AbortHandle>,
    /// Who asked for another size, until that is decided.
    resized: Option<oneshot::Sender<Result<(), InvalidRequest>>>,
    rosters: Rosters,
    /// The keys of machines that are kept; each is gone with its machine.
    keys: BTreeMap<InstanceId, KeyFile>,
    /// How workers are found again that another owner of the pool started.
    known: BTreeMap<InstanceId, KnownNode>,
    fresh: bool,
    watch: Watch,
    /// All of it is left as it is.
    detached: bool,
}

impl Actor for PoolActor {
    type Msg = PoolMessage;
    type State = Doing;
    type Arguments = Birth;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        birth: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let Birth { request, providers, tasks, progress, ended } = birth;
        let pool = myself.clone();
        tasks.watched_by(move |reason| {
            tracing::error!(reason, "a pool's queue ended before the pool; please report this");
            // Fails only when the pool is over.
            let _ = pool.cast(PoolMessage::heard(Heard::QueueEnded { reason }));
        });
        let mut known = BTreeMap::new();
        if let Some(pool) = &request.adopted
            && let Some(adoption) = Adoption::of(pool, Journal::now())
        {
            let node = |it: &Machine| Some((it.instance.clone(), it.node.clone()?));
            known = pool.machines.iter().filter_map(node).collect();
            myself.cast(PoolMessage::heard(Heard::Adopted(Box::new(adoption))))?;
        }
        // The machines of an older owner live on only once one of them is linked.
        let own = request.record.clone().filter(|_| request.adopted.is_none());
        let heartbeat = own.map(|it| request.heartbeat(it));
        let lost = request.record.clone().map(|it| owner::watch(it, myself.clone()));
        let rosters = Rosters::new(request.mode(), tasks.spreads().cloned());
        let limits = Limits::of(&request, &providers);
        myself.cast(PoolMessage::heard(Heard::Born { limits }))?;
        Ok(Doing {
            request,
            providers,
            tasks,
            progress,
            ended: Some(ended),
            state: State::new(),
            kits: Vec::new(),
            kit: None,
            homes: BTreeMap::new(),
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            fresh: heartbeat.is_some(),
            timers: heartbeat.into_iter().chain(lost).collect(),
            resized: None,
            rosters,
            keys: BTreeMap::new(),
            known,
            watch: Watch::default(),
            detached: false,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        doing: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(heard) = doing.take_in(message, &myself).await else { return Ok(()) };
        let timing = doing.request.timing.clone();
        // What this is the first to hear of, such as a node that its worker refused, comes after why that is.
        let lost = owner::lost(doing.request.record.as_ref()).filter(|_| !doing.detached);
        let mut next: VecDeque<Heard> = lost.into_iter().chain([heard]).collect();
        while let Some(heard) = next.pop_front() {
            for effect in doing.state.hear(heard, doing.request.events.now(), &timing) {
                match effect {
                    // Nothing else may happen to a node between its closing and what follows of it.
                    Effect::QueueClose { rank, attempt } => {
                        let closed = doing.tasks.close_idle(rank);
                        next.push_back(Heard::NodeClosed { rank, attempt, closed });
                    }
                    // What follows would drain nodes that are another program's.
                    Effect::Announce(EventKind::Pool(PoolPhase::Stopping)) => {
                        if let Some(by) = owner::close(doing.request.record.as_ref()).await {
                            next.push_front(Heard::Superseded(by));
                            break;
                        }
                        doing.request.events.emit(EventKind::Pool(PoolPhase::Stopping));
                    }
                    effect => doing.act(effect, &myself).await,
                }
            }
        }
        if let Some(told) = doing.resized.take() {
            let _ = told.send(Ok(()));
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        doing: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let (actor, reason) = match event {
            SupervisionEvent::ActorFailed(actor, error) => (actor, error.to_string()),
            // A node that ends in good order has reported so itself.
            _ => return Ok(()),
        };
        let failed = doing.nodes.iter().find(|(_, node)| node.is(actor.get_id()));
        if let Some(((rank, attempt), _)) = failed {
            let (rank, attempt) = (*rank, *attempt);
            tracing::error!(%rank, reason, "a node's actor failed; please report this");
            let reason = "Skyward itself failed to look after it; see the log".to_owned();
            let what = Reported::Gone { reason, retry: true };
            myself.cast(PoolMessage::Node(NodeReport { rank, attempt, what }))?;
        }
        Ok(())
    }
}

impl Doing {
    /// Keeps what only the shell may hold (the kit, links, who is there) and passes on the rest.
    async fn take_in(&mut self, message: PoolMessage, myself: &ActorRef<PoolMessage>) -> Option<Heard> {
        Some(match message {
            PoolMessage::Strays(step) => {
                return self.watch.hear(step, &self.homes, myself);
            }
            PoolMessage::Provisioned { kit, request, instances, shortfall } => {
                self.watch.rented(&kit, shortfall.as_ref(), myself);
                self.homes.extend(instances.iter().map(|it| (it.clone(), Arc::clone(&kit))));
                Heard::Provisioned { request, instances, shortfall }
            }
            PoolMessage::Heard(heard) => {
                if let Heard::Released { instances, result: Ok(()) } = &heard {
                    instances.iter().for_each(|it| drop(self.homes.remove(it)));
                }
                heard
            }
            PoolMessage::Prepared(kit) => {
                self.keep_kit(Arc::clone(&kit));
                self.kit = Some(kit);
                Heard::Prepared(Ok(()))
            }
            PoolMessage::Readopted { kits, unheard } => {
                self.watch.begin(unheard, myself);
                for (kit, machines) in kits {
                    self.homes.extend(machines.into_iter().map(|it| (it, Arc::clone(&kit))));
                    self.kits.push(Arc::clone(&kit));
                    self.kit = Some(kit);
                }
                Heard::Prepared(Ok(()))
            }
            PoolMessage::Unprepared(kit, error) => {
                self.keep_kit(kit);
                Heard::Prepared(Err(error))
            }
            PoolMessage::Node(NodeReport { rank, attempt, what }) => match what {
                // Ready for the pool's state when all know of each other: no call runs on a node that knows less.
                Reported::Ready { link, member, address, port } => {
                    steps::gather_output(&self.request.output, rank, &link);
                    let within = self.request.timing.control;
                    let known = self.rosters.ready(rank, attempt, &link, member, (address, port), within);
                    begin(myself, async move {
                        known.await;
                        PoolMessage::Introduced { rank, attempt, link }
                    });
                    return None;
                }
                Reported::Noticed { within, reason } => Heard::NodeNoticed { rank, attempt, within, reason },
                Reported::Paused => Heard::NodePaused { rank, attempt },
                Reported::Crashed => {
                    self.tasks.tell(TasksMessage::WorkerDied { rank });
                    return None;
                }
                Reported::Gone { reason, retry } => {
                    self.nodes.remove(&(rank, attempt));
                    self.rosters.gone(rank, attempt);
                    Heard::NodeGone { rank, attempt, reason, retry }
                }
            },
            PoolMessage::Introduced { rank, attempt, link } => {
                // A link that broke meanwhile is dialled again, and that is reported again.
                if link.over().is_some() || !self.rosters.holds(rank, &link) {
                    return None;
                }
                self.links.insert(rank, link);
                let own = self.request.record.clone().filter(|_| !std::mem::replace(&mut self.fresh, true));
                self.timers.extend(own.map(|it| self.request.heartbeat(it)));
                Heard::NodeReady { rank, attempt }
            }
            PoolMessage::Kept { instance, kept } => {
                let kept = kept.map(|(machine, key)| {
                    self.keys.insert(instance.clone(), key);
                    machine
                });
                Heard::Kept { instance, kept }
            }
            PoolMessage::Links(to) => {
                // Whoever asked may have given up.
                let used = |(rank, link): (Rank, Link)| (rank, link.clone(), link.in_use());
                let _ = to.send(self.rosters.links().into_iter().map(used).collect());
                return None;
            }
            PoolMessage::LinkOf(worker, to) => {
                let _ =
                    to.send(self.rosters.of(&worker).map(|(rank, link)| (rank, link.clone(), link.in_use())));
                return None;
            }
            PoolMessage::Unattended(to) => {
                let _ = to.send(self.state.unattended().into_values().cloned().collect());
                return None;
            }
            PoolMessage::Resize(nodes, told) => {
                let (record, timing) = (self.request.record.as_ref(), &self.request.timing);
                let now = self.request.events.now();
                if let Err(refused) = owner::resize(record, &self.state, nodes, now, timing).await {
                    // Whoever asked may have gone.
                    let _ = told.send(Err(refused));
                    return None;
                }
                self.resized = Some(told);
                Heard::Resized { nodes, demand: self.tasks.demand() }
            }
            PoolMessage::Stop => Heard::Stop,
            PoolMessage::Detach if self.request.record.is_none() => return None,
            PoolMessage::Detach => Heard::Detach,
        })
    }

    async fn act(&mut self, effect: Effect, myself: &ActorRef<PoolMessage>) {
        match effect {
            Effect::AskOffers => {
                begin(myself, steps::ask_offers(Arc::clone(&self.request), self.providers.clone()));
            }
            Effect::Prepare { .. }
                if self.kits.is_empty()
                    && let Some(pool) = self.request.adopted.clone() =>
            {
                let request = Arc::clone(&self.request);
                begin(myself, steps::readopt(request, self.providers.clone(), pool));
            }
            Effect::Prepare { candidate, lease } => {
                if let Some(provider) = self.providers.get(candidate.spec).cloned() {
                    let (request, before) = (Arc::clone(&self.request), self.kits.first().cloned());
                    begin(myself, steps::prepare(request, provider, *candidate, lease, before));
                }
            }
            Effect::Provision { request, count } => {
                if let Some(kit) = self.kit.clone() {
                    self.watch.rents();
                    begin(myself, steps::provision(kit, request, count));
                }
            }
            Effect::Spawn { rank, attempt, instance } => {
                let Some(kit) = self.homes.get(&instance).cloned() else { return };
                let to = myself.clone();
                let reports = Arc::new(move |report| {
                    // Fails only when the pool is over, and then nobody needs to know.
                    let _ = to.cast(PoolMessage::Node(report));
                });
                let known = self.known.remove(&instance);
                let place = (rank, attempt, instance);
                match NodeRef::start(kit, place, known, reports, myself.get_cell()).await {
                    Ok(node) => {
                        self.nodes.insert((rank, attempt), node);
                    }
                    Err(error) => {
                        let reason = format!("failed to start its actor: {error}");
                        let gone = Heard::NodeGone { rank, attempt, reason, retry: false };
                        let _ = myself.cast(PoolMessage::heard(gone));
                    }
                }
            }
            Effect::DropNode { rank, attempt } => {
                self.links.remove(&rank);
                if let Some(node) = self.nodes.remove(&(rank, attempt)) {
                    self.rosters.gone(rank, attempt);
                    node.stop();
                }
            }
            Effect::DrainNode { rank, attempt, leave } => {
                if let Some(node) = self.nodes.get(&(rank, attempt)) {
                    node.drain(leave);
                }
            }
            Effect::QueueSized { nodes } => self.tasks.tell(TasksMessage::Sized { nodes }),
            Effect::QueueGrows { grows } => {
                let pool = myself.clone();
                self.tasks.wanted_of(move |demand| {
                    // Fails only when the pool is over.
                    let _ = pool.cast(PoolMessage::heard(Heard::Demanded(demand)));
                });
                self.tasks.tell(TasksMessage::Grows { grows });
            }
            Effect::QueueWanted { rank } => self.tasks.tell(TasksMessage::NodeWanted { rank }),
            // Answered where it was decided.
            Effect::QueueClose { .. } => {}
            Effect::QueueReady { rank } => {
                if let (Some(link), Some(kit)) = (self.links.remove(&rank), &self.kit) {
                    self.tasks.tell(TasksMessage::NodeReady { rank, slots: kit.worker.handed(), link });
                }
            }
            Effect::QueuePaused { rank } => self.tasks.tell(TasksMessage::NodePaused { rank }),
            Effect::QueueLeaves { rank, attempt, by_choice } => {
                self.links.remove(&rank);
                self.rosters.leaves(rank, attempt);
                self.tasks.tell(TasksMessage::NodeLeaves { rank, by_choice });
            }
            Effect::QueueGone { rank } => self.tasks.tell(TasksMessage::NodeGone { rank }),
            Effect::QueueLost { rank } => self.tasks.tell(TasksMessage::NodeLost { rank }),
            Effect::QueueStop => self.tasks.tell(TasksMessage::Stop),
            Effect::QueueSuperseded(by) => self.tasks.superseded(by),
            Effect::Keep { rank, instance } => {
                if let Some(kit) = self.homes.get(&instance).cloned() {
                    begin(myself, steps::keep(kit, rank, instance));
                }
            }
            Effect::Release { instances } => {
                instances.iter().for_each(|it| drop(self.keys.remove(it)));
                // Each on its own: what one cloud does not do keeps no machine of another.
                for (kit, instances) in steps::by_home(&self.homes, &instances) {
                    begin(myself, async move {
                        let result = steps::terminate(vec![(kit, instances.clone())]).await;
                        PoolMessage::heard(Heard::Released { instances, result })
                    });
                }
            }
            Effect::Terminate { instances } => {
                let homes = steps::by_home(&self.homes, &instances);
                begin(
                    myself,
                    async move { PoolMessage::heard(Heard::Terminated(steps::terminate(homes).await)) },
                );
            }
            Effect::Teardown => {
                begin(myself, steps::teardown(self.kits.clone(), self.homes.len()));
            }
            Effect::Detach => {
                self.detached = true;
                // Before the calls hear of it: what they would cancel is to run on.
                for (_, link) in self.rosters.links() {
                    link.close("the pool's owner has left it");
                }
                // What they still do holds on to all that the pool has.
                let within = self.request.timing.control;
                join_all(std::mem::take(&mut self.nodes).into_values().map(|it| it.end(within))).await;
            }
            Effect::Wake(timer, after) => {
                let wake = myself.send_after(after, move || PoolMessage::woke(timer));
                self.timers.retain(|it| !it.is_finished());
                self.timers.push(wake.abort_handle());
            }
            Effect::Announce(kind) => self.request.events.emit(kind),
            Effect::Started { nodes } => {
                self.progress.send_replace(Progress::Ready { nodes });
            }
            Effect::Failed { failure } => {
                self.progress.send_replace(Progress::Failed(failure));
            }
            Effect::Ended { failure, mut left } => {
                if let Some(record) = &self.request.record {
                    left = owner::free(record, &self.kits, left, self.detached).await;
                }
                self.end(failure, left, myself);
            }
        }
    }

    /// What is set up for the same machines once more is undone once.
    fn keep_kit(&mut self, kit: Arc<NodeKit>) {
        let same = |it: &&mut Arc<NodeKit>| {
            let (it_is, is) = (it.provider.provider(), kit.provider.provider());
            // The same offer of two accounts is two.
            (it_is.name(), it_is.settings(), it_is.account()) == (is.name(), is.settings(), is.account())
                && (&it.request.offer, it.request.market) == (&kit.request.offer, kit.request.market)
        };
        match self.kits.iter_mut().find(same) {
            Some(before) => *before = kit,
            None => self.kits.push(kit),
        }
    }

    fn end(
        &mut self,
        failure: Option<StartError>,
        left: Vec<crate::model::Leftover>,
        myself: &ActorRef<PoolMessage>,
    ) {
        // All of them share one.
        if let Some(kit) = self.kits.first().cloned() {
            tokio::spawn(async move { kit.cluster.stop().await });
        }
        for node in self.nodes.values() {
            node.stop();
        }
        self.tasks.end();
        self.keys.clear();
        self.watch.stop();
        for timer in self.timers.drain(..) {
            timer.abort();
        }
        self.progress.send_replace(Progress::Ended(Stopped {
            failure,
            left,
            bill: self.request.events.bill(),
        }));
        self.request.output.close();
        if let Some(ended) = self.ended.take() {
            ended();
        }
        myself.stop(None);
    }
}

pub(super) fn begin(
    myself: &ActorRef<PoolMessage>,
    step: impl Future<Output = PoolMessage> + Send + 'static,
) {
    let myself = myself.clone();
    // Fails only when the pool is over.
    tokio::spawn(async move { drop(myself.cast(step.await)) });
}
