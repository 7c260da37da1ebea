//! Simulated callers: each follows its task from grant to grant, as `tasks::Running` does, to one end.

use std::time::Duration;

use super::event::{CallEvent, Decided, Event, Word};
use super::failure::Law;
use super::knobs::Mutation;
use super::letter::Letter;
use super::link::LinkId;
use super::worker::{self, Of, Work};
use super::world::{HICCUP, World};
use crate::model::{Attempt, FunctionId, Rank, TaskId};
use crate::retention::Try;
use crate::tasks::ahead::Load;
use crate::tasks::state::Heard;
use crate::tasks::{GroupId, Target};

mod drawing;
mod ending;

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    what: What,
    group: GroupId,
    phase: Phase,
    /// Counts its tries, so that what belongs to an older one is known.
    number: u64,
    attempt: Attempt,
    /// How long its present try runs.
    runs: Duration,
    over: Duration,
    /// How long it may take from when its caller begins to wait, and when that was.
    given: Option<Duration>,
    began: Duration,
    /// The first failure of its group ends all of the group.
    together: bool,
    /// The number of its key, if it has one.
    key: Option<u32>,
    /// When its present try was granted.
    pub(super) granted: Duration,
    /// When that was sent again, as it never came.
    pub(super) resent: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    One(Target),
    /// Waits for the shares that begin after its own id.
    Broadcast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Planned,
    /// A share whose list has not reached its caller.
    Held,
    Waiting,
    Running {
        link: LinkId,
        attempt: Attempt,
    },
    Over,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answered,
    Refused,
    Cancelled,
    TimedOut,
}

impl Call {
    const fn new(what: What, group: GroupId, phase: Phase) -> Self {
        let zero = Duration::ZERO;
        Self {
            what,
            group,
            phase,
            number: 0,
            attempt: Attempt(0),
            runs: zero,
            over: zero,
            given: None,
            began: zero,
            together: false,
            key: None,
            granted: zero,
            resent: None,
        }
    }

    pub(super) const fn key(&self) -> Option<u32> {
        self.key
    }

    /// Whether this try of it is under way.
    pub(super) fn is_at(&self, attempt: Attempt) -> bool {
        matches!(self.phase, Phase::Running { attempt: present, .. } if present == attempt)
    }

    /// The try of it that any node may have, and the link that it went over.
    pub(super) const fn under_way(&self) -> Option<(LinkId, Attempt)> {
        match (self.what, self.phase) {
            (What::One(Target::Any), Phase::Running { link, attempt }) => Some((link, attempt)),
            _ => None,
        }
    }

    /// Whether it waits for nothing any more.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Every second group calls a function that is always fast.
    const fn is_fast(&self) -> bool {
        self.group.0 % 2 == 1
    }

    fn load(&self) -> Load {
        Load { function: FunctionId(u32::from(self.is_fast())), bytes: 100 }
    }
}

impl World {
    pub(super) fn call_happens(&mut self, id: TaskId, event: CallEvent) {
        match event {
            CallEvent::Begins => self.call_begins(id),
            CallEvent::Decided(decided) => self.call_decided(id, decided),
            CallEvent::Shares(shares) => self.call_shares(id, &shares),
            CallEvent::Breaks(number, why) => self.call_breaks(id, number, why),
            CallEvent::Recalled(attempt) => self.call_recalled(id, attempt),
            CallEvent::Cancelled => self.call_cancelled(id),
            CallEvent::TimesOut => self.call_times_out(id),
        }
    }

    fn call_begins(&mut self, id: TaskId) {
        let Some(call) = self.me.calls.get_mut(&id).filter(|it| it.phase == Phase::Planned) else { return };
        (call.phase, call.began) = (Phase::Waiting, self.now);
        let (group, given, load, key) = (call.group, call.given, call.load(), call.key);
        let letter = match call.what {
            What::One(target) => Letter::Submit { id, target, group, load },
            What::Broadcast => Letter::Broadcast { first: id.next(), group, load },
        };
        if self.me.queue.is_none() {
            return self.end_call(id, End::Refused);
        }
        if let Some(given) = given.filter(|_| self.mutation != Some(Mutation::ForgetQueueTime)) {
            self.plan(given, Event::Call(id, CallEvent::TimesOut));
        }
        if let Some(number) = key {
            self.cast_queue(Letter::Keyed { id, key: worker::key(number) });
        }
        self.cast_queue(letter);
    }

    /// What a call asks for.
    fn wanted(&self, id: TaskId) -> Of {
        let key = self.me.calls.get(&id).and_then(Call::key);
        key.map_or(Of::Task(self.me.number, id), Of::Key)
    }

    pub(super) fn waits(&self, id: TaskId) -> bool {
        self.me.calls.get(&id).is_some_and(|it| it.phase == Phase::Waiting)
    }

    /// The shares of a broadcast exist; the list of them is on its way.
    pub(super) fn hold_shares(&mut self, shares: &[TaskId], ranks: &[Rank]) {
        for (id, rank) in shares.iter().zip(ranks) {
            let what = What::One(Target::Rank(*rank));
            self.me.calls.insert(*id, Call::new(what, GroupId(0), Phase::Held));
            self.me.open_calls += 1;
        }
    }

    fn call_shares(&mut self, id: TaskId, shares: &[TaskId]) {
        let wanted = self.waits(id);
        for share in shares {
            if let Some(call) = self.me.calls.get_mut(share) {
                call.phase = Phase::Waiting;
            }
            if !wanted {
                self.end_call(*share, End::Cancelled);
            }
        }
        match (wanted, shares.is_empty()) {
            (true, true) => self.end_call(id, End::Refused),
            (true, false) => self.end_call(id, End::Answered),
            (false, _) => self.drop_shares(shares),
        }
    }

    fn call_decided(&mut self, id: TaskId, decided: Decided) {
        let Some(call) = self.me.calls.get_mut(&id) else { return };
        match (call.phase, decided) {
            (Phase::Held, decided) => {
                self.plan(Duration::from_millis(1), Event::Call(id, CallEvent::Decided(decided)));
            }
            (Phase::Waiting, Decided::Resume { attempt, link }) => {
                call.phase = Phase::Running { link, attempt };
                call.number += 1;
                let number = call.number;
                self.carry(id, number, link, Work::Ask((id, attempt)));
            }
            (Phase::Waiting, Decided::Grant { attempt, link }) => {
                (call.granted, call.resent) = (self.now, None);
                call.phase = Phase::Running { link, attempt };
                call.attempt = attempt;
                let before = attempt.0.checked_sub(1).map(Attempt);
                call.number += 1;
                let (number, given) = (call.number, call.given);
                if let Some(given) = given.filter(|_| self.mutation == Some(Mutation::ForgetQueueTime)) {
                    self.plan(given, Event::Call(id, CallEvent::TimesOut));
                }
                if let Some(attempt) = before.filter(|_| self.dice.chance(self.weather.twice)) {
                    // What was said of the try before arrives after all.
                    let after = HICCUP + self.dice.up_to(Duration::from_secs(3));
                    let late = Heard::Answered { id, attempt, took: None };
                    self.plan(after, Event::Queue(Letter::Again(late)));
                }
                let of = self.wanted(id);
                self.carry(id, number, link, Work::Call((id, attempt), of));
            }
            (Phase::Waiting, Decided::Refuse | Decided::Over) => self.end_call(id, End::Refused),
            // It has ended meanwhile.
            (Phase::Planned | Phase::Running { .. } | Phase::Over, _) => {}
        }
    }

    /// How long a call runs.
    pub(super) fn runs_for(&mut self, id: TaskId) -> Duration {
        let most = if self.dice.chance(300) { 60 } else { 5 };
        let is_fast = self.me.calls.get(&id).is_some_and(Call::is_fast);
        let runs =
            self.dice.up_to(if is_fast { Duration::from_millis(3) } else { Duration::from_secs(most) });
        if let Some(call) = self.me.calls.get_mut(&id) {
            call.runs = runs;
        }
        runs
    }

    /// The call goes over its link, or what became of it is asked for.
    fn carry(&mut self, id: TaskId, number: u64, link: LinkId, work: Work) {
        let latency = self.dice.up_to(Duration::from_millis(100));
        let Some(way) = self.links.get_mut(link.0).filter(|it| it.alive) else {
            return self.plan(latency, Event::Call(id, CallEvent::Breaks(number, "the link is closed")));
        };
        way.running.insert((id, number));
        self.tell_worker(link, work);
    }

    /// The worker is asked for a call back.
    fn call_recalled(&mut self, id: TaskId, attempt: Attempt) {
        let Some(call) = self.me.calls.get(&id) else { return };
        let Some((link, present)) = self.running(id, call.number) else { return };
        if present == attempt {
            self.tell_worker(link, Work::Recall((id, attempt)));
        }
    }

    /// A worker's word on a call reaches the client. It counts only for the try that its caller has under way.
    pub(super) fn replied(&mut self, link: LinkId, it: Try, word: Word) {
        let Some(way) = self.links.get(link.0).filter(|it| it.alive) else { return };
        let Some(machine) = self.machine(way.machine).filter(|it| it.dead.is_none()) else { return };
        if machine.silent_until() > self.now {
            let at = machine.silent_until() + Duration::from_millis(1);
            return self.plan_for(self.me.number, at, Event::Reply(link, it, word));
        }
        let after = self.dice.up_to(Duration::from_secs(1));
        let Some(way) = self.links.get_mut(link.0) else { return };
        way.taken += 1;
        let taken = way.taken;
        self.plan(after, Event::Taken(link, taken));
        let ((id, attempt), Some(call)) = (it, self.me.calls.get(&it.0)) else { return };
        let number = call.number;
        if self.running(id, number) != Some((link, attempt)) {
            return;
        }
        match word {
            Word::Ended(of) => {
                if of != self.wanted(id) {
                    let what = format!("task {id} asks for {:?} and gets {of:?}", self.wanted(id));
                    return self.breach(Law::Once, what);
                }
                self.take_keyed(id, attempt, link);
                self.call_returns(id, number);
            }
            Word::Unknown => {
                let (of, now) = (self.wanted(id), self.now);
                if let Some(call) = self.me.calls.get_mut(&id) {
                    call.resent = Some(now);
                }
                self.carry(id, number, link, Work::Call(it, of));
            }
            Word::Recalled { begun } => {
                self.let_go_of_key(id, attempt, link);
                self.call_given_back(id, number, begun);
            }
            Word::Full | Word::Draining => {
                self.summary.turned_away += 1;
                self.let_go_of_key(id, attempt, link);
                self.call_comes_back(id, number);
                self.cast_queue(Letter::Full { id, attempt });
            }
        }
    }

    /// From here on its caller has the outcome; it stays where it is when another program may ask for it again.
    fn take_keyed(&mut self, id: TaskId, attempt: Attempt, link: LinkId) {
        if self.me.calls.get(&id).and_then(Call::key).is_none() {
            return;
        }
        if self.named && self.mutation != Some(Mutation::ForgetStays) {
            self.cast_queue(Letter::Stays { id, attempt });
        } else {
            self.tell_worker(link, Work::Release((id, attempt)));
        }
    }

    /// What is said of a call with a key, and is no value, is nobody's to keep.
    fn let_go_of_key(&mut self, id: TaskId, attempt: Attempt, link: LinkId) {
        if self.me.calls.get(&id).and_then(Call::key).is_some() {
            self.tell_worker(link, Work::Release((id, attempt)));
        }
    }

    /// A try is not under way any more, and its caller waits for the queue.
    fn call_comes_back(&mut self, id: TaskId, number: u64) {
        let Some((link, _)) = self.running(id, number) else { return };
        self.leave(link, id, number);
        if let Some(call) = self.me.calls.get_mut(&id) {
            call.phase = Phase::Waiting;
        }
        if self.me.queue.is_none() {
            self.end_call(id, End::Refused);
        }
    }

    fn call_given_back(&mut self, id: TaskId, number: u64, begun: bool) {
        let Some((_, attempt)) = self.running(id, number) else { return };
        if begun {
            let what = format!("task {id} is given back, has begun and would be run again");
            return self.breach(Law::NoneTwice, what);
        }
        self.summary.given_back += 1;
        self.call_comes_back(id, number);
        self.cast_queue(Letter::GivenBack { id, attempt });
        if self.dice.chance(self.weather.twice) {
            let after = HICCUP + self.dice.up_to(Duration::from_secs(3));
            self.plan(after, Event::Queue(Letter::Again(Heard::GivenBack { id, attempt })));
        }
    }

    fn running(&self, id: TaskId, number: u64) -> Option<(LinkId, Attempt)> {
        match self.me.calls.get(&id).filter(|it| it.number == number)?.phase {
            Phase::Running { link, attempt } => Some((link, attempt)),
            Phase::Planned | Phase::Held | Phase::Waiting | Phase::Over => None,
        }
    }

    fn call_returns(&mut self, id: TaskId, number: u64) {
        let Some((link, attempt)) = self.running(id, number) else { return };
        let took = self.me.calls.get(&id).map_or(Duration::ZERO, |it| it.runs);
        self.leave(link, id, number);
        self.cast_queue(Letter::Answered { id, attempt, took });
        self.end_call(id, End::Answered);
        if self.mutation == Some(Mutation::AnswerTwice) {
            self.end_call(id, End::Answered);
        }
    }

    fn call_breaks(&mut self, id: TaskId, number: u64, why: &'static str) {
        let Some((link, attempt)) = self.running(id, number) else { return };
        self.leave(link, id, number);
        if let Some(call) = self.me.calls.get_mut(&id) {
            call.phase = Phase::Waiting;
        }
        if self.me.queue.is_none() {
            return self.end_call(id, End::Refused);
        }
        // Now and then it is a stream of which something was taken, which ends with its link.
        let is_stream = self.dice.chance(100);
        if is_stream {
            self.cast_queue(Letter::Committed { id });
        }
        let worker = self.links.get(link.0).map(|it| it.worker.clone());
        let reason = why.to_owned();
        let rerun = self.mutation == Some(Mutation::RerunOnLoss);
        match worker {
            Some(worker) if !is_stream && !rerun => {
                self.cast_queue(Letter::Broken { id, attempt, link, worker, reason });
            }
            _ => self.cast_queue(Letter::Lost { id, attempt, reason }),
        }
        if self.dice.chance(self.weather.twice) {
            // What was on its way when the link broke arrives after all.
            let again = Heard::Lost { id, attempt, reason: why.to_owned() };
            let after = HICCUP + self.dice.up_to(Duration::from_secs(3));
            if is_stream || rerun {
                self.plan(after, Event::Queue(Letter::Again(again)));
            }
        }
    }

    fn call_cancelled(&mut self, id: TaskId) {
        self.let_go(id, End::Cancelled);
    }

    /// Its time covers the queue and every try, so it may be anywhere.
    fn call_times_out(&mut self, id: TaskId) {
        self.let_go(id, End::TimedOut);
    }

    /// The caller waits no longer.
    fn let_go(&mut self, id: TaskId, end: End) {
        self.excuse(id);
        let untold = end == End::TimedOut && self.mutation == Some(Mutation::LeakTimedOut);
        let Some(call) = self.me.calls.get(&id) else { return };
        match (call.phase, call.what) {
            (Phase::Over, _) => return,
            (Phase::Planned | Phase::Held, _) | (_, What::Broadcast) => {}
            (Phase::Running { link, .. }, What::One(_)) => {
                let (number, attempt) = (call.number, call.attempt);
                self.leave(link, id, number);
                self.tell_worker(link, Work::Cancel((id, attempt)));
                if !untold {
                    self.cast_queue(Letter::Cancelled { id });
                }
            }
            (Phase::Waiting, What::One(_)) if untold => {}
            (Phase::Waiting, What::One(_)) => self.cast_queue(Letter::Cancelled { id }),
        }
        self.end_call(id, end);
    }
}
