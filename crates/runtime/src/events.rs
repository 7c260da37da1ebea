//! Where a pool's facts go: to whoever listens, and to `tracing`. Nobody waits for a slow listener.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use crate::lease::Clock;
use crate::ledger::Ledger;
use crate::model::{Attempt, Bill, Event, EventKind, PoolId, Rank, TaskId, Usd};
use crate::status::Status;

/// The facts of one pool. Clones share the listeners.
#[derive(Clone, Debug)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PoolId,
    /// What is paid for while this computer sleeps is counted.
    clock: Clock,
    sender: broadcast::Sender<Event>,
    /// Held for the moment of a fold or a copy, never across a wait.
    status: Mutex<Status>,
    /// Likewise.
    ledger: Mutex<Ledger>,
}

impl Events {
    /// How many events a listener may be behind before it loses the oldest. A line of the console
    /// takes microseconds, a gather of thousands of calls makes two events a call at once.
    pub const BEHIND: usize = 8192;

    /// The facts of a pool that starts now.
    pub fn new(pool: PoolId) -> Self {
        let (sender, _) = broadcast::channel(Self::BEHIND);
        let (clock, status, ledger) = (Clock::start(), Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { pool, clock, sender, status, ledger }) }
    }

    /// Says that something happened. What a task or the pool has cost is put in here.
    pub fn emit(&self, mut kind: EventKind) {
        let after = self.inner.clock.elapsed();
        self.ledger().take_in(&mut kind, after);
        if let EventKind::Stopped { bill, .. } = &mut kind {
            **bill = self.ledger().bill(after);
        }
        if !matches!(kind, EventKind::TaskStarted { .. } | EventKind::TaskFinished { .. }) {
            tracing::debug!(pool = %self.inner.pool, "{kind}");
            let mut status = self.inner.status.lock().unwrap_or_else(PoisonError::into_inner);
            status.take_in(&kind, after);
        }
        self.send(after, || kind);
    }

    /// A task was handed to a node: [`EventKind::TaskStarted`], which is made only if somebody listens. There
    /// are many of them.
    pub(crate) fn task_started(&self, task: TaskId, attempt: Attempt, rank: Rank, function: &str) {
        let after = self.inner.clock.elapsed();
        self.ledger().task_starts(task, rank, function, after);
        self.send(after, || EventKind::TaskStarted { task, attempt, rank, function: function.to_owned() });
    }

    /// A task ended on a node: [`EventKind::TaskFinished`], likewise.
    pub(crate) fn task_finished(&self, task: TaskId, attempt: Attempt, rank: Rank, ok: bool) {
        let after = self.inner.clock.elapsed();
        let cost = self.ledger().task_ends(task, after);
        self.send(after, || EventKind::TaskFinished { task, attempt, rank, ok, cost });
    }

    /// Many tasks were handed to nodes, as [`Self::task_started`].
    pub(crate) fn tasks_started<'a>(&self, tasks: impl Iterator<Item = (TaskId, Attempt, Rank, &'a str)>) {
        let after = self.inner.clock.elapsed();
        let mut ledger = self.ledger();
        for (task, attempt, rank, function) in tasks {
            ledger.task_starts(task, rank, function, after);
            self.send(after, || EventKind::TaskStarted {
                task,
                attempt,
                rank,
                function: function.to_owned(),
            });
        }
    }

    /// Many tasks ended well on nodes, as [`Self::task_finished`].
    pub(crate) fn tasks_finished(&self, tasks: impl Iterator<Item = (TaskId, Attempt, Rank)>) {
        let after = self.inner.clock.elapsed();
        let mut ledger = self.ledger();
        for (task, attempt, rank) in tasks {
            let cost = ledger.task_ends(task, after);
            self.send(after, || EventKind::TaskFinished { task, attempt, rank, ok: true, cost });
        }
    }

    fn send(&self, after: Duration, kind: impl FnOnce() -> EventKind) {
        if self.inner.sender.receiver_count() > 0 {
            let event = Event { pool: self.inner.pool.clone(), after, kind: kind() };
            // Fails only when the last listener left in between.
            let _ = self.inner.sender.send(event);
        }
    }

    /// What the facts so far add up to.
    pub fn status(&self) -> Status {
        self.inner.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the pool has cost until now.
    pub fn bill(&self) -> Bill {
        self.ledger().bill(self.inner.clock.elapsed())
    }

    /// What a task that runs has cost in this try until now.
    pub fn so_far(&self, task: TaskId) -> Usd {
        self.ledger().so_far(task, self.inner.clock.elapsed())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.inner.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.inner.sender.subscribe()
    }

    /// The pool.
    pub fn pool(&self) -> &PoolId {
        &self.inner.pool
    }

    /// How long ago the pool was started, the sleep of this computer counted.
    pub fn elapsed(&self) -> Duration {
        self.inner.clock.elapsed()
    }

    /// The present on the same clock.
    pub(crate) fn now(&self) -> Instant {
        self.inner.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PoolPhase;

    #[test]
    fn a_listener_hears_what_happens_after_it_came() {
        let events = Events::new(PoolId::new("p"));
        events.emit(EventKind::Pool(PoolPhase::Choosing));
        let mut listener = events.subscribe();
        events.emit(EventKind::Pool(PoolPhase::Ready));
        assert_eq!(listener.try_recv().expect("an event").kind, EventKind::Pool(PoolPhase::Ready));
        assert!(listener.try_recv().is_err());
    }
}
