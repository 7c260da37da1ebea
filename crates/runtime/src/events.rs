//! Where a pool's facts go: to whoever listens, and to `tracing`. Nobody waits for a slow listener.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::broadcast;

use crate::model::{Event, EventKind, PoolId};
use crate::status::Status;

/// The facts of one pool. Clones share the listeners.
#[derive(Clone, Debug)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PoolId,
    started: Instant,
    sender: broadcast::Sender<Event>,
    /// Held for the moment of a fold or a copy, never across a wait.
    status: Mutex<Status>,
}

impl Events {
    /// How many events a listener may be behind before it loses the oldest. A line of the console
    /// takes microseconds, a gather of thousands of calls makes two events a call at once.
    pub const BEHIND: usize = 8192;

    /// The facts of a pool that starts now.
    pub fn new(pool: PoolId) -> Self {
        let (sender, _) = broadcast::channel(Self::BEHIND);
        Self { inner: Arc::new(Inner { pool, started: Instant::now(), sender, status: Mutex::default() }) }
    }

    /// Says that something happened.
    pub fn emit(&self, kind: EventKind) {
        if !matches!(kind, EventKind::TaskStarted { .. } | EventKind::TaskFinished { .. }) {
            tracing::debug!(pool = %self.inner.pool, "{kind}");
            let mut status = self.inner.status.lock().unwrap_or_else(PoisonError::into_inner);
            status.take_in(&kind, self.inner.started.elapsed());
        }
        if self.inner.sender.receiver_count() > 0 {
            let event = Event { pool: self.inner.pool.clone(), after: self.inner.started.elapsed(), kind };
            // Fails only when the last listener left in between.
            let _ = self.inner.sender.send(event);
        }
    }

    /// Whether anybody listens.
    pub fn is_heard(&self) -> bool {
        self.inner.sender.receiver_count() > 0
    }

    /// What the facts so far add up to.
    pub fn status(&self) -> Status {
        self.inner.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.inner.sender.subscribe()
    }

    /// The pool.
    pub fn pool(&self) -> &PoolId {
        &self.inner.pool
    }

    /// When the pool was started.
    pub fn started(&self) -> Instant {
        self.inner.started
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
