//! The queue of a pool as its callers have it: its state behind a lock, which is held for the moment of one
//! decision and never across a wait. Whoever brings news has the state decide at once and carries out what
//! it wants: answers to callers that wait, events, recalls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::ahead::{Ahead, Load};
use super::guarded::{Errands, Queue, Started, Waiting};
use super::messages::{Decision, Grant, Share, TasksMessage};
use super::order::{GroupId, OnLost, Order, Retries, Undone};
use super::running::Running;
use super::state::{Effect, Heard, State};
use crate::events::Events;
use crate::journal::JournalError;
use crate::model::{Attempt, EventKind, Nodes, Rank, TaskId, Usd};
use crate::output::Hub;
use crate::spread::Spreads;
use crate::status::Waits;

#[path = "flows.rs"]
mod flows;
#[path = "kept.rs"]
mod kept;
#[path = "looks.rs"]
mod looks;
#[path = "sharing.rs"]
mod sharing;
#[path = "together.rs"]
mod together;

pub(super) use together::Returned;

/// The queue of a pool, for callers. Clones share it.
#[derive(Clone, Debug)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Mutex<Queue>,
    events: Events,
    ids: AtomicU64,
    groups: AtomicU64,
    /// One permit per task that may wait for a grant.
    room: Arc<Semaphore>,
    /// How many calls all nodes together may be given, ahead included.
    places: AtomicUsize,
    retries: Retries,
    call: Duration,
    patience: Duration,
    output: Hub,
    /// What nodes pass on among themselves, where they do.
    spreads: Option<Spreads>,
    staying: kept::Staying,
    /// Another program has the pool.
    superseded: OnceLock<JournalError>,
    /// Who hears of the end of the queue when that is a defect.
    watcher: OnceLock<Watcher>,
    /// Who hears what is wanted of a pool that scales, whenever that has changed.
    provider: OnceLock<looks::Wants>,
}

/// Whom to tell what happened.
struct Watcher(Box<dyn Fn(String) + Send + Sync>);

/// What a caller is told at once.
#[derive(Debug)]
pub(super) enum Answer {
    /// The decision.
    Now(Decision),
    /// Where it will come from.
    Later(oneshot::Receiver<Decision>),
}

impl Answer {
    /// Where the decision comes from, be it there or not.
    pub(super) fn receiver(self) -> oneshot::Receiver<Decision> {
        match self {
            Self::Later(decision) => decision,
            Self::Now(decision) => {
                let (sender, receiver) = oneshot::channel();
                // The receiver is here.
                let _ = sender.send(decision);
                receiver
            }
        }
    }
}

/// A task as its caller presents it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Presented {
    pub(super) id: TaskId,
    pub(super) function: &'static str,
    /// The try that it has just had.
    pub(super) granted: Option<(Attempt, Rank)>,
}

impl Tasks {
    /// Starts the queue of a pool. At most `queue` tasks wait for a grant at once;
    /// further callers wait to be let in. `retries` is how often a call is tried again where it does not
    /// say, `call` how long one may run by default, `patience` how much longer than that its worker is
    /// waited for, `output` where what is shown of calls is said, `spreads` how nodes have shared values of each
    /// other, where they do. Must be called inside a tokio runtime.
    pub fn start(
        retries: Retries,
        queue: usize,
        call: Duration,
        patience: Duration,
        output: Hub,
        events: Events,
        spreads: Option<Spreads>,
    ) -> Self {
        let room = Arc::new(Semaphore::new(queue.clamp(1, Semaphore::MAX_PERMITS)));
        let queue = Queue {
            state: State::new(Ahead::default()),
            links: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ended: false,
            effects: Vec::new(),
        };
        let inner = Arc::new(Inner {
            queue: Mutex::new(queue),
            events,
            ids: AtomicU64::new(1),
            groups: AtomicU64::new(1),
            room,
            places: AtomicUsize::new(0),
            retries,
            call,
            patience,
            output,
            spreads,
            staying: kept::Staying::default(),
            superseded: OnceLock::new(),
            watcher: OnceLock::new(),
            provider: OnceLock::new(),
        });
        tokio::spawn(looks::look_after(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// The outcome of one call. Nothing happens until the future is polled; dropping it cancels the
    /// call wherever it is.
    pub fn run(&self, order: Order) -> Running {
        Running::new(self.clone(), order)
    }

    /// One call on every node that is ready now, in rank order. The order's target is not looked at.
    /// Nodes that become ready later take no part. `lost` says what becomes of the share of a node that
    /// is lost; whoever asks for [`OnLost::Ignore`] leaves out the shares that are lost.
    ///
    /// # Errors
    /// [`Undone::NoNodes`] when no node is ready, [`Undone::Stopped`] when the pool has ended.
    pub fn broadcast(&self, mut order: Order, lost: OnLost) -> Result<Vec<(Rank, Running)>, Undone> {
        let first = self.first_share();
        let group = order.group.unwrap_or_else(|| self.group());
        order.group = Some(group);
        let (retries, function, load) = (self.retries(&order), order.function.name, load(&order));
        let heard = Heard::Broadcast { first, group, retries, lost, load };
        let shares = self.shares(heard, function)?;
        if let Some(key) = &order.key {
            shares.iter().try_for_each(|it| self.take_key(it.id(), it.key(key)))?;
        }
        let run = |it: Share| {
            let key = order.key.as_ref().map(|key| it.key(key));
            let (rank, id, decision) = it.take();
            (rank, Running::shared(self.clone(), Order { key, ..order.clone() }, id, decision))
        };
        Ok(shares.into_iter().map(run).collect())
    }

    /// The first of a row of ids that is long enough for every rank.
    fn first_share(&self) -> TaskId {
        TaskId(self.inner.ids.fetch_add(u64::from(Nodes::MOST), Ordering::Relaxed))
    }

    fn shares(&self, heard: Heard, function: &'static str) -> Result<Vec<Share>, Undone> {
        let shares = self.hear(|queue, errands| {
            let mut effects = if queue.ended { Vec::new() } else { queue.decide(heard) };
            let mut shares = Vec::new();
            for effect in effects.drain(..) {
                match effect {
                    Effect::Shares { first, ranks } => {
                        let mut id = first;
                        for rank in ranks {
                            let (decide, decision) = oneshot::channel();
                            queue.waiting.insert(id, Waiting { function, decide, granted: None });
                            shares.push(Share::new(rank, id, decision, self.clone()));
                            id = id.next();
                        }
                    }
                    other => queue.act(other, errands),
                }
            }
            queue.effects = effects;
            if queue.ended { Err(self.stopped()) } else { Ok(shares) }
        })?;
        if shares.is_empty() { Err(Undone::NoNodes) } else { Ok(shares) }
    }

    /// What the calls wait for; `None` when the pool has ended.
    pub fn explain(&self) -> Option<Waits> {
        let queue = self.queue();
        (!queue.ended).then(|| queue.state.waits())
    }

    /// How many calls all nodes together can be given now, those ahead of their slots included. More only
    /// wait.
    pub fn places(&self) -> usize {
        self.inner.places.load(Ordering::Relaxed)
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

    pub(super) fn next_id(&self) -> TaskId {
        TaskId(self.inner.ids.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn room(&self) -> &Arc<Semaphore> {
        &self.inner.room
    }

    pub(super) fn default_timeout(&self) -> Duration {
        self.inner.call
    }

    /// How much longer than a call may take its worker is waited for: it keeps the time itself, but a
    /// function that never awaits may keep it from doing so.
    pub(super) fn patience(&self) -> Duration {
        self.inner.patience
    }

    /// A new task asks where it may run.
    pub(super) fn submit(&self, id: TaskId, order: &Order) -> Answer {
        let heard = self.submitted(id, order);
        let presented = Presented { id, function: order.function.name, granted: None };
        match &order.key {
            None => self.ask(presented, heard),
            Some(key) => self.ask_keyed(presented, key.clone(), heard),
        }
    }

    fn submitted(&self, id: TaskId, order: &Order) -> Heard {
        Heard::Submitted {
            id,
            target: order.target,
            group: order.group.unwrap_or_else(|| self.group()),
            retries: self.retries(order),
            load: load(order),
        }
    }

    /// Something happened to a task whose caller goes on with whatever is decided now.
    pub(super) fn ask(&self, task: Presented, heard: Heard) -> Answer {
        self.hear(|queue, errands| queue.ask(task, heard, errands))
    }

    /// A granted task has its outcome.
    pub(super) fn answered(
        &self,
        id: TaskId,
        (attempt, rank): (Attempt, Rank),
        took: Option<Duration>,
        ok: bool,
    ) {
        self.inner.events.task_finished(id, attempt, rank, ok);
        self.hear(|queue, errands| queue.hear(Heard::Answered { id, attempt, took }, errands));
    }

    /// The time of a granted task was over, and as far as is known its node had not begun it.
    pub(super) fn expired(&self, id: TaskId, (attempt, rank): (Attempt, Rank)) {
        self.inner.events.task_finished(id, attempt, rank, false);
        self.hear(|queue, errands| queue.hear(Heard::Expired { id, attempt }, errands));
    }

    /// The caller of a task is no longer interested. `granted` is the try that was under way.
    pub(super) fn cancel(&self, id: TaskId, granted: Option<(Attempt, Rank)>) {
        if let Some((attempt, rank)) = granted {
            self.inner.events.emit(EventKind::TaskCancelled { task: id, attempt, rank });
        }
        self.hear(|queue, errands| queue.cancel(id, granted, errands));
    }

    /// What is shown of a task, if its order says so.
    pub(super) fn show(&self, id: TaskId, order: &Order) {
        if let Some(show) = &order.show {
            self.inner.output.limit(id, show.clone());
        }
    }

    /// What a task that runs has cost in this try.
    pub(super) fn so_far(&self, task: TaskId) -> Usd {
        self.inner.events.so_far(task)
    }

    /// An event of one task.
    pub(super) fn emit(&self, kind: EventKind) {
        self.inner.events.emit(kind);
    }

    /// Takes in what the pool says.
    pub(crate) fn tell(&self, message: TasksMessage) {
        self.hear(|queue, errands| match message {
            TasksMessage::Sized { nodes } => queue.hear(Heard::Sized { nodes }, errands),
            TasksMessage::NodeReady { rank, slots, link } => {
                let (takes, worker) = (link.round_trip(), link.hello().incarnation.clone());
                queue.links.insert(rank, link);
                queue.hear(Heard::NodeReady { rank, slots, worker }, errands);
                if let Some(takes) = takes {
                    queue.hear(Heard::RoundTrip { rank, takes }, errands);
                }
            }
            TasksMessage::NodePaused { rank } => {
                queue.links.remove(&rank);
                queue.hear(Heard::NodePaused { rank }, errands);
            }
            TasksMessage::Grows { grows } => queue.hear(Heard::Grows { grows }, errands),
            TasksMessage::NodeWanted { rank } => queue.hear(Heard::NodeWanted { rank }, errands),
            TasksMessage::NodeLeaves { rank, by_choice } => {
                queue.links.remove(&rank);
                queue.hear(Heard::NodeLeaves { rank, by_choice }, errands);
            }
            TasksMessage::NodeGone { rank } => {
                queue.links.remove(&rank);
                queue.hear(Heard::NodeGone { rank }, errands);
            }
            TasksMessage::NodeLost { rank } => {
                queue.links.remove(&rank);
                queue.hear(Heard::NodeLost { rank }, errands);
            }
            TasksMessage::WorkerDied { rank } => queue.hear(Heard::WorkerDied { rank }, errands),
            TasksMessage::Stop => queue.hear(Heard::Stopped, errands),
        });
        let places = self.queue().state.places();
        self.inner.places.store(usize::try_from(places).unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Refuses everything, because another program has the pool.
    pub(crate) fn superseded(&self, by: JournalError) {
        let _ = self.inner.superseded.set(by);
        self.tell(TasksMessage::Stop);
    }

    /// Why nothing runs any more.
    pub(super) fn stopped(&self) -> Undone {
        let by = self.inner.superseded.get().cloned();
        by.map_or(Undone::Stopped, |it| Undone::Superseded(Box::new(it)))
    }

    /// What a caller is told that is refused for this.
    pub(super) fn told(&self, why: Undone) -> Undone {
        if why == Undone::Stopped { self.stopped() } else { why }
    }

    /// Ends the queue. What still waits, and what comes, is refused.
    pub(crate) fn end(&self) {
        let waiting = {
            let mut queue = self.queue();
            queue.ended = true;
            queue.links.clear();
            std::mem::take(&mut queue.waiting)
        };
        // Dropping the sender of a decision tells who waits for it.
        drop(waiting);
    }

    /// Has the state decide, and runs the errands when the lock is free again.
    fn hear<T>(&self, decide: impl FnOnce(&mut Queue, &mut Errands) -> T) -> T {
        let mut errands = Errands::default();
        let decided = decide(&mut self.queue(), &mut errands);
        for kind in errands.events {
            self.inner.events.emit(kind);
        }
        if let Some(Started { function, task, attempt, rank }) = errands.own {
            self.inner.events.task_started(task, attempt, rank, function);
        }
        for (task, caller, decision) in errands.decisions {
            // A caller that has gone cancels its task by itself, maybe before its try was said to begin.
            if let Err(Decision::Grant(Grant { attempt, rank, .. })) = caller.send(decision) {
                self.emit(EventKind::TaskCancelled { task, attempt, rank });
            }
        }
        errands.recalls.into_iter().for_each(|(link, id, attempt)| link.recall(id, attempt));
        for (rank, link, waits) in errands.reconciled {
            self.reconcile(rank, &link, &waits);
        }
        for (link, id, attempt) in errands.releases {
            link.release(id, attempt);
        }
        decided
    }

    /// A task cannot be tried again: some of what it gives, or takes, has been taken.
    pub(super) fn commit(&self, id: TaskId) {
        self.hear(|queue, errands| queue.hear(Heard::Committed { id }, errands));
    }

    /// Has the pool hear when the queue ends by a defect of ours. The first call counts.
    pub(crate) fn watched_by(&self, tell: impl Fn(String) + Send + Sync + 'static) {
        let _ = self.inner.watcher.set(Watcher(Box::new(tell)));
    }

    /// Ends the queue as a defect would.
    #[cfg(test)]
    pub(crate) fn kill(&self) {
        self.fail(&mut self.queue());
    }

    /// A decision was not finished, so nothing that it left can be relied upon.
    fn fail(&self, queue: &mut Queue) {
        if !std::mem::replace(&mut queue.ended, true) {
            queue.links.clear();
            queue.waiting.clear();
            if let Some(Watcher(tell)) = self.inner.watcher.get() {
                tell("it failed in the middle of a decision".to_owned());
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.inner.queue.lock().unwrap_or_else(|poisoned| {
            let mut queue = poisoned.into_inner();
            self.fail(&mut queue);
            queue
        })
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watcher")
    }
}

fn load(order: &Order) -> Load {
    let bytes = u64::try_from(order.arguments.len()).unwrap_or(u64::MAX);
    Load { function: order.function_id(), bytes }
}
