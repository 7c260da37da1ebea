//! One call under way: the caller's own future, which waits for a grant, carries the bytes over the
//! granted link, and asks again when the link was lost.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::actor::Tasks;
use super::messages::{Decision, Grant, TasksMessage};
use super::meter::Meter;
use super::order::{Order, Undone};
use crate::link::{CallRequest, LinkError, Outcome};
use crate::model::{FunctionId, TaskId};
use crate::registry::Registry;

/// The outcome of one call. Lazy: nothing happens until it is polled. Dropping it cancels the call: an
/// async function stops at its next await, a blocking one when it returns.
pub struct Running {
    future: BoxFuture<'static, Result<Bytes, Undone>>,
}

impl Running {
    /// A call that has yet to be let into the queue.
    pub(super) fn queued(tasks: Tasks, order: Order) -> Self {
        Self::limited(order.timeout, async move {
            let deadline = order.timeout.map(|it| Instant::now() + it);
            let (ticket, decision, permit) = Ticket::submit(tasks, &order).await?;
            follow(ticket, order, deadline, decision, Some(permit)).await
        })
    }

    /// A rank's share of a broadcast, already in the queue as `id`.
    pub(super) fn shared(
        tasks: Tasks,
        order: Order,
        id: TaskId,
        decision: oneshot::Receiver<Decision>,
    ) -> Self {
        let deadline = order.timeout.map(|it| Instant::now() + it);
        // Made here and not in the future, so that a share that is never polled is cancelled too.
        let ticket = Ticket::of(tasks, id, &order);
        Self::limited(order.timeout, follow(ticket, order, deadline, decision, None))
    }

    fn limited(
        timeout: Option<Duration>,
        inner: impl Future<Output = Result<Bytes, Undone>> + Send + 'static,
    ) -> Self {
        let future = async move {
            match timeout {
                None => inner.await,
                Some(after) => match tokio::time::timeout(after, inner).await {
                    Ok(result) => result,
                    Err(_) => Err(Undone::TimedOut { after }),
                },
            }
        };
        Self { future: Box::pin(future) }
    }
}

impl Future for Running {
    type Output = Result<Bytes, Undone>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.future.as_mut().poll(context)
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// A task's place in the queue or on a node, given back when dropped.
pub(super) struct Ticket {
    pub(super) tasks: Tasks,
    pub(super) id: TaskId,
    function: &'static str,
    open: bool,
    /// It is on a node at this moment, which costs something.
    runs: bool,
    meter: Option<Meter>,
}

impl Ticket {
    fn new(tasks: Tasks, order: &Order) -> Self {
        let id = tasks.next_id();
        Self::of(tasks, id, order)
    }

    /// The place of a task that is in the queue already.
    pub(super) fn of(tasks: Tasks, id: TaskId, order: &Order) -> Self {
        tasks.show(id, order);
        Self { tasks, id, function: order.function.name, open: true, runs: false, meter: order.meter.clone() }
    }

    /// A try is on a node.
    pub(super) const fn runs(&mut self) {
        self.runs = true;
    }

    /// A try has ended: what it cost is counted. Before the queue hears of it, and forgets it.
    pub(super) fn count(&mut self) {
        if std::mem::take(&mut self.runs)
            && let Some(meter) = &self.meter
        {
            meter.add(self.tasks.so_far(self.id));
        }
    }

    /// Lets an order into the queue, as soon as there is room in it. What comes first says what was
    /// decided; the permit is held until then.
    pub(super) async fn submit(
        tasks: Tasks,
        order: &Order,
    ) -> Result<(Self, oneshot::Receiver<Decision>, OwnedSemaphorePermit), Undone> {
        let permit = tasks.room().acquire_owned().await.map_err(|_| Undone::Stopped)?;
        let group = order.group.unwrap_or_else(|| tasks.group());
        let retries = tasks.retries(order);
        let ticket = Self::new(tasks, order);
        let (decide, decision) = oneshot::channel();
        ticket.tasks.tell(TasksMessage::Submit {
            id: ticket.id,
            target: order.target,
            group,
            retries,
            function: order.function.name,
            decide,
        });
        Ok((ticket, decision, permit))
    }

    /// The queue has forgotten the task, so it need not be told that its caller is gone.
    pub(super) fn end<T>(mut self, result: T) -> T {
        self.open = false;
        result
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.count();
        if self.open {
            tracing::debug!(task = %self.id, function = self.function, "cancelled by its caller");
            self.tasks.tell(TasksMessage::Cancelled { id: self.id });
        }
    }
}

/// Follows a task through its tries to its end.
async fn follow(
    mut ticket: Ticket,
    order: Order,
    deadline: Option<Instant>,
    mut decision: oneshot::Receiver<Decision>,
    mut waiting: Option<OwnedSemaphorePermit>,
) -> Result<Bytes, Undone> {
    let mut failure = None;
    loop {
        let decided = decision.await;
        drop(waiting.take());
        let grant = match decided {
            Ok(Decision::Grant(grant)) => grant,
            Ok(Decision::Refuse(why)) => return ticket.end(Err(why)),
            Ok(Decision::Exhausted) => return ticket.end(Err(failure.unwrap_or(Undone::Stopped))),
            // The queue has ended and dropped its side.
            Err(_) => return ticket.end(Err(Undone::Stopped)),
        };
        let given = order.timeout.unwrap_or_else(|| ticket.tasks.default_timeout());
        let Grant { attempt, rank, .. } = grant;
        let (id, (decide, next)) = (ticket.id, oneshot::channel());
        decision = next;
        ticket.runs();
        let outcome = call(&ticket, &order, deadline, &grant).await;
        ticket.count();
        ticket.tasks.tell(match outcome {
            Ok(Outcome::Draining) => {
                let reason = "the node is draining".to_owned();
                TasksMessage::Lost { id, attempt, rank, reason, decide }
            }
            Ok(Outcome::NotStarted(reason)) => TasksMessage::Lost { id, attempt, rank, reason, decide },
            Ok(outcome) => match judge(outcome, given) {
                Err(own) if order.retries > 0 && own.is_own() => {
                    let reason = own.reason();
                    failure = Some(own);
                    TasksMessage::Failed { id, attempt, rank, reason, decide }
                }
                result => {
                    let ok = result.is_ok();
                    ticket.tasks.tell(TasksMessage::Answered { id, attempt, rank, ok });
                    return ticket.end(result);
                }
            },
            // No other node could carry it either.
            Err(error @ LinkError::TooLarge { .. }) => {
                return Err(Undone::Unencodable(error.to_string()));
            }
            Err(error) => TasksMessage::Lost { id, attempt, rank, reason: error.to_string(), decide },
        });
    }
}

async fn call(
    ticket: &Ticket,
    order: &Order,
    deadline: Option<Instant>,
    grant: &Grant,
) -> Result<Outcome, LinkError> {
    let remaining = match deadline {
        Some(deadline) => deadline.saturating_duration_since(Instant::now()),
        None => ticket.tasks.default_timeout(),
    };
    let request = CallRequest {
        task: ticket.id,
        attempt: grant.attempt,
        function: function_id(order),
        remaining: Some(remaining),
        arguments: order.arguments.clone(),
    };
    let waited = tokio::time::timeout(ticket.tasks.patience(remaining), grant.link.call(request)).await;
    waited.unwrap_or(Ok(Outcome::TimedOut))
}

/// A function of this program is always in its registry; an id that no registry has is answered by
/// the worker with a clear outcome.
pub(super) fn function_id(order: &Order) -> FunctionId {
    Registry::global().ok().and_then(|it| it.id(order.function)).unwrap_or(FunctionId(u32::MAX))
}

pub(super) fn judge(outcome: Outcome, given: Duration) -> Result<Bytes, Undone> {
    match outcome {
        Outcome::Returned(value) => Ok(value),
        Outcome::Failed(error) => Err(Undone::Failed(error)),
        Outcome::Panicked(panic) => Err(Undone::Panicked(panic)),
        Outcome::Crashed(crash) => Err(Undone::Crashed(crash)),
        Outcome::TimedOut => Err(Undone::TimedOut { after: given }),
        Outcome::Cancelled | Outcome::Draining | Outcome::NotStarted(_) => Err(Undone::Cancelled),
        Outcome::Unencodable(why) => Err(Undone::Unencodable(why)),
        Outcome::Undecodable(why) => Err(Undone::Undecodable(why)),
        Outcome::UnknownFunction => {
            Err(Undone::Undecodable("the worker does not know this function".to_owned()))
        }
    }
}
