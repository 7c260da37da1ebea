//! The small calls of one link: read from its lanes, begun in the order in which they came, answered on the
//! lane that they came by. Reading never waits for a task, so a slow one holds up nobody.
//!
//! ```text
//! read -> waiting for a slot -> running -> answered, or kept and asked for when the outcome is large
//!          |- cancelled: gone    `- cancelled: dropped
//!          `- recalled: answered as Recalled
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skyward_runtime::link::{
    BODY_LIMIT, CREDIT_BYTES, CREDIT_CALLS, Frames, Incoming, Outbox, Outcome, Reply, Request, Stream,
    WireError, read_number, write_outcome,
};
use skyward_runtime::model::{Attempt, FunctionId, TaskId};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::execute::{Deadline, Place, execute};
use crate::executor::Job;
use crate::relay;
use crate::slots::Slot;
use crate::worker::Worker;

/// The calls of one link. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    worker: Arc<Worker>,
    calls: Arc<Mutex<Calls>>,
}

#[derive(Debug, Default)]
struct Calls {
    open: BTreeMap<u64, Open>,
    /// How many of them wait for a slot.
    waiting: usize,
    /// The bytes of their arguments.
    bytes: usize,
    /// Large outcomes that the client has been told of and not asked for.
    kept: BTreeMap<u64, Outcome>,
}

/// A call that is not answered yet.
#[derive(Debug)]
struct Open {
    begun: bool,
    deadline: Deadline,
    bytes: usize,
    /// Dropped when nobody wants the call any more.
    _wanted: oneshot::Sender<()>,
}

/// How often calls that wait for a slot are looked through for those whose time is over.
const LOOK: Duration = Duration::from_millis(50);

/// A call that came by a lane.
struct Call {
    number: u64,
    turn: u64,
    task: TaskId,
    attempt: Attempt,
    function: FunctionId,
    arguments: Bytes,
    deadline: Deadline,
    unwanted: oneshot::Receiver<()>,
}

impl Desk {
    pub(crate) fn new(worker: Arc<Worker>) -> Self {
        Self { worker, calls: Arc::default() }
    }

    /// Serves a lane to its end.
    ///
    /// # Errors
    /// When it fails, or the client breaks the protocol.
    pub(crate) async fn serve(&self, stream: Stream) -> Result<(), WireError> {
        let Stream { outgoing, mut incoming } = stream;
        let outbox = Arc::new(Outbox::default());
        outbox.open(outgoing);
        tokio::select! {
            read = self.read(&mut *incoming, &outbox) => read,
            error = outbox.write() => Err(WireError::Interrupted(error.to_string())),
        }
    }

    async fn read(&self, incoming: &mut dyn Incoming, outbox: &Arc<Outbox>) -> Result<(), WireError> {
        let mut frames = Frames::default();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let waiting = self.calls().waiting > 0;
            let read = tokio::select! {
                biased;
                read = incoming.read_buf(frames.room()) => read,
                _ = looks.tick(), if waiting => {
                    self.look(outbox);
                    continue;
                }
            };
            match read {
                Ok(0) if frames.is_amid() => return Err(WireError::Truncated("a frame of a lane")),
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(WireError::Interrupted(error.to_string())),
            }
            while let Some(request) = frames.request()? {
                self.hear(request, outbox)?;
            }
        }
    }

    /// Answers calls that wait for a slot and whose time is over.
    fn look(&self, outbox: &Outbox) {
        let mut calls = self.calls();
        let is_late = |it: &Open| !it.begun && it.deadline.is_over();
        let late = calls.open.iter().filter(|(_, it)| is_late(it)).map(|(number, _)| *number);
        let late: Vec<u64> = late.collect();
        for number in late {
            drop(calls.leave(number));
            let _ = put(outbox, false, number, Duration::ZERO, Outcome::TimedOut);
        }
    }

    fn hear(&self, request: Request, outbox: &Arc<Outbox>) -> Result<(), WireError> {
        match request {
            Request::Call { number, task, attempt, function, turn, remaining, arguments } => {
                let deadline = Deadline::after(remaining);
                let unwanted = self.calls().enter(number, arguments.len(), deadline)?;
                let call = Call { number, turn, task, attempt, function, arguments, deadline, unwanted };
                self.begin(call, Arc::clone(outbox));
            }
            Request::Cancel { number } => {
                let mut calls = self.calls();
                let taken = (calls.leave(number), calls.kept.remove(&number));
                drop(calls);
                drop(taken);
            }
            Request::Forget { key } => self.worker.executor.forget_common(&key),
            Request::Recall { number } => {
                if self.calls().leave_if_waiting(number) {
                    put(outbox, false, number, Duration::ZERO, Outcome::Recalled)?;
                }
            }
        }
        Ok(())
    }

    /// Has a call begin as soon as there is a slot.
    fn begin(&self, call: Call, outbox: Arc<Outbox>) {
        let (desk, slots) = (self.clone(), &self.worker.slots);
        slots.start(call.turn, move |slot| {
            // Cancelled and recalled ones are passed over here, where their slot goes to the next.
            if !desk.calls().begin(call.number) {
                return slot;
            }
            if call.deadline.is_over() {
                desk.answer(call.number, Duration::ZERO, Outcome::TimedOut, &outbox);
                return slot;
            }
            relay::run(Box::pin(desk.run(call, slot, outbox)));
            None
        });
    }

    async fn run(self, call: Call, slot: Option<Slot>, outbox: Arc<Outbox>) {
        let Call { number, task, attempt, function, arguments, deadline, unwanted, .. } = call;
        let began = Instant::now();
        let outcome = match (self.worker.registry.get(function), slot) {
            (_, None) => Some(Outcome::Draining),
            (None, _) => Some(Outcome::UnknownFunction),
            (Some(found), Some(slot)) => {
                let unwanted = async {
                    let _ = unwanted.await;
                };
                let job = Job { task, attempt, id: function, function: found, arguments };
                let worker = Arc::clone(&self.worker);
                let run = async move { execute(&worker, job, deadline, Place::Slot(slot), unwanted).await };
                self.worker.slots.track(run).await
            }
        };
        if let Some(outcome) = outcome {
            self.answer(number, began.elapsed(), outcome, &outbox);
        }
    }

    /// Answers a call, unless nobody wants it any more.
    fn answer(&self, number: u64, took: Duration, outcome: Outcome, outbox: &Outbox) {
        let mut calls = self.calls();
        if calls.leave(number).is_none() {
            return;
        }
        let alone = calls.open.is_empty();
        match put(outbox, alone, number, took, outcome) {
            Ok(Some(large)) => {
                calls.kept.insert(number, large);
            }
            Ok(None) => {}
            // Only a panic's words are encoded here.
            Err(error) => {
                let unencodable = Outcome::Unencodable(error.to_string());
                let _ = put(outbox, alone, number, took, unencodable);
            }
        }
    }

    /// Gives the client a large outcome that it was told of.
    ///
    /// # Errors
    /// When the stream fails, or no such outcome is kept.
    pub(crate) async fn hand_over(&self, stream: &mut Stream) -> Result<(), WireError> {
        let number = read_number(&mut *stream.incoming).await?;
        let kept = self.calls().kept.remove(&number);
        let Some(outcome) = kept else {
            // It was cancelled while it was asked for.
            stream.outgoing.reset();
            return Ok(());
        };
        write_outcome(&mut *stream.outgoing, outcome, BODY_LIMIT).await
    }

    /// Gives up every call: the link is over.
    pub(crate) fn clear(&self) {
        let calls = std::mem::take(&mut *self.calls());
        drop(calls);
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// Takes a call in, within the credit that the client has. What comes back resolves when nobody wants
    /// it any more.
    fn enter(
        &mut self,
        number: u64,
        bytes: usize,
        deadline: Deadline,
    ) -> Result<oneshot::Receiver<()>, WireError> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.waiting += 1;
        let (wanted, unwanted) = oneshot::channel();
        let before = self.open.insert(number, Open { begun: false, deadline, bytes, _wanted: wanted });
        if before.is_some() || self.open.len() > CREDIT_CALLS || self.bytes > CREDIT_BYTES {
            return Err(WireError::Credit { calls: CREDIT_CALLS, bytes: CREDIT_BYTES });
        }
        Ok(unwanted)
    }

    /// Whether the call is still there; from now on it runs.
    fn begin(&mut self, number: u64) -> bool {
        let Some(open) = self.open.get_mut(&number) else { return false };
        open.begun = true;
        self.waiting = self.waiting.saturating_sub(1);
        true
    }

    fn leave(&mut self, number: u64) -> Option<Open> {
        let open = self.open.remove(&number)?;
        self.bytes = self.bytes.saturating_sub(open.bytes);
        if !open.begun {
            self.waiting = self.waiting.saturating_sub(1);
        }
        Some(open)
    }

    fn leave_if_waiting(&mut self, number: u64) -> bool {
        self.open.get(&number).is_some_and(|it| !it.begun) && self.leave(number).is_some()
    }
}

fn put(
    outbox: &Outbox,
    at_once: bool,
    number: u64,
    took: Duration,
    outcome: Outcome,
) -> Result<Option<Outcome>, WireError> {
    outbox.put(at_once, |buffer| Reply::put(buffer, number, took, outcome))
}
