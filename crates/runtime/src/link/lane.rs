//! The client's half of lanes: a few streams that carry all small calls of a link. Each call is a future
//! that waits for the reply with its number.
//!
//! ```text
//! put in the outbox -> on the worker -> replied
//!        `- dropped: Cancel      `- recalled: replied as Recalled, if it had not begun
//! lane over -> every call on it ends with why; over the next link it is asked for again (`Resume`)
//! replied, many times -> Taken: the worker need not keep them any longer
//! ```

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{CallRequest, Outcome};
use super::error::{Cause, LinkError};
use super::frame::{self, CREDIT_BYTES, CREDIT_CALLS, LANE_LIMIT, Reply, Request, SmallCall};
use super::frames::Frames;
use super::inbox::{Asker, Inbox};
use super::outbox::Outbox;
use super::transport::{Incoming, Stream, Transport};
use super::wire::{Kind, WireError};
use crate::model::{Attempt, Key, TaskId};
use crate::payload::CommonKey;
use crate::retention::{Left, Try};

/// How many streams share the small calls: a lost packet holds up those of one of them.
const LANES: usize = 2;

/// Up to so many calls the first lane is enough, which has them leave in fewer writes.
const FEW: usize = 64;

/// After so many outcomes the worker is told that they are here, unless it was for a while. More are kept by
/// it for longer; fewer cost frames.
const TAKEN: u64 = 64;

/// Lanes are sent before calls of their own streams, and after the control plane.
const PRIORITY: i32 = 5;

/// The lanes of one link.
#[derive(Debug)]
pub(super) struct Lanes {
    carrier: Arc<dyn Transport>,
    number: AtomicU64,
    lanes: [Arc<Lane>; LANES],
}

#[derive(Debug, Default)]
struct Lane {
    outbox: Outbox,
    opened: OnceLock<()>,
    calls: Mutex<Calls>,
    /// Who is told of keys that the worker has.
    keys: OnceLock<Teller>,
    /// About how many calls it has, for who chooses between lanes.
    count: AtomicUsize,
}

/// Whom to tell of keys.
struct Teller(Box<dyn Fn(Keys) + Send + Sync>);

/// Under which keys the worker has something, and what of that another owner has left.
type Keys = Vec<(Key, Left)>;

#[derive(Debug, Default)]
struct Calls {
    waiting: BTreeMap<u64, Waiting>,
    /// The bytes of their arguments.
    bytes: usize,
    over: Option<LinkError>,
    /// How many outcomes have come, and how many the worker knows of.
    taken: u64,
    told: u64,
}

#[derive(Debug)]
struct Waiting {
    task: TaskId,
    attempt: Attempt,
    asker: Asker,
    bytes: usize,
    /// When it is no longer waited for.
    until: Option<Instant>,
}

/// What became of a call on a lane.
#[derive(Debug)]
pub(crate) enum Replied {
    Outcome { took: Duration, outcome: Outcome },
    Elsewhere { took: Duration, length: u64 },
    Over(LinkError),
}

/// A call on a lane. Dropping it before it ended cancels it.
#[derive(Debug)]
pub(super) struct OnLane {
    lane: Arc<Lane>,
    number: u64,
    reply: oneshot::Receiver<Replied>,
    ended: bool,
}

impl Lanes {
    pub(super) fn new(carrier: Arc<dyn Transport>) -> Self {
        Self { carrier, number: AtomicU64::new(0), lanes: Default::default() }
    }

    /// Sends a call, unless it is too large for lanes or their credit is used up; then it is given back.
    /// Must be called inside a tokio runtime. `patience` is how much longer than the call's own time the
    /// reply is waited for. With `resumes` the outcome of one is asked for that was sent over a link that broke.
    pub(super) fn send(
        &self,
        request: CallRequest,
        resumes: bool,
        patience: Option<Duration>,
    ) -> Result<OnLane, CallRequest> {
        let bytes = request.arguments.len();
        if bytes > LANE_LIMIT {
            return Err(request);
        }
        let lane = self.lane();
        let mut calls = lane.calls();
        if !calls.have_room(bytes) {
            return Err(request);
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        if let Some(over) = &calls.over {
            let _ = sender.send(Replied::Over(over.clone()));
            drop(calls);
            return Ok(OnLane { lane: Arc::clone(lane), number, reply, ended: true });
        }
        let alone = calls.waiting.is_empty();
        let until = patience.and_then(|it| Instant::now().checked_add(request.remaining?.checked_add(it)?));
        let (task, attempt) = (request.task, request.attempt);
        calls.put(number, Waiting { task, attempt, asker: Asker::Alone(sender), bytes, until });
        lane.count.store(calls.waiting.len(), Ordering::Relaxed);
        drop(calls);
        self.open(lane);
        let frame = match resumes {
            true => Request::Resume { number, it: (task, attempt) },
            false => {
                let CallRequest { task, attempt, function, turn, remaining, key, arguments } = request;
                let arguments = arguments.into_bytes();
                Request::Call { number, task, attempt, function, turn, remaining, key, arguments }
            }
        };
        lane.outbox.put(alone, |buffer| frame.put(buffer));
        Ok(OnLane { lane: Arc::clone(lane), number, reply, ended: false })
    }

    /// Sends many calls on one lane in one go, each with its place in the inbox that its reply comes to. `sent` is
    /// told the number of each; `None` of what does not fit on the lane now, or never. Must be called inside a tokio
    /// runtime. `patience` is as for one.
    pub(super) fn send_all<'a>(
        &self,
        inbox: &Arc<Inbox>,
        patience: Duration,
        calls: impl Iterator<Item = (usize, SmallCall<'a>)>,
        mut sent: impl FnMut(usize, Option<u64>),
    ) {
        let (lane, now) = (self.lane(), Instant::now());
        self.open(lane);
        let mut open = lane.calls();
        let alone = open.waiting.is_empty();
        lane.outbox.put(alone, |buffer| {
            for (place, call) in calls {
                let bytes = call.arguments.len();
                if bytes > LANE_LIMIT || !open.have_room(bytes) || open.over.is_some() {
                    sent(place, None);
                    continue;
                }
                let number = self.number.fetch_add(1, Ordering::Relaxed);
                let until = call.remaining.and_then(|it| now.checked_add(it.checked_add(patience)?));
                let ((task, attempt), asker) = (call.it, Asker::Together(Arc::clone(inbox), place));
                open.put(number, Waiting { task, attempt, asker, bytes, until });
                frame::put_call(buffer, number, &call);
                sent(place, Some(number));
            }
        });
        lane.count.store(open.waiting.len(), Ordering::Relaxed);
    }

    /// Nobody waits for this call any more.
    pub(super) fn give_up(&self, number: u64) {
        let _ = self.lanes.iter().find_map(|it| it.cancel(number));
    }

    /// Ends the calls whose time, patience included, is over, and tells the worker which outcomes are here.
    pub(super) fn sweep(&self, now: Instant) {
        for lane in &self.lanes {
            lane.sweep(now);
            lane.tell_taken(1);
        }
    }

    /// The worker need not keep the outcome of this call any longer; if it runs, nobody wants it.
    pub(super) fn release(&self, it: Try) {
        let [first, ..] = &self.lanes;
        self.open(first);
        first.outbox.put(false, |buffer| Request::Release { it }.put(buffer));
    }

    /// Tells the worker which calls of links before this one are waited for.
    pub(super) fn reconcile(&self, waits: &[Try]) {
        let [first, ..] = &self.lanes;
        self.open(first);
        first.outbox.put(false, |buffer| Request::put_waits(buffer, waits));
    }

    /// Whom to tell of keys that the worker has. The first call counts.
    pub(super) fn tell_keys(&self, tell: impl Fn(Keys) + Send + Sync + 'static) {
        let [first, ..] = &self.lanes;
        let _ = first.keys.set(Teller(Box::new(tell)));
    }

    fn open(&self, lane: &Arc<Lane>) {
        lane.opened.get_or_init(|| {
            tokio::spawn(drive(Arc::clone(&self.carrier), Arc::clone(lane)));
        });
    }

    /// Asks the worker for a call back. If it has not begun, its outcome is [`Outcome::Recalled`]; if it
    /// has, it goes on.
    pub(super) fn recall(&self, task: TaskId, attempt: Attempt) {
        for lane in &self.lanes {
            let is_it = |it: &Waiting| (it.task, it.attempt) == (task, attempt);
            let found = lane.calls().waiting.iter().find(|(_, it)| is_it(it)).map(|(number, _)| *number);
            if let Some(number) = found {
                return lane.outbox.put(false, |buffer| Request::Recall { number }.put(buffer));
            }
        }
        // It has a stream of its own, or is over.
        let [first, ..] = &self.lanes;
        self.open(first);
        first.outbox.put(false, |buffer| Request::RecallAlone { it: (task, attempt) }.put(buffer));
    }

    /// Tells the worker which shared values of links before this one are still needed.
    pub(super) fn needs(&self, keys: &[CommonKey]) {
        let [first, ..] = &self.lanes;
        self.open(first);
        first.outbox.put(false, |buffer| Request::put_needs(buffer, keys));
    }

    /// Nobody needs a shared value any more that the worker was given.
    pub(super) fn forget_common(&self, key: CommonKey) {
        let [first, ..] = &self.lanes;
        first.outbox.put(false, |buffer| Request::Forget { key }.put(buffer));
    }

    /// Nobody wants the large outcome of a call that the worker keeps.
    pub(super) fn forget(&self, number: u64) {
        let [first, ..] = &self.lanes;
        first.outbox.put(false, |buffer| Request::Cancel { number }.put(buffer));
    }

    fn lane(&self) -> &Arc<Lane> {
        let [first, rest @ ..] = &self.lanes;
        let taken = first.count.load(Ordering::Relaxed);
        if taken <= FEW {
            return first;
        }
        rest.iter().find(|it| it.count.load(Ordering::Relaxed) < taken).unwrap_or(first)
    }
}

impl Lane {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a call back, if it is waited for. The worker hears of it before any call that is sent with the credit
    /// that this leaves.
    fn cancel(&self, number: u64) -> Option<Waiting> {
        let mut calls = self.calls();
        let waiting = calls.take(number)?;
        self.put_cancel(number);
        Some(waiting)
    }

    fn put_cancel(&self, number: u64) {
        self.outbox.put(false, |buffer| Request::Cancel { number }.put(buffer));
    }

    fn sweep(&self, now: Instant) {
        let late: Vec<u64> = {
            let calls = self.calls();
            let is_late = |it: &Waiting| it.until.is_some_and(|until| until < now);
            calls.waiting.iter().filter(|(_, it)| is_late(it)).map(|(number, _)| *number).collect()
        };
        for number in late {
            let Some(waiting) = self.cancel(number) else { continue };
            let outcome = Outcome::TimedOut(Vec::new());
            waiting.asker.wake(Replied::Outcome { took: Duration::ZERO, outcome });
        }
    }

    /// Says how many outcomes have come, if that are so many more than the worker knows of.
    fn tell_taken(&self, least: u64) {
        let count = {
            let mut calls = self.calls();
            if calls.taken - calls.told < least || calls.over.is_some() {
                return;
            }
            calls.told = calls.taken;
            calls.taken
        };
        self.outbox.put(false, |buffer| Request::Taken { count }.put(buffer));
    }

    /// Ends every call that waits, and those to come.
    fn end(&self, over: &LinkError) {
        let mut calls = self.calls();
        let waiting = std::mem::take(&mut calls.waiting);
        calls.bytes = 0;
        calls.over = Some(over.clone());
        drop(calls);
        for waiting in waiting.into_values() {
            waiting.asker.wake(Replied::Over(over.clone()));
        }
    }

    /// Reads replies until the stream ends; returns why.
    async fn read(&self, incoming: &mut dyn Incoming) -> WireError {
        let mut frames = Frames::default();
        let (mut replied, mut wakers) = (Vec::new(), Vec::new());
        loop {
            match incoming.read_buf(frames.room()).await {
                Ok(0) if frames.is_amid() => return WireError::Truncated("a frame of a lane"),
                Ok(0) => return WireError::Interrupted("the worker ended the lane".to_owned()),
                Ok(_) => {}
                Err(error) => return WireError::Interrupted(error.to_string()),
            }
            let read = self.take_all(&mut frames, &mut replied);
            for (number, waiting, reply) in replied.drain(..) {
                // Whoever waited may be gone. What is elsewhere stays there until it is asked for or cancelled.
                match waiting.asker.tell(reply) {
                    Ok(waker) => wakers.extend(waker),
                    Err(Replied::Elsewhere { .. }) => self.put_cancel(number),
                    Err(Replied::Outcome { .. } | Replied::Over(_)) => {}
                }
            }
            wakers.drain(..).for_each(Waker::wake);
            if let Err(error) = read {
                return error;
            }
            self.tell_taken(TAKEN);
        }
    }

    /// Every whole reply, with who waits for it. One whom nobody waits for was cancelled.
    fn take_all(
        &self,
        frames: &mut Frames,
        replied: &mut Vec<(u64, Waiting, Replied)>,
    ) -> Result<(), WireError> {
        let mut calls = self.calls();
        while let Some(reply) = frames.reply()? {
            let (number, reply) = match reply {
                Reply::Outcome { number, took, outcome } => {
                    calls.taken += 1;
                    (number, Replied::Outcome { took, outcome })
                }
                Reply::Elsewhere { number, took, length } => (number, Replied::Elsewhere { took, length }),
                Reply::Keys { keys } => {
                    if let Some(Teller(tell)) = self.keys.get() {
                        drop(calls);
                        tell(keys);
                        calls = self.calls();
                    }
                    continue;
                }
            };
            if let Some(waiting) = calls.take(number) {
                replied.push((number, waiting, reply));
            }
        }
        self.count.store(calls.waiting.len(), Ordering::Relaxed);
        Ok(())
    }
}

impl Calls {
    /// Whether the credit is enough for one more call.
    fn have_room(&self, bytes: usize) -> bool {
        self.waiting.len() < CREDIT_CALLS / LANES && self.bytes + bytes <= CREDIT_BYTES / LANES
    }

    fn put(&mut self, number: u64, waiting: Waiting) {
        self.bytes += waiting.bytes;
        self.waiting.insert(number, waiting);
    }

    fn take(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        self.bytes = self.bytes.saturating_sub(waiting.bytes);
        Some(waiting)
    }
}

/// Opens a lane and serves it to its end.
async fn drive(carrier: Arc<dyn Transport>, lane: Arc<Lane>) {
    let error = match open(&*carrier).await {
        Ok(Stream { outgoing, mut incoming }) => {
            lane.outbox.open(outgoing);
            tokio::select! {
                error = lane.read(&mut *incoming) => error,
                error = lane.outbox.write() => WireError::Interrupted(error.to_string()),
            }
        }
        Err(over) => return lane.end(&over),
    };
    // A lane is never over alone: what was on it is lost, as it is when the link breaks.
    let over = match (carrier.over(), error) {
        (Some(over), _) => over,
        (None, WireError::Interrupted(reason)) => LinkError::Broken { reason },
        (None, other) => LinkError::Garbled(other),
    };
    if carrier.over().is_none() {
        carrier.close(Cause::Protocol, &over.to_string());
    }
    lane.end(&over);
}

async fn open(carrier: &dyn Transport) -> Result<Stream, LinkError> {
    let mut stream = carrier.open().await?;
    stream.outgoing.prioritise(PRIORITY);
    let told = stream.outgoing.write_all(&[Kind::Lane as u8]).await;
    told.map_err(|it| carrier.over().unwrap_or(LinkError::Broken { reason: it.to_string() }))?;
    Ok(stream)
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}

impl OnLane {
    /// Its number on the link.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }
}

impl Future for OnLane {
    type Output = Replied;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Replied> {
        let Poll::Ready(replied) = Pin::new(&mut self.reply).poll(context) else { return Poll::Pending };
        self.ended = true;
        let gone = || Replied::Over(LinkError::Broken { reason: "the lane was given up".to_owned() });
        Poll::Ready(replied.unwrap_or_else(|_| gone()))
    }
}

impl Drop for OnLane {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // The reply may be here and not taken. One that has not come by now cannot be sent any more, which its
        // reader sees.
        self.reply.close();
        match self.reply.try_recv() {
            Ok(Replied::Elsewhere { .. }) => self.lane.put_cancel(self.number),
            Ok(Replied::Outcome { .. } | Replied::Over(_)) => {}
            Err(_) => drop(self.lane.cancel(self.number)),
        }
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
