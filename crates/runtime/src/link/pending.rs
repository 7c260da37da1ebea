//! How many calls of a link are under way: sent, and not yet with whoever asked.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The calls of one link.
#[derive(Debug, Default)]
pub(super) struct Pending {
    calls: AtomicUsize,
    none: Notify,
}

impl Pending {
    /// So many more.
    pub(super) fn add(&self, count: usize) {
        self.calls.fetch_add(count, Ordering::Relaxed);
    }

    /// So many less: their callers have what became of them, or want nothing any more.
    pub(super) fn remove(&self, count: usize) {
        if count > 0 && self.calls.fetch_sub(count, Ordering::AcqRel) == count {
            self.none.notify_waiters();
        }
    }

    /// Waits until there are none.
    pub(super) async fn over(&self) {
        loop {
            // Made before the look, so that it hears of what ends after it.
            let none = self.none.notified();
            if self.calls.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn it_is_over_when_the_last_one_is() {
        let pending = Pending::default();
        assert!(pending.over().now_or_never().is_some());
        pending.add(2);
        let mut over = Box::pin(pending.over());
        assert!((&mut over).now_or_never().is_none());
        pending.remove(1);
        assert!((&mut over).now_or_never().is_none());
        pending.remove(1);
        assert!(over.now_or_never().is_some());
    }
}
