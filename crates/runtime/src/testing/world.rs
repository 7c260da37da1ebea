//! One simulated pool with its callers: its clock, its agenda, and everything that lives in it but the
//! cloud, which it shares with other pools and has while it is its turn (`universe.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use super::cloud::{Cloud, MachineId};
use super::dice::Dice;
use super::event::{Event, Owner};
use super::failure::{Failure, Law, Summary};
use super::knobs::{Knobs, Mutation, Weather};
use super::link::{self, Link};
use super::market::Wishes;
use super::node::Life;
use super::once::Begun;
use super::pool::PoolMessage;
use super::program::Program;
use super::store::Store;
use super::worker::{Work, Worker};
use crate::model::{Health, PoolId, TaskId};
use crate::pool::messages::Heard;
use crate::timing::Timing;

/// Everything that there is.
#[derive(Debug)]
pub(super) struct World {
    /// Which pool of its client this is.
    pub(super) number: usize,
    pub(super) now: Duration,
    /// The machines are told moments, which cannot be made up from nothing.
    base: Instant,
    pub(super) timing: Timing,
    pub(super) dice: Dice,
    pub(super) weather: Weather,
    pub(super) mutation: Option<Mutation>,
    /// Each event with the program in which it happens, if it does in one.
    pub(super) agenda: Agenda<(u32, Event)>,
    pub(super) specs: usize,
    pub(super) nodes: u32,
    /// The most nodes that anybody wanted.
    pub(super) most_nodes: u32,
    pub(super) slots: u32,
    pub(super) cloud: Cloud,
    /// For which pools and at which clouds, by name, what `prepare` set up is there.
    pub(super) prepared: BTreeSet<(PoolId, String)>,
    /// The newest program that undid that there.
    pub(super) undone: BTreeMap<(PoolId, String), u32>,
    pub(super) wishes: Wishes,
    /// The clouds that bill a machine until it is given back, though it has ended itself.
    pub(super) bills: BTreeSet<String>,
    /// How its nodes are probed, if they are.
    pub(super) probe: Option<Health>,
    pub(super) links: Vec<Link>,
    pub(super) workers: BTreeMap<MachineId, Worker>,
    /// How many workers were started.
    pub(super) started: u64,
    /// The nodes of all programs.
    pub(super) lives: Vec<Life>,
    /// The program in which something happens now, and those beside it.
    pub(super) me: Program,
    pub(super) others: Vec<Program>,
    /// How many programs and pools there were, and which program became the pool's owner last.
    pub(super) programs: u32,
    pub(super) pools: u32,
    pub(super) newest_owner: u32,
    /// The pool whose owner last asked for a number of nodes that was written down, and which.
    pub(super) sized: Option<(PoolId, u32)>,
    /// How many owners each pool had.
    pub(super) owners: BTreeMap<PoolId, u32>,
    /// A client was killed just now, and was once.
    pub(super) killed: bool,
    pub(super) died: bool,
    /// The pool has a name: what a program leaves can be attached to.
    pub(super) named: bool,
    /// The pool is told that its machines cannot end their own bill.
    pub(super) unattended: bool,
    pub(super) journal: Store,
    /// How far the clock on the wall was set.
    pub(super) set_forward: Duration,
    pub(super) set_back: Duration,
    /// How many calls a program makes at most, and how many keys there were.
    pub(super) callers: u32,
    pub(super) keys: u32,
    /// What was begun under keys, and which of them may be computed again.
    pub(super) begun: Vec<Begun>,
    pub(super) excused: BTreeSet<u32>,
    /// How often it was tried in vain to give back what nobody owns.
    pub(super) rounds: u32,
    /// Somebody was told what is left.
    pub(super) said: bool,
    pub(super) summary: Summary,
    /// The first law that was broken.
    broken: Option<(Law, String)>,
    transcript: Option<VecDeque<String>>,
}

impl World {
    /// Draws a life. The transcript costs most of the time, so that it is written in a second run.
    pub(super) fn draw(number: usize, seed: u64, knobs: &Knobs, transcript: bool) -> Self {
        let mut dice = Dice::new(seed);
        let weather = Weather::draw(&mut dice, knobs.trouble);
        let mut timing = if dice.chance(500) { Timing::short() } else { Timing::default() };
        if dice.chance(300) {
            timing.keep = dice.between(timing.lease / 4, timing.boot);
        }
        if dice.chance(300) {
            timing.lease = timing.ttl;
        }
        let mut world = Self {
            number,
            now: Duration::ZERO,
            base: Instant::now(),
            specs: 1 + usize::from(dice.chance(500)),
            nodes: dice.count(1, knobs.nodes.max(1)),
            most_nodes: 0,
            slots: dice.count(1, knobs.slots.max(1)),
            weather,
            timing,
            mutation: knobs.mutation,
            agenda: Agenda::new(),
            cloud: Cloud::default(),
            prepared: BTreeSet::new(),
            undone: BTreeMap::new(),
            wishes: Wishes::default(),
            bills: BTreeSet::new(),
            probe: None,
            links: Vec::new(),
            workers: BTreeMap::new(),
            started: 0,
            me: Program::new(0, None),
            others: Vec::new(),
            programs: 0,
            pools: 0,
            newest_owner: 0,
            sized: None,
            owners: BTreeMap::new(),
            killed: false,
            died: false,
            named: dice.chance(600),
            unattended: dice.chance(500),
            journal: Store::default(),
            set_forward: Duration::ZERO,
            set_back: Duration::ZERO,
            callers: knobs.callers.max(1),
            keys: 0,
            begun: Vec::new(),
            excused: BTreeSet::new(),
            rounds: 0,
            said: false,
            lives: Vec::new(),
            summary: Summary::default(),
            broken: None,
            transcript: transcript.then(VecDeque::new),
            dice,
        };
        world.journal.unfenced = knobs.mutation == Some(Mutation::WriteAsOld);
        world.most_nodes = world.nodes;
        world.draw_terms();
        world.draw_bills();
        world.run();
        world.draw_others();
        world
    }

    /// What others do meanwhile: a second client, a clock that is set, somebody who reaps.
    fn draw_others(&mut self) {
        let span = self.timing.boot * 2;
        for _ in 0..2 {
            let at = self.dice.up_to(span);
            if self.named && self.dice.chance(self.weather.second) {
                self.plan(at, Event::Owner(Owner::Runs));
            }
            let at = self.dice.up_to(span);
            if self.dice.chance(self.weather.second) {
                let named = self.dice.chance(300);
                self.plan(at, Event::Owner(Owner::Reaps { named }));
            }
            let (at, length) = (self.dice.up_to(span), self.dice.up_to(SET));
            if self.dice.chance(self.weather.set) {
                let forward = self.dice.chance(500);
                self.plan(at, Event::Owner(Owner::Sets { length, forward }));
            }
        }
    }

    /// Half of the endings that come from outside come while the pool starts.
    pub(super) fn draw_ending(&mut self) {
        let boot = self.timing.boot;
        self.draw_sizes();
        for _ in 0..2 {
            let (at, length) = (self.dice.up_to(boot * 2), self.draw_sleep());
            if self.dice.chance(self.weather.asleep) {
                self.plan(at, Event::Owner(Owner::Sleeps(length)));
            }
        }
        if self.wishes.max_total_cost.is_some() && self.dice.chance(500) {
            // What ends it is what it costs, also while its computer sleeps.
            let naps = if self.dice.chance(400) { 8 } else { 0 };
            for _ in 0..naps {
                let (at, length) = (self.dice.up_to(boot * 4), self.dice.up_to(self.timing.lease));
                self.plan(at, Event::Owner(Owner::Sleeps(length)));
            }
            return self.plan(LATE, Event::Owner(Owner::Stops));
        }
        let at = if self.dice.chance(500) { self.dice.up_to(boot / 8) } else { self.dice.up_to(boot * 2) };
        match self.dice.below(10) {
            0..=4 => self.me.stops_when_done = true,
            5..=7 => {
                self.plan(at, Event::Owner(Owner::Stops));
                // Once more changes nothing.
                let again = self.dice.up_to(boot / 4);
                self.plan(at + again, Event::Owner(Owner::Stops));
            }
            8 if self.named => {
                self.plan(at, Event::Owner(Owner::Leaves));
                // One that is not ready cannot be left.
                self.plan(LATE, Event::Owner(Owner::Stops));
            }
            _ => self.plan(at, Event::Owner(Owner::Dies)),
        }
    }

    /// How long a computer sleeps: a while, or a night.
    fn draw_sleep(&mut self) -> Duration {
        let leases = if self.dice.chance(300) { 16 } else { 2 };
        self.dice.up_to(self.timing.lease * leases)
    }

    /// What else may befall a program whose pool is ready.
    pub(super) fn draw_fate_of_ready(&mut self) {
        if !self.named || !self.dice.chance(400) {
            return;
        }
        let after = self.dice.up_to(self.timing.boot / 4);
        let length = self.draw_sleep();
        let asleep = self.dice.chance(self.weather.asleep);
        let fate = match self.dice.below(4) {
            0 => Owner::Leaves,
            1 if asleep => Owner::Sleeps(length),
            _ => Owner::Dies,
        };
        self.plan(after, Event::Owner(fate));
    }

    /// When the next event is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.agenda.due()
    }

    /// Lives the next event. Returns whether every law was kept.
    pub(super) fn step(&mut self) -> bool {
        let Some((at, (program, event))) = self.agenda.next() else { return true };
        self.now = at;
        if program > 0 {
            // What is meant for a program that is no more is lost; one that sleeps hears it when it wakes.
            if !self.become_program(program) {
                return true;
            }
            if self.me.asleep > at {
                self.agenda.plan(self.me.asleep, (program, event));
                return true;
            }
        }
        self.summary.events += 1;
        if at > LONGEST || self.summary.events > MOST {
            let what = format!("it still goes on; {} calls are open", self.me.open_calls);
            self.breach(Law::Ends, what);
        } else {
            // It would fill the transcript.
            if !matches!(event, Event::Fresh) {
                self.note(|| format!("[{:>10.4}] {event:?}", at.as_secs_f64()));
            }
            self.happen(event);
        }
        self.broken.is_none()
    }

    /// What it came to.
    pub(super) fn end(mut self, seed: u64) -> Result<Summary, Failure> {
        self.summary.took = self.now;
        match self.broken {
            None => Ok(self.summary),
            Some((law, what)) => {
                let transcript = self.transcript.unwrap_or_default().into();
                Err(Failure { seed, law, what, at: self.now, transcript })
            }
        }
    }

    pub(super) fn plan(&mut self, after: Duration, event: Event) {
        self.plan_for(self.me.number, self.now + after, event);
    }

    /// Plans what happens at this time, in this program where it happens in one.
    pub(super) fn plan_for(&mut self, program: u32, at: Duration, event: Event) {
        let program = if event.is_inside() { program } else { 0 };
        self.agenda.plan(at, (program, event));
    }

    /// The present as the machines are told it.
    pub(super) fn moment(&self) -> Instant {
        self.base + self.now.saturating_sub(self.me.slept)
    }

    /// The present as a pool is told it, which pays while its computer sleeps.
    pub(super) fn awake_moment(&self) -> Instant {
        if self.mutation == Some(Mutation::SpendAsleep) { self.moment() } else { self.base + self.now }
    }

    /// When a message that is sent now is read: a mailbox keeps the order in which it was filled.
    pub(super) fn arrival(dice: &mut Dice, now: Duration, inbox: &mut Duration) -> Duration {
        let most = if dice.chance(20) { HICCUP } else { Duration::from_millis(1) };
        *inbox = (now + dice.up_to(most)).max(*inbox);
        *inbox
    }

    pub(super) fn breach(&mut self, law: Law, what: String) {
        self.broken.get_or_insert((law, what));
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(transcript) = &mut self.transcript {
            if transcript.len() == LINES {
                transcript.pop_front();
            }
            transcript.push_back(line());
        }
    }

    /// A queue whose pool is being given back hands out nothing once it has had time to hear of it.
    pub(super) fn check_stopping(&mut self, id: TaskId) {
        let since = self.me.pool.as_ref().and_then(|it| it.stopping);
        if since.is_some_and(|it| self.now > it + HICCUP * 2) {
            self.breach(Law::Stopped, format!("task {id} is granted while the pool is given back"));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Pool(message) => self.pool_hears(message),
            Event::Node(life, message) => self.node_hears(life, message),
            Event::Queue(letter) => self.queue_hears(letter),
            Event::PoolTimer(timer) => {
                self.cast_pool(PoolMessage::Heard(Heard::Woke(timer)));
            }
            Event::NodeTimer(life, timer, number) => self.node_wakes(life, timer, number),
            Event::Step(life, step) => self.step_ends(life, step),
            Event::Cloud(asked) => self.provide(asked),
            Event::Machine(machine, happening) => self.happens(machine, happening),
            Event::LinkBroken(link, why) => {
                // A machine that answers again in time was only slow.
                let machine = self.links.get(link.0).and_then(|it| self.machine(it.machine));
                if machine.is_some_and(|it| it.dead.is_some() || it.silent_until() > self.now) {
                    self.break_link(link, why);
                }
            }
            Event::Replaced(link) => self.break_link(link, link::REPLACED),
            Event::Call(id, event) => self.call_happens(id, event),
            Event::Work(link, work) => self.works(link, work),
            Event::Inside(machine, number, inside) => self.happens_inside(machine, number, inside),
            Event::Reply(link, it, word) => self.replied(link, it, word),
            Event::Taken(link, count) => self.tell_worker(link, Work::Taken(count)),
            Event::Keys(link, worker, keys) => self.hears_keys(link, worker, keys),
            Event::Intends => self.intends(),
            Event::Acts(order) => self.acts(*order),
            Event::Answered(answer) => self.answered(*answer),
            Event::Looks(look) => self.look_again(look),
            Event::Fresh => self.fresh(),
            Event::Opens(until) => self.opens(until),
            Event::Audit(program, it, since) => self.audit(program, it, since),
            // Who was told that the start has failed has nothing to stop; a signal may still come.
            Event::Owner(Owner::Stops)
                if self.me.pool.as_ref().is_some_and(|it| it.failed) && self.dice.chance(700) => {}
            Event::Owner(Owner::Stops) => self.cast_pool(PoolMessage::Stop),
            Event::Owner(Owner::Dies) => self.client_dies(),
            Event::Owner(Owner::Leaves) => self.cast_pool(PoolMessage::Heard(Heard::Detach)),
            Event::Owner(Owner::Resizes(nodes)) => self.resizes(nodes),
            Event::Owner(Owner::Sleeps(length)) => self.sleeps(length),
            Event::Owner(Owner::Wakes) => self.wakes(),
            Event::Owner(owner @ (Owner::Runs | Owner::Reaps { .. } | Owner::Sets { .. })) => {
                self.owner_does(owner);
            }
        }
    }

    pub(super) fn judge_the_end(&mut self) {
        self.judge_budget();
        let alive = self.own_machines().find(|it| it.dead.is_none());
        if let Some(machine) = alive {
            let what = format!("machine {} is still there", machine.name);
            return self.breach(Law::NothingLeft, what);
        }
        if !self.said && (self.journal.entry().is_some() || !self.prepared.is_empty()) {
            let what = format!("{:?} is left, and nobody was told", self.prepared);
            return self.breach(Law::NothingLeft, what);
        }
        let programs: Vec<u32> = std::iter::once(&self.me).chain(&self.others).map(|it| it.number).collect();
        for program in programs {
            if !self.become_program(program) {
                continue;
            }
            if let Some(id) = self.endless_call() {
                self.breach(Law::NoneLost, format!("task {id} of program {program} has no end"));
            } else if self.me.pool.as_ref().is_some_and(|it| !it.ended) {
                self.breach(Law::Ends, "nothing more happens, and the pool has not ended".to_owned());
            }
        }
    }
}

/// How long a mailbox is read late at most.
pub(super) const HICCUP: Duration = Duration::from_millis(50);

/// How long a life may be: far longer than the time-outs of one add up to.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// When an owner stops a pool that should have come to its end by itself.
const LATE: Duration = Duration::from_secs(1800);

/// How many events a life may have: many times what the longest has.
const MOST: u64 = 300_000;

/// How many lines of a transcript are kept.
const LINES: usize = 400;

/// How far a clock is set at most.
const SET: Duration = Duration::from_secs(1800);
