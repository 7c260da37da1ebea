//! What the queue has to do with what workers keep: it tells them what is waited for, and hears from them under
//! which keys they have something.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Answer, Presented, Tasks};
use crate::link::Link;
use crate::model::{Attempt, Key, Rank, TaskId};
use crate::retention::Try;
use crate::tasks::messages::Decision;
use crate::tasks::order::Undone;
use crate::tasks::state::{Effect, Heard};

/// What the queue knows of outcomes that stay at their workers.
#[derive(Debug, Default)]
pub(super) struct Staying {
    /// They do, and those that another owner left are waited with for so long.
    holds: OnceLock<Duration>,
    /// A worker has said under which keys it has something.
    reconciled: Notify,
}

impl Tasks {
    /// A new task with a key asks where it may run, unless another has its key.
    pub(super) fn ask_keyed(&self, task: Presented, key: Key, heard: Heard) -> Answer {
        match self.take_key(task.id, key) {
            Ok(()) => self.ask(task, heard),
            Err(why) => Answer::Now(Decision::Refuse(why)),
        }
    }

    pub(super) fn take_key(&self, id: TaskId, key: Key) -> Result<(), Undone> {
        let refused = self.hear(|queue, errands| {
            let (mut refused, mut effects) = (None, queue.decide(Heard::Keyed { id, key }));
            for effect in effects.drain(..) {
                match effect {
                    Effect::Refuse { id: own, why } if own == id => refused = Some(why),
                    other => queue.act(other, errands),
                }
            }
            queue.effects = effects;
            refused
        });
        refused.map_or(Ok(()), Err)
    }

    /// From now on the outcomes of calls with a key stay at their workers when they have been taken. What another
    /// owner left there keeps its node for so long, or until it is asked for.
    pub(crate) fn hold(&self, wait: Duration) {
        let _ = self.inner.staying.holds.set(wait);
    }

    /// Whether the outcome of a call with a key stays at its worker, now that its caller takes it.
    pub(in crate::tasks) fn stays(&self, id: TaskId, attempt: Attempt) -> bool {
        let holds = self.inner.staying.holds.get().is_some();
        if holds {
            self.hear(|queue, errands| queue.hear(Heard::Stays { id, attempt }, errands));
        }
        holds
    }

    /// Waits until every worker that is linked has said under which keys it has something.
    pub(crate) async fn reconciled(&self) {
        let told = self.inner.staying.reconciled.notified();
        tokio::pin!(told);
        loop {
            told.as_mut().enable();
            if self.queue().state.is_reconciled() {
                return;
            }
            told.as_mut().await;
            told.set(self.inner.staying.reconciled.notified());
        }
    }

    /// Tells a worker what is waited for, and hears from it under which keys it has something.
    pub(super) fn reconcile(&self, rank: Rank, link: &Link, waits: &[Try]) {
        let (inner, worker) = (Arc::downgrade(&self.inner), link.hello().incarnation.clone());
        link.reconcile(waits, move |keys| {
            if let Some(inner) = inner.upgrade() {
                let (now, wait) = (Instant::now(), inner.staying.holds.get().copied().unwrap_or_default());
                // A time beyond all counting is as good as none.
                let until = now.checked_add(wait).unwrap_or(now);
                let heard = Heard::Held { rank, worker: worker.clone(), keys, until };
                let tasks = Self { inner };
                tasks.hear(|queue, errands| queue.hear(heard, errands));
                tasks.inner.staying.reconciled.notify_waiters();
            }
        });
    }
}
