//! One stream under way: the reader's own stream of items, which waits for a grant, reads them over the
//! granted link, and holds the slot until the end. Like [`super::Running`], but for a task that gives
//! many things.
//!
//! ```text
//! opening --the first item--> flowing --the end, out of time--> over
//!  ^ `--lost, tries left--'     `--lost--> closing --why--> over
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Sleep;

use super::messages::{Decision, Grant};
use super::order::{Order, Undone};
use super::queue::Tasks;
use super::running::judge;
use super::state::Heard;
use super::supply::{Sending, Supply};
use super::ticket::Ticket;
use crate::link::{CallRequest, Inflow, LinkError, Outcome, Piece};
use crate::model::{EventKind, TaskId, Timeout, Usd};
use crate::payload::Common;
use crate::registry::BoxSource;

/// The items of one call, each encoded; an error is the last of them. Lazy: nothing happens until it is
/// polled, and what the reader does not take keeps the function waiting. Dropping it cancels the call: an
/// async function stops at its next await, a blocking one at its next item.
pub struct Flow {
    stage: Stage,
}

enum Stage {
    Opening(BoxFuture<'static, Result<Option<Open>, Undone>>),
    Flowing(Box<Open>),
    /// The node was lost. Whether that was the pool's end is known to the queue.
    Closing(BoxFuture<'static, Undone>),
    Over,
}

/// A stream of which the first item is there.
struct Open {
    first: Option<Bytes>,
    inflow: Inflow,
    ticket: Ticket,
    given: Duration,
    patience: Patience,
    /// Items may name them, and are decoded while this is there.
    _shared: Vec<Arc<Common>>,
    _sending: Sending,
}

/// For how long the reader waits at most. What is there already is given out whatever the time.
struct Patience {
    /// For each item.
    idle: Option<Duration>,
    /// Since when it waits for this one.
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// For all of them: what was given, and when the worker should have said that it is over.
    whole: Option<(Duration, Instant)>,
}

/// What came of one try before its first item.
enum Begun {
    Item(Box<(Bytes, Inflow, Sending)>),
    /// It ended without an item.
    Ended(Outcome),
    /// The reader's patience for one item was over.
    Late(Duration),
    /// Its node takes nothing new.
    Draining,
    /// It was asked for back, and has not begun.
    Recalled,
    Lost(String),
    /// No node could carry it.
    TooLarge(String),
}

/// A call before its first item.
struct Opening {
    ticket: Ticket,
    order: Order,
    idle: Option<Duration>,
    deadline: Option<Instant>,
    supply: Supply,
}

impl Flow {
    /// A call that has yet to be let into the queue, and what it takes.
    pub(super) fn queued(tasks: Tasks, order: Order, idle: Option<Duration>, inputs: Vec<BoxSource>) -> Self {
        let limit = order.timeout;
        Self::limited(limit, async move {
            let deadline = limit.and_then(|it| Instant::now().checked_add(it));
            let (ticket, decision, permit) = Ticket::submit(tasks, &order).await?;
            let opening = Opening { ticket, order, idle, deadline, supply: Supply::new(inputs) };
            opening.follow(decision, Some(permit)).await
        })
    }

    /// A rank's share of a broadcast, already in the queue.
    pub(super) fn shared(
        tasks: Tasks,
        order: Order,
        idle: Option<Duration>,
        id: TaskId,
        decision: oneshot::Receiver<Decision>,
    ) -> Self {
        let limit = order.timeout;
        let deadline = limit.and_then(|it| Instant::now().checked_add(it));
        let ticket = Ticket::of(tasks, id, &order);
        let opening = Opening { ticket, order, idle, deadline, supply: Supply::new(Vec::new()) };
        Self::limited(limit, opening.follow(decision, None))
    }

    fn limited(
        limit: Option<Duration>,
        opening: impl Future<Output = Result<Option<Open>, Undone>> + Send + 'static,
    ) -> Self {
        let opening = async move {
            match limit {
                None => opening.await,
                Some(after) => {
                    let opened = tokio::time::timeout(after, opening).await;
                    opened.unwrap_or(Err(Undone::TimedOut(Timeout::new(after))))
                }
            }
        };
        Self { stage: Stage::Opening(Box::pin(opening)) }
    }

    /// Ends the stream with its last word.
    fn end(&mut self, why: Option<Undone>) -> Poll<Option<Result<Bytes, Undone>>> {
        self.stage = Stage::Over;
        Poll::Ready(why.map(Err))
    }
}

impl Stream for Flow {
    type Item = Result<Bytes, Undone>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let open = match &mut self.stage {
                Stage::Flowing(open) => open,
                Stage::Opening(opening) => match ready!(opening.as_mut().poll(context)) {
                    Ok(Some(open)) => {
                        self.stage = Stage::Flowing(Box::new(open));
                        continue;
                    }
                    // A stream without items ends well.
                    Ok(None) => return self.end(None),
                    Err(why) => return self.end(Some(why)),
                },
                Stage::Closing(closing) => {
                    let why = ready!(closing.as_mut().poll(context));
                    return self.end(Some(why));
                }
                Stage::Over => return Poll::Ready(None),
            };
            if let Some(first) = open.first.take() {
                return Poll::Ready(Some(Ok(first)));
            }
            match open.inflow.poll_next(context) {
                Poll::Ready(Ok(Piece::Item(item))) => {
                    open.patience.rest();
                    return Poll::Ready(Some(Ok(item)));
                }
                Poll::Ready(last) => {
                    if let Stage::Flowing(open) = std::mem::replace(&mut self.stage, Stage::Over) {
                        self.stage = open.close(last);
                    }
                }
                Poll::Pending => {
                    let after = ready!(open.patience.poll_over(context));
                    return self.end(Some(Undone::TimedOut(Timeout::new(after))));
                }
            }
        }
    }
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").finish_non_exhaustive()
    }
}

impl Opening {
    /// Follows the task through its tries to its first item, or its end without one.
    async fn follow(
        mut self,
        mut decision: oneshot::Receiver<Decision>,
        mut waiting: Option<OwnedSemaphorePermit>,
    ) -> Result<Option<Open>, Undone> {
        let mut failure = None;
        loop {
            let decided = decision.await;
            drop(waiting.take());
            let grant = match decided {
                Ok(Decision::Grant(grant) | Decision::Resume(grant)) => grant,
                Ok(Decision::Refuse(why)) => return Err(self.ticket.refused(why)),
                Ok(Decision::Exhausted) => {
                    return Err(self.ticket.refused(failure.unwrap_or(Undone::Stopped)));
                }
                // The queue has ended and dropped its side.
                Err(_) => return Err(self.ticket.refused(Undone::Stopped)),
            };
            let Grant { attempt, rank, .. } = grant;
            let id = self.ticket.id;
            self.ticket.granted = Some((attempt, rank));
            self.ticket.runs();
            let (begun, is_whole) = self.begin(&grant).await;
            if !matches!(begun, Begun::Item(_)) {
                self.ticket.count();
            }
            decision = self.ticket.ask(match begun {
                Begun::Item(begun) => return Ok(Some(self.open(*begun))),
                Begun::Late(after) => return Err(Undone::TimedOut(Timeout::new(after))),
                Begun::TooLarge(reason) => return Err(Undone::Unencodable(reason)),
                // It has not begun, and the node is left alone for a moment.
                Begun::Draining if is_whole => Heard::Full { id, attempt },
                Begun::Recalled if is_whole => Heard::GivenBack { id, attempt },
                Begun::Draining | Begun::Recalled | Begun::Lost(_) => {
                    let reason = match begun {
                        Begun::Lost(reason) => reason,
                        Begun::Recalled => "its node gave it back".to_owned(),
                        _ => "the node is draining".to_owned(),
                    };
                    if !is_whole {
                        self.ticket.tasks.commit(id);
                    }
                    Heard::Lost { id, attempt, reason }
                }
                Begun::Ended(outcome) => match ended(outcome, self.given()) {
                    Err(own) if self.order.retries > 0 && own.is_own() && is_whole => {
                        let reason = own.reason();
                        failure = Some(own);
                        let finished =
                            EventKind::TaskFinished { task: id, attempt, rank, ok: false, cost: Usd::ZERO };
                        self.ticket.tasks.emit(finished);
                        Heard::Failed { id, attempt, reason }
                    }
                    ended => {
                        match &ended {
                            Err(Undone::TimedOut(_)) => self.ticket.tasks.expired(id, (attempt, rank)),
                            _ => self.ticket.tasks.answered(id, (attempt, rank), None, ended.is_ok()),
                        }
                        return self.ticket.end(ended.map(|()| None));
                    }
                },
            });
        }
    }

    /// One try, up to its first item or its end. When it has not become an open stream, also whether
    /// everything that it takes can be sent again.
    async fn begin(&self, grant: &Grant) -> (Begun, bool) {
        let request = CallRequest {
            task: self.ticket.id,
            attempt: grant.attempt,
            function: self.order.function_id(),
            turn: self.order.group.map_or(0, |it| it.0),
            remaining: self.deadline.map(|it| it.saturating_duration_since(Instant::now())),
            key: None,
            arguments: self.order.arguments.clone(),
        };
        for common in &self.order.shared {
            if let Err(error) = self.ticket.tasks.share(&grant.link, common).await {
                return (Begun::failed(error), true);
            }
        }
        let mut inflow = match grant.link.stream(request).await {
            Ok(inflow) => inflow,
            Err(error) => return (Begun::failed(error), true),
        };
        let sending = self.supply.send(&grant.link, self.ticket.id, grant.attempt);
        let first = std::future::poll_fn(|context| inflow.poll_next(context));
        let first = match self.idle() {
            None => Ok(first.await),
            Some(idle) => tokio::time::timeout(idle, first).await.map_err(|_| idle),
        };
        let begun = match first {
            Ok(Ok(Piece::Item(item))) => return (Begun::Item(Box::new((item, inflow, sending))), false),
            Ok(Ok(Piece::End(Outcome::Draining))) => Begun::Draining,
            Ok(Ok(Piece::End(Outcome::Recalled))) => Begun::Recalled,
            Ok(Ok(Piece::End(outcome))) => match own(outcome) {
                Ok(outcome) => Begun::Ended(outcome),
                Err(reason) => Begun::Lost(reason),
            },
            Ok(Err(error)) => Begun::failed(error),
            Err(idle) => Begun::Late(idle),
        };
        (begun, self.supply.recall(sending).await)
    }

    fn open(self, (first, inflow, sending): (Bytes, Inflow, Sending)) -> Open {
        let (given, idle) = (self.given(), self.idle());
        // The worker keeps the time; it is waited for a little longer.
        let patience = self.ticket.tasks.patience();
        let whole = self.deadline.and_then(|it| Some((given, it.checked_add(patience)?)));
        Open {
            first: Some(first),
            inflow,
            ticket: self.ticket,
            given,
            patience: Patience { idle, since: None, sleep: None, whole },
            _shared: self.order.shared,
            _sending: sending,
        }
    }

    /// A stream of no given length may go on for ever, as long as something comes now and then.
    fn idle(&self) -> Option<Duration> {
        let default = || self.order.timeout.is_none().then(|| self.ticket.tasks.default_timeout());
        self.idle.or_else(default)
    }

    fn given(&self) -> Duration {
        self.order.timeout.unwrap_or_else(|| self.ticket.tasks.default_timeout())
    }
}

impl Begun {
    fn failed(error: LinkError) -> Self {
        match error {
            LinkError::TooLarge { .. } => Self::TooLarge(error.to_string()),
            other => Self::Lost(other.to_string()),
        }
    }
}

impl Open {
    /// What the last thing that came means, told to the queue.
    fn close(self, last: Result<Piece, LinkError>) -> Stage {
        let Self { mut ticket, given, .. } = self;
        ticket.count();
        let id = ticket.id;
        let Some((attempt, rank)) = ticket.granted else { return Stage::Over };
        let ended = match last {
            Ok(Piece::End(outcome)) => own(outcome).map(|it| ended(it, given)),
            Ok(Piece::Item(_)) => Ok(Ok(())),
            Err(error @ LinkError::TooLarge { .. }) => Ok(Err(Undone::Unencodable(error.to_string()))),
            Err(error) => Err(error.to_string()),
        };
        let ended = match ended {
            Ok(ended) => ended,
            Err(reason) => {
                // Another try would repeat its items.
                ticket.tasks.commit(id);
                let decision = ticket.ask(Heard::Lost { id, attempt, reason });
                return Stage::Closing(Box::pin(async move {
                    let why = match decision.await {
                        Ok(Decision::Refuse(why)) => why,
                        Ok(Decision::Grant(_) | Decision::Resume(_) | Decision::Exhausted) | Err(_) => {
                            Undone::Stopped
                        }
                    };
                    ticket.refused(why)
                }));
            }
        };
        ticket.tasks.answered(id, (attempt, rank), None, ended.is_ok());
        ticket.end(match ended {
            Ok(()) => Stage::Over,
            Err(why) => Stage::Closing(Box::pin(std::future::ready(why))),
        })
    }
}

impl Patience {
    /// Ready when the reader, who waits for an item, has waited for long enough; with what was given.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<Duration> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let idle = self.idle.and_then(|it| Some((it, since.checked_add(it)?)));
        let Some((given, over)) = [idle, self.whole].into_iter().flatten().min_by_key(|(_, over)| *over)
        else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(over.into())));
        // The timer is left alone as long as it rings in time: an item more, a little later, is the rule.
        if sleep.deadline() > over.into() || sleep.is_elapsed() {
            sleep.as_mut().reset(over.into());
        }
        while sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= over {
                return Poll::Ready(given);
            }
            sleep.as_mut().reset(over.into());
        }
        Poll::Pending
    }

    /// Something came.
    fn rest(&mut self) {
        self.since = None;
    }
}

/// An end that is the function's own, or why its node did not bring it to one.
fn own(outcome: Outcome) -> Result<Outcome, String> {
    Err(match outcome {
        Outcome::Cancelled => "its node drained, and its time to end there was over".to_owned(),
        Outcome::Draining | Outcome::Full => "its node takes nothing new".to_owned(),
        Outcome::NotStarted(reason) => reason,
        Outcome::Recalled => "its node gave it back".to_owned(),
        Outcome::Unknown => "the worker has never seen it".to_owned(),
        own => return Ok(own),
    })
}

/// Whether a stream ended well.
fn ended(outcome: Outcome, given: Duration) -> Result<(), Undone> {
    judge(outcome, given).map(drop)
}
