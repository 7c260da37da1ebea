//! The streams that one call takes, on their way from the caller to the node that runs it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use crate::items::Producer;
use crate::link::{InputHeader, Link};
use crate::model::{Attempt, Panic, TaskId};
use crate::registry::BoxSource;

/// What a call takes. As long as none of it has been asked for, it can go to another node instead.
pub(super) struct Supply {
    inputs: Vec<Arc<Store>>,
}

/// One stream, when nobody sends it.
struct Store {
    producer: Mutex<Option<Producer>>,
}

/// A stream that is being sent; put back when that ends, or is given up.
struct Loan {
    producer: Option<Producer>,
    store: Arc<Store>,
}

/// The tasks that send. Dropping it stops them.
pub(super) struct Sending(Vec<JoinHandle<()>>);

impl Supply {
    pub(super) fn new(sources: Vec<BoxSource>) -> Self {
        let store = |it| {
            let producer = Mutex::new(Some(Producer::of(it, Panic::caught)));
            Arc::new(Store { producer })
        };
        Self { inputs: sources.into_iter().map(store).collect() }
    }

    /// Begins to send all of it. Each stream has a task of its own, so that one waits neither for another
    /// nor for whoever reads the call's own items.
    pub(super) fn send(&self, link: &Link, task: TaskId, attempt: Attempt) -> Sending {
        let send = |(index, store): (u16, &Arc<Store>)| {
            let (link, mut loan) = (link.clone(), Loan::new(store));
            tokio::spawn(async move {
                let Some(producer) = &mut loan.producer else { return };
                // Why the link is over is told by the call itself.
                let _ = link.feed(InputHeader { task, attempt, index }, producer).await;
                if producer.has_begun() {
                    // Whoever made its items need not wait for the call's end to hear that it is over.
                    drop(loan.producer.take());
                }
            })
        };
        Sending((0..).zip(&self.inputs).map(send).collect())
    }

    /// Whether nothing of it has been asked for yet. True of no stream while it is being sent.
    fn is_whole(&self) -> bool {
        self.inputs.iter().all(|it| it.lock().as_ref().is_some_and(|it| !it.has_begun()))
    }

    /// Stops sending, and says whether all of it can be sent again.
    pub(super) async fn recall(&self, mut sending: Sending) -> bool {
        sending.0.iter().for_each(JoinHandle::abort);
        for task in std::mem::take(&mut sending.0) {
            // Nothing but the cancellation that was asked for.
            let _ = task.await;
        }
        self.is_whole()
    }
}

impl Store {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Producer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loan {
    fn new(store: &Arc<Store>) -> Self {
        Self { producer: store.lock().take(), store: Arc::clone(store) }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        *self.store.lock() = self.producer.take();
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
