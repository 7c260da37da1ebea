//! One simulated pool with its callers: its clock, its agenda, and everything that lives in it but the
//! cloud, which it shares with other pools and has while it is its turn (`universe.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use super::calls::Call;
use super::cloud::{Cloud, MachineId};
use super::dice::Dice;
use super::event::{Event, Owner};
use super::failure::{Failure, Law, Summary};
use super::knobs::{Knobs, Mutation, Weather};
use super::link::Link;
use super::market::Wishes;
use super::node::Life;
use super::pool::{Pool, PoolMessage};
use super::tasks::Queue;
use super::worker::{Work, Worker};
use crate::model::TaskId;
use crate::tasks::GroupId;
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
    pub(super) agenda: Agenda<Event>,
    pub(super) specs: usize,
    pub(super) nodes: u32,
    pub(super) slots: u32,
    /// The owner gives the pool back when the last call is over.
    pub(super) stops_when_done: bool,
    pub(super) cloud: Cloud,
    /// At which clouds, by name, what `prepare` set up is there.
    pub(super) prepared: BTreeSet<String>,
    pub(super) wishes: Wishes,
    pub(super) links: Vec<Link>,
    pub(super) workers: BTreeMap<MachineId, Worker>,
    /// How many workers were started.
    pub(super) started: u64,
    // What lives in the client's process.
    pub(super) pool: Option<Pool>,
    pub(super) queue: Option<Queue>,
    pub(super) lives: Vec<Life>,
    pub(super) calls: BTreeMap<TaskId, Call>,
    pub(super) open_calls: usize,
    /// Groups of which a call has failed.
    pub(super) failed: BTreeSet<GroupId>,
    /// The client's process was killed.
    pub(super) killed: bool,
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
        let retries = dice.count(0, 3);
        let mut world = Self {
            number,
            now: Duration::ZERO,
            base: Instant::now(),
            specs: 1 + usize::from(dice.chance(500)),
            nodes: dice.count(1, knobs.nodes.max(1)),
            slots: dice.count(1, knobs.slots.max(1)),
            stops_when_done: false,
            weather,
            timing,
            mutation: knobs.mutation,
            agenda: Agenda::new(),
            cloud: Cloud::default(),
            prepared: BTreeSet::new(),
            wishes: Wishes::default(),
            links: Vec::new(),
            workers: BTreeMap::new(),
            started: 0,
            pool: Some(Pool::new()),
            queue: Some(Queue::new(retries, knobs.mutation)),
            lives: Vec::new(),
            calls: BTreeMap::new(),
            open_calls: 0,
            failed: BTreeSet::new(),
            killed: false,
            summary: Summary::default(),
            broken: None,
            transcript: transcript.then(VecDeque::new),
            dice,
        };
        world.begin_pool();
        world.draw_calls(knobs.callers.max(1));
        world.draw_ending();
        world
    }

    /// Half of the endings that come from outside come while the pool starts.
    fn draw_ending(&mut self) {
        let boot = self.timing.boot;
        if self.dice.chance(self.weather.sleeps) {
            let at = self.dice.up_to(boot);
            self.plan(at, Event::Owner(Owner::Wakes));
        }
        if self.wishes.max_total_cost.is_some() && self.dice.chance(500) {
            // What ends it is what it costs.
            return self.plan(LATE, Event::Owner(Owner::Stops));
        }
        let at = if self.dice.chance(500) { self.dice.up_to(boot / 8) } else { self.dice.up_to(boot * 2) };
        match self.dice.below(10) {
            0..=4 => self.stops_when_done = true,
            5..=7 => {
                self.plan(at, Event::Owner(Owner::Stops));
                // Once more changes nothing.
                let again = self.dice.up_to(boot / 4);
                self.plan(at + again, Event::Owner(Owner::Stops));
            }
            _ => self.plan(at, Event::Owner(Owner::Dies)),
        }
    }

    /// When the next event is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.agenda.due()
    }

    /// Lives the next event. Returns whether every law was kept.
    pub(super) fn step(&mut self) -> bool {
        let Some((at, event)) = self.agenda.next() else { return true };
        self.now = at;
        self.summary.events += 1;
        if at > LONGEST || self.summary.events > MOST {
            let what = format!("it still goes on; {} calls are open", self.open_calls);
            self.breach(Law::Ends, what);
        } else {
            self.note(|| format!("[{:>10.4}] {event:?}", at.as_secs_f64()));
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
        self.agenda.plan(self.now + after, event);
    }

    /// The present as the machines are told it.
    pub(super) fn moment(&self) -> Instant {
        self.base + self.now
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
        let since = self.pool.as_ref().and_then(|it| it.stopping);
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
                self.cast_pool(PoolMessage::Heard(crate::pool::messages::Heard::Woke(timer)));
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
            Event::Call(id, event) => self.call_happens(id, event),
            Event::Work(link, work) => self.works(link, work),
            Event::Inside(machine, number, inside) => self.happens_inside(machine, number, inside),
            Event::Reply(link, it, word) => self.replied(link, it, word),
            Event::Taken(link, count) => self.tell_worker(link, Work::Taken(count)),
            Event::Audit((task, attempt), since) => self.audit(task, attempt, since),
            // Who was told that the start has failed has nothing to stop; a signal may still come.
            Event::Owner(Owner::Stops)
                if self.pool.as_ref().is_some_and(|it| it.failed) && self.dice.chance(700) => {}
            Event::Owner(Owner::Stops) => self.cast_pool(PoolMessage::Stop),
            Event::Owner(Owner::Dies) => self.client_dies(),
            Event::Owner(Owner::Wakes) => self.client_wakes(),
        }
    }

    /// Everything in the client's process vanishes; what was asked of a cloud may still happen.
    pub(super) fn client_dies(&mut self) {
        self.killed = true;
        if self.pool.as_ref().is_some_and(|it| it.ended) {
            return;
        }
        self.pool = None;
        self.queue = None;
        self.calls.clear();
        self.open_calls = 0;
        for life in &mut self.lives {
            life.alive = false;
        }
        let dice = &mut self.dice;
        self.agenda.retain(|event| match event {
            Event::Machine(..) => true,
            Event::Cloud(_) => dice.chance(500),
            Event::Pool(_)
            | Event::Node(..)
            | Event::Queue(_)
            | Event::PoolTimer(_)
            | Event::NodeTimer(..)
            | Event::Step(..)
            | Event::LinkBroken(..)
            | Event::Work(..)
            | Event::Inside(..)
            | Event::Reply(..)
            | Event::Taken(..)
            | Event::Audit(..)
            | Event::Call(..)
            | Event::Owner(_) => false,
        });
    }

    pub(super) fn judge_the_end(&mut self) {
        self.judge_budget();
        let alive = self.own_machines().find(|it| it.dead.is_none());
        if let Some(id) = self.endless_call() {
            self.breach(Law::NoneLost, format!("task {id} has no end"));
        } else if let Some(machine) = alive {
            let what = format!("machine {} is still there", machine.name);
            self.breach(Law::NothingLeft, what);
        } else if self.pool.as_ref().is_some_and(|it| !it.ended) {
            self.breach(Law::Ends, "nothing more happens, and the pool has not ended".to_owned());
        }
    }
}

/// How long a mailbox is read late at most.
pub(super) const HICCUP: Duration = Duration::from_millis(50);

/// How long a life may be: far longer than the time-outs of one add up to.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

/// When an owner stops a pool that should have come to its end by itself.
const LATE: Duration = Duration::from_secs(1800);

/// How many events a life may have: a hundred times what the longest has.
const MOST: u64 = 1_000_000;

/// How many lines of a transcript are kept.
const LINES: usize = 400;
