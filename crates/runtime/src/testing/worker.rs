//! The shell of a simulated worker: one life of a process that runs calls over one link after the other. What it
//! keeps is the real thing (`retention`); the rest does what the worker's desk does.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::cloud::MachineId;
use super::event::{Event, Word};
use super::failure::Law;
use super::knobs::Mutation;
use super::link::LinkId;
use super::world::World;
use crate::model::{Attempt, Epoch, Incarnation, Retention, TaskId};
use crate::retention::{Body, Extent, Outcomes, Resumed, Run, Sent, Try};

/// One life of a worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) number: u64,
    /// The link that counts.
    link: Option<LinkId>,
    outcomes: Outcomes<u64, ()>,
    /// What came by the link that counts and is not answered.
    open: BTreeSet<Try>,
    waiting: VecDeque<Try>,
    running: BTreeSet<Try>,
    /// Everything that it has ever begun.
    begun: BTreeSet<Try>,
    sent: Sent<Option<u64>>,
    /// Who asked, over the link that counts, for what still runs.
    asked: BTreeSet<Try>,
    /// What was in memory when its last link broke.
    unheard: u64,
}

/// What reaches a worker, or happens in it.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Call(Try),
    Ask(Try),
    Cancel(Try),
    Recall(Try),
    Release(Try),
    Waits(Vec<Try>),
    /// So many outcomes of the link are with the client.
    Taken(u64),
    /// It notices that the link is over.
    Over,
}

/// What happens inside a worker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inside {
    /// A call that runs ends.
    Ends(Try),
    /// An outcome has been written to the disk, or not.
    Written(Run, Extent, bool),
}

/// The largest outcome here.
const LARGEST: u64 = 1 << 20;

/// What workers may keep here: little, so that its bounds are met.
const LIMITS: Retention = Retention { memory: 1 << 18, disk: 1 << 19 };

impl Worker {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            link: None,
            outcomes: Outcomes::new(LIMITS),
            open: BTreeSet::new(),
            waiting: VecDeque::new(),
            running: BTreeSet::new(),
            begun: BTreeSet::new(),
            sent: Sent::default(),
            asked: BTreeSet::new(),
            unheard: 0,
        }
    }

    pub(super) fn name(&self) -> Incarnation {
        Incarnation::new(format!("w{}", self.number))
    }

    /// The link is over: what runs runs on, and what was not acknowledged is kept.
    fn close(&mut self) {
        for (run, size) in self.sent.take() {
            if let Some(size) = size {
                self.outcomes.keep(run, size, size);
            }
        }
        self.sent = Sent::default();
        for it in std::mem::take(&mut self.open) {
            self.outcomes.detach(run(it), ());
        }
        self.asked.clear();
        self.link = None;
        self.unheard = self.outcomes.kept().0;
    }

    /// Whether a call of a link before, or of this one, is still wanted.
    fn wants(&self, it: Try) -> bool {
        self.open.contains(&it) || self.outcomes.is_wanted(run(it))
    }

    /// Whether anything is left of a call.
    fn has(&self, it: Try) -> bool {
        self.sent.has(run(it))
            || self.open.contains(&it)
            || self.outcomes.body(it).is_some()
            || self.outcomes.is_wanted(run(it))
    }
}

const fn run(it: Try) -> Run {
    Run { epoch: Epoch(0), it }
}

impl World {
    /// A worker is started on a machine.
    pub(super) fn start_worker(&mut self, machine: MachineId) {
        self.started += 1;
        self.workers.insert(machine, Worker::new(self.started));
    }

    /// A link is welcomed: from now on nothing that is still read of the one before counts.
    pub(super) fn welcome(&mut self, machine: MachineId, link: LinkId) {
        let unfenced = self.mutation == Some(Mutation::ForgetFence);
        if let Some(worker) = self.workers.get_mut(&machine) {
            worker.close();
            worker.outcomes.link(Epoch(0));
            worker.link = Some(link);
        }
        if unfenced && let Some(before) = self.links.get_mut(link.0.wrapping_sub(1)) {
            before.unfenced = true;
        }
        self.check_retention(machine);
    }

    /// Sends something to the worker of a link.
    pub(super) fn tell_worker(&mut self, link: LinkId, work: Work) {
        let latency = self.dice.up_to(Duration::from_millis(100));
        let now = self.now;
        let Some(way) = self.links.get_mut(link.0).filter(|it| it.alive) else { return };
        // What is said about links before has a lane of its own.
        let lane = match work {
            Work::Waits(_) | Work::Release(_) => &mut way.first,
            Work::Call(_)
            | Work::Ask(_)
            | Work::Cancel(_)
            | Work::Recall(_)
            | Work::Taken(_)
            | Work::Over => &mut way.second,
        };
        *lane = (now + latency).max(*lane);
        let at = *lane;
        self.agenda.plan(at, Event::Work(link, work));
    }

    pub(super) fn works(&mut self, link: LinkId, work: Work) {
        let Some(way) = self.links.get(link.0) else { return };
        let (id, unfenced) = (way.machine, way.unfenced);
        let Some(machine) = self.machine(id).filter(|it| it.dead.is_none()) else { return };
        if machine.silent_until() > self.now {
            let at = machine.silent_until() + Duration::from_millis(1);
            return self.agenda.plan(at, Event::Work(link, work));
        }
        let draining = machine.draining;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.link != Some(link) && !unfenced {
            return;
        }
        match work {
            Work::Over => worker.close(),
            Work::Call(it) if draining => {
                return self.answer(id, it, Word::Draining, None);
            }
            Work::Call(it) => {
                worker.open.insert(it);
                worker.waiting.push_back(it);
                self.begin_waiting(id);
            }
            Work::Ask(it) => self.asked(id, it),
            Work::Cancel(it) => {
                worker.open.remove(&it);
                if worker.asked.remove(&it) || worker.outcomes.body(it).is_some() {
                    worker.outcomes.release(it);
                }
                self.drop_unwanted(id);
            }
            Work::Release(it) => {
                worker.outcomes.release(it);
                self.drop_unwanted(id);
            }
            Work::Recall(it) => {
                let waits = worker.open.contains(&it) && worker.waiting.contains(&it);
                let begun = self.mutation == Some(Mutation::GiveBackBegun) && worker.open.contains(&it);
                if waits || begun {
                    worker.open.remove(&it);
                    worker.waiting.retain(|other| *other != it);
                    let run_before = worker.begun.contains(&it);
                    self.answer(id, it, Word::Recalled { begun: run_before }, Some(0));
                }
            }
            Work::Waits(waits) => {
                if self.mutation != Some(Mutation::ForgetReplay) {
                    worker.outcomes.reconcile(&waits.into_iter().collect());
                    self.drop_unwanted(id);
                }
            }
            Work::Taken(count) => {
                if self.mutation == Some(Mutation::ForgetAck) {
                    return;
                }
                let taken = worker.sent.acknowledge(count).map(|it| it.collect::<Vec<_>>());
                match taken {
                    Ok(taken) => {
                        for (run, size) in taken {
                            if size.is_none() {
                                worker.outcomes.taken(run);
                            }
                        }
                    }
                    Err(_) => {
                        let what = format!("{count} outcomes are acknowledged, which were not sent");
                        self.breach(Law::Released, what);
                    }
                }
            }
        }
        self.check_retention(id);
    }

    /// A call is asked for that was sent over a link that broke.
    fn asked(&mut self, id: MachineId, it: Try) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match worker.outcomes.resume(it, ()) {
            Resumed::Unknown(()) => self.answer(id, it, Word::Unknown, None),
            Resumed::Running(_) => drop(worker.asked.insert(it)),
            Resumed::Kept(Body::Memory(_) | Body::Disk(_)) => {
                self.summary.redelivered += 1;
                self.answer(id, it, Word::Ended, None);
            }
        }
    }

    /// Slots that are free begin with who has waited longest.
    fn begin_waiting(&mut self, id: MachineId) {
        let slots = usize::try_from(self.slots).unwrap_or(usize::MAX);
        loop {
            let Some(worker) = self.workers.get_mut(&id) else { return };
            if worker.running.len() >= slots {
                return;
            }
            let Some(it) = worker.waiting.pop_front() else { return };
            if !worker.wants(it) {
                continue;
            }
            if worker.outcomes.is_full() && self.mutation != Some(Mutation::TakeWhenFull) {
                self.summary.full += 1;
                if worker.open.remove(&it) {
                    self.answer(id, it, Word::Full, Some(0));
                } else {
                    worker.outcomes.give_back(run(it));
                    if worker.asked.remove(&it) {
                        self.answer(id, it, Word::Unknown, None);
                    }
                }
                continue;
            }
            let (memory, _) = worker.outcomes.kept();
            if memory > LIMITS.memory * 2 {
                let what = format!("w{} begins {it:?} and keeps {memory} bytes in memory", worker.number);
                return self.breach(Law::Bounded, what);
            }
            worker.running.insert(it);
            let twice = !worker.begun.insert(it);
            let number = worker.number;
            if twice {
                let what = format!("task {} attempt {} is begun twice by worker w{number}", it.0, it.1);
                self.breach(Law::RunOnce, what);
            }
            self.check_rerun(id, it);
            let runs = self.runs_for(it.0);
            self.plan(runs, Event::Inside(id, number, Inside::Ends(it)));
        }
    }

    /// No other try of a task may have begun on a worker that its node still has.
    fn check_rerun(&mut self, id: MachineId, (task, attempt): Try) {
        let Some(before) = attempt.0.checked_sub(1) else { return };
        let before = (task, Attempt(before));
        let there = self.workers.iter().find(|(_, it)| it.running.contains(&before) && it.wants(before));
        let Some((machine, worker)) = there else { return };
        let is_linked = self.has_node(*machine) && self.machine(*machine).is_some_and(|it| it.dead.is_none());
        if is_linked {
            let what = format!("task {task} is begun again on {id:?} while w{} runs it", worker.number);
            self.breach(Law::RunOnce, what);
        }
    }

    pub(super) fn happens_inside(&mut self, id: MachineId, number: u64, inside: Inside) {
        let silent = self.machine(id).filter(|it| it.dead.is_none()).map(|it| it.frozen);
        let Some(frozen) = silent else { return };
        if frozen > self.now {
            return self.agenda.plan(frozen + Duration::from_millis(1), Event::Inside(id, number, inside));
        }
        let Some(worker) = self.workers.get_mut(&id).filter(|it| it.number == number) else { return };
        match inside {
            Inside::Ends(it) => self.ends(id, it),
            Inside::Written(run, to, written) => {
                worker.outcomes.spilled(run, to, written);
                self.spill(id);
            }
        }
        self.check_retention(id);
    }

    /// A call that runs has ended.
    fn ends(&mut self, id: MachineId, it: Try) {
        let size = self.dice.below(LARGEST);
        let mutation = self.mutation;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !worker.running.remove(&it) {
            return;
        }
        if worker.open.remove(&it) {
            self.answer(id, it, Word::Ended, Some(size));
        } else if worker.outcomes.is_wanted(run(it)) {
            let evicts =
                mutation == Some(Mutation::EvictWhenFull) && worker.outcomes.kept().0 + size > LIMITS.memory;
            let _ = worker.outcomes.finish(run(it), size, size);
            if evicts {
                worker.outcomes.release(it);
            }
            if worker.asked.remove(&it) && !evicts {
                self.answer(id, it, Word::Ended, None);
            }
            self.spill(id);
        }
        self.begin_waiting(id);
    }

    /// Puts an answer on the link that counts. `size` is that of an outcome which is nowhere else.
    fn answer(&mut self, id: MachineId, it: Try, word: Word, size: Option<u64>) {
        let latency = self.dice.up_to(Duration::from_millis(100));
        let (now, early) = (self.now, self.mutation == Some(Mutation::ForgetBeforeTaken));
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(link) = worker.link else { return };
        worker.sent.put(run(it), if early { None } else { size });
        if early {
            worker.outcomes.taken(run(it));
        }
        let Some(way) = self.links.get_mut(link.0) else { return };
        way.back = (now + latency).max(way.back);
        let at = way.back;
        self.agenda.plan(at, Event::Reply(link, it, word));
    }

    /// More is in memory than may be: the largest goes to the disk, which may be full.
    fn spill(&mut self, id: MachineId) {
        let (after, fails) =
            (self.dice.up_to(Duration::from_millis(50)), self.dice.chance(self.weather.kept));
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let number = worker.number;
        if let Some(spill) = worker.outcomes.spill() {
            let written = Inside::Written(spill.run, spill.to, !fails);
            self.summary.spilled += 1;
            self.plan(after, Event::Inside(id, number, written));
        }
    }

    /// What nobody wants any more stops where it runs.
    fn drop_unwanted(&mut self, id: MachineId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let unwanted = worker.running.iter().filter(|it| !worker.wants(**it)).copied();
        for it in unwanted.collect::<Vec<_>>() {
            worker.running.remove(&it);
        }
        self.begin_waiting(id);
    }

    /// What still ran when the time of a drain was over is cancelled.
    pub(super) fn drained(&mut self, id: MachineId) {
        let running = self.workers.get(&id).map(|it| it.running.clone()).unwrap_or_default();
        for it in running {
            self.ends(id, it);
        }
    }

    /// What is kept stays within its bounds, but for what ran when they were reached.
    fn check_retention(&mut self, id: MachineId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (memory, disk) = worker.outcomes.kept();
        let running = u64::from(self.slots) * (LARGEST + 256);
        // What a link has sent and not heard of comes to it when the link breaks.
        if memory > (LIMITS.memory * 2).max(worker.unheard) + running || disk > LIMITS.disk {
            let what = format!("w{} keeps {memory} bytes in memory and {disk} on disk", worker.number);
            self.breach(Law::Bounded, what);
        }
    }

    /// Long after a call is over, nothing of it is left at a worker that was linked all the time.
    pub(super) fn audit(&mut self, task: TaskId, attempt: Attempt, since: Duration) {
        let kept = self.workers.iter().find(|(_, it)| it.has((task, attempt)));
        let Some((id, worker)) = kept else { return };
        let calm = |at: Duration| self.now.saturating_sub(at) > CALM;
        let link = worker.link.and_then(|it| self.links.get(it.0)).filter(|it| it.alive);
        let quiet = self.machine(*id).is_some_and(|it| it.dead.is_none() && calm(it.silent_until()));
        let is_known = link.is_some_and(|it| it.reconciled.is_some_and(calm));
        if quiet && is_known && calm(since) && self.queue.is_some() {
            let what = format!("w{} keeps task {task} attempt {attempt}, which is over", worker.number);
            self.breach(Law::Released, what);
        }
    }
}

/// After this long everything that was said has been heard.
pub(super) const CALM: Duration = Duration::from_secs(5);
