//! How many tasks run at once, who comes next, and how that comes to an end.
//!
//! ```text
//! open --drain--> closed to new calls, running ones go on --time over--> cancelling
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The worker's slots.
#[derive(Debug)]
pub(crate) struct Slots {
    places: Arc<Places>,
    calls: TaskTracker,
    cancelling: CancellationToken,
}

/// One slot, free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    /// `None` when it was given back already.
    places: Option<Arc<Places>>,
}

#[derive(Debug)]
struct Places(Mutex<Free>);

#[derive(Debug)]
struct Free {
    count: usize,
    /// Who waits, by what they take turns as, and whose turn it is.
    waiting: BTreeMap<u64, VecDeque<Waiter>>,
    turns: VecDeque<u64>,
    closed: bool,
}

/// Who gets a slot.
enum Waiter {
    /// A future that waits.
    Asks(oneshot::Sender<Slot>),
    /// Something that starts when it is its turn, and is told so if that never comes.
    Starts(Start),
}

/// What begins with a slot; without one it never will. It gives back a slot that it has no use for.
type Start = Box<dyn FnOnce(Option<Slot>) -> Option<Slot> + Send>;

impl Slots {
    pub(crate) fn new(slots: u32) -> Self {
        // A worker without slots would take calls and never run them.
        let count = usize::try_from(slots).unwrap_or(usize::MAX).max(1);
        let free = Free { count, waiting: BTreeMap::new(), turns: VecDeque::new(), closed: false };
        Self {
            places: Arc::new(Places(Mutex::new(free))),
            calls: TaskTracker::new(),
            cancelling: CancellationToken::new(),
        }
    }

    /// Waits for a free slot; `None` once the worker drains. Those who wait with one number take turns as
    /// one with the others.
    pub(crate) async fn take(&self, turn: u64) -> Option<Slot> {
        let waiting = {
            let mut free = self.places.lock();
            if free.closed {
                return None;
            }
            if free.take() {
                drop(free);
                return Some(self.slot());
            }
            let (sender, slot) = oneshot::channel();
            free.wait(turn, Waiter::Asks(sender));
            slot
        };
        waiting.await.ok()
    }

    /// Starts something as soon as there is a slot, here or where a slot becomes free; without one once
    /// the worker drains. It should only hand the work on, inside a tokio runtime, and gives back a slot that
    /// it does not need.
    pub(crate) fn start(&self, turn: u64, start: impl FnOnce(Option<Slot>) -> Option<Slot> + Send + 'static) {
        let mut free = self.places.lock();
        if free.closed {
            drop(free);
            drop(start(None));
            return;
        }
        if free.take() {
            drop(free);
            drop(start(Some(self.slot())));
            return;
        }
        free.wait(turn, Waiter::Starts(Box::new(start)));
    }

    fn slot(&self) -> Slot {
        Slot { places: Some(Arc::clone(&self.places)) }
    }

    /// Counts a call as running until the future is over; an answer on a lane comes after that.
    pub(crate) fn track<F: Future>(&self, call: F) -> impl Future<Output = F::Output> + use<F> {
        self.calls.track_future(call)
    }

    /// Counts something as running until this is dropped.
    pub(crate) fn count(&self) -> TaskTrackerToken {
        self.calls.token()
    }

    /// Resolves when what still runs is to be cancelled.
    pub(crate) async fn cancelling(&self) {
        self.cancelling.cancelled().await;
    }

    /// Closes the slots to new calls and waits for those that run. Returns how many were still running
    /// when the time was over; async ones are cancelled then.
    pub(crate) async fn drain(&self, within: Duration) -> usize {
        let refused = {
            let mut free = self.places.lock();
            free.closed = true;
            free.turns.clear();
            std::mem::take(&mut free.waiting)
        };
        for waiter in refused.into_values().flatten() {
            match waiter {
                Waiter::Asks(sender) => drop(sender),
                Waiter::Starts(start) => drop(start(None)),
            }
        }
        self.calls.close();
        if tokio::time::timeout(within, self.calls.wait()).await.is_ok() {
            return 0;
        }
        let unfinished = self.calls.len();
        self.cancelling.cancel();
        unfinished
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Free> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who gets the slot that is free now; without anybody it is counted as free.
    fn next(&self) -> Option<Waiter> {
        let mut free = self.lock();
        let next = free.next();
        if next.is_none() {
            free.count = free.count.saturating_add(1);
        }
        next
    }
}

impl Free {
    const fn take(&mut self) -> bool {
        let is_free = self.count > 0;
        self.count = self.count.saturating_sub(1);
        is_free
    }

    fn wait(&mut self, turn: u64, waiter: Waiter) {
        let waiting = self.waiting.entry(turn).or_default();
        if waiting.is_empty() {
            self.turns.push_back(turn);
        }
        waiting.push_back(waiter);
    }

    fn next(&mut self) -> Option<Waiter> {
        let turn = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&turn)?;
        let next = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&turn);
        } else {
            self.turns.push_back(turn);
        }
        next
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(places) = self.places.take() else { return };
        // In a loop: a thousand cancelled calls that each gave their slot on would be a thousand deep.
        while let Some(next) = places.next() {
            let slot = Self { places: Some(Arc::clone(&places)) };
            let unused = match next {
                Waiter::Asks(sender) => sender.send(slot).err(),
                Waiter::Starts(start) => start(Some(slot)),
            };
            match unused {
                Some(mut unused) => drop(unused.places.take()),
                None => return,
            }
        }
    }
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiter")
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
        let held = slots.take(0).now_or_never().flatten();
        assert!(held.is_some());
        assert!(slots.take(0).now_or_never().is_none());
        drop(held);
        let held = slots.take(0).now_or_never().flatten();
        assert!(held.is_some());
        drop((slots.take(0).now_or_never(), held));
        assert!(slots.take(0).now_or_never().flatten().is_some());
    }

    #[test]
    fn one_who_waits_alone_takes_turns_with_many_who_wait_as_one() {
        let (slots, order) = (Slots::new(1), Arc::new(Mutex::new(Vec::new())));
        let held = slots.take(0).now_or_never().flatten();
        for (turn, name) in [(1, "a"), (1, "b"), (1, "c"), (2, "alone")] {
            let order = Arc::clone(&order);
            slots.start(turn, move |slot| {
                order.lock().expect("whole").push(name);
                slot
            });
        }
        drop(held);
        assert_eq!(*order.lock().expect("whole"), ["a", "alone", "b", "c"]);
    }

    #[test]
    fn slots_go_to_those_who_wait_in_the_order_in_which_they_came() {
        let (slots, order) = (Slots::new(1), Arc::new(Mutex::new(Vec::new())));
        let held = slots.take(0).now_or_never().flatten();
        let start = |number: u32| {
            let order = Arc::clone(&order);
            slots.start(0, move |slot| {
                order.lock().expect("whole").push((number, slot.is_some()));
                slot
            });
        };
        start(1);
        let mut asks = Box::pin(slots.take(0));
        assert!(asks.as_mut().now_or_never().is_none());
        start(2);
        drop(held);
        assert_eq!(*order.lock().expect("whole"), [(1, true)]);
        drop(asks.now_or_never().flatten().expect("its turn"));
        assert_eq!(*order.lock().expect("whole"), [(1, true), (2, true)]);
        assert!(slots.take(0).now_or_never().flatten().is_some());
    }

    #[test]
    fn thousands_that_wait_for_nothing_are_passed_over_without_going_deep() {
        let slots = Slots::new(1);
        let held = slots.take(0).now_or_never().flatten();
        for _ in 0..200_000 {
            slots.start(0, |slot| slot);
        }
        drop(held);
        assert!(slots.take(0).now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn draining_refuses_new_calls_and_counts_what_it_had_to_cancel() {
        let slots = Slots::new(2);
        slots.track(ready(())).await;
        let running = slots.track(pending::<()>());
        let held = (slots.take(0).await, slots.take(0).await);
        let (sender, mut refused) = oneshot::channel();
        slots.start(0, move |slot| {
            sender.send(slot.is_none()).expect("heard");
            slot
        });
        assert_eq!(slots.drain(Duration::ZERO).await, 1);
        assert_eq!(refused.try_recv(), Ok(true));
        drop(held);
        assert!(slots.take(0).await.is_none());
        slots.cancelling().await;
        drop(running);
        assert_eq!(slots.drain(Duration::from_secs(60)).await, 0);
    }
}
