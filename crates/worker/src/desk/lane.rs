//! What came by one lane: it begins when there is a slot, runs, and is answered by the lane that it came by.

use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use skyward_runtime::link::{LANE_LIMIT, Outbox, Outcome};
use skyward_runtime::model::FunctionId;
use skyward_runtime::retention::Run;

use super::Desk;
use crate::calls::Begun;
use crate::execute::{self, First, Left, Place, execute};
use crate::executor::Job;
use crate::keep::Done;
use crate::relay::{self, Row, Step};
use crate::slots::{Caller, Slot, Turn};

/// One lane.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) outbox: Outbox,
    /// Its place among the lanes of its link.
    pub(crate) index: usize,
    desk: Desk,
}

/// A call of a lane that runs.
#[derive(Clone, Copy)]
struct Call {
    number: u64,
    run: Run,
    /// It is answered for by what is kept.
    apart: bool,
}

/// Whether a call begins.
enum Begins {
    Now(Begun),
    /// Not in this row.
    Later,
    /// It was cancelled or recalled, or has been answered.
    Never,
}

impl Lane {
    pub(crate) fn new(desk: Desk, index: usize) -> Self {
        Self { outbox: Outbox::default(), index, desk }
    }

    /// Has a call begin if it is still wanted, in time, and `may` begin now; from now on it runs. Cancelled and
    /// recalled ones are passed over here.
    fn begins(&self, number: u64, now: Instant, may: impl FnOnce(FunctionId) -> bool) -> Begins {
        let (begun, is_apart) = {
            let mut calls = self.desk.calls();
            if calls.open.get(number).is_some_and(|it| !may(it.function)) {
                return Begins::Later;
            }
            let Some(begun) = calls.begin(number) else { return Begins::Never };
            let is_apart = calls.over || begun.apart;
            (begun, is_apart)
        };
        if is_apart && !self.desk.worker.keep.is_wanted(begun.run) {
            self.desk.calls().leave(number);
            return Begins::Never;
        }
        if begun.deadline.is_over(now) {
            self.answer(begun.call(number), Done::of(Outcome::TimedOut(Vec::new())));
            return Begins::Never;
        }
        Begins::Now(begun)
    }

    /// Runs a call that did not end at its first poll.
    async fn go_on(self: Arc<Self>, call: Call, begun: Begun, left: Left, began: Instant) -> Option<Slot> {
        let unwanted = self.desk.calls().unwanted(call.number);
        let unwanted = async {
            let _ = unwanted.await;
        };
        let worker = &self.desk.worker;
        let ended = match left {
            Left::Goes(going) => going.on(worker, begun.deadline, unwanted).await,
            Left::NotHere(job, slot) => {
                let run = execute(worker, job, begun.deadline, Place::Slot(slot), unwanted);
                worker.slots.track(run).await.map(|outcome| (outcome, None))
            }
        };
        let (outcome, slot) = ended?;
        self.answer(call, Done { took: began.elapsed(), outcome });
        slot
    }

    /// Answers a call, unless nobody wants it any more.
    fn answer(&self, call: Call, done: Done) {
        let (Call { number, run, apart }, keep) = (call, &self.desk.worker.keep);
        if apart {
            keep.finish(run, done);
            drop(self.desk.follow(number, run, self));
            return;
        }
        let mut calls = self.desk.calls();
        let is_open = calls.leave(number).is_some();
        if calls.over {
            drop(calls);
            return keep.finish(run, done);
        }
        if !is_open {
            return;
        }
        if done.outcome.length() > LANE_LIMIT as u64 {
            let (took, length) = (done.took, done.outcome.length());
            keep.keep(run, done);
            return calls.point(self, (number, run.it), took, length);
        }
        let _ = calls.say(self, number, run, done);
    }

    /// Nothing new is taken: the call goes elsewhere, or is sent again later.
    fn turn_away(&self, call: Call) {
        let mut calls = self.desk.calls();
        if calls.over || call.apart {
            self.desk.worker.keep.give_back(call.run);
        }
        if calls.leave(call.number).is_some() && !calls.over {
            let _ = calls.word(self, call.number, call.run, Outcome::Full);
        }
    }
}

impl Begun {
    const fn call(&self, number: u64) -> Call {
        Call { number, run: self.run, apart: self.apart }
    }
}

impl Caller for Lane {
    fn start(self: Arc<Self>, number: u64, slot: Slot) {
        relay::run(Turn { caller: self, number, slot });
    }

    fn refuse(&self, number: u64) {
        if let Begins::Now(begun) = self.begins(number, Instant::now(), |_| true) {
            self.answer(begun.call(number), Done::of(Outcome::Draining));
        }
    }

    fn first(self: Arc<Self>, number: u64, slot: Slot, row: &mut Row, context: &mut Context<'_>) -> Step {
        let (began, worker) = (row.now, &self.desk.worker);
        let mut begun = match self.begins(number, began, |it| row.is_first() || worker.paces.is_soon(it)) {
            Begins::Now(begun) => begun,
            Begins::Later => return Step::Later(Turn { caller: self, number, slot }),
            Begins::Never => return Step::Over(slot),
        };
        let call = begun.call(number);
        if worker.keep.is_full() {
            self.turn_away(call);
            return Step::Over(slot);
        }
        let Some(function) = worker.registry.get(begun.function) else {
            self.answer(call, Done::of(Outcome::UnknownFunction));
            return Step::Over(slot);
        };
        let ((task, attempt), id) = (call.run.it, begun.function);
        let job = Job { task, attempt, id, function, arguments: std::mem::take(&mut begun.arguments) };
        let first = execute::first(worker, job, slot, &mut row.surrounds, context);
        row.now = Instant::now();
        let took = row.now.saturating_duration_since(began);
        worker.paces.note(id, took);
        match first {
            First::Ended(outcome, slot) => {
                self.answer(call, Done { took, outcome });
                Step::Over(slot)
            }
            First::Left(left) => Step::Goes(Box::pin(self.go_on(call, begun, left, began))),
        }
    }
}
