//! What reaches the workers of a simulated world and what they answer: the counterpart of the worker's desk and session.

use std::time::Duration;

use super::{CALM, Delivery, Inside, LARGEST, LIMITS, Made, Of, PRINT, Work, Worker, key};
use crate::model::{Attempt, Epoch, Incarnation};
use crate::retention::{Arrived, Body, Resumed, Run, Try};
use crate::testing::cloud::MachineId;
use crate::testing::event::{Event, Word};
use crate::testing::failure::Law;
use crate::testing::knobs::Mutation;
use crate::testing::link::LinkId;
use crate::testing::node::Life;
use crate::testing::world::World;

impl World {
    /// A worker is started on a machine.
    pub(in crate::testing) fn start_worker(&mut self, machine: MachineId) -> Incarnation {
        self.started += 1;
        let worker = Worker::new(self.started, self.epoch_of(self.me.number), self.me.number);
        let name = worker.name();
        self.workers.insert(machine, worker);
        name
    }

    /// A link is welcomed: the one before is closed, and from now on nothing that is still read of it counts.
    pub(in crate::testing) fn welcome(&mut self, machine: MachineId, link: LinkId) {
        let unfenced = self.mutation == Some(Mutation::ForgetFence);
        let mut epoch = self.epoch_of(self.me.number);
        if self.mutation == Some(Mutation::MixOwners) {
            epoch = Epoch(1);
        }
        let mut before = None;
        if let Some(worker) = self.workers.get_mut(&machine) {
            before = worker.link;
            worker.close();
            worker.outcomes.link(epoch);
            worker.epoch = epoch;
            worker.link = Some(link);
        }
        if let Some(before) = before.filter(|it| self.link_is_alive(*it)) {
            self.replace(before);
        }
        if unfenced && let Some(before) = self.links.get_mut(link.0.wrapping_sub(1)) {
            before.unfenced = true;
        }
        self.check_retention(machine);
    }

    /// Sends something to the worker of a link.
    pub(in crate::testing) fn tell_worker(&mut self, link: LinkId, work: Work) {
        let latency = self.dice.up_to(Duration::from_millis(100));
        let now = self.now;
        let Some(way) = self.links.get_mut(link.0).filter(|it| it.alive) else { return };
        // What is said about links before has a lane of its own.
        let lane = match work {
            Work::Waits(_) | Work::Release(_) => &mut way.first,
            Work::Call(..)
            | Work::Ask(_)
            | Work::Cancel(_)
            | Work::Recall(_)
            | Work::Taken(_)
            | Work::Over => &mut way.second,
        };
        *lane = (now + latency).max(*lane);
        let at = *lane;
        self.plan_for(0, at, Event::Work(link, work));
    }

    pub(in crate::testing) fn works(&mut self, link: LinkId, work: Work) {
        let Some(way) = self.links.get(link.0) else { return };
        let (id, unfenced) = (way.machine, way.unfenced);
        let Some(machine) = self.machine(id).filter(|it| it.dead.is_none()) else { return };
        if machine.silent_until() > self.now {
            let at = machine.silent_until() + Duration::from_millis(1);
            return self.plan_for(0, at, Event::Work(link, work));
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.link != Some(link) && !unfenced {
            return;
        }
        match work {
            Work::Over => {
                worker.close();
                self.hears_of_silence(link);
            }
            Work::Call(it, of) => self.arrives(id, it, of),
            Work::Ask(it) => self.asked(id, it),
            Work::Cancel(it) => {
                worker.open.remove(&it);
                let apart = worker.apart.remove(&it);
                if worker.asked.remove(&it) || apart || worker.outcomes.body(it).is_some() {
                    worker.outcomes.release(it);
                }
                self.drop_unwanted(id);
            }
            Work::Release(it) => {
                worker.outcomes.release(it);
                self.drop_unwanted(id);
            }
            Work::Recall(it) => {
                let run = worker.run(it);
                let waits = worker.open.contains(&it) && worker.waiting.contains(&run);
                let begun = self.mutation == Some(Mutation::GiveBackBegun) && worker.open.contains(&it);
                if waits || begun {
                    worker.open.remove(&it);
                    if worker.apart.remove(&it) {
                        worker.outcomes.give_back(run);
                    }
                    worker.waiting.retain(|other| *other != run);
                    let run_before = worker.begun.contains(&run);
                    self.say(id, it, Made { size: 0, word: Word::Recalled { begun: run_before } });
                }
            }
            Work::Waits(waits) => {
                if self.mutation != Some(Mutation::ForgetReplay) {
                    let before = worker.keys();
                    worker.outcomes.reconcile(&waits.into_iter().collect());
                    self.drop_unwanted(id);
                    self.give_up_elsewhere(id, link, before);
                }
                self.tell_keys(id, link);
            }
            Work::Taken(count) => {
                if self.mutation == Some(Mutation::ForgetAck) {
                    return;
                }
                let taken = worker.sent.acknowledge(count).map(|it| it.collect::<Vec<_>>());
                match taken {
                    Ok(taken) => {
                        for (run, delivery) in taken {
                            if delivery == Delivery::Kept {
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
        self.tell_gone(id);
        self.tell_ends(id);
        self.check_retention(id);
    }

    /// A call arrives.
    fn arrives(&mut self, id: MachineId, it: Try, of: Of) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let run = worker.run(it);
        let key = match of {
            Of::Key(number) => Some((key(number), PRINT)),
            Of::Task(..) => None,
        };
        if key.is_some() {
            let before = worker.outcomes.is_full().then(|| worker.keys());
            let arrived = worker.outcomes.arrive(it, key, ());
            if let Some(before) = before {
                self.excuse_evicted(id, before);
            }
            let Some(worker) = self.workers.get_mut(&id) else { return };
            match arrived {
                Arrived::New => {
                    worker.apart.insert(it);
                }
                Arrived::Known(()) => return self.asked(id, it),
                Arrived::Differs(()) => {
                    return self.breach(Law::Once, format!("{of:?} is another at its worker"));
                }
                Arrived::Full(()) => return self.answer(id, it, Word::Full, Delivery::Word),
                Arrived::Unwanted(()) => return,
            }
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.open.insert(it);
        worker.what.insert(run, of);
        worker.waiting.push_back(run);
        self.begin_waiting(id);
    }

    /// The client hears under which keys there is something.
    fn tell_keys(&mut self, id: MachineId, link: LinkId) {
        let latency = self.dice.up_to(Duration::from_millis(100));
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (keys, name) = (worker.left(), worker.name());
        let now = self.now;
        let Some(way) = self.links.get_mut(link.0) else { return };
        way.back = (now + latency).max(way.back);
        let (at, program) = (way.back, way.program);
        self.plan_for(program, at, Event::Keys(link, name, keys));
    }

    /// A call is asked for that was sent over a link that broke.
    fn asked(&mut self, id: MachineId, it: Try) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match worker.outcomes.resume(it, ()) {
            Resumed::Unknown(()) => self.answer(id, it, Word::Unknown, Delivery::Word),
            Resumed::Running(_) => {
                worker.asked.insert(it);
            }
            Resumed::Kept(Body::Memory(_) | Body::Disk(_)) => {
                self.summary.redelivered += 1;
                self.answer_kept(id, it);
            }
        }
    }

    /// Answers with what is kept. It stays until it is taken.
    fn answer_kept(&mut self, id: MachineId, it: Try) {
        let Some(worker) = self.workers.get(&id) else { return };
        let word = worker.made(it).unwrap_or(Word::Unknown);
        self.answer(id, it, word, Delivery::Kept);
        if self.mutation == Some(Mutation::ReleaseUntaken)
            && matches!(word, Word::Ended(Of::Key(_)))
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.outcomes.release(it);
        }
    }

    /// Slots that are free begin with who has waited longest.
    fn begin_waiting(&mut self, id: MachineId) {
        let slots = usize::try_from(self.slots).unwrap_or(usize::MAX);
        loop {
            let Some(worker) = self.workers.get_mut(&id) else { return };
            if worker.running.len() + worker.outlived.len() >= slots && !worker.draining {
                return;
            }
            let Some(run) = worker.waiting.pop_front() else { return };
            if !worker.wants(run) {
                continue;
            }
            let it = run.it;
            if worker.draining {
                self.comes_to(id, run, Made { size: 0, word: Word::Draining });
                continue;
            }
            if worker.outcomes.is_full() {
                let before = worker.keys();
                worker.outcomes.make_room();
                self.excuse_evicted(id, before);
            }
            let Some(worker) = self.workers.get_mut(&id) else { return };
            if worker.outcomes.is_full() && self.mutation != Some(Mutation::TakeWhenFull) {
                self.summary.full += 1;
                self.turned_away(id, run);
                continue;
            }
            let (memory, _) = worker.outcomes.kept();
            if memory > LIMITS.memory * 2 {
                let what = format!("w{} begins {it:?} and keeps {memory} bytes in memory", worker.number);
                return self.breach(Law::Bounded, what);
            }
            let Some(of) = worker.what.get(&run).copied() else { continue };
            worker.running.insert(run, of);
            let twice = !worker.begun.insert(run);
            let number = worker.number;
            if twice {
                let what = format!("task {} attempt {} is begun twice by worker w{number}", it.0, it.1);
                self.breach(Law::RunOnce, what);
            }
            self.check_rerun(id, run);
            self.check_once(id, run, of);
            self.check_written(id);
            let runs = self.runs_for(it.0);
            self.plan(runs, Event::Inside(id, number, Inside::Ends(run)));
        }
    }

    /// A call that waited for a slot will not begin here.
    fn turned_away(&mut self, id: MachineId, run: Run) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let it = run.it;
        let is_present = run.epoch == worker.epoch;
        if is_present && worker.open.remove(&it) {
            if worker.apart.remove(&it) {
                worker.outcomes.give_back(run);
            }
            self.answer(id, it, Word::Full, Delivery::Word);
        } else {
            worker.outcomes.give_back(run);
        }
        self.tell_gone(id);
    }

    /// Who asked for what is not here any more hears that, whoever let go of it.
    fn tell_gone(&mut self, id: MachineId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (asked, outcomes) = (&mut worker.asked, &mut worker.outcomes);
        let gone = asked.extract_if(.., |it| matches!(outcomes.resume(*it, ()), Resumed::Unknown(())));
        for it in gone.collect::<Vec<_>>() {
            self.answer(id, it, Word::Unknown, Delivery::Word);
        }
    }

    /// No other try of a task may have begun on a worker that its node still has.
    fn check_rerun(&mut self, id: MachineId, run: Run) {
        let (task, attempt) = run.it;
        let Some(before) = attempt.0.checked_sub(1) else { return };
        let before = Run { it: (task, Attempt(before)), ..run };
        let runs = |it: &Worker| it.running.contains_key(&before) && it.wants(before);
        let there = self.workers.iter().find(|(_, it)| runs(it));
        let Some((machine, worker)) = there else { return };
        // A program that has lost the pool may believe that it has a node there which its owner gave up; and a node that
        // leaves is over with its link, before it has heard of that itself.
        let owner = self.newest_owner;
        let counts = |it: &Life| it.alive && !it.leaving && it.program == owner && it.is_on(*machine);
        let is_node = self.lives.iter().any(counts);
        let is_linked = is_node && self.machine(*machine).is_some_and(|it| it.dead.is_none());
        if is_linked {
            let what = format!("task {task} is begun again on {id:?} while w{} runs it", worker.number);
            self.breach(Law::RunOnce, what);
        }
    }

    pub(in crate::testing) fn happens_inside(&mut self, id: MachineId, number: u64, inside: Inside) {
        let silent = self.machine(id).filter(|it| it.dead.is_none()).map(|it| it.frozen);
        let Some(frozen) = silent else { return };
        if frozen > self.now {
            return self.plan_for(0, frozen + Duration::from_millis(1), Event::Inside(id, number, inside));
        }
        let Some(worker) = self.workers.get_mut(&id).filter(|it| it.number == number) else { return };
        match inside {
            Inside::Ends(it) => self.ends(id, it),
            Inside::Written(run, to, written) => {
                if let Some(made) = worker.outcomes.spilled(run, to, written) {
                    worker.written.insert(to.offset, made);
                }
                self.spill(id);
            }
        }
        self.tell_gone(id);
        self.tell_ends(id);
        self.check_retention(id);
    }

    /// A call that runs has ended.
    fn ends(&mut self, id: MachineId, run: Run) {
        let size = self.dice.below(LARGEST);
        let mutation = self.mutation;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(of) = worker.running.remove(&run) else {
            if worker.outlived.remove(&run) {
                self.begin_waiting(id);
            }
            return;
        };
        let evicts =
            mutation == Some(Mutation::EvictWhenFull) && worker.outcomes.kept().0 + size > LIMITS.memory;
        self.comes_to(id, run, Made { size, word: Word::Ended(of) });
        if evicts && let Some(worker) = self.workers.get_mut(&id) {
            worker.outcomes.release(run.it);
        }
        self.begin_waiting(id);
    }

    /// This is what a call came to: it is answered, kept, or nobody's any more.
    fn comes_to(&mut self, id: MachineId, run: Run, made: Made) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let it = run.it;
        let is_open = worker.link.is_some() && run.epoch == worker.epoch && worker.open.contains(&it);
        if is_open && !worker.apart.contains(&it) {
            worker.open.remove(&it);
            return self.say(id, it, made);
        }
        if !worker.outcomes.is_wanted(run) {
            return;
        }
        let _ = worker.outcomes.finish(run, made, made.size);
        if is_open {
            worker.open.remove(&it);
            worker.apart.remove(&it);
        }
        // Whoever was told asks again.
        let mut told: Vec<Try> = worker.asked.iter().copied().collect();
        told.retain(|it| worker.outcomes.body(*it).is_some());
        worker.asked.retain(|it| !told.contains(it));
        if is_open && !told.contains(&it) {
            told.push(it);
        }
        told.into_iter().for_each(|it| self.answer_kept(id, it));
        self.spill(id);
    }

    /// Answers with what is nowhere else.
    fn say(&mut self, id: MachineId, it: Try, made: Made) {
        self.answer(id, it, made.word, Delivery::Here(made));
    }

    /// Puts an answer on the link that counts.
    fn answer(&mut self, id: MachineId, it: Try, word: Word, delivery: Delivery) {
        let latency = self.dice.up_to(Duration::from_millis(100));
        let (now, early) = (self.now, self.mutation == Some(Mutation::ForgetBeforeTaken));
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(link) = worker.link else { return };
        let run = worker.run(it);
        worker.sent.put(run, if early { Delivery::Word } else { delivery });
        if early {
            worker.outcomes.taken(run);
        }
        let Some(way) = self.links.get_mut(link.0) else { return };
        way.back = (now + latency).max(way.back);
        let (at, program) = (way.back, way.program);
        self.plan_for(program, at, Event::Reply(link, it, word));
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

    /// What nobody wants any more stops where it runs, or keeps its slot until it returns.
    fn drop_unwanted(&mut self, id: MachineId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let unwanted = worker.running.keys().filter(|it| !worker.wants(**it)).copied();
        for it in unwanted.collect::<Vec<_>>() {
            worker.running.remove(&it);
            if self.dice.chance(500) {
                worker.outlived.insert(it);
            }
        }
        self.begin_waiting(id);
    }

    /// What still ran when the time of a drain was over is cancelled.
    pub(in crate::testing) fn drained(&mut self, id: MachineId) {
        let running = self.workers.get(&id).map(|it| it.running.clone()).unwrap_or_default();
        for run in running.into_keys() {
            self.ends(id, run);
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
    pub(in crate::testing) fn audit(&mut self, program: u32, (task, attempt): Try, since: Duration) {
        if self.newest_owner != program || !self.is_alive(program) {
            return;
        }
        self.become_program(program);
        let run = Run { epoch: self.epoch_of(program), it: (task, attempt) };
        let kept = self.workers.iter().find(|(_, it)| it.has(run));
        let Some((id, worker)) = kept else { return };
        let calm = |at: Duration| self.now.saturating_sub(at) > CALM;
        let link = worker.link.and_then(|it| self.links.get(it.0)).filter(|it| it.alive);
        let quiet = self.machine(*id).is_some_and(|it| it.dead.is_none() && calm(it.silent_until()));
        let is_known = link.is_some_and(|it| it.program == program && it.reconciled.is_some_and(calm));
        if quiet && is_known && calm(since.max(self.me.asleep)) && self.me.queue.is_some() {
            let what = format!("w{} keeps task {task} attempt {attempt}, which is over", worker.number);
            self.breach(Law::Released, what);
        }
    }
}
