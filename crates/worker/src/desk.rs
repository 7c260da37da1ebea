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
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use skyward_runtime::link::{Frames, Incoming, Outcome, Request, Stream, WireError};
use skyward_runtime::model::{Attempt, Epoch, FunctionId, Key, TaskId};
use skyward_runtime::payload::CommonKey;
use skyward_runtime::retention::{Arrived, Run, Sent, Try};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::calls::{Calls, Delivery, Open, Wanted, recalled};
use crate::execute::Deadline;
use crate::keep::{Done, Handle, print};
use crate::shares::Source;
use crate::worker::Worker;

mod kept;
mod lane;
mod left;

pub(crate) use lane::Lane;

/// The calls of one link. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    worker: Arc<Worker>,
    source: Source,
    calls: Arc<Mutex<Calls>>,
}

/// How often calls that wait for a slot are looked through for those whose time is over.
const LOOK: Duration = Duration::from_millis(50);

/// So many calls that were read at once are taken in together. More keep those that run from the books for longer;
/// fewer have more to be looked up for each.
const TOGETHER: usize = 64;

/// A call that was read, and what it takes turns as.
struct Read {
    number: u64,
    turn: u64,
    open: Open,
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
        let lane = Arc::new(Lane::new(self.clone(), index));
        lane.outbox.open(outgoing);
        tokio::select! {
            read = self.read(&mut *incoming, &lane) => read,
            error = lane.outbox.write() => Err(WireError::Interrupted(error.to_string())),
        }
    }

    async fn read(&self, incoming: &mut dyn Incoming, lane: &Arc<Lane>) -> Result<(), WireError> {
        let (mut frames, mut together) = (Frames::default(), Vec::with_capacity(TOGETHER));
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
            let heard = self.hear_all(&mut frames, &mut together, lane);
            // Also what came before a frame that is none.
            self.take_in(&mut together, lane)?;
            heard?;
        }
    }

    /// Hears what was read. Calls are put together until there are enough of them, or something else follows.
    fn hear_all(
        &self,
        frames: &mut Frames,
        together: &mut Vec<Read>,
        lane: &Arc<Lane>,
    ) -> Result<(), WireError> {
        let now = Instant::now();
        while let Some(request) = frames.request()? {
            match request {
                Request::Call { number, task, attempt, function, turn, remaining, key: None, arguments } => {
                    let open = Open {
                        lane: lane.index,
                        begun: false,
                        function,
                        deadline: Deadline::since(now, remaining),
                        bytes: arguments.len(),
                        arguments,
                        run: self.run_of((task, attempt)),
                        wanted: Wanted::Here,
                    };
                    together.push(Read { number, turn, open });
                    if together.len() >= TOGETHER {
                        self.take_in(together, lane)?;
                    }
                }
                other => {
                    self.take_in(together, lane)?;
                    self.hear(other, now, lane)?;
                }
            }
        }
        Ok(())
    }

    /// Takes in calls without a key. Each begins as soon as there is a slot.
    fn take_in(&self, together: &mut Vec<Read>, lane: &Arc<Lane>) -> Result<(), WireError> {
        if together.is_empty() {
            return Ok(());
        }
        let (mut turns, mut taken) = (Vec::with_capacity(together.len()), Ok(()));
        {
            let mut calls = self.calls();
            if calls.over {
                together.clear();
            }
            for Read { number, turn, open } in together.drain(..) {
                taken = calls.enter(number, open);
                if taken.is_err() {
                    break;
                }
                turns.push((turn, number));
            }
        }
        self.worker.slots.start(lane, turns);
        taken
    }

    /// Answers calls that wait for a slot and whose time is over.
    fn look(&self, lane: &Lane) {
        let mut calls = self.calls();
        if calls.over {
            return;
        }
        let now = Instant::now();
        let is_late = |it: &Open| it.lane == lane.index && !it.begun && it.deadline.is_over(now);
        let late = calls.open.iter().filter(|(_, it)| is_late(it)).map(|(number, _)| number);
        let late: Vec<u64> = late.collect();
        for number in late {
            let Some(open) = calls.leave(number) else { continue };
            if open.wanted.is_kept() {
                self.worker.keep.give_back(open.run);
            }
            let _ = calls.say(lane, number, open.run, Done::of(Outcome::TimedOut(Vec::new())));
        }
    }

    /// Hears what was read at this moment.
    fn hear(&self, request: Request, now: Instant, lane: &Arc<Lane>) -> Result<(), WireError> {
        match request {
            Request::Call { number, task, attempt, function, turn, remaining, key, arguments } => {
                let (deadline, run) = (Deadline::since(now, remaining), self.run_of((task, attempt)));
                let (cancel, unwanted) = oneshot::channel();
                let key = key.map(|key| (key, print(function, &arguments)));
                {
                    // In one go: what a link that is over leaves half done would be waited for, for ever.
                    let mut calls = self.calls();
                    if calls.over {
                        return Ok(());
                    }
                    match self.worker.keep.arrive(run.it, key, cancel) {
                        Arrived::New => {}
                        Arrived::Known(_) => {
                            drop(calls);
                            return self.resume(number, run.it, lane);
                        }
                        Arrived::Differs(_) => return calls.word(lane, number, run, Outcome::Differs),
                        Arrived::Full(_) => return calls.word(lane, number, run, Outcome::Full),
                        Arrived::Unwanted(_) => return Ok(()),
                    }
                    let (lane, bytes, wanted) = (lane.index, arguments.len(), Wanted::Kept(Some(unwanted)));
                    let open = Open { lane, begun: false, function, deadline, arguments, bytes, run, wanted };
                    if let Err(error) = calls.enter(number, open) {
                        self.worker.keep.give_back(run);
                        return Err(error);
                    }
                }
                self.worker.slots.start(lane, [(turn, number)]);
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
                let mut calls = self.calls();
                if calls.over {
                    return Ok(());
                }
                let (open, kept) = (calls.leave(number), calls.kept.remove(&number));
                let apart = open.as_ref().filter(|it| it.wanted.is_kept()).map(|it| it.run.it);
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
                if calls.over {
                    return Ok(());
                }
                if let Some(open) = calls.leave_if_waiting(number) {
                    if open.wanted.is_kept() {
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
        for (run, wanted) in calls.end() {
            keep.detach(run, wanted);
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
