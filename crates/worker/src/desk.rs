//! The small calls of one link: read from its lanes, begun in the order in which they came, answered on the
//! lane that they came by. Reading never waits for a task, so a slow one holds up nobody.
//!
//! ```text
//! read -> waiting for a slot -> running -> answered, or kept and asked for when the outcome is large
//!          |- cancelled: gone    `- cancelled: dropped
//!          `- recalled: answered as Recalled
//! link over -> what runs runs on, and what was not acknowledged is kept (`keep.rs`)
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use skyward_runtime::link::{Frames, Incoming, LANE_LIMIT, Outbox, Outcome, Request, Stream, WireError};
use skyward_runtime::model::{Attempt, Epoch, FunctionId, Key, TaskId};
use skyward_runtime::payload::CommonKey;
use skyward_runtime::retention::{Arrived, Run, Sent, Try};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::calls::{Arguments, Calls, Delivery, Lane, Open, recalled};
use crate::execute::{self, Deadline, First, Left, Place, execute};
use crate::executor::Job;
use crate::keep::{Done, Handle, print};
use crate::relay;
use crate::shares::Source;
use crate::slots::Slot;
use crate::worker::Worker;

mod kept;
mod left;

/// The calls of one link. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    worker: Arc<Worker>,
    source: Source,
    calls: Arc<Mutex<Calls>>,
}

/// How often calls that wait for a slot are looked through for those whose time is over.
const LOOK: Duration = Duration::from_millis(50);

/// A call that came by a lane.
struct Call {
    number: u64,
    turn: u64,
    run: Run,
    function: FunctionId,
    arguments: Arguments,
    deadline: Deadline,
    unwanted: oneshot::Receiver<()>,
    /// It is answered for by what is kept.
    apart: bool,
}

impl Desk {
    pub(crate) fn new(worker: Arc<Worker>, epoch: Epoch) -> Self {
        Self { source: worker.source(epoch), worker, calls: Arc::default() }
    }

    /// Serves a lane to its end.
    ///
    /// # Errors
    /// When it fails, or the client breaks the protocol.
    pub(crate) async fn serve(&self, stream: Stream) -> Result<(), WireError> {
        let Stream { outgoing, mut incoming } = stream;
        let index = {
            let mut calls = self.calls();
            calls.lanes.push(Sent::default());
            calls.lanes.len() - 1
        };
        let lane = Arc::new(Lane { outbox: Outbox::default(), index });
        lane.outbox.open(outgoing);
        tokio::select! {
            read = self.read(&mut *incoming, &lane) => read,
            error = lane.outbox.write() => Err(WireError::Interrupted(error.to_string())),
        }
    }

    async fn read(&self, incoming: &mut dyn Incoming, lane: &Arc<Lane>) -> Result<(), WireError> {
        let mut frames = Frames::default();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let waiting = self.calls().waiting > 0;
            let read = tokio::select! {
                biased;
                read = incoming.read_buf(frames.room()) => read,
                _ = looks.tick(), if waiting => {
                    self.look(lane);
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
                self.hear(request, lane)?;
            }
        }
    }

    /// Answers calls that wait for a slot and whose time is over.
    fn look(&self, lane: &Lane) {
        let mut calls = self.calls();
        let is_late = |it: &Open| it.lane == lane.index && !it.begun && it.deadline.is_over();
        let late = calls.open.iter().filter(|(_, it)| is_late(it)).map(|(number, _)| *number);
        let late: Vec<u64> = late.collect();
        for number in late {
            let Some(open) = calls.leave(number) else { continue };
            if open.wanted.is_none() {
                self.worker.keep.give_back(open.run);
            }
            let _ = calls.say(lane, number, open.run, Done::of(Outcome::TimedOut(Vec::new())));
        }
    }

    fn hear(&self, request: Request, lane: &Arc<Lane>) -> Result<(), WireError> {
        match request {
            Request::Call { number, task, attempt, function, turn, remaining, key, arguments } => {
                let (deadline, run) = (Deadline::after(remaining), self.run_of((task, attempt)));
                let (wanted, unwanted) = oneshot::channel();
                let (bytes, apart) = (arguments.len(), key.is_some());
                let key = key.map(|key| (key, print(function, &arguments)));
                let arguments = Arguments::new(arguments);
                {
                    // In one go: what a link that is over leaves half done would be waited for, for ever.
                    let mut calls = self.calls();
                    if calls.over {
                        return Ok(());
                    }
                    let wanted = match key {
                        None => Some(wanted),
                        key => match self.worker.keep.arrive(run.it, key, wanted) {
                            Arrived::New => None,
                            Arrived::Known(_) => {
                                drop(calls);
                                return self.resume(number, run.it, lane);
                            }
                            Arrived::Differs(_) => return calls.word(lane, number, run, Outcome::Differs),
                            Arrived::Full(_) => return calls.word(lane, number, run, Outcome::Full),
                            Arrived::Unwanted(_) => return Ok(()),
                        },
                    };
                    let (lane, arguments) = (lane.index, arguments.clone());
                    let open = Open { lane, begun: false, deadline, arguments, bytes, run, wanted };
                    if let Err(error) = calls.enter(number, open) {
                        if apart {
                            self.worker.keep.give_back(run);
                        }
                        return Err(error);
                    }
                }
                let call = Call { number, turn, run, function, arguments, deadline, unwanted, apart };
                self.begin(call, Arc::clone(lane));
            }
            Request::Resume { number, it } => self.resume(number, it, lane)?,
            Request::Release { it } => {
                let mut calls = self.calls();
                if !calls.over {
                    calls.kept.retain(|_, kept| *kept != it);
                    self.worker.keep.release(it);
                }
            }
            Request::Waits { tries, more } => self.reconcile(tries, more, lane)?,
            Request::Needs { keys, more } => self.need(keys, more)?,
            Request::Taken { count } => self.taken(count, lane)?,
            Request::Cancel { number } => {
                // A link that is over has none of these left.
                let mut calls = self.calls();
                let (open, kept) = (calls.leave(number), calls.kept.remove(&number));
                let apart = open.as_ref().filter(|it| it.wanted.is_none()).map(|it| it.run.it);
                if let Some(it) = apart.or(kept) {
                    self.worker.keep.release(it);
                }
            }
            Request::Forget { key } => {
                let calls = self.calls();
                if !calls.over {
                    self.worker.forget_share(&key, self.source);
                }
            }
            Request::RecallAlone { it } => {
                // One that has begun, or not arrived, is not among them.
                if let Some(alone) = self.calls().alone.remove(&it) {
                    let _ = alone.send(());
                }
            }
            Request::Recall { number } => {
                let mut calls = self.calls();
                if let Some(open) = calls.leave_if_waiting(number) {
                    if open.wanted.is_none() {
                        self.worker.keep.give_back(open.run);
                    }
                    calls.say(lane, number, open.run, Done::of(Outcome::Recalled))?;
                }
            }
        }
        Ok(())
    }

    /// The try as it is called here.
    const fn run_of(&self, it: Try) -> Run {
        Run { epoch: self.source.epoch, it }
    }

    /// So many outcomes of this lane are with the client.
    fn taken(&self, count: u64, lane: &Lane) -> Result<(), WireError> {
        let taken: Vec<_> = {
            let mut calls = self.calls();
            let Some(sent) = calls.lanes.get_mut(lane.index).filter(|it| !it.is_empty()) else {
                return Ok(());
            };
            let taken = sent.acknowledge(count);
            taken.map_err(|_| WireError::Content { length: count, limit: 0 })?.collect()
        };
        for (run, delivery) in taken {
            if matches!(delivery, Delivery::Kept) {
                self.worker.keep.taken(run);
            }
        }
        Ok(())
    }

    /// Has a call begin as soon as there is a slot.
    fn begin(&self, call: Call, lane: Arc<Lane>) {
        let (desk, slots) = (self.clone(), &self.worker.slots);
        slots.start(call.turn, move |slot| {
            // Cancelled and recalled ones are passed over here, where their slot goes to the next.
            if !desk.begins(&call) {
                return slot;
            }
            if call.deadline.is_over() {
                desk.answer(&call, Done::of(Outcome::TimedOut(Vec::new())), &lane);
                return slot;
            }
            if slot.is_some() && desk.worker.keep.is_full() {
                desk.refuse(&call, &lane);
                return slot;
            }
            relay::run(move |context| desk.first(call, slot, lane, context));
            None
        });
    }

    /// Whether the call is still wanted; from now on it runs.
    fn begins(&self, call: &Call) -> bool {
        let mut calls = self.calls();
        match (calls.over, call.apart) {
            (false, false) => calls.begin(call.number),
            (false, true) => calls.begin(call.number) && self.worker.keep.is_wanted(call.run),
            (true, _) => self.worker.keep.is_wanted(call.run),
        }
    }

    /// Polls a call for the first time. What is left of it, if it goes on.
    fn first(
        self,
        call: Call,
        slot: Option<Slot>,
        lane: Arc<Lane>,
        context: &mut Context<'_>,
    ) -> Option<BoxFuture<'static, ()>> {
        let began = Instant::now();
        let outcome = match (self.worker.registry.get(call.function), slot) {
            (_, None) => Outcome::Draining,
            (None, _) => Outcome::UnknownFunction,
            (Some(function), Some(slot)) => {
                let ((task, attempt), id) = (call.run.it, call.function);
                let arguments = call.arguments.take();
                let job = Job { task, attempt, id, function, arguments };
                match execute::first(&self.worker, job, slot, context) {
                    First::Ended(outcome) => outcome,
                    First::Left(left) => return Some(Box::pin(self.go_on(call, left, began, lane))),
                }
            }
        };
        self.answer(&call, Done { took: began.elapsed(), outcome }, &lane);
        None
    }

    /// Runs a call that did not end at its first poll.
    async fn go_on(self, mut call: Call, left: Left, began: Instant, lane: Arc<Lane>) {
        let deadline = call.deadline;
        let unwanted = async {
            let _ = (&mut call.unwanted).await;
        };
        let outcome = match left {
            Left::Goes(going) => going.on(&self.worker, deadline, unwanted).await,
            Left::NotHere(job, slot) => {
                let run = execute(&self.worker, job, deadline, Place::Slot(slot), unwanted);
                self.worker.slots.track(run).await
            }
        };
        if let Some(outcome) = outcome {
            self.answer(&call, Done { took: began.elapsed(), outcome }, &lane);
        }
    }

    /// Answers a call, unless nobody wants it any more.
    fn answer(&self, call: &Call, done: Done, lane: &Lane) {
        if call.apart {
            self.worker.keep.finish(call.run, done);
            drop(self.follow(call.number, call.run, lane));
            return;
        }
        let mut calls = self.calls();
        if calls.over {
            drop(calls);
            return self.worker.keep.finish(call.run, done);
        }
        if calls.leave(call.number).is_none() {
            return;
        }
        if done.outcome.length() > LANE_LIMIT as u64 {
            let (took, length) = (done.took, done.outcome.length());
            self.worker.keep.keep(call.run, done);
            return calls.point(lane, (call.number, call.run.it), took, length);
        }
        let _ = calls.say(lane, call.number, call.run, done);
    }

    /// Nothing new is taken: the call goes elsewhere, or is sent again later.
    fn refuse(&self, call: &Call, lane: &Lane) {
        let mut calls = self.calls();
        if calls.over || call.apart {
            self.worker.keep.give_back(call.run);
        }
        if !calls.over && calls.leave(call.number).is_some() {
            let _ = calls.word(lane, call.number, call.run, Outcome::Full);
        }
    }

    /// A call that came by a stream of its own arrives; `None` when the link is over.
    pub(crate) fn admit(
        &self,
        (task, attempt): (TaskId, Attempt),
        key: Option<Key>,
        function: FunctionId,
        arguments: &Bytes,
        cancel: Handle,
    ) -> Option<(Run, Arrived<Handle>)> {
        let run = self.run_of((task, attempt));
        let key = key.map(|key| (key, print(function, arguments)));
        let calls = self.calls();
        (!calls.over).then(|| (run, self.worker.keep.arrive(run.it, key, cancel)))
    }

    /// A shared value begins to come over this link. Whether it is still needed.
    pub(crate) fn share_comes(&self, key: CommonKey) -> bool {
        let calls = self.calls();
        !calls.over && self.worker.share_comes(key, self.source)
    }

    /// Resolves when a call that waits for a slot on a stream of its own is asked for back. It is, as long as this is
    /// there.
    pub(crate) fn recalled(&self, it: Try) -> BoxFuture<'static, ()> {
        recalled(&self.calls, it)
    }

    /// The link is over. What runs runs on, and what was not acknowledged is kept.
    pub(crate) fn close(&self) {
        let mut calls = self.calls();
        if std::mem::replace(&mut calls.over, true) {
            return;
        }
        let keep = &self.worker.keep;
        for mut sent in std::mem::take(&mut calls.lanes) {
            for (run, delivery) in sent.take() {
                if let Delivery::Here(done) = delivery {
                    keep.keep(run, done);
                }
            }
        }
        for open in std::mem::take(&mut calls.open).into_values() {
            if let Some(wanted) = open.wanted {
                keep.detach(open.run, wanted);
            }
        }
        (calls.waiting, calls.bytes) = (0, 0);
        calls.alone.clear();
        calls.kept.clear();
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
