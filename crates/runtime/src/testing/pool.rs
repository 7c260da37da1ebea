//! The shell of the simulated pool: does with the effects of `pool::state` what the PoolActor does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::asking::{Errand, Kit, Part, Why};
use super::event::{Asked, Event};
use super::failure::Law;
use super::knobs::Mutation;
use super::letter::Letter;
use super::link::LinkId;
use super::node::{LifeId, NodeMessage};
use super::world::World;
use crate::journal::{Deed, DeedKind, KnownNode, KnownPool};
use crate::model::{Attempt, Capabilities, EventKind, InstanceId, PoolPhase, Rank, Scaling};
use crate::pool::adopting::{Adoption, inherited};
use crate::pool::effect::Effect;
use crate::pool::messages::{Heard, Limits, Timer};
use crate::pool::state::State;
use crate::pool::{Candidate, StartError};

/// What reaches the pool's mailbox.
#[derive(Clone, Debug)]
pub(super) enum PoolMessage {
    Heard(Heard),
    Prepared(Arc<Kit>),
    Readopted(Vec<(Arc<Kit>, Vec<InstanceId>)>),
    Unprepared(Arc<Kit>, StartError),
    Ready { rank: Rank, attempt: Attempt, link: LinkId },
    Paused { rank: Rank, attempt: Attempt },
    Noticed { rank: Rank, attempt: Attempt, within: Duration },
    Gone { rank: Rank, attempt: Attempt, reason: String, retry: bool },
    Stop,
}

/// The pool of the client process.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) state: State,
    pub(super) inbox: Duration,
    /// What was set up, or may be, and what machines are rented with.
    pub(super) kits: Vec<Arc<Kit>>,
    kit: Option<Arc<Kit>>,
    /// What each machine was rented with.
    homes: BTreeMap<InstanceId, Arc<Kit>>,
    /// What another program has left, and how its workers are found again.
    adopted: Option<Box<KnownPool>>,
    known: BTreeMap<InstanceId, KnownNode>,
    pub(super) nodes: BTreeMap<(Rank, Attempt), LifeId>,
    links: BTreeMap<Rank, LinkId>,
    /// Since when it is being given back.
    pub(super) stopping: Option<Duration>,
    pub(super) ended: bool,
    /// That its owner lives is being written down.
    fresh: bool,
    /// Its owner was told that it did not start, while machines are kept.
    pub(super) failed: bool,
    /// Its owner wants everything given back.
    pub(super) stopped: bool,
    /// It hears what the queue wants.
    pub(super) scales: bool,
    /// Its owner has it.
    pub(super) started: bool,
    /// With how many nodes its owner last wanted it to go on.
    pub(super) asked: Option<u32>,
    /// All of it is left as it is.
    pub(super) detached: bool,
    /// It is another program's.
    pub(super) lost: bool,
}

impl Pool {
    fn new(adopted: Option<KnownPool>) -> Self {
        let nodes = adopted.iter().flat_map(|it| &it.machines);
        let known = nodes.filter_map(|it| Some((it.instance.clone(), it.node.clone()?))).collect();
        let (fresh, asked) = (adopted.is_none(), adopted.as_ref().and_then(|it| it.size));
        Self {
            state: State::new(),
            inbox: Duration::ZERO,
            kits: Vec::new(),
            kit: None,
            homes: BTreeMap::new(),
            adopted: adopted.map(Box::new),
            known,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            stopping: None,
            ended: false,
            fresh,
            failed: false,
            stopped: false,
            scales: false,
            started: false,
            asked,
            detached: false,
            lost: false,
        }
    }

    /// These machines were rented with that.
    pub(super) fn rented_with(&mut self, kit: &Arc<Kit>, instances: &[InstanceId]) {
        self.homes.extend(instances.iter().map(|it| (it.clone(), Arc::clone(kit))));
    }

    /// Whether another program had it before.
    pub(super) const fn is_adopted(&self) -> bool {
        self.adopted.is_some()
    }

    /// Requests to give machines back, by what they were rented with.
    fn homes_of(&self, instances: &[InstanceId]) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for instance in instances {
            let Some(kit) = self.homes.get(instance) else { continue };
            if !parts.iter().any(|it| Arc::ptr_eq(&it.kit, kit)) {
                parts.push(Part::new(DeedKind::Terminate, Arc::clone(kit)));
            }
            if let Some(part) = parts.iter_mut().find(|it| Arc::ptr_eq(&it.kit, kit)) {
                part.instances.push(instance.clone());
            }
        }
        parts
    }

    /// Keeps what only the shell may hold and passes on the rest.
    fn take_in(&mut self, message: PoolMessage) -> Heard {
        match message {
            PoolMessage::Heard(heard) => heard,
            PoolMessage::Prepared(kit) => {
                self.kits.push(Arc::clone(&kit));
                self.kit = Some(kit);
                Heard::Prepared(Ok(()))
            }
            PoolMessage::Readopted(kits) => {
                for (kit, machines) in kits {
                    self.rented_with(&kit, &machines);
                    self.kits.push(Arc::clone(&kit));
                    self.kit = Some(kit);
                }
                Heard::Prepared(Ok(()))
            }
            PoolMessage::Unprepared(kit, error) => {
                self.kits.push(kit);
                Heard::Prepared(Err(error))
            }
            PoolMessage::Ready { rank, attempt, link } => {
                self.links.insert(rank, link);
                Heard::NodeReady { rank, attempt }
            }
            PoolMessage::Noticed { rank, attempt, within } => {
                Heard::NodeNoticed { rank, attempt, within, reason: "noticed".to_owned() }
            }
            PoolMessage::Paused { rank, attempt } => Heard::NodePaused { rank, attempt },
            PoolMessage::Gone { rank, attempt, reason, retry } => {
                self.nodes.remove(&(rank, attempt));
                Heard::NodeGone { rank, attempt, reason, retry }
            }
            PoolMessage::Stop => {
                self.stopped = true;
                Heard::Stop
            }
        }
    }
}

impl World {
    pub(super) fn cast_pool(&mut self, message: PoolMessage) {
        let Some(pool) = &mut self.me.pool else { return };
        let at = Self::arrival(&mut self.dice, self.now, &mut pool.inbox);
        self.plan_for(self.me.number, at, Event::Pool(message));
    }

    pub(super) fn begin_pool(&mut self, adopted: Option<KnownPool>) {
        let now = self.wall();
        let forgets = self.mutation == Some(Mutation::ForgetSize);
        let adopted = adopted.map(|it| KnownPool { size: it.size.filter(|_| !forgets), ..it });
        let adoption = adopted.as_ref().and_then(|it| Adoption::of(it, now));
        // The program wants the same whenever it is run.
        if self.pools == 1 && adopted.is_none() {
            self.wishes = self.draw_wishes();
        }
        let retries = self.dice.count(0, 3);
        self.me.queue = Some(super::tasks::Queue::new(retries, self.mutation));
        self.me.pool = Some(Pool::new(adopted));
        if let Some(adoption) = adoption {
            self.cast_pool(PoolMessage::Heard(Heard::Adopted(Box::new(adoption))));
        }
        // Half of them are impatient, so that much happens in the time that calls come.
        let scaling = match self.dice.chance(500) {
            true => Scaling::default(),
            false => Scaling { idle: Duration::from_secs(5), cooldown: Duration::from_secs(2) },
        };
        let hourly =
            self.wishes.terms.max_hourly_cost.filter(|_| self.mutation != Some(Mutation::IgnoreHourly));
        // In half of them no cloud's machines end themselves, as far as their pool knows.
        let can = Capabilities { ends_itself: !self.unattended, ..Capabilities::NONE };
        let clouds = match self.mutation {
            Some(Mutation::LeaveUnattended) => BTreeMap::new(),
            _ => (0..self.specs).map(|spec| (format!("cloud-{spec}"), can.clone())).collect(),
        };
        let total = self.wishes.max_total_cost;
        let limits = Limits { total, hourly, scaling, slots: self.slots, clouds };
        self.cast_pool(PoolMessage::Heard(Heard::Born { limits }));
    }

    pub(super) fn pool_hears(&mut self, message: PoolMessage) {
        if let (PoolMessage::Noticed { rank, attempt, within }, Some(Mutation::NoticeTwice)) =
            (&message, self.mutation)
        {
            let again = PoolMessage::Noticed { rank: *rank, attempt: attempt.next(), within: *within };
            self.plan(self.timing.boot / 4, Event::Pool(again));
        }
        // What this is the first to hear of comes after why that is.
        if let Some(by) = self.unheard_loss() {
            self.hear_pool(Heard::Superseded(by));
        }
        let Some(pool) = self.me.pool.as_mut().filter(|it| !it.ended) else { return };
        let is_linked = matches!(message, PoolMessage::Ready { .. });
        let is_fresh = is_linked && !pool.fresh;
        pool.fresh |= is_linked;
        let heard = pool.take_in(message);
        if is_fresh {
            self.fresh();
        }
        self.hear_pool(heard);
    }

    pub(super) fn hear_pool(&mut self, heard: Heard) {
        let moment = self.awake_moment();
        let Some(pool) = self.me.pool.as_mut().filter(|it| !it.ended) else { return };
        let moment = match heard {
            Heard::Prepared(_) | Heard::Woke(Timer::Provision)
                if self.mutation == Some(Mutation::FreeBoots) =>
            {
                moment + self.timing.boot
            }
            _ => moment,
        };
        let effects = pool.state.hear(heard, moment, &self.timing);
        self.note(|| format!("    pool -> {effects:?}"));
        for effect in effects {
            // What follows would drain nodes that are another program's.
            if effect == Effect::Announce(EventKind::Pool(PoolPhase::Stopping))
                && let Some(by) = self.closes()
            {
                return self.hear_pool(Heard::Superseded(by));
            }
            self.pool_does(effect);
        }
    }

    fn pool_does(&mut self, effect: Effect) {
        let teardown = self.mutation != Some(Mutation::ForgetTeardown) || self.summary.started > 0;
        let Some(pool) = &mut self.me.pool else { return };
        match effect {
            Effect::AskOffers => self.ask(Asked::Offers),
            Effect::Prepare { .. }
                if pool.kits.is_empty()
                    && let Some(known) = &pool.adopted =>
            {
                let (mut kits, mut unheard) = (Vec::new(), Vec::new());
                for it in inherited(known) {
                    let kit = Arc::new(Kit::known(it.candidate, it.deed.request.clone()));
                    unheard.extend(it.is_unheard.then(|| Arc::clone(&kit)));
                    kits.push((kit, it.machines));
                }
                let Some((last, _)) = kits.last() else {
                    let why = StartError::Internal("nothing can be read".to_owned());
                    return self.cast_pool(PoolMessage::Heard(Heard::Prepared(Err(why))));
                };
                let part = Part::new(DeedKind::Prepare, Arc::clone(last));
                self.send(Errand::new(Why::Readopt(kits, unheard), [part]));
            }
            Effect::Prepare { candidate, lease } => {
                let Some((id, _)) = self.me.owner.clone() else { return };
                let kit = Arc::new(Kit::new(id, *candidate, lease));
                let part = Part::new(DeedKind::Prepare, Arc::clone(&kit));
                self.send(Errand::new(Why::Prepare(kit), [part]));
            }
            Effect::Provision { request, count } => {
                if let Some(kit) = pool.kit.clone() {
                    self.judge_renting();
                    let part = Part { count, ..Part::new(DeedKind::Provision, Arc::clone(&kit)) };
                    self.send(Errand::new(Why::Provision(request, kit), [part]));
                }
            }
            Effect::DropNode { rank, attempt } => {
                pool.links.remove(&rank);
                if let Some(life) = pool.nodes.remove(&(rank, attempt)) {
                    self.cast_node(life, NodeMessage::Stop);
                }
            }
            Effect::Spawn { rank, attempt, instance } => {
                if self.mutation == Some(Mutation::SpawnTwice) {
                    self.spawn(rank, attempt, instance.clone());
                }
                self.spawn(rank, attempt, instance);
            }
            Effect::DrainNode { rank, attempt, leave } => {
                if let Some(life) = pool.nodes.get(&(rank, attempt)).copied() {
                    self.cast_node(life, NodeMessage::Drain(leave));
                }
            }
            Effect::QueueSized { nodes } => self.cast_queue(Letter::Sized { nodes }),
            Effect::QueueGrows { grows } => {
                pool.scales = true;
                self.cast_queue(Letter::Grows { grows });
            }
            Effect::QueueWanted { rank } => self.cast_queue(Letter::NodeWanted { rank }),
            Effect::QueueClose { rank, attempt } => {
                let closed = self.close_idle(rank);
                self.hear_pool(Heard::NodeClosed { rank, attempt, closed });
            }
            Effect::QueueReady { rank } => {
                if let Some(link) = pool.links.remove(&rank) {
                    self.cast_queue(Letter::NodeReady { rank, link });
                }
            }
            Effect::QueuePaused { rank } => self.cast_queue(Letter::NodePaused { rank }),
            Effect::QueueLeaves { rank, attempt, by_choice } => {
                pool.links.remove(&rank);
                if let Some(life) = pool.nodes.get(&(rank, attempt)).copied() {
                    self.leaves(life);
                }
                if self.mutation != Some(Mutation::NoticeUntold) {
                    self.cast_queue(Letter::NodeLeaves { rank, by_choice });
                }
            }
            Effect::QueueGone { rank } => self.cast_queue(Letter::NodeGone { rank }),
            Effect::QueueLost { rank } => self.cast_queue(Letter::NodeLost { rank }),
            Effect::QueueStop => {
                if self.mutation != Some(Mutation::ForgetQueueStop) {
                    self.cast_queue(Letter::Stop);
                }
            }
            Effect::QueueSuperseded(_) => {
                (pool.stopping, pool.lost) = (Some(self.now), true);
                self.cast_queue(Letter::Stop);
            }
            Effect::Keep { rank, instance } => self.ask(Asked::Keep { rank, instance }),
            Effect::Release { instances } => {
                let parts = pool.homes_of(&instances);
                self.send(Errand::new(Why::Release(instances), parts));
            }
            Effect::Terminate { mut instances } => {
                if self.mutation == Some(Mutation::ReleaseKept) {
                    instances = pool.homes.keys().cloned().collect();
                }
                let parts = pool.homes_of(&instances);
                self.send(Errand::new(Why::Terminate, parts));
            }
            Effect::Teardown => {
                let mut kits = if teardown { pool.kits.clone() } else { Vec::new() };
                if self.mutation == Some(Mutation::ForgetFirstCloud) {
                    let first = kits.first().map(|it| it.request.offer.provider.clone());
                    let is_first = |it: &Arc<Kit>| Some(&it.request.offer.provider) == first.as_ref();
                    if !kits.iter().all(is_first) {
                        kits.retain(|it| !is_first(it));
                    }
                }
                let parts = kits.into_iter().rev().map(|it| Part::new(DeedKind::Teardown, it));
                self.send(Errand::new(Why::Teardown, parts));
            }
            Effect::Wake(Timer::Budget, _) if self.mutation == Some(Mutation::ForgetBudget) => {}
            Effect::Wake(Timer::Keep, _) if self.mutation == Some(Mutation::ForgetKept) => {}
            Effect::Wake(timer, after) => self.plan(after, Event::PoolTimer(timer)),
            Effect::Announce(EventKind::Pool(PoolPhase::Stopping)) => pool.stopping = Some(self.now),
            Effect::Announce(EventKind::Scaled { from, to, why }) => self.judge_size(from, to, &why),
            Effect::Announce(EventKind::Chosen { nodes, .. }) if pool.is_adopted() && !pool.started => {
                self.judge_inherited(nodes);
            }
            Effect::Announce(_) => {}
            Effect::Detach => {
                pool.detached = true;
                self.detach();
            }
            Effect::Started { .. } => {
                pool.started = true;
                self.summary.started += 1;
                let within = self.now + self.timing.grace;
                if pool.is_adopted() {
                    self.plan(Duration::ZERO, Event::Opens(within));
                }
                self.draw_fate_of_ready();
            }
            Effect::Failed { .. } => {
                pool.failed = true;
                self.summary.kept += 1;
            }
            Effect::Ended { failure, left } => self.end_pool(failure.as_ref(), &left),
        }
    }

    fn spawn(&mut self, rank: Rank, attempt: Attempt, instance: InstanceId) {
        if let Some(other) = self.lives.iter().find(|it| {
            it.alive
                && it.program == self.me.number
                && (it.rank == rank && !it.leaving || it.instance == instance)
        }) {
            let what = format!("{rank}.{attempt} on {instance} beside {}.{}", other.rank, other.attempt);
            self.breach(Law::Ranks, what);
        }
        let Some(pool) = &mut self.me.pool else { return };
        let lease = pool.homes.get(&instance).map_or(self.timing.lease, |it| it.request.lease);
        let known = pool.known.remove(&instance);
        let life = self.begin_life((rank, attempt, instance), lease, known);
        if let Some(pool) = &mut self.me.pool {
            pool.nodes.insert((rank, attempt), life);
        }
    }
}

/// What this was asked with.
pub(super) fn kit_of(deed: &Deed) -> Option<Arc<Kit>> {
    let candidate: Candidate = serde_json::from_str(&deed.terms).ok()?;
    Some(Arc::new(Kit::known(candidate, deed.request.clone())))
}
