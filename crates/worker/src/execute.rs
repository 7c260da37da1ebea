//! One call on this node: it waits for a slot, runs, and is given up when nobody wants it any more. In
//! this process async functions run in the relay that begins them, blocking ones on a thread of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use skyward_runtime::inside::TaskContext;
use skyward_runtime::link::Outcome;
use skyward_runtime::model::Panic;
use skyward_runtime::registry::{Answer, Body, Function};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::executor::{Executor, Job, Words};
use crate::panics;
use crate::slots::Slot;
use crate::worker::Worker;

/// When a call's time is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// `remaining` from now; a time too far to be told is none.
    pub(crate) fn after(remaining: Option<Duration>) -> Self {
        Self::since(Instant::now(), remaining)
    }

    /// `remaining` from this moment.
    pub(crate) fn since(now: Instant, remaining: Option<Duration>) -> Self {
        Self(remaining.and_then(|it| now.checked_add(it)))
    }

    /// Whether it has passed by now.
    pub(crate) fn is_over(self, now: Instant) -> bool {
        self.0.is_some_and(|it| it <= now)
    }

    pub(crate) async fn over(self) {
        match self.0 {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }
}

/// Where a call runs.
pub(crate) enum Place {
    /// In this slot.
    Slot(Slot),
    /// In one that it has to wait for, in turns with the others, unless it is asked for back.
    Turn(u64, BoxFuture<'static, ()>),
}

/// Runs the call in the slot, or waits for one as one of its turn. `None` when the caller gave up: then an
/// async function has been dropped, a process is being ended, and a blocking function keeps its slot until it
/// returns. The same holds when the time is over, which is an outcome.
pub(crate) async fn execute(
    worker: &Worker,
    job: Job,
    deadline: Deadline,
    place: Place,
    unwanted: impl Future<Output = ()>,
) -> Option<Outcome> {
    let slots = &worker.slots;
    // Whichever way this ends, what still runs of the function is unwanted then.
    let (context, words) = (TaskContext::of(job.task), Words::default());
    let run = async {
        let slot = match place {
            Place::Slot(slot) => Some(slot),
            Place::Turn(turn, recalled) => tokio::select! {
                biased;
                slot = slots.take(turn) => slot,
                () = recalled => return Outcome::Recalled,
            },
        };
        match slot {
            Some(slot) => worker.executor.run(job, slot, &context, &words).await,
            None => Outcome::Draining,
        }
    };
    until(run.map(|it| (it, None)), &words, worker, deadline, unwanted).await.map(|(outcome, _)| outcome)
}

/// What came of the first poll of a call.
pub(crate) enum First {
    /// Most async functions that do not wait for anything have ended. Their slot is there for the next.
    Ended(Outcome, Slot),
    /// It has not ended.
    Left(Left),
}

/// What is left of a call after its first poll.
pub(crate) enum Left {
    /// It goes on.
    Goes(Going),
    /// All of it: it is of a kind that cannot be begun here.
    NotHere(Job, Slot),
}

/// An async function of this process that has been polled once.
pub(crate) struct Going {
    body: BoxFuture<'static, Answer>,
    context: TaskContext,
    slot: Slot,
    _counted: TaskTrackerToken,
}

/// Begins an async function of this process here and now: one that does not wait needs none of what surrounds
/// a call that may be given up in the middle. `surrounds` is what the one before was run in.
pub(crate) fn first(
    worker: &Worker,
    job: Job,
    slot: Slot,
    surrounds: &mut Option<TaskContext>,
    context: &mut Context<'_>,
) -> First {
    let (Executor::Threads, Body::Async(body)) = (&worker.executor, &job.function.body) else {
        return First::Left(Left::NotHere(job, slot));
    };
    let counted = worker.slots.count();
    let surrounds = match surrounds {
        Some(it) => {
            it.renew(job.task);
            it
        }
        None => surrounds.insert(TaskContext::of(job.task)),
    };
    let arguments = job.arguments;
    let polled = catch_unwind(AssertUnwindSafe(|| {
        surrounds.cancellation().surround(|| {
            let mut body = body(arguments)?;
            match body.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    drop(body);
                    Ok(Ok(answer))
                }
                Poll::Pending => Ok(Err(body)),
            }
        })
    }));
    let ended = match polled {
        Ok(Ok(Err(body))) => {
            let context = std::mem::take(surrounds);
            return First::Left(Left::Goes(Going { body, context, slot, _counted: counted }));
        }
        Ok(Ok(Ok(answer))) => Ok(Ok(answer)),
        Ok(Err(reason)) => Ok(Err(reason)),
        Err(payload) => Err(panics::caught(&*payload)),
    };
    First::Ended(outcome(ended), slot)
}

impl Going {
    /// Runs it to its end, as [`execute`] does. Its slot is there for the next if it came to its own end.
    pub(crate) async fn on(
        self,
        worker: &Worker,
        deadline: Deadline,
        unwanted: impl Future<Output = ()>,
    ) -> Option<(Outcome, Option<Slot>)> {
        let Self { body, context, slot, _counted } = self;
        let run = async {
            let running = context.surround(async move { Ok(body.await) });
            let ended = AssertUnwindSafe(running).catch_unwind().await;
            (outcome(ended.map_err(|it| panics::caught(&*it))), Some(slot))
        };
        // It runs in this process, which has no words of one call alone.
        until(run, &Words::default(), worker, deadline, unwanted).await
    }
}

/// Runs until something else ends it. The run comes first: most calls end before the others are worth a look.
async fn until(
    run: impl Future<Output = (Outcome, Option<Slot>)>,
    words: &Words,
    worker: &Worker,
    deadline: Deadline,
    unwanted: impl Future<Output = ()>,
) -> Option<(Outcome, Option<Slot>)> {
    tokio::select! {
        biased;
        ended = run => Some(ended),
        () = unwanted => None,
        () = deadline.over() => Some((Outcome::TimedOut(words.last()), None)),
        () = worker.slots.cancelling() => Some((Outcome::Cancelled, None)),
    }
}

/// Runs a function in this process. `held` is dropped when nothing of it runs any more.
pub(crate) async fn run(
    function: &'static Function,
    arguments: Bytes,
    held: impl Send + 'static,
    context: &TaskContext,
) -> Outcome {
    match function.body {
        Body::Async(body) => {
            let _held = held;
            let running = context.surround(async move { Ok(body(arguments)?.await) });
            let ended = AssertUnwindSafe(running).catch_unwind().await;
            outcome(ended.map_err(|it| panics::caught(&*it)))
        }
        Body::Blocking(body) => {
            let cancellation = context.cancellation();
            let running = tokio::task::spawn_blocking(move || {
                let _held = held;
                let body = AssertUnwindSafe(|| cancellation.surround(|| body(arguments)));
                catch_unwind(body).map_err(|it| panics::caught(&*it))
            });
            match running.await {
                Ok(ended) => outcome(ended),
                // The runtime is going down; a panic has been caught inside.
                Err(_) => Outcome::Cancelled,
            }
        }
        Body::Stream { .. } | Body::Iterator { .. } => {
            Outcome::Undecodable("a function of streams has calls of its own kind".to_owned())
        }
    }
}

fn outcome(ended: Result<Result<Answer, String>, Panic>) -> Outcome {
    match ended {
        Ok(Ok(Answer::Returned(value))) => Outcome::Returned(value),
        Ok(Ok(Answer::Failed(error))) => Outcome::Failed(error),
        Ok(Ok(Answer::Unencodable(reason))) => Outcome::Unencodable(reason),
        Ok(Err(reason)) => Outcome::Undecodable(reason),
        Err(panic) => Outcome::Panicked(panic),
    }
}
