//! Frames that one poll of a task puts in leave together. Without it the first of them wakes the writer on another
//! thread, which is there before the second, and a busy lane writes one frame at a time.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Notify;

thread_local! {
    /// The writers that are woken when the cork is drawn; `None` without one.
    static HELD: RefCell<Option<Vec<Arc<Notify>>>> = const { RefCell::new(None) };
}

/// Until it is dropped, writers are not woken for what this thread puts into their [outboxes](super::Outbox), unless
/// that is enough for a write of its own. To be held for one poll and across no wait. One inside another does nothing.
#[derive(Debug)]
#[must_use = "it holds nothing back once it is dropped"]
pub struct Cork {
    is_outer: bool,
}

impl Cork {
    /// Holds back from now on.
    pub fn hold() -> Self {
        let is_outer = HELD.with_borrow_mut(|it| {
            let is_outer = it.is_none();
            it.get_or_insert_default();
            is_outer
        });
        Self { is_outer }
    }
}

impl Drop for Cork {
    fn drop(&mut self) {
        if self.is_outer {
            let held = HELD.with_borrow_mut(Option::take);
            held.into_iter().flatten().for_each(|it| it.notify_one());
        }
    }
}

/// Runs a future with a [`Cork`] around each of its polls.
pub async fn corked<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _cork = Cork::hold();
        future.as_mut().poll(context)
    })
    .await
}

/// Has a writer woken when the cork of this thread is drawn. Returns whether there is one.
pub(super) fn holds(writer: &Arc<Notify>) -> bool {
    HELD.with_borrow_mut(|held| {
        let Some(held) = held else { return false };
        // Nearly always it is the last.
        if !held.iter().rev().any(|it| Arc::ptr_eq(it, writer)) {
            held.push(Arc::clone(writer));
        }
        true
    })
}
