//! Many calls under way as one: those of a gather ask the queue together, leave together, and their replies come to one
//! inbox, so that a small call has no channel, no waker and no lock of its own. What is not as usual (no slot yet, a
//! large outcome, a failure, a link that breaks) goes on as a [`Running`], which knows all the ways.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::messages::{Decision, Grant};
use super::order::{Order, Undone};
use super::queue::{Answer, Returned, Tasks};
use super::running::Running;
use crate::link::{Elsewhere, Inbox, Link, LinkError, Outcome, Replied, SmallCall};
use crate::model::{Attempt, Rank, TaskId};

/// Calls under way, each with what its caller knows it by. Dropping it cancels them all.
pub struct Batch<P> {
    tasks: Tasks,
    inbox: Arc<Inbox>,
    /// Those that nodes have, by their places in the inbox, and which places are free.
    sent: Vec<Option<Sent<P>>>,
    free: Vec<usize>,
    /// The links that they went over.
    ways: Vec<Option<Way>>,
    /// Those that go on by themselves.
    parted: FuturesUnordered<Parted<P>>,
    over: VecDeque<(P, Result<Bytes, Undone>)>,
    /// Replies since it was last polled in vain.
    taken: usize,
    /// Memory for replies and for who is told of them, between two times.
    came: Vec<(usize, Replied)>,
    returned: Vec<Returned>,
}

/// After so many replies in a row others on the thread have their turn.
const ROW: usize = 64;

/// A call that a node has.
struct Sent<P> {
    place: P,
    order: Order,
    id: TaskId,
    attempt: Attempt,
    rank: Rank,
    /// Until when its try may run.
    until: Option<Instant>,
    /// Which link it went over, and its number there.
    way: usize,
    number: u64,
}

/// A link that calls go over.
struct Way {
    link: Link,
    /// How many there are.
    calls: usize,
    /// The places of those that have yet to leave.
    leaving: Vec<usize>,
}

/// A call that goes on by itself.
struct Parted<P> {
    place: Option<P>,
    run: Running,
}

impl<P> Batch<P> {
    /// None yet, on this pool.
    pub fn new(tasks: Tasks) -> Self {
        Self {
            tasks,
            inbox: Arc::default(),
            sent: Vec::new(),
            free: Vec::new(),
            ways: Vec::new(),
            parted: FuturesUnordered::new(),
            over: VecDeque::new(),
            taken: 0,
            came: Vec::new(),
            returned: Vec::new(),
        }
    }

    /// How many calls are under way, or over and not given out.
    pub fn len(&self) -> usize {
        self.sent.len() - self.free.len() + self.parted.len() + self.over.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins calls. To be polled then; to be called where that is.
    pub fn begin(&mut self, orders: impl Iterator<Item = (P, Order)>) {
        let (mut places, mut asking) = (Vec::new(), Vec::new());
        for (place, order) in orders {
            if is_usual(&order) {
                places.push(place);
                asking.push((self.tasks.next_id(), order));
            } else {
                let run = self.tasks.run(order);
                self.part(place, run);
            }
        }
        if asking.is_empty() {
            return;
        }
        let told = self.tasks.submit_all(&asking);
        let until = Instant::now().checked_add(self.tasks.default_timeout());
        for ((place, (id, order)), told) in places.into_iter().zip(asking).zip(told) {
            match told {
                Some((Answer::Now(Decision::Grant(Grant { attempt, rank, link })), _)) => {
                    let way = self.way(link);
                    let sent = Sent { place, order, id, attempt, rank, until, way, number: 0 };
                    let at = self.put(sent);
                    if let Some(way) = self.ways.get_mut(way).and_then(Option::as_mut) {
                        way.calls += 1;
                        way.leaving.push(at);
                    }
                }
                Some((answer, permit)) => {
                    let run = Running::asked(self.tasks.clone(), order, id, answer, permit);
                    self.part(place, run);
                }
                None => {
                    let run = self.tasks.run(order);
                    self.part(place, run);
                }
            }
        }
        self.send();
    }

    /// The next call that is over, in no order; `None` when none is under way. Must be polled inside a tokio runtime.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(P, Result<Bytes, Undone>)>> {
        loop {
            if let Some(over) = self.over.pop_front() {
                return Poll::Ready(Some(over));
            }
            // These first: replies may come without a pause.
            if let Poll::Ready(Some((Some(place), result))) = self.parted.poll_next_unpin(context) {
                return Poll::Ready(Some((place, result)));
            }
            if self.taken >= ROW {
                context.waker().wake_by_ref();
                break;
            }
            if self.take_in(context) {
                continue;
            }
            if self.is_empty() {
                return Poll::Ready(None);
            }
            break;
        }
        self.taken = 0;
        Poll::Pending
    }

    /// Sends what has been granted, to each node what is its own in one go.
    fn send(&mut self) {
        let (given, patience) = (self.tasks.default_timeout(), self.tasks.patience());
        let mut left = Vec::new();
        for way in self.ways.iter_mut().flatten().filter(|it| !it.leaving.is_empty()) {
            let (mut numbers, count) = (Vec::with_capacity(way.leaving.len()), way.leaving.len());
            let sent = &self.sent;
            let calls =
                way.leaving.drain(..).filter_map(|at| Some((at, sent.get(at)?.as_ref()?.small(given))));
            way.link.call_all(&self.inbox, patience, count, calls, |at, number| numbers.push((at, number)));
            for (at, number) in numbers {
                match (number, self.sent.get_mut(at).and_then(Option::as_mut)) {
                    (Some(number), Some(sent)) => sent.number = number,
                    (_, _) => left.push(at),
                }
            }
        }
        // Those go over streams of their own.
        for at in left {
            let Some((sent, link)) = self.take(at) else { continue };
            let Sent { place, order, id, attempt, rank, .. } = sent;
            let answer = Answer::Now(Decision::Grant(Grant { attempt, rank, link }));
            let run = Running::asked(self.tasks.clone(), order, id, answer, None);
            self.part(place, run);
        }
    }

    /// Takes in the replies that have come. Whether there were any.
    fn take_in(&mut self, context: &Context<'_>) -> bool {
        let mut came = std::mem::take(&mut self.came);
        self.inbox.take(&mut came, context);
        let any = !came.is_empty();
        self.taken += came.len();
        for (at, replied) in came.drain(..) {
            self.replied(at, replied);
        }
        self.came = came;
        self.tasks.returned(&self.returned);
        self.returned.clear();
        any
    }

    fn replied(&mut self, at: usize, replied: Replied) {
        let Some((sent, link)) = self.take(at) else { return };
        let Sent { place, order, id, attempt, rank, until, number, .. } = sent;
        let (took, tried) = match replied {
            Replied::Outcome { took, outcome } => link.take_in(took, outcome),
            Replied::Elsewhere { took, length } => {
                let mut run = Running::parted(self.tasks.clone(), order, id, until);
                let (elsewhere, patience) = (Elsewhere { number, length, took }, self.tasks.patience());
                let calling = link.fetch((id, attempt), elsewhere, patience, until.map(Into::into));
                run.fetch(calling, (attempt, rank));
                return self.part(place, run);
            }
            Replied::Over(error) => (None, Err(error)),
        };
        link.ended(1);
        match tried {
            Ok(Outcome::Returned(value)) => {
                self.returned.push(Returned { id, attempt, rank, took });
                self.over.push_back((place, Ok(value.into_bytes())));
            }
            tried => {
                let run = Running::parted(self.tasks.clone(), order, id, until);
                self.go_on(place, run, tried, took, (attempt, rank), link);
            }
        }
    }

    /// Goes on with a call whose try has ended otherwise than with a value.
    fn go_on(
        &mut self,
        place: P,
        mut run: Running,
        tried: Result<Outcome, LinkError>,
        took: Option<Duration>,
        granted: (Attempt, Rank),
        link: Link,
    ) {
        let link = Some(link).filter(|_| !matches!(&tried, Ok(it) if !matches!(it, Outcome::Unknown)));
        match run.tried(tried, took, granted, link) {
            Some(result) => self.over.push_back((place, result)),
            None => self.part(place, run),
        }
    }

    fn part(&mut self, place: P, run: Running) {
        self.parted.push(Parted { place: Some(place), run });
    }

    /// Where a link is among the ways.
    fn way(&mut self, link: Link) -> usize {
        let is_it = |it: &Option<Way>| it.as_ref().is_some_and(|it| it.link.is_same(&link));
        if let Some(at) = self.ways.iter().position(is_it) {
            return at;
        }
        let way = Some(Way { link, calls: 0, leaving: Vec::new() });
        match self.ways.iter_mut().enumerate().find(|(_, it)| it.is_none()) {
            Some((at, free)) => {
                *free = way;
                at
            }
            None => {
                self.ways.push(way);
                self.ways.len() - 1
            }
        }
    }

    fn put(&mut self, sent: Sent<P>) -> usize {
        match self.free.pop() {
            Some(at) => {
                if let Some(place) = self.sent.get_mut(at) {
                    *place = Some(sent);
                }
                at
            }
            None => {
                self.sent.push(Some(sent));
                self.sent.len() - 1
            }
        }
    }

    /// A call that no reply is waited for any more, with its link. That is let go of with its last call.
    fn take(&mut self, at: usize) -> Option<(Sent<P>, Link)> {
        let sent = self.sent.get_mut(at)?.take()?;
        self.free.push(at);
        let place = self.ways.get_mut(sent.way)?;
        let way = place.as_mut()?;
        way.calls = way.calls.saturating_sub(1);
        let link = if way.calls == 0 { place.take()?.link } else { way.link.clone() };
        Some((sent, link))
    }
}

impl<P> Sent<P> {
    /// As it travels.
    fn small(&self, given: Duration) -> SmallCall<'_> {
        SmallCall {
            it: (self.id, self.attempt),
            function: self.order.function_id(),
            turn: self.order.group.map_or(0, |it| it.0),
            remaining: Some(given),
            arguments: &self.order.arguments,
        }
    }
}

/// Whether a call needs nothing that only a [`Running`] does.
const fn is_usual(order: &Order) -> bool {
    order.timeout.is_none()
        && order.key.is_none()
        && order.shared.is_empty()
        && order.show.is_none()
        && order.meter.is_none()
}

/// A place is never pinned.
impl<P> Unpin for Parted<P> {}

impl<P> Future for Parted<P> {
    type Output = (Option<P>, Result<Bytes, Undone>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(result) = Pin::new(&mut self.run).poll(context) else { return Poll::Pending };
        Poll::Ready((self.place.take(), result))
    }
}

impl<P> Drop for Batch<P> {
    fn drop(&mut self) {
        // Those that wait go first: a slot that another one frees is not for them.
        self.parted.clear();
        for (at, replied) in self.inbox.close() {
            // It is here, though not taken; what is elsewhere is kept until it is wanted or not.
            if let (Replied::Elsewhere { .. }, Some(Some(sent))) = (replied, self.sent.get(at))
                && let Some(Some(way)) = self.ways.get(sent.way)
            {
                way.link.forget(sent.number);
            }
        }
        for at in 0..self.sent.len() {
            let Some((Sent { order, id, attempt, rank, number, .. }, link)) = self.take(at) else { continue };
            // The call is given up first, so that a slot is not given away before the worker can know.
            link.give_up(number);
            tracing::debug!(task = %id, function = order.function.name, "cancelled by its caller");
            self.tasks.cancel(id, Some((attempt, rank)));
        }
    }
}

impl<P> std::fmt::Debug for Batch<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("calls", &self.len()).finish_non_exhaustive()
    }
}
