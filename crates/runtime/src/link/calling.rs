//! One call under way over a link: on a lane when it is small, on a stream of its own when it is not. A large
//! outcome of a small call is asked for on a stream of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::call::{self, CallRequest, Outcome};
use super::dialer::{Link, Shared};
use super::error::LinkError;
use super::lane::{OnLane, Replied};
use crate::retention::Try;

/// A call of [`Link::call`](super::Link::call). Lazy: nothing is sent until it is polled, in a tokio runtime.
/// Dropping it cancels the task: an async function at its next await, a blocking one when it returns.
pub struct Calling {
    shared: Arc<Shared>,
    patience: Option<Duration>,
    /// When it is no longer waited for.
    until: Option<Instant>,
    stage: Stage,
    took: Option<Duration>,
    it: Try,
    /// It was sent over a link that broke.
    resumes: bool,
    /// It counts as under way.
    is_pending: bool,
    /// It has a key: its outcome is kept until its caller has taken it.
    keyed: bool,
}

/// Where the large outcome of a call is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elsewhere {
    /// What it is told by.
    pub(crate) number: u64,
    pub(crate) length: u64,
    /// How long the function ran.
    pub(crate) took: Duration,
}

enum Stage {
    New(CallRequest),
    OnLane(OnLane),
    /// On a stream of its own, since when.
    Alone(BoxFuture<'static, Result<Outcome, LinkError>>, Instant),
    /// Its large outcome, told by its number, has yet to be asked for.
    Elsewhere {
        number: u64,
        length: u64,
    },
    /// Its large outcome, told by its number, comes on a stream of its own.
    Fetching(BoxFuture<'static, Result<Outcome, LinkError>>, u64),
    Over,
}

impl Calling {
    pub(super) const fn new(shared: Arc<Shared>, request: CallRequest, resumes: bool) -> Self {
        let (it, keyed) = ((request.task, request.attempt), request.key.is_some());
        Self {
            shared,
            patience: None,
            until: None,
            stage: Stage::New(request),
            took: None,
            it,
            resumes,
            is_pending: false,
            keyed,
        }
    }

    /// One that was sent with others, and whose large outcome comes on a stream of its own. It counts as under way
    /// already. `until` is when its own time is over.
    pub(super) fn elsewhere(
        shared: Arc<Shared>,
        it: Try,
        elsewhere: Elsewhere,
        patience: Duration,
        until: Option<Instant>,
    ) -> Self {
        let Elsewhere { number, length, took } = elsewhere;
        Self {
            shared,
            patience: Some(patience),
            until: until.and_then(|it| it.checked_add(patience)),
            stage: Stage::Elsewhere { number, length },
            took: Some(took),
            it,
            resumes: false,
            is_pending: true,
            keyed: false,
        }
    }

    /// The link that it goes over.
    pub fn link(&self) -> Link {
        Link::of(Arc::clone(&self.shared))
    }

    /// Whether the outcome is asked for of a call that was sent over a link that broke.
    pub const fn resumes(&self) -> bool {
        self.resumes
    }

    /// Waits at most so much longer for the outcome than the call itself may take; then it ends as
    /// [`Outcome::TimedOut`]. A large outcome that the worker has is waited for so long in any case. Looked after by
    /// [`Link::sweep`](super::Link::sweep). Default: for ever.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// How long the function ran, waiting on the worker left out; known when the call is over, unless the function
    /// may not have begun. Of a call that was not on a lane it includes the way.
    pub const fn took(&self) -> Option<Duration> {
        self.took
    }

    fn begin(&mut self, request: CallRequest) -> Stage {
        self.shared.pending.add(1);
        self.is_pending = true;
        let most = self.patience.and_then(|it| request.remaining?.checked_add(it));
        self.until = most.and_then(|it| Instant::now().checked_add(it));
        let (length, limit) = (request.arguments.len() as u64, self.shared.body_limit);
        if length > limit {
            let refused = Err(LinkError::TooLarge { what: "arguments", length, limit });
            return Stage::Alone(Box::pin(std::future::ready(refused)), Instant::now());
        }
        match self.shared.lanes.send(request, self.resumes, self.patience) {
            Ok(call) => Stage::OnLane(call),
            Err(request) => {
                let (shared, until, resumes) = (Arc::clone(&self.shared), self.until, self.resumes);
                let called = async move {
                    in_time(until, call::call(&*shared.carrier, request, resumes, limit)).await
                };
                Stage::Alone(Box::pin(called), Instant::now())
            }
        }
    }

    /// What came on a stream of its own is not counted with a lane's: the worker is told of each. Not of a call
    /// that it does not know, or gave back: what is sent now would be taken for one that nobody wants.
    fn have(&self, outcome: &Result<Outcome, LinkError>) {
        let is_kept = matches!(outcome, Ok(it) if !matches!(it, Outcome::Unknown | Outcome::Recalled));
        if is_kept && !self.keyed {
            self.shared.lanes.release(self.it);
        }
    }

    fn fetch(&self, number: u64, length: u64) -> BoxFuture<'static, Result<Outcome, LinkError>> {
        let (shared, limit) = (Arc::clone(&self.shared), self.shared.body_limit);
        // It may have come at the last moment.
        let least = self.patience.and_then(|it| Instant::now().checked_add(it));
        let until = self.until.map(|it| least.map_or(it, |least| it.max(least)));
        Box::pin(async move { in_time(until, call::fetch(&*shared.carrier, number, length, limit)).await })
    }
}

impl Future for Calling {
    type Output = Result<Outcome, LinkError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.stage {
                Stage::New(_) => {
                    if let Stage::New(request) = std::mem::replace(&mut self.stage, Stage::Over) {
                        self.stage = self.begin(request);
                    }
                }
                Stage::OnLane(call) => {
                    let number = call.number();
                    let replied = ready!(Pin::new(call).poll(context));
                    self.stage = Stage::Over;
                    match replied {
                        Replied::Outcome { took, outcome } => {
                            self.took = ran(took, &outcome, false);
                            return Poll::Ready(within(outcome, self.shared.body_limit));
                        }
                        Replied::Elsewhere { took, length } => {
                            self.took = Some(took);
                            self.stage = Stage::Elsewhere { number, length };
                        }
                        Replied::Over(error) => return Poll::Ready(Err(error)),
                    }
                }
                Stage::Alone(called, since) => {
                    let took = since.elapsed();
                    let outcome = ready!(called.as_mut().poll(context));
                    self.stage = Stage::Over;
                    self.took = outcome.as_ref().ok().and_then(|it| ran(took, it, true));
                    self.have(&outcome);
                    return Poll::Ready(outcome);
                }
                Stage::Elsewhere { number, length } => {
                    let (number, length) = (*number, *length);
                    self.stage = Stage::Fetching(self.fetch(number, length), number);
                }
                Stage::Fetching(fetched, _) => {
                    let outcome = ready!(fetched.as_mut().poll(context));
                    self.stage = Stage::Over;
                    self.have(&outcome);
                    return Poll::Ready(outcome);
                }
                Stage::Over => return Poll::Pending,
            }
        }
    }
}

/// The outcome, if it is there until then.
async fn in_time(
    until: Option<Instant>,
    outcome: impl Future<Output = Result<Outcome, LinkError>>,
) -> Result<Outcome, LinkError> {
    match until {
        None => outcome.await,
        Some(until) => {
            let in_time = tokio::time::timeout_at(until, outcome).await;
            in_time.unwrap_or(Ok(Outcome::TimedOut(Vec::new())))
        }
    }
}

/// An outcome, unless it is over the limit.
pub(super) fn within(outcome: Outcome, limit: u64) -> Result<Outcome, LinkError> {
    match outcome.length() {
        length if length > limit => Err(LinkError::TooLarge { what: "an outcome", length, limit }),
        _ => Ok(outcome),
    }
}

/// How long a call ran that ended like this. One whose time was over while it waited for a slot never ran: on a lane
/// that took no time, and `alone` nobody knows.
pub(super) fn ran(took: Duration, outcome: &Outcome, alone: bool) -> Option<Duration> {
    let began = match outcome {
        Outcome::TimedOut(_) => !alone && !took.is_zero(),
        Outcome::UnknownFunction => false,
        _ => true,
    };
    began.then_some(took)
}

impl Drop for Calling {
    fn drop(&mut self) {
        if self.is_pending {
            self.shared.pending.remove(1);
        }
        match &self.stage {
            Stage::Elsewhere { number, .. } | Stage::Fetching(_, number) => self.shared.lanes.forget(*number),
            // Its stream may be over for other reasons, so the worker goes by what it is told.
            Stage::Alone(..) => self.shared.lanes.release(self.it),
            // What has a key stays until it is released, also when its outcome is here and nobody took it.
            Stage::OnLane(_) if self.keyed => self.shared.lanes.release(self.it),
            Stage::New(_) | Stage::OnLane(_) | Stage::Over => {}
        }
    }
}

impl std::fmt::Debug for Calling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Calling")
    }
}
