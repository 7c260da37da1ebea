//! The shell of a simulated node: does with the effects of `node::state` what the NodeActor does.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cloud::{MachineId, endpoint};
use super::event::Event;
use super::failure::Law;
use super::knobs::Mutation;
use super::letter::Letter;
use super::link::LinkId;
use super::pool::PoolMessage;
use super::probing::Probing;
use super::world::World;
use crate::bootstrap::Listening;
use crate::journal::KnownNode;
use crate::model::{Attempt, End, Incarnation, InstanceId, Rank};
use crate::node::Leave;
use crate::node::effect::{Effect, Said};
use crate::node::health;
use crate::node::messages::{Heard, Timer, Trouble};
use crate::node::state::State;
use crate::timing::Timing;

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
    Health(health::Heard),
    /// A probe ends, which was sent over this link; and whether it hung.
    Probed {
        number: u64,
        link: LinkId,
        hangs: bool,
    },
    Drain(Leave),
    Stop,
}

/// What a node does beside its mailbox.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Describe,
    Reach,
    Bootstrap,
    StartWorker,
    /// The worker that was started is written down.
    WriteDown,
    CheckWorker,
    /// The worker that was meant when it was dialled.
    Link(Option<Incarnation>),
    Renew,
    Drain,
}

/// One node of the client process.
#[derive(Debug)]
pub(super) struct Life {
    /// The program that it is part of.
    pub(super) program: u32,
    pub(super) rank: Rank,
    pub(super) attempt: Attempt,
    pub(super) instance: InstanceId,
    pub(super) machine: MachineId,
    /// The times that it goes by: its lease is its machine's.
    timing: Timing,
    /// The worker that it means.
    pub(super) worker: Option<Incarnation>,
    pub(super) probing: Option<Probing>,
    state: State,
    pub(super) alive: bool,
    /// It finishes what it has: its rank may have another.
    pub(super) leaving: bool,
    /// Its machine ended while its client slept; and that it is lost was said.
    slept: bool,
    said: bool,
    /// Since when.
    pub(super) left: Duration,
    inbox: Duration,
    timers: BTreeMap<Timer, u64>,
    timed: u64,
    /// Since when it has an SSH session.
    session: Option<Duration>,
    link: Option<LinkId>,
}

impl Life {
    pub(super) fn is_on(&self, machine: MachineId) -> bool {
        self.machine == machine
    }

    pub(super) const fn link(&self) -> Option<LinkId> {
        self.link
    }

    /// Keeps what only the shell may hold and passes on the rest; what is of its health is not for its state.
    fn take_in(&mut self, message: NodeMessage, now: Duration) -> Option<Heard> {
        Some(match message {
            NodeMessage::Heard(heard) => heard,
            NodeMessage::Health(_) | NodeMessage::Probed { .. } => return None,
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
        })
    }
}

impl World {
    pub(super) fn cast_node(&mut self, id: LifeId, message: NodeMessage) {
        let Some(life) = self.lives.get_mut(id.0).filter(|it| it.alive) else { return };
        let at = Self::arrival(&mut self.dice, self.now, &mut life.inbox);
        let program = life.program;
        self.plan_for(program, at, Event::Node(id, message));
    }

    pub(super) fn begin_life(
        &mut self,
        (rank, attempt, instance): (Rank, Attempt, InstanceId),
        lease: Duration,
        known: Option<KnownNode>,
    ) -> LifeId {
        let id = LifeId(self.lives.len());
        let machine = self.cloud.names.get(&instance).copied().unwrap_or(MachineId(usize::MAX));
        self.lives.push(Life {
            program: self.me.number,
            rank,
            attempt,
            instance,
            machine,
            timing: Timing { lease, ..self.timing.clone() },
            worker: known.as_ref().map(|it| it.incarnation.clone()),
            probing: self.probe.map(|it| Probing::new(it, self.mutation)),
            state: State::Unborn,
            alive: true,
            leaving: false,
            slept: false,
            said: false,
            left: Duration::ZERO,
            inbox: self.now,
            timers: BTreeMap::new(),
            timed: 0,
            session: None,
            link: None,
        });
        let heard = known
            .map_or(Heard::Born, |it| Heard::Adopted(Listening { port: it.port, tcp: it.tcp, pid: it.pid }));
        self.cast_node(id, NodeMessage::Heard(heard));
        id
    }

    /// A program wakes up: what its nodes were on may have ended itself meanwhile.
    pub(super) fn note_what_lapsed(&mut self, program: u32) {
        let own = self.lives.iter().enumerate().filter(|(_, it)| it.alive && it.program == program);
        let over = own.filter(|(_, it)| self.has_lapsed(it.machine)).map(|(at, _)| at);
        let over: Vec<usize> = over.collect();
        self.summary.overslept += u64::from(!over.is_empty());
        for at in over {
            if let Some(life) = self.lives.get_mut(at) {
                life.slept = true;
            }
        }
    }

    pub(super) fn node_hears(&mut self, id: LifeId, message: NodeMessage) {
        let (moment, now) = (self.moment(), self.now);
        let Some(life) = self.lives.get_mut(id.0).filter(|it| it.alive) else { return };
        let heard = match message {
            NodeMessage::Health(heard) => self.look_after(id, heard),
            NodeMessage::Probed { number, link, hangs } => self.probed(id, number, link, hangs),
            message => life.take_in(message, now),
        };
        let (Some(heard), Some(life)) = (heard, self.lives.get_mut(id.0)) else { return };
        let effects = life.state.hear(heard, moment, &life.timing);
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
            Effect::Link(_) => {
                let meant = life.worker.clone();
                self.begin_step(id, Step::Link(meant), second / 2);
            }
            Effect::CheckWorker { .. } => self.begin_step(id, Step::CheckWorker, second / 5),
            Effect::Renew => {
                if self.mutation != Some(Mutation::ForgetRenew) {
                    self.begin_step(id, Step::Renew, second / 10);
                }
            }
            Effect::Drain(leave) => self.drain(id, leave),
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
            Effect::ReportReady => self.linked(id),
            Effect::ReportPaused => {
                life.link = None;
                let (rank, attempt) = (life.rank, life.attempt);
                self.unlinked(id);
                self.cast_pool(PoolMessage::Paused { rank, attempt });
            }
            Effect::ReportNoticed { within, .. } => {
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

    pub(super) fn begin_step(&mut self, id: LifeId, step: Step, most: Duration) {
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
            Step::StartWorker if self.is_lost() => {
                Heard::Started(Err(trouble("the pool is another's", false)))
            }
            Step::StartWorker => {
                let worker = self.start_worker(machine);
                if let Some(life) = self.lives.get_mut(id.0) {
                    life.worker = Some(worker);
                }
                return self.begin_step(id, Step::WriteDown, Duration::from_millis(20));
            }
            Step::WriteDown => {
                self.write_down(id);
                Heard::Started(Ok(LISTENING))
            }
            // A machine that does not answer leaves it open.
            Step::CheckWorker if !reachable => Heard::WorkerEnded(false),
            Step::CheckWorker => Heard::WorkerEnded(self.worker_ends(machine)),
            Step::Link(_) if !reachable || !self.workers.contains_key(&machine) => {
                Heard::Linked(Err(trouble("no answer", true)))
            }
            Step::Link(_) if fails => Heard::Linked(Err(trouble("refused", false))),
            Step::Link(meant) if !self.is_meant(meant.as_ref(), machine) => {
                Heard::Linked(Err(trouble("it is another life of the worker", false)))
            }
            Step::Link(_) if !self.takes_order(machine, "to be linked") => {
                self.refused_by_worker();
                Heard::Linked(Err(trouble("the pool has a newer owner", false)))
            }
            Step::Link(_) => {
                self.check_taken_over(machine);
                let link = self.open_link(id, machine);
                return self.cast_node(id, NodeMessage::Linked(link));
            }
            Step::Renew => return self.renew(id, machine),
            Step::Drain => {
                if self.has_linked(id) {
                    self.drained(machine);
                }
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

    /// Whether the worker of a machine is the one that a dial means.
    fn is_meant(&self, meant: Option<&Incarnation>, machine: MachineId) -> bool {
        meant.is_some() && self.workers.get(&machine).map(super::worker::Worker::name).as_ref() == meant
    }

    /// Whether a life has a link to its worker that is alive.
    fn has_linked(&self, id: LifeId) -> bool {
        self.lives.get(id.0).and_then(|it| it.link).is_some_and(|it| self.link_is_alive(it))
    }

    /// Whether the worker of a machine takes an order of the present program: not one of an older owner than it has
    /// heard of.
    pub(super) fn takes_order(&mut self, machine: MachineId, what: &str) -> bool {
        let (epoch, program) = (self.epoch_of(self.me.number), self.me.number);
        let unfenced = self.mutation == Some(Mutation::TakeOldOrders);
        let Some(worker) = self.workers.get_mut(&machine) else { return true };
        let taken = worker.owner.claim(epoch).is_ok() || unfenced;
        if taken {
            let newest = worker.heard;
            worker.heard = newest.max(program);
            if program < newest {
                let what =
                    format!("{machine:?} takes program {program}'s order {what} after one of {newest}");
                self.breach(Law::Older, what);
            }
        } else {
            self.summary.outdated += 1;
        }
        taken
    }

    /// What is needed to find the worker again is written down, before it is given any call.
    fn write_down(&mut self, id: LifeId) {
        if self.mutation == Some(Mutation::NodeUnwritten) {
            return;
        }
        let Some(life) = self.lives.get(id.0) else { return };
        let Some(incarnation) = life.worker.clone() else { return };
        let (instance, Listening { port, tcp, pid }) = (life.instance.clone(), LISTENING);
        let node = KnownNode {
            rank: life.rank,
            attempt: life.attempt,
            incarnation,
            ssh: endpoint(&instance),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            private: None,
            end: End::Command { shell: "shutdown".to_owned() },
            port,
            tcp,
            pid,
        };
        let machine = life.machine;
        let written = self.write(|store, owner| store.node(owner, &instance, node));
        if let (Err(_), Some(worker)) = (written, self.workers.get_mut(&machine)) {
            // Its client says so, and goes on.
            worker.unwritten = true;
        }
    }

    /// Over the link when there is one, else over SSH.
    fn renew(&mut self, id: LifeId, machine: MachineId) {
        self.me.renewals += 1;
        let (number, epoch, reaches) = (self.me.renewals, self.epoch_of(self.me.number), self.has_linked(id));
        let answers = self.machine(machine).is_some_and(|it| it.answers(self.now));
        if reaches && answers {
            if !self.takes_order(machine, "to live on") {
                return self.refused_by_worker();
            }
            let renewals = self.workers.get_mut(&machine).map(|it| &mut it.renewals);
            if let Some(count) = renewals.and_then(|it| it.renew(epoch, number)) {
                return self.renewed(machine, count.to_string(), true);
            }
        }
        // Where the link has broken.
        if self.lives.get(id.0).is_some_and(|it| it.session.is_some()) {
            self.renewed(machine, format!("ssh {number}"), true);
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

    /// Whether a silent machine will answer again.
    fn comes_back(&self, machine: MachineId) -> bool {
        self.machine(machine).is_some_and(|it| it.dead.is_none() && it.silent_until() > self.now)
    }

    /// Since when a living node could renew the lease of this machine.
    pub(super) fn renewable_since(&self, machine: MachineId) -> Option<Duration> {
        let life = self.lives.iter().rev().find(|it| it.machine == machine && it.alive)?;
        // Who sleeps, or has just woken, could not.
        let program = self.program(life.program).filter(|it| it.alive)?;
        if program.asleep > self.now {
            return None;
        }
        // A link that is about to be found dead takes renewals with it.
        let doubtful = matches!(life.link, Some(link) if !self.link_is_alive(link));
        life.session.filter(|_| !doubtful).map(|it| it.max(program.asleep))
    }
}

/// Where every worker listens.
const LISTENING: Listening = Listening { port: 4433, tcp: 4434, pid: 17 };
