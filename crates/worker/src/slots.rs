//! How many tasks run at once, and how that comes to an end.
//!
//! ```text
//! open --drain--> closed to new calls, running ones go on --time over--> cancelling
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The worker's slots.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    calls: TaskTracker,
    cancelling: CancellationToken,
}

/// One slot, free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub(crate) fn new(slots: u32) -> Self {
        // A worker without slots would take calls and never run them.
        let slots = usize::try_from(slots).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(slots)),
            calls: TaskTracker::new(),
            cancelling: CancellationToken::new(),
        }
    }

    /// Waits for a free slot; `None` once the worker drains.
    pub(crate) async fn take(&self) -> Option<Slot> {
        Arc::clone(&self.free).acquire_owned().await.ok().map(|permit| Slot { _permit: permit })
    }

    /// Counts a call as running until the future is over, answer included.
    pub(crate) fn track<F: Future>(&self, call: F) -> impl Future<Output = F::Output> + use<F> {
        self.calls.track_future(call)
    }

    /// Resolves when what still runs is to be cancelled.
    pub(crate) async fn cancelling(&self) {
        self.cancelling.cancelled().await;
    }

    /// Closes the slots to new calls and waits for those that run. Returns how many were still running
    /// when the time was over; async ones are cancelled then.
    pub(crate) async fn drain(&self, within: Duration) -> usize {
        self.free.close();
        self.calls.close();
        if tokio::time::timeout(within, self.calls.wait()).await.is_ok() {
            return 0;
        }
        let unfinished = self.calls.len();
        self.cancelling.cancel();
        unfinished
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_slot_is_free_again_when_it_is_dropped() {
        let slots = Slots::new(1);
        let held = slots.take().now_or_never().flatten();
        assert!(held.is_some());
        assert!(slots.take().now_or_never().is_none());
        drop(held);
        assert!(slots.take().now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn draining_refuses_new_calls_and_counts_what_it_had_to_cancel() {
        let slots = Slots::new(2);
        slots.track(ready(())).await;
        let running = slots.track(pending::<()>());
        assert_eq!(slots.drain(Duration::ZERO).await, 1);
        assert!(slots.take().await.is_none());
        slots.cancelling().await;
        drop(running);
        assert_eq!(slots.drain(Duration::from_secs(60)).await, 0);
    }
}
