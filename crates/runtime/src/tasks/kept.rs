//! What the queue has to do with what workers keep: it tells them what is waited for, and hears from them under
//! which keys they have something.

use std::sync::Arc;

use super::{Answer, Presented, Tasks};
use crate::link::Link;
use crate::model::{Key, Rank, TaskId};
use crate::retention::Try;
use crate::tasks::messages::Decision;
use crate::tasks::order::Undone;
use crate::tasks::state::{Effect, Heard};

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

    /// Tells a worker what is waited for, and hears from it under which keys it has something.
    pub(super) fn reconcile(&self, rank: Rank, link: &Link, waits: &[Try]) {
        let (inner, worker) = (Arc::downgrade(&self.inner), link.hello().incarnation.clone());
        link.reconcile(waits, move |keys| {
            if let Some(inner) = inner.upgrade() {
                let heard = Heard::Held { rank, worker: worker.clone(), keys };
                Self { inner }.hear(|queue, errands| queue.hear(heard, errands));
            }
        });
    }
}
