//! The shell of a simulated node: does with the effects of `node::state` what the NodeActor does.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cloud::MachineId;
use super::event::Event;
use super::failure::Law;
use super::knobs::Mutation;
use super::link::LinkId;
use super::pool::PoolMessage;
use super::tasks::Letter;
use super::world::World;
use crate::bootstrap::Listening;
use crate::model::{Attempt, InstanceId, Rank};
use crate::node::Leave;
use crate::node::effect::{Effect, Said};
use crate::node::messages::{Heard, Timer, Trouble};
use crate::node::state::State;

/// One life of one rank, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LifeId(pub(super) usize);

/// What reaches a node's mailbox.
#[derive(Clone, Debug)]
pub(super) enum NodeMessage {
    Heard(Heard),
    Closed(LinkId, &'static str),
    Reached,
    Linked(LinkId),
    Drain(Leave),
    Stop,
}

/// What a node does beside its mailbox.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Describe,
    Reach,
    Bootstrap,
    StartWorker,
    CheckWorker,
    Link,
    Renew,
    Drain,
}

/// One node of the client process.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) rank: Rank,
    pub(super) attempt: Attempt,
    pub(super) instance: InstanceId,
    machine: MachineId,
    state: State,
    pub(super) alive: bool,
    /// It finishes what it has: its rank may have another.
    pub(super) leaving: bool,
    /// Its machine ended while its client slept; and that it is lost was said.
    slept: bool,
    said: bool,
    inbox: Duration,
    timers: BTreeMap<Timer, u64>,
    timed: u64,
    /// Since when it has an SSH session.
    session: Option<Duration>,
    link: Option<LinkId>,
}

impl Life {
    fn take_in(&mut self, message: NodeMessage, now: Duration) -> Heard {
        match message {
            NodeMessage::Heard(heard) => heard,
            NodeMessage::Closed(link, reason) => {
                self.link.take_if(|it| *it == link);
                Heard::LinkClosed { reason: reason.to_owned() }
            }
            NodeMessage::Reached => {
                self.session = Some(now);
                Heard::Reached(Ok(()))
            }
            NodeMessage::Linked(link) => {
                self.link = Some(link);
                Heard::Linked(Ok(()))
            }
            NodeMessage::Drain(leave) => Heard::Drain(leave),
            NodeMessage::Stop => Heard::Stop,
        }
    }
}

impl World {
    pub(super) fn cast_node(&mut self, id: LifeId, message: NodeMessage) {
        let Some(life) = self.lives.get_mut(id.0).filter(|it| it.alive) else { return };
        let at = Self::arrival(&mut self.dice, self.now, &mut life.inbox);
        self.agenda.plan(at, Event::Node(id, message));
    }

    pub(super) fn begin_life(&mut self, rank: Rank, attempt: Attempt, instance: InstanceId) -> LifeId {
        let id = LifeId(self.lives.len());
        let machine = self.cloud.names.get(&instance).copied().unwrap_or(MachineId(usize::MAX));
        self.lives.push(Life {
            rank,
            attempt,
            instance,
            machine,
            state: State::Unborn,
            alive: true,
            leaving: false,
            slept: false,
            said: false,
            inbox: self.now,
            timers: BTreeMap::new(),
            timed: 0,
            session: None,
            link: None,
        });
        self.cast_node(id, NodeMessage::Heard(Heard::Born));
        id
    }

    /// The machine of a living node ends while its client sleeps.
    pub(super) fn sleeps_through(&mut self, machine: MachineId) {
        self.lives.iter_mut().filter(|it| it.alive && it.machine == machine).for_each(|it| it.slept = true);
    }

    pub(super) fn leaves(&mut self, id: LifeId) {
        if let Some(life) = self.lives.get_mut(id.0) {
            life.leaving = true;
        }
    }

    pub(super) fn node_hears(&mut self, id: LifeId, message: NodeMessage) {
        let (moment, now) = (self.moment(), self.now);
        let Some(life) = self.lives.get_mut(id.0).filter(|it| it.alive) else { return };
        let heard = life.take_in(message, now);
        let effects = life.state.hear(heard, moment, &self.timing);
        self.note(|| format!("    node {} -> {effects:?}", id.0));
        for effect in effects {
            self.node_does(id, effect);
        }
    }

    pub(super) fn node_wakes(&mut self, id: LifeId, timer: Timer, number: u64) {
        let Some(life) = self.lives.get_mut(id.0) else { return };
        if life.timers.get(&timer) == Some(&number) {
            life.timers.remove(&timer);
            self.cast_node(id, NodeMessage::Heard(Heard::Woke(timer)));
        }
    }

    fn node_does(&mut self, id: LifeId, effect: Effect) {
        let second = Duration::from_secs(1);
        let Some(life) = self.lives.get_mut(id.0) else { return };
        match effect {
            Effect::Describe => self.begin_step(id, Step::Describe, second),
            Effect::Reach(_) => self.begin_step(id, Step::Reach, second),
            Effect::Bootstrap => self.begin_step(id, Step::Bootstrap, second * 20),
            Effect::StartWorker => self.begin_step(id, Step::StartWorker, second * 5),
            Effect::Link(_) => self.begin_step(id, Step::Link, second / 2),
            Effect::CheckWorker { .. } => self.begin_step(id, Step::CheckWorker, second / 5),
            Effect::Renew => {
                if self.mutation != Some(Mutation::ForgetRenew) {
                    self.begin_step(id, Step::Renew, second / 10);
                }
            }
            Effect::Drain(leave) => {
                let machine = life.machine;
                if let Some(machine) = self.machine_mut(machine) {
                    machine.draining = true;
                }
                self.begin_step(id, Step::Drain, leave.within);
            }
            Effect::Wake(timer, after) => {
                life.timed += 1;
                let number = life.timed;
                life.timers.insert(timer, number);
                self.plan(after, Event::NodeTimer(id, timer, number));
            }
            Effect::Quiet(timer) => {
                life.timers.remove(&timer);
            }
            Effect::Announce(Said::Lost(..)) => life.said = self.mutation != Some(Mutation::LoseSilently),
            Effect::Announce(_) => {}
            Effect::ReportReady => {
                if let Some(link) = life.link {
                    let (rank, attempt) = (life.rank, life.attempt);
                    self.cast_pool(PoolMessage::Ready { rank, attempt, link });
                }
            }
            Effect::ReportPaused => {
                life.link = None;
                let (rank, attempt) = (life.rank, life.attempt);
                self.cast_pool(PoolMessage::Paused { rank, attempt });
            }
            Effect::ReportNoticed { within } => {
                let (rank, attempt) = (life.rank, life.attempt);
                self.cast_pool(PoolMessage::Noticed { rank, attempt, within });
            }
            Effect::ReportCrashed => {
                let rank = life.rank;
                self.cast_queue(Letter::WorkerDied { rank });
            }
            Effect::End { reason, retry } => self.end_life(id, reason, retry),
        }
    }

    fn end_life(&mut self, id: LifeId, reason: String, retry: bool) {
        let Some(life) = self.lives.get_mut(id.0) else { return };
        life.alive = false;
        // One that was told to end has nothing to say.
        let is_lost = reason != "stopped" && reason != "drained";
        if life.slept && is_lost && !life.said {
            let what = format!("{}.{} is over without a word: {reason}", life.rank, life.attempt);
            return self.breach(Law::Told, what);
        }
        let (rank, attempt, machine) = (life.rank, life.attempt, life.machine);
        for link in self.links_of(machine) {
            self.break_link(link, "the node has ended");
        }
        if self.mutation != Some(Mutation::DropNodeGone) {
            self.cast_pool(PoolMessage::Gone { rank, attempt, reason, retry });
        }
    }

    /// A machine is gone, and with it its SSH sessions: mostly that is noticed at once.
    pub(super) fn end_sessions(&mut self, machine: MachineId) {
        let at = |it: &Life| it.alive && it.machine == machine && it.session.is_some();
        let lives: Vec<usize> =
            self.lives.iter().enumerate().filter(|(_, it)| at(it)).map(|(number, _)| number).collect();
        for life in lives {
            if self.dice.chance(700) {
                self.cast_node(LifeId(life), NodeMessage::Heard(Heard::SessionClosed));
            }
        }
    }

    /// A machine's cloud says that it takes it: its worker tells, where one is linked.
    pub(super) fn notice(&mut self, machine: MachineId, within: Duration) {
        let told = |it: &Life| it.alive && it.machine == machine && it.link.is_some();
        let Some(life) = self.lives.iter().position(told) else { return };
        self.summary.noticed += 1;
        let reason = "its cloud gave notice".to_owned();
        self.cast_node(LifeId(life), NodeMessage::Heard(Heard::Noticed { within, reason }));
    }

    fn begin_step(&mut self, id: LifeId, step: Step, most: Duration) {
        let after = self.dice.up_to(most);
        self.plan(after, Event::Step(id, step));
    }

    /// A step ends. What it meets on the machine is what is there now.
    pub(super) fn step_ends(&mut self, id: LifeId, step: Step) {
        let Some(life) = self.lives.get(id.0).filter(|it| it.alive) else { return };
        let (machine, instance) = (life.machine, life.instance.clone());
        let reachable = self.machine(machine).is_some_and(|it| it.answers(self.now));
        let lets_in = self.machine(machine).is_some_and(|it| it.lets_in(self.now));
        let fails = self.dice.chance(self.weather.step);
        let trouble = |reason: &str, retry| Trouble { reason: reason.to_owned(), retry };
        let heard = match step {
            Step::Describe => Heard::Described(self.describe(&instance)),
            Step::Reach if !lets_in => Heard::Reached(Err(trouble("connection refused", true))),
            Step::Reach if fails => Heard::Reached(Err(trouble("the host key is another", false))),
            Step::Reach => return self.cast_node(id, NodeMessage::Reached),
            // A session without an answer is given up after a while; a short silence only delays.
            Step::Bootstrap | Step::StartWorker if !reachable && self.comes_back(machine) => {
                return self.begin_step(id, step, Duration::from_secs(5));
            }
            Step::Bootstrap if fails || !reachable => {
                Heard::Bootstrapped(Err(trouble("a step failed", !reachable)))
            }
            Step::Bootstrap => Heard::Bootstrapped(Ok(())),
            Step::StartWorker if fails || !reachable => {
                Heard::Started(Err(trouble("the worker did not start", !reachable)))
            }
            Step::StartWorker => {
                self.start_worker(machine);
                Heard::Started(Ok(Listening { port: 4433, tcp: 4434, pid: 17 }))
            }
            // A machine that does not answer leaves it open.
            Step::CheckWorker if !reachable => Heard::WorkerEnded(false),
            Step::CheckWorker => Heard::WorkerEnded(self.worker_ends(machine)),
            Step::Link if !reachable || !self.workers.contains_key(&machine) => {
                Heard::Linked(Err(trouble("no answer", true)))
            }
            Step::Link if fails => Heard::Linked(Err(trouble("refused", false))),
            Step::Link => {
                let link = self.open_link(id, machine);
                return self.cast_node(id, NodeMessage::Linked(link));
            }
            Step::Renew => return self.renew(id, machine),
            Step::Drain => {
                self.drained(machine);
                Heard::Drained
            }
        };
        self.answer_node(id, heard);
    }

    fn answer_node(&mut self, id: LifeId, heard: Heard) {
        if self.dice.chance(self.weather.twice) {
            let after = self.dice.up_to(Duration::from_secs(10));
            self.plan(after, Event::Node(id, NodeMessage::Heard(heard.clone())));
        }
        self.cast_node(id, NodeMessage::Heard(heard));
    }

    /// Over the link when there is one, else over SSH.
    fn renew(&mut self, id: LifeId, machine: MachineId) {
        let Some(life) = self.lives.get(id.0) else { return };
        // Over SSH where the link has broken.
        if life.link.is_some_and(|it| self.link_is_alive(it)) || life.session.is_some() {
            self.renewed(machine);
        }
    }

    /// Whether it was the worker's end that broke its link.
    fn worker_ends(&mut self, machine: MachineId) -> bool {
        if self.dice.chance(self.weather.worker) {
            self.workers.remove(&machine);
            for link in self.links_of(machine) {
                self.break_link(link, "its worker has ended");
            }
        }
        !self.workers.contains_key(&machine)
    }

    /// Whether a living node has this machine.
    pub(super) fn has_node(&self, machine: MachineId) -> bool {
        self.lives.iter().any(|it| it.alive && it.machine == machine)
    }

    /// Whether a silent machine will answer again.
    fn comes_back(&self, machine: MachineId) -> bool {
        self.machine(machine).is_some_and(|it| it.dead.is_none() && it.silent_until() > self.now)
    }

    /// Since when a living node could renew the lease of this machine.
    pub(super) fn renewable_since(&self, machine: MachineId) -> Option<Duration> {
        let life = self.lives.iter().rev().find(|it| it.machine == machine && it.alive)?;
        // A link that is about to be found dead takes renewals with it.
        let doubtful = matches!(life.link, Some(link) if !self.link_is_alive(link));
        life.session.filter(|_| !doubtful)
    }
}
