//! Runs one small call after the other in one task: a call that ends hands its slot to the next, which goes on
//! in the task of the first. A task for each, with threads woken for each, costs more than a small call.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use skyward_runtime::link::corked;

/// A call that has yet to be polled for the first time. One that ends then leaves nothing.
type Call = Box<dyn FnOnce(&mut Context<'_>) -> Option<BoxFuture<'static, ()>> + Send>;

/// After so many calls in a row the others on this thread have their turn.
const ROW: u32 = 32;

thread_local! {
    /// What the relay that is being polled on this thread runs next; `None` when there is no relay.
    static BATON: RefCell<Option<Vec<Call>>> = const { RefCell::new(None) };
}

/// Runs a call: next in the relay that is being polled here, or as a new one. Must be called inside a tokio
/// runtime.
pub(crate) fn run(call: impl FnOnce(&mut Context<'_>) -> Option<BoxFuture<'static, ()>> + Send + 'static) {
    let call: Call = Box::new(call);
    let left = BATON.with(|it| match &mut *it.borrow_mut() {
        Some(next) => {
            next.push(call);
            None
        }
        None => Some(call),
    });
    if let Some(call) = left {
        begin(call);
    }
}

fn begin(call: Call) {
    // What its calls come to is told together.
    tokio::spawn(corked(relay(call)));
}

/// A relay that is being polled on this thread, until dropped; also when what it runs panics.
struct Polling;

impl Polling {
    fn new() -> Self {
        BATON.with(|it| it.replace(Some(Vec::new())));
        Self
    }

    /// What is to be run next.
    fn next(&self) -> Vec<Call> {
        BATON.with(|it| it.borrow_mut().as_mut().map(std::mem::take)).unwrap_or_default()
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        BATON.with(RefCell::take);
    }
}

/// The call that runs.
enum Leg {
    New(Call),
    Going(BoxFuture<'static, ()>),
    Over,
}

impl Leg {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if matches!(self, Self::New(_))
            && let Self::New(call) = std::mem::replace(self, Self::Over)
            && let Some(going) = call(context)
        {
            *self = Self::Going(going);
        }
        match self {
            Self::Going(going) => going.as_mut().poll(context),
            Self::New(_) | Self::Over => Poll::Ready(()),
        }
    }
}

async fn relay(first: Call) {
    let (mut call, mut row) = (Leg::New(first), 0_u32);
    loop {
        let next = poll_fn(|context| {
            let polling = Polling::new();
            let polled = call.poll(context);
            let mut next = polling.next();
            drop(polling);
            // What began while this call goes on, or beside the next, runs by itself.
            let goes_on = polled.is_ready().then(|| next.pop()).flatten();
            next.into_iter().for_each(begin);
            polled.map(|()| goes_on)
        });
        let Some(next) = next.await else { return };
        call = Leg::New(next);
        row = row.wrapping_add(1);
        if row.is_multiple_of(ROW) {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Notify, mpsc};

    use super::*;

    #[tokio::test]
    async fn a_call_that_begins_when_another_ends_runs_and_so_does_one_that_begins_in_the_middle() {
        let (sender, mut said) = mpsc::unbounded_channel();
        let (go, told) = (Arc::new(Notify::new()), sender.clone());
        let waits = Arc::clone(&go);
        run(move |_| {
            Some(Box::pin(async move {
                let inner = told.clone();
                run(move |_| {
                    inner.send("beside").expect("heard");
                    None
                });
                waits.notified().await;
                let last = told.clone();
                run(move |_| Some(Box::pin(async move { last.send("after").expect("heard") })));
                told.send("first").expect("heard");
            }))
        });
        assert_eq!(said.recv().await, Some("beside"));
        go.notify_one();
        assert_eq!(said.recv().await, Some("first"));
        assert_eq!(said.recv().await, Some("after"));
        drop(sender);
    }
}
