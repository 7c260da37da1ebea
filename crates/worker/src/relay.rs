//! Runs one small call after the other in one task: a call that ends hands its slot to the next, which goes on
//! in the task of the first. A task for each, with threads woken for each, costs more than a small call.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use skyward_runtime::inside::TaskContext;
use skyward_runtime::link::corked;

use crate::slots::{Slot, Turn};

/// What the calls of one poll of a relay share.
#[derive(Debug)]
pub(crate) struct Row {
    /// When the call before this one ended.
    pub(crate) now: Instant,
    /// What it was run in.
    pub(crate) surrounds: Option<TaskContext>,
    began: Instant,
    count: u32,
}

/// What became of a call at its first poll.
pub(crate) enum Step {
    /// It is over, or never begins. Its slot is there for the next.
    Over(Slot),
    /// It goes on; in the end it may have a slot for the next.
    Goes(BoxFuture<'static, Option<Slot>>),
    /// It may compute for long, and should begin a row, so that nobody waits for outcomes that are there.
    Later(Turn),
}

/// After so long the others on this thread have their turn, and what the calls came to is told. Less has more to be
/// woken for each call; more lets a single call, which may be among them, wait for longer.
const LONG: Duration = Duration::from_micros(50);

/// After so many likewise.
const MOST: u32 = 128;

/// How often others have their turn in between: the lane's writer, and then who sends what it has written.
const YIELDS: usize = 2;

/// Runs a call, and then those whose turn it is. Must be called inside a tokio runtime.
pub(crate) fn run(turn: Turn) {
    // What its calls come to is told together.
    tokio::spawn(corked(relay(turn)));
}

async fn relay(first: Turn) {
    let mut leg = Leg::New(first);
    while poll_fn(|context| leg.poll(context)).await {
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
        }
    }
}

/// The call that runs.
enum Leg {
    New(Turn),
    Going(BoxFuture<'static, Option<Slot>>),
    Over,
}

impl Leg {
    /// Runs calls until one waits, or none is left, or others should have their turn. Whether there are more.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut row = Row::begin();
        loop {
            let slot = match std::mem::replace(self, Self::Over) {
                Self::New(Turn { caller, number, slot }) => {
                    match caller.first(number, slot, &mut row, context) {
                        Step::Over(slot) => Some(slot),
                        Step::Goes(going) => {
                            *self = Self::Going(going);
                            if row.is_first() {
                                continue;
                            }
                            return Poll::Ready(true);
                        }
                        Step::Later(turn) => {
                            *self = Self::New(turn);
                            return Poll::Ready(true);
                        }
                    }
                }
                Self::Going(mut going) => match going.as_mut().poll(context) {
                    Poll::Ready(slot) => {
                        row.now = Instant::now();
                        slot
                    }
                    Poll::Pending => {
                        *self = Self::Going(going);
                        return Poll::Pending;
                    }
                },
                Self::Over => None,
            };
            let Some(next) = slot.and_then(Slot::pass) else { return Poll::Ready(false) };
            *self = Self::New(next);
            if row.is_long() {
                return Poll::Ready(true);
            }
        }
    }
}

impl Row {
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self { now, surrounds: None, began: now, count: 0 }
    }

    /// Whether nothing has come of it yet that would wait.
    pub(crate) const fn is_first(&self) -> bool {
        self.count == 0
    }

    fn is_long(&mut self) -> bool {
        self.count += 1;
        self.count >= MOST || self.now.saturating_duration_since(self.began) >= LONG
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio::sync::oneshot;

    use super::*;
    use crate::slots::{Caller, Slots};

    const SLOW: u64 = 1_000_000;

    /// Its call 1 goes on until it is told to end; the others end at once. Calls from [`SLOW`] on begin rows.
    struct Says {
        said: UnboundedSender<u64>,
        goes: std::sync::Mutex<Option<oneshot::Receiver<()>>>,
    }

    impl Caller for Says {
        fn start(self: Arc<Self>, number: u64, slot: Slot) {
            run(Turn { caller: self, number, slot });
        }

        fn refuse(&self, _: u64) {}

        fn first(self: Arc<Self>, number: u64, slot: Slot, row: &mut Row, _: &mut Context<'_>) -> Step {
            if number >= SLOW && !row.is_first() {
                return Step::Later(Turn { caller: self, number, slot });
            }
            let goes = self.goes.lock().expect("whole").take_if(|_| number == 1);
            let Some(goes) = goes else {
                self.said.send(number).expect("heard");
                return Step::Over(slot);
            };
            Step::Goes(Box::pin(async move {
                let given_up = goes.await.is_err();
                self.said.send(number).expect("heard");
                (!given_up).then_some(slot)
            }))
        }
    }

    fn says() -> (Arc<Says>, oneshot::Sender<()>, UnboundedReceiver<u64>) {
        let (said, heard) = unbounded_channel();
        let (end, goes) = oneshot::channel();
        (Arc::new(Says { said, goes: Some(goes).into() }), end, heard)
    }

    #[tokio::test]
    async fn a_call_begins_when_another_ends_and_beside_one_that_goes_on() {
        let ((says, end, mut said), slots) = (says(), Slots::new(2));
        slots.start(&says, [(0, 1), (0, 2), (0, 3)]);
        assert_eq!((said.recv().await, said.recv().await), (Some(2), Some(3)));
        let held = slots.take(0).await;
        slots.start(&says, [(0, 4)]);
        end.send(()).expect("it goes on");
        assert_eq!((said.recv().await, said.recv().await), (Some(1), Some(4)));
        drop(held);
    }

    #[tokio::test]
    async fn the_next_begins_also_when_the_one_before_was_given_up_or_others_had_their_turn() {
        let ((says, end, mut said), slots) = (says(), Slots::new(1));
        slots.start(&says, (1..=u64::from(MOST) * 3).map(|number| (0, number)));
        drop(end);
        for number in 1..=u64::from(MOST) * 3 {
            assert_eq!(said.recv().await, Some(number));
        }
        assert!(slots.take(0).await.is_some());
    }

    #[tokio::test]
    async fn one_that_may_be_slow_begins_after_those_that_are_known_have_been_told() {
        let ((says, _end, mut said), slots) = (says(), Slots::new(1));
        let order = [2, SLOW, SLOW + 1, 3, SLOW + 2];
        slots.start(&says, order.map(|number| (0, number)));
        for number in order {
            assert_eq!(said.recv().await, Some(number));
        }
        assert!(slots.take(0).await.is_some());
    }
}
