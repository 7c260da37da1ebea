//! How many tasks run at once, who comes next, and how that comes to an end.
//!
//! ```text
//! open --drain--> closed to new calls, running ones go on --time over--> cancelling
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::relay::{Row, Step};

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
    /// A call that starts when it is its turn.
    Starts(Arc<dyn Caller>, u64),
}

/// Whose calls wait for slots, each under a number.
pub(crate) trait Caller: Send + Sync {
    /// It is this call's turn, in this slot. Should only hand the work on, inside a tokio runtime.
    fn start(self: Arc<Self>, number: u64, slot: Slot);

    /// The turn of this call never comes: the worker drains.
    fn refuse(&self, number: u64);

    /// Polls a call for the first time.
    fn first(self: Arc<Self>, number: u64, slot: Slot, row: &mut Row, context: &mut Context<'_>) -> Step;
}

/// A call whose turn it is.
pub(crate) struct Turn {
    pub(crate) caller: Arc<dyn Caller>,
    pub(crate) number: u64,
    pub(crate) slot: Slot,
}

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

    /// Has calls start as soon as there are slots, each with what it takes turns as.
    pub(crate) fn start<C: Caller + 'static>(
        &self,
        caller: &Arc<C>,
        calls: impl IntoIterator<Item = (u64, u64)>,
    ) {
        let (mut now, mut refused) = (Vec::new(), Vec::new());
        {
            let mut free = self.places.lock();
            for (turn, number) in calls {
                if free.closed {
                    refused.push(number);
                } else if free.take() {
                    now.push(number);
                } else {
                    free.wait(turn, Waiter::Starts(Arc::<C>::clone(caller), number));
                }
            }
        }
        now.into_iter().for_each(|it| Arc::clone(caller).start(it, self.slot()));
        refused.into_iter().for_each(|it| caller.refuse(it));
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
                Waiter::Starts(caller, number) => caller.refuse(number),
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

impl Slot {
    /// Gives the slot to who is next: what there is to run in it, if that is a call.
    pub(crate) fn pass(mut self) -> Option<Turn> {
        self.give()
    }

    fn give(&mut self) -> Option<Turn> {
        // In a loop: a thousand futures that were dropped and each gave their slot on would be a thousand deep.
        loop {
            let next = self.places.as_ref()?.next();
            let slot = Self { places: self.places.take() };
            match next {
                Some(Waiter::Starts(caller, number)) => return Some(Turn { caller, number, slot }),
                Some(Waiter::Asks(sender)) => match sender.send(slot) {
                    Ok(()) => return None,
                    Err(mut unused) => self.places = unused.places.take(),
                },
                None => {
                    slot.forget();
                    return None;
                }
            }
        }
    }

    /// It was given back already.
    fn forget(mut self) {
        self.places = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(Turn { caller, number, slot }) = self.give() {
            caller.start(number, slot);
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

    /// Notes whose turn came, and who was refused. A slot is free again when the test says so.
    #[derive(Default)]
    struct Notes {
        came: Mutex<Vec<u64>>,
        refused: Mutex<Vec<u64>>,
        slots: Mutex<Vec<Slot>>,
    }

    impl Caller for Notes {
        fn start(self: Arc<Self>, number: u64, slot: Slot) {
            self.came.lock().expect("whole").push(number);
            self.slots.lock().expect("whole").push(slot);
        }

        fn refuse(&self, number: u64) {
            self.refused.lock().expect("whole").push(number);
        }

        fn first(self: Arc<Self>, _: u64, slot: Slot, _: &mut Row, _: &mut Context<'_>) -> Step {
            Step::Over(slot)
        }
    }

    impl Notes {
        /// Frees the slots of those whose turn came, and of those who have them then.
        fn free_all(&self) {
            while let Some(slot) = { self.slots.lock().expect("whole").pop() } {
                drop(slot);
            }
        }

        fn came(&self) -> Vec<u64> {
            self.came.lock().expect("whole").clone()
        }
    }

    #[test]
    fn one_who_waits_alone_takes_turns_with_many_who_wait_as_one() {
        let (slots, notes) = (Slots::new(1), Arc::<Notes>::default());
        let held = slots.take(0).now_or_never().flatten();
        let alone = 9;
        slots.start(&notes, [(1, 1), (1, 2), (1, 3), (2, alone)]);
        drop(held);
        notes.free_all();
        assert_eq!(notes.came(), [1, alone, 2, 3]);
    }

    #[test]
    fn slots_go_to_those_who_wait_in_the_order_in_which_they_came() {
        let (slots, notes) = (Slots::new(1), Arc::<Notes>::default());
        let held = slots.take(0).now_or_never().flatten();
        slots.start(&notes, [(0, 1)]);
        let mut asks = Box::pin(slots.take(0));
        assert!(asks.as_mut().now_or_never().is_none());
        slots.start(&notes, [(0, 2)]);
        drop(held);
        notes.free_all();
        assert_eq!(notes.came(), [1]);
        drop(asks.now_or_never().flatten().expect("its turn"));
        notes.free_all();
        assert_eq!(notes.came(), [1, 2]);
        assert!(slots.take(0).now_or_never().flatten().is_some());
    }

    #[test]
    fn a_slot_that_is_passed_on_is_one_calls_after_the_other() {
        let (slots, notes) = (Slots::new(1), Arc::<Notes>::default());
        let held = slots.take(0).now_or_never().flatten().expect("free");
        slots.start(&notes, [(0, 1), (0, 2)]);
        let first = held.pass().expect("its turn");
        let second = first.slot.pass().expect("its turn");
        assert_eq!((first.number, second.number, notes.came()), (1, 2, vec![]));
        assert!(slots.take(0).now_or_never().is_none());
        assert!(second.slot.pass().is_none());
        assert!(slots.take(0).now_or_never().flatten().is_some());
    }

    #[test]
    fn thousands_that_wait_for_nothing_are_passed_over_without_going_deep() {
        let slots = Slots::new(1);
        let held = slots.take(0).now_or_never().flatten();
        for _ in 0..200_000 {
            // Given up before its turn comes.
            assert!(slots.take(0).now_or_never().is_none());
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
        let notes = Arc::<Notes>::default();
        slots.start(&notes, [(0, 1)]);
        assert_eq!(slots.drain(Duration::ZERO).await, 1);
        slots.start(&notes, [(0, 2)]);
        assert_eq!((notes.came(), notes.refused.lock().expect("whole").clone()), (vec![], vec![1, 2]));
        drop(held);
        assert!(slots.take(0).await.is_none());
        slots.cancelling().await;
        drop(running);
        assert_eq!(slots.drain(Duration::from_secs(60)).await, 0);
    }
}
