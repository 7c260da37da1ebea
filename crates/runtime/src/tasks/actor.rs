//! The TasksActor does what its state decides, and [`Tasks`] is how callers reach it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef};
use tokio::sync::{Semaphore, oneshot};

use super::flow::Flow;
use super::messages::{Decision, Grant, Share, TasksMessage};
use super::order::{GroupId, OnLost, Order, Retries, Undone};
use super::running::Running;
use super::state::{Effect, Heard, State};
use crate::events::Events;
use crate::link::Link;
use crate::model::{Attempt, EventKind, Nodes, Rank, TaskId, Usd};
use crate::output::Hub;
use crate::registry::BoxSource;
use crate::status::Waits;

/// The queue of a pool, for callers. Clones share it.
#[derive(Clone, Debug)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    actor: ActorRef<TasksMessage>,
    ids: AtomicU64,
    groups: AtomicU64,
    /// One permit per task that may wait for a grant.
    room: Arc<Semaphore>,
    retries: Retries,
    call: Duration,
    patience: Duration,
    output: Hub,
    events: Events,
}

impl Tasks {
    /// Starts the queue of a pool. At most `queue` tasks wait for a grant at once;
    /// further callers wait to be let in. `retries` is how often a call is tried again where it does not
    /// say, `call` how long one may run by default, `patience` how much longer than that
    /// its worker is waited for, `output` where what is shown of calls is said.
    ///
    /// # Errors
    /// When the actor cannot be started.
    pub async fn start(
        retries: Retries,
        queue: usize,
        call: Duration,
        patience: Duration,
        output: Hub,
        events: Events,
    ) -> Result<Self, ractor::SpawnErr> {
        let state = State::new();
        let (actor, _) = Actor::spawn(None, TasksActor, (state, events.clone())).await?;
        let room = Arc::new(Semaphore::new(queue.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Self {
            inner: Arc::new(Inner {
                actor,
                ids: AtomicU64::new(1),
                groups: AtomicU64::new(1),
                room,
                retries,
                call,
                patience,
                output,
                events,
            }),
        })
    }

    /// The outcome of one call. Nothing happens until the future is polled; dropping it cancels the
    /// call wherever it is.
    pub fn run(&self, order: Order) -> Running {
        Running::queued(self.clone(), order)
    }

    /// The items of one call of a function of streams, or of a call that takes streams. Nothing happens
    /// until it is polled; dropping it cancels the call wherever it is.
    pub fn flow(&self, order: Order, idle: Option<Duration>, inputs: Vec<BoxSource>) -> Flow {
        Flow::queued(self.clone(), order, idle, inputs)
    }

    /// One call on every node that is ready now, in rank order. The order's target is not looked at.
    /// Nodes that become ready later take no part. `lost` says what becomes of the share of a node that
    /// is lost; whoever asks for [`OnLost::Ignore`] leaves out the shares that are lost.
    ///
    /// # Errors
    /// [`Undone::NoNodes`] when no node is ready, [`Undone::Stopped`] when the pool has ended.
    pub async fn broadcast(&self, order: Order, lost: OnLost) -> Result<Vec<(Rank, Running)>, Undone> {
        let shares = self.shares(&order, lost).await?;
        let run = |it: Share| {
            let (rank, id, decision) = it.take();
            (rank, Running::shared(self.clone(), order.clone(), id, decision))
        };
        Ok(shares.into_iter().map(run).collect())
    }

    /// One call of a function of streams on every node that is ready now, in rank order, like
    /// [`broadcast`](Self::broadcast). A share that is lost is the reader's to judge.
    ///
    /// # Errors
    /// As there.
    pub async fn flow_everywhere(
        &self,
        order: Order,
        idle: Option<Duration>,
    ) -> Result<Vec<(Rank, Flow)>, Undone> {
        let shares = self.shares(&order, OnLost::FailFast).await?;
        let run = |it: Share| {
            let (rank, id, decision) = it.take();
            (rank, Flow::shared(self.clone(), order.clone(), idle, id, decision))
        };
        Ok(shares.into_iter().map(run).collect())
    }

    async fn shares(&self, order: &Order, lost: OnLost) -> Result<Vec<Share>, Undone> {
        let first = TaskId(self.inner.ids.fetch_add(u64::from(Nodes::MOST), Ordering::Relaxed));
        let group = order.group.unwrap_or_else(|| self.group());
        let (shares, answer) = oneshot::channel();
        let (retries, function) = (self.retries(order), order.function.name);
        self.tell(TasksMessage::Broadcast { first, group, retries, lost, function, shares });
        let shares = answer.await.map_err(|_| Undone::Stopped)?;
        if shares.is_empty() { Err(Undone::NoNodes) } else { Ok(shares) }
    }

    /// What the calls wait for; `None` when the pool has ended.
    pub async fn explain(&self) -> Option<Waits> {
        let (reply, answer) = oneshot::channel();
        self.tell(TasksMessage::Explain { reply });
        answer.await.ok()
    }

    /// A new group: calls that take their turns as one.
    pub fn group(&self) -> GroupId {
        GroupId(self.inner.groups.fetch_add(1, Ordering::Relaxed))
    }

    /// How often an order may be tried again.
    pub(super) fn retries(&self, order: &Order) -> Retries {
        let infrastructure = order.interruptions.unwrap_or(self.inner.retries.infrastructure);
        Retries { own: order.retries, infrastructure, ..self.inner.retries }
    }

    /// What is shown of a task, if its order says so.
    pub(super) fn show(&self, id: TaskId, order: &Order) {
        if let Some(show) = &order.show {
            self.inner.output.limit(id, show.clone());
        }
    }

    pub(super) fn next_id(&self) -> TaskId {
        TaskId(self.inner.ids.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn room(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.room)
    }

    pub(super) fn default_timeout(&self) -> Duration {
        self.inner.call
    }

    /// How long a worker is waited for that was given this long: it keeps the time itself, but a function
    /// that never awaits may keep it from doing so.
    pub(super) fn patience(&self, given: Duration) -> Duration {
        given.saturating_add(self.inner.patience)
    }

    /// What a task that runs has cost in this try.
    pub(super) fn so_far(&self, task: TaskId) -> Usd {
        self.inner.events.so_far(task)
    }

    /// Sends to the actor; when it has ended the message is dropped, and with it the sender of the
    /// decision, which tells the waiting caller.
    pub(crate) fn tell(&self, message: TasksMessage) {
        let _ = self.inner.actor.cast(message);
    }

    /// Has the pool hear when the actor ends; and when the pool's actor ends, so does this.
    pub(crate) fn supervised_by(&self, pool: ActorCell) {
        self.inner.actor.get_cell().link(pool);
    }

    /// Whether this is the queue behind that actor.
    pub(crate) fn is(&self, actor: ActorId) -> bool {
        self.inner.actor.get_id() == actor
    }

    /// Ends the actor as a defect would.
    #[cfg(test)]
    pub(crate) fn kill(&self) {
        self.inner.actor.kill();
    }

    /// Ends the actor. What still waits is refused.
    pub(crate) fn end(&self) {
        self.inner.actor.stop(None);
    }
}

struct TasksActor;

struct Doing {
    state: State,
    events: Events,
    links: BTreeMap<Rank, Link>,
    callers: BTreeMap<TaskId, Caller>,
    shares: BTreeMap<TaskId, (oneshot::Sender<Vec<Share>>, &'static str)>,
}

struct Caller {
    function: &'static str,
    decide: Option<oneshot::Sender<Decision>>,
    /// The try that was granted last, for events.
    granted: Option<(Attempt, Rank)>,
}

impl Caller {
    const fn new(function: &'static str, decide: oneshot::Sender<Decision>) -> Self {
        Self { function, decide: Some(decide), granted: None }
    }
}

impl Actor for TasksActor {
    type Msg = TasksMessage;
    type State = Doing;
    type Arguments = (State, Events);

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        (state, events): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(Doing { state, events, links: BTreeMap::new(), callers: BTreeMap::new(), shares: BTreeMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        doing: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(heard) = doing.take_in(message, &myself) {
            doing.hear(heard, &myself);
        }
        Ok(())
    }
}

impl Doing {
    /// Keeps what only the shell may hold (channels, links) and passes on the rest.
    fn take_in(&mut self, message: TasksMessage, myself: &ActorRef<TasksMessage>) -> Option<Heard> {
        Some(match message {
            TasksMessage::Submit { id, target, group, retries, function, decide } => {
                self.callers.insert(id, Caller::new(function, decide));
                Heard::Submitted { id, target, group, retries }
            }
            TasksMessage::Broadcast { first, group, retries, lost, function, shares } => {
                self.shares.insert(first, (shares, function));
                Heard::Broadcast { first, group, retries, lost }
            }
            TasksMessage::Answered { id, attempt, rank, ok } => {
                self.callers.remove(&id);
                self.events.emit(EventKind::TaskFinished { task: id, attempt, rank, ok, cost: Usd::ZERO });
                Heard::Answered { id, attempt }
            }
            TasksMessage::Failed { id, attempt, rank, reason, decide } => {
                self.events.emit(EventKind::TaskFinished {
                    task: id,
                    attempt,
                    rank,
                    ok: false,
                    cost: Usd::ZERO,
                });
                if let Some(caller) = self.callers.get_mut(&id) {
                    caller.decide = Some(decide);
                }
                Heard::Failed { id, attempt, reason }
            }
            TasksMessage::Lost { id, attempt, rank, reason, decide } => {
                self.pause_if_over(rank, myself);
                if let Some(caller) = self.callers.get_mut(&id) {
                    caller.decide = Some(decide);
                }
                Heard::Lost { id, attempt, reason }
            }
            TasksMessage::Committed { id } => Heard::Committed { id },
            TasksMessage::Cancelled { id } => {
                self.given_up(id);
                Heard::Cancelled { id }
            }
            TasksMessage::Sized { nodes } => Heard::Sized { nodes },
            TasksMessage::NodeReady { rank, slots, link } => {
                self.links.insert(rank, link);
                Heard::NodeReady { rank, slots }
            }
            TasksMessage::NodePaused { rank } => {
                self.links.remove(&rank);
                Heard::NodePaused { rank }
            }
            TasksMessage::WorkerDied { rank } => Heard::WorkerDied { rank },
            TasksMessage::NodeLost { rank } => {
                self.links.remove(&rank);
                Heard::NodeLost { rank }
            }
            TasksMessage::Explain { reply } => {
                // Nobody may be waiting any more.
                let _ = reply.send(self.state.waits());
                return None;
            }
            TasksMessage::Stop => Heard::Stopped,
        })
    }

    /// A caller may see that a link is over before its node does. Until the node has another, nothing
    /// more is granted there: all tries of a task would be used up within a moment.
    fn pause_if_over(&mut self, rank: Rank, myself: &ActorRef<TasksMessage>) {
        if self.links.get(&rank).is_some_and(|it| it.over().is_some()) {
            self.links.remove(&rank);
            self.hear(Heard::NodePaused { rank }, myself);
        }
    }

    fn hear(&mut self, heard: Heard, myself: &ActorRef<TasksMessage>) {
        for effect in self.state.hear(heard) {
            self.act(effect, myself);
        }
    }

    fn act(&mut self, effect: Effect, myself: &ActorRef<TasksMessage>) {
        match effect {
            Effect::Grant { id, attempt, rank } => self.grant(id, attempt, rank),
            Effect::Refuse { id, why } => self.refuse(id, why),
            Effect::Exhausted { id } => {
                if let Some(decide) = self.callers.remove(&id).and_then(|it| it.decide) {
                    let _ = decide.send(Decision::Exhausted);
                }
            }
            Effect::Shares { first, ranks } => self.share(first, ranks, myself),
            Effect::Retry { id, attempt, reason } => {
                self.events.emit(EventKind::TaskRetried { task: id, attempt, reason });
            }
        }
    }

    fn grant(&mut self, id: TaskId, attempt: Attempt, rank: Rank) {
        let Some(link) = self.links.get(&rank).cloned() else { return };
        let Some(caller) = self.callers.get_mut(&id) else { return };
        let Some(decide) = caller.decide.take() else { return };
        caller.granted = Some((attempt, rank));
        let function = caller.function.to_owned();
        self.events.emit(EventKind::TaskStarted { task: id, attempt, rank, function });
        // A caller that has gone sends `Cancelled` by itself.
        let _ = decide.send(Decision::Grant(Grant { attempt, rank, link }));
    }

    fn refuse(&mut self, id: TaskId, why: Undone) {
        let Some(caller) = self.callers.remove(&id) else { return };
        match (&why, caller.granted) {
            (Undone::Lost(lost), _) => {
                self.events.emit(EventKind::TaskLost { task: id, reason: lost.to_string() });
            }
            (_, Some((attempt, rank))) => {
                self.events.emit(EventKind::TaskCancelled { task: id, attempt, rank });
            }
            // It never started, so nobody waits to see it end.
            (_, None) => {}
        }
        if let Some(decide) = caller.decide {
            let _ = decide.send(Decision::Refuse(why));
        }
    }

    /// Forgets a task whose caller has gone.
    fn given_up(&mut self, id: TaskId) {
        if let Some((attempt, rank)) = self.callers.remove(&id).and_then(|it| it.granted) {
            self.events.emit(EventKind::TaskCancelled { task: id, attempt, rank });
        }
    }

    fn share(&mut self, first: TaskId, ranks: Vec<Rank>, myself: &ActorRef<TasksMessage>) {
        let Some((answer, function)) = self.shares.remove(&first) else { return };
        let mut shares = Vec::with_capacity(ranks.len());
        let mut id = first;
        for rank in ranks {
            let (decide, decision) = oneshot::channel();
            self.callers.insert(id, Caller::new(function, decide));
            shares.push(Share::new(rank, id, decision, myself.clone()));
            id = id.next();
        }
        // Shares that nobody takes, now or later, cancel their tasks.
        let _ = answer.send(shares);
    }
}
