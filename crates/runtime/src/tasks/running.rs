//! One call under way: the caller's own future, which asks for a grant, carries the bytes over the
//! granted link, and asks again when the link was lost.
//!
//! ```text
//! new -> waiting for room -> waiting for a grant -> on a node --outcome--> over
//!                                 ^------- lost, given back ----|
//!                                 `-- link broken: asked for over the next ('resumed')
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Sleep;

use super::messages::{Decision, Grant};
use super::order::{Order, Undone};
use super::queue::{Answer, Presented, Tasks};
use super::state::Heard;
use crate::link::{CallRequest, Calling, Link, LinkError, Outcome};
use crate::model::{Attempt, EventKind, KeyError, Rank, TaskId, Timeout, Usd};

/// The outcome of one call. Lazy: nothing happens until it is polled. Dropping it cancels the call: an
/// async function stops at its next await, a blocking one when it returns.
pub struct Running {
    tasks: Tasks,
    order: Order,
    id: TaskId,
    stage: Stage,
    /// When its time is over, and what wakes it then; only of orders that have a time of their own.
    limit: Option<Box<Limit>>,
    /// The failure of its own that it had last.
    failure: Option<Undone>,
    /// Until when its present try may run.
    until: Option<Instant>,
    /// How often a stream of its present try broke while the link did not.
    broken: u32,
}

/// How often that may be.
const AGAIN: u32 = 3;

struct Limit {
    at: Instant,
    sleep: Pin<Box<Sleep>>,
    /// The time is over, and the node that has the call is given a moment to say what it knows of it.
    last: bool,
}

/// How long that moment is, at most. The node keeps the same time, so that its word is a round trip late.
const LAST_WORD: Duration = Duration::from_millis(250);

enum Stage {
    New,
    /// For room in the queue.
    Room(BoxFuture<'static, Option<OwnedSemaphorePermit>>),
    /// For a grant.
    Waiting(oneshot::Receiver<Decision>, Option<OwnedSemaphorePermit>, Option<(Attempt, Rank)>),
    /// For the node to have the shared values that it needs.
    Sharing(BoxFuture<'static, Result<(), LinkError>>, Grant),
    OnNode(Calling, Attempt, Rank),
    Over,
}

impl Running {
    /// A call that has yet to be let into the queue.
    pub(super) fn new(tasks: Tasks, mut order: Order) -> Self {
        let id = tasks.next_id();
        order.group = order.group.or_else(|| Some(tasks.group()));
        tasks.show(id, &order);
        Self { tasks, order, id, stage: Stage::New, limit: None, failure: None, until: None, broken: 0 }
    }

    /// A rank's share of a broadcast, already in the queue as `id`.
    pub(super) fn shared(
        tasks: Tasks,
        order: Order,
        id: TaskId,
        decision: oneshot::Receiver<Decision>,
    ) -> Self {
        tasks.show(id, &order);
        let stage = Stage::Waiting(decision, None, None);
        let mut share = Self { tasks, order, id, stage, limit: None, failure: None, until: None, broken: 0 };
        share.start_clock();
        share
    }

    /// A call without a time of its own that has asked the queue with others, and has been told this.
    pub(super) fn asked(
        tasks: Tasks,
        order: Order,
        id: TaskId,
        answer: Answer,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let mut run = Self::parted(tasks, order, id, None);
        match answer {
            Answer::Now(decision) => run.decided(decision),
            Answer::Later(decision) => run.stage = Stage::Waiting(decision, permit, None),
        }
        run
    }

    /// A call that had a try with others, and goes on by itself: with [`Self::tried`] or [`Self::fetch`].
    pub(super) const fn parted(tasks: Tasks, order: Order, id: TaskId, until: Option<Instant>) -> Self {
        Self { tasks, order, id, stage: Stage::Over, limit: None, failure: None, until, broken: 0 }
    }

    /// Waits for the outcome of a try that it had with others.
    pub(super) fn fetch(&mut self, calling: Calling, (attempt, rank): (Attempt, Rank)) {
        self.stage = Stage::OnNode(calling, attempt, rank);
    }

    fn start_clock(&mut self) {
        let at = self.order.timeout.and_then(|it| Instant::now().checked_add(it));
        let limit =
            |at: Instant| Limit { at, sleep: Box::pin(tokio::time::sleep_until(at.into())), last: false };
        self.limit = at.map(|at| Box::new(limit(at)));
    }

    fn begin(&mut self) {
        self.start_clock();
        match std::sync::Arc::clone(self.tasks.room()).try_acquire_owned() {
            Ok(permit) => self.submit(permit),
            Err(_) => {
                let room = std::sync::Arc::clone(self.tasks.room());
                self.stage = Stage::Room(Box::pin(async move { room.acquire_owned().await.ok() }));
            }
        }
    }

    fn submit(&mut self, permit: OwnedSemaphorePermit) {
        let answer = self.tasks.submit(self.id, &self.order);
        self.stage = match answer {
            Answer::Now(decision) => {
                drop(permit);
                return self.decided(decision);
            }
            Answer::Later(decision) => Stage::Waiting(decision, Some(permit), None),
        };
    }

    /// Goes on after a decision. What ends the call is kept as its failure.
    fn decided(&mut self, decision: Decision) {
        match decision {
            Decision::Grant(grant) => {
                (self.until, self.broken) = (None, 0);
                self.send(grant);
            }
            Decision::Resume(grant) => self.resume(grant),
            Decision::Refuse(why) => {
                self.failure = Some(self.tasks.told(why));
                self.stage = Stage::Over;
            }
            Decision::Exhausted => self.stage = Stage::Over,
        }
    }

    fn send(&mut self, grant: Grant) {
        let missing: Vec<_> = self
            .order
            .shared
            .iter()
            .filter(|it| !grant.link.has(it))
            .map(|it| self.tasks.share(&grant.link, it))
            .collect();
        if missing.is_empty() {
            return self.call(grant);
        }
        let shared = async move { futures_util::future::try_join_all(missing).await.map(drop) };
        self.stage = Stage::Sharing(Box::pin(shared), grant);
    }

    fn call(&mut self, grant: Grant) {
        let Grant { attempt, rank, link } = grant;
        let request = self.request(attempt);
        self.stage = Stage::OnNode(link.call(request).with_patience(self.tasks.patience()), attempt, rank);
    }

    /// Asks the worker, over another link, what became of the try.
    fn resume(&mut self, grant: Grant) {
        let Grant { attempt, rank, link } = grant;
        let request = self.request(attempt);
        self.stage = Stage::OnNode(link.resume(request).with_patience(self.tasks.patience()), attempt, rank);
    }

    fn request(&mut self, attempt: Attempt) -> CallRequest {
        let now = Instant::now();
        let given = match (&self.limit, self.until) {
            (Some(limit), _) => limit.at.saturating_duration_since(now),
            // It is the same try, whose time has gone on.
            (None, Some(until)) => until.saturating_duration_since(now),
            (None, None) => self.tasks.default_timeout(),
        };
        self.until = now.checked_add(given);
        CallRequest {
            task: self.id,
            attempt,
            function: self.order.function_id(),
            turn: self.order.group.map_or(0, |it| it.0),
            remaining: Some(given),
            key: self.order.key.clone(),
            arguments: self.order.arguments.clone(),
        }
    }

    /// Goes on after a try has come to an end; its result, if that is the end of the call. `link` is what it went
    /// over, where that matters.
    pub(super) fn tried(
        &mut self,
        tried: Result<Outcome, LinkError>,
        took: Option<Duration>,
        (attempt, rank): (Attempt, Rank),
        link: Option<Link>,
    ) -> Option<Result<Bytes, Undone>> {
        let id = self.id;
        if let (Some(link), Err(LinkError::TooLarge { .. })) | (Some(link), Ok(_)) = (&link, &tried)
            && self.order.key.is_some()
            && !matches!(tried, Ok(Outcome::Unknown))
        {
            // From here on its caller has the outcome, unless the pool may have another owner, who may ask for
            // it again. A failure is nobody's to keep: it is tried again then.
            if !matches!(tried, Ok(Outcome::Returned(_))) || !self.tasks.stays(id, attempt) {
                link.release(id, attempt);
            }
        }
        let tried = match (tried, link) {
            // It never came, so it has not been tried.
            (Ok(Outcome::Unknown), Some(link)) => {
                self.until = None;
                self.send(Grant { attempt, rank, link });
                return None;
            }
            // A stream of its own may be over before the link is, or alone.
            (Err(error), Some(link))
                if !matches!(error, LinkError::TooLarge { .. } | LinkError::NoRoom { .. })
                    && (link.over().is_some() || self.broken < AGAIN) =>
            {
                self.broken += u32::from(link.over().is_none());
                let (worker, reason) = (link.hello().incarnation.clone(), error.to_string());
                self.ask(Heard::Broken { id, attempt, worker, reason }, (attempt, rank));
                return None;
            }
            (tried @ Err(_), Some(link)) => {
                link.release(id, attempt);
                tried
            }
            (tried, _) => tried,
        };
        self.count();
        let heard = match tried {
            Ok(Outcome::Recalled) => Heard::GivenBack { id, attempt },
            // It has not begun, and the node is left alone for a moment.
            Ok(Outcome::Full | Outcome::Draining) => Heard::Full { id, attempt },
            Ok(Outcome::NotStarted(reason)) => Heard::Lost { id, attempt, reason },
            Ok(Outcome::Cancelled) => {
                let reason = "its node drained, and its time to end there was over".to_owned();
                Heard::Lost { id, attempt, reason }
            }
            Ok(Outcome::Unknown) => {
                let reason = "the worker has never seen it".to_owned();
                Heard::Lost { id, attempt, reason }
            }
            Ok(Outcome::Differs) if let Some(key) = self.order.key.clone() => {
                self.stage = Stage::Over;
                self.tasks.cancel(id, Some((attempt, rank)));
                return Some(Err(Undone::Key(KeyError::Differs { key })));
            }
            Ok(outcome) => match judge(outcome, self.given()) {
                Err(own) if self.order.retries > 0 && own.is_own() => {
                    let reason = own.reason();
                    self.failure = Some(own);
                    self.tasks.emit(EventKind::TaskFinished {
                        task: id,
                        attempt,
                        rank,
                        ok: false,
                        cost: Usd::ZERO,
                    });
                    Heard::Failed { id, attempt, reason }
                }
                result => {
                    self.stage = Stage::Over;
                    match (&result, took) {
                        (Err(Undone::TimedOut(_)), None) => self.tasks.expired(id, (attempt, rank)),
                        _ => self.tasks.answered(id, (attempt, rank), took, result.is_ok()),
                    }
                    return Some(result);
                }
            },
            // No other node could carry it either.
            Err(error @ LinkError::TooLarge { .. }) => {
                self.stage = Stage::Over;
                self.tasks.cancel(id, Some((attempt, rank)));
                return Some(Err(Undone::Unencodable(error.to_string())));
            }
            Err(error) => Heard::Lost { id, attempt, reason: error.to_string() },
        };
        self.ask(heard, (attempt, rank));
        None
    }

    /// Asks how it goes on after a try.
    fn ask(&mut self, heard: Heard, granted: (Attempt, Rank)) {
        let granted = Some(granted);
        let presented = Presented { id: self.id, function: self.order.function.name, granted };
        match self.tasks.ask(presented, heard) {
            Answer::Now(decision) => self.decided(decision),
            Answer::Later(decision) => self.stage = Stage::Waiting(decision, None, granted),
        }
    }

    /// A try has ended: what it cost is counted. Before the queue hears of it, and forgets it.
    fn count(&self) {
        if let Some(meter) = &self.order.meter {
            meter.add(self.tasks.so_far(self.id));
        }
    }

    /// What the call was given in all, for words.
    fn given(&self) -> Duration {
        self.order.timeout.unwrap_or_else(|| self.tasks.default_timeout())
    }

    /// Gives the call up wherever it is.
    fn give_up(&mut self) {
        let granted = match &self.stage {
            Stage::Waiting(_, _, granted) => *granted,
            Stage::Sharing(_, grant) => Some((grant.attempt, grant.rank)),
            Stage::OnNode(_, attempt, rank) => {
                self.count();
                Some((*attempt, *rank))
            }
            Stage::New | Stage::Room(_) | Stage::Over => {
                self.stage = Stage::Over;
                return;
            }
        };
        // The stream is given up first, so that a slot is not given away before the worker can know.
        self.stage = Stage::Over;
        tracing::debug!(task = %self.id, function = self.order.function.name, "cancelled by its caller");
        self.tasks.cancel(self.id, granted);
    }
}

impl Future for Running {
    type Output = Result<Bytes, Undone>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match &mut this.stage {
                Stage::New => this.begin(),
                Stage::Room(room) => {
                    let Poll::Ready(permit) = room.as_mut().poll(context) else { break };
                    match permit {
                        Some(permit) => this.submit(permit),
                        None => this.decided(Decision::Refuse(Undone::Stopped)),
                    }
                }
                Stage::Waiting(decision, permit, _) => {
                    let Poll::Ready(decided) = Pin::new(decision).poll(context) else { break };
                    drop(permit.take());
                    // The queue has ended and dropped its side.
                    this.decided(decided.unwrap_or(Decision::Refuse(Undone::Stopped)));
                }
                Stage::Sharing(shared, _) => {
                    let Poll::Ready(shared) = shared.as_mut().poll(context) else { break };
                    let Stage::Sharing(_, grant) = std::mem::replace(&mut this.stage, Stage::Over) else {
                        break;
                    };
                    let granted = (grant.attempt, grant.rank);
                    match shared {
                        Ok(()) => this.call(grant),
                        Err(error) => {
                            if let Some(result) = this.tried(Err(error), None, granted, Some(grant.link)) {
                                return Poll::Ready(result);
                            }
                        }
                    }
                }
                Stage::OnNode(calling, attempt, rank) => {
                    let granted = (*attempt, *rank);
                    let Poll::Ready(tried) = Pin::new(&mut *calling).poll(context) else { break };
                    let took = calling.took().filter(|_| !calling.resumes());
                    // The common way needs no link any more.
                    let is_common = matches!(tried, Ok(ref it) if !matches!(it, Outcome::Unknown));
                    let link = (!is_common || this.order.key.is_some()).then(|| calling.link());
                    if let Some(result) = this.tried(tried, took, granted, link) {
                        return Poll::Ready(result);
                    }
                }
                // An own failure that was the last try's, or why there was none.
                Stage::Over => {
                    return Poll::Ready(Err(this.failure.take().unwrap_or_else(|| this.tasks.stopped())));
                }
            }
        }
        let Some(limit) = &mut this.limit else { return Poll::Pending };
        ready!(limit.sleep.as_mut().poll(context));
        if !std::mem::replace(&mut limit.last, true) && matches!(this.stage, Stage::OnNode(..)) {
            let until = Instant::now() + LAST_WORD;
            limit.sleep.as_mut().reset(until.into());
            ready!(limit.sleep.as_mut().poll(context));
        }
        let after = this.given();
        this.give_up();
        Poll::Ready(Err(Undone::TimedOut(Timeout::new(after))))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

pub(super) fn judge(outcome: Outcome, given: Duration) -> Result<Bytes, Undone> {
    match outcome {
        // Only calls with a key have one that differs.
        Outcome::Differs => Err(Undone::Cancelled),
        Outcome::Returned(value) => Ok(value.into_bytes()),
        Outcome::Failed(error) => Err(Undone::Failed(error)),
        Outcome::Panicked(panic) => Err(Undone::Panicked(panic)),
        Outcome::Crashed(crash) => Err(Undone::Crashed(crash)),
        Outcome::TimedOut(output) => Err(Undone::TimedOut(Timeout { after: given, output })),
        Outcome::Cancelled | Outcome::Draining | Outcome::Recalled | Outcome::NotStarted(_) => {
            Err(Undone::Cancelled)
        }
        Outcome::Unencodable(why) => Err(Undone::Unencodable(why)),
        Outcome::Undecodable(why) => Err(Undone::Undecodable(why)),
        Outcome::UnknownFunction => {
            Err(Undone::Undecodable("the worker does not know this function".to_owned()))
        }
        Outcome::Unknown | Outcome::Full => Err(Undone::Cancelled),
    }
}
