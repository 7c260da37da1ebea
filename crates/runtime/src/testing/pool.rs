//! The shell of the simulated pool: does with the effects of `pool::state` what the PoolActor does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::{Asked, Event};
use super::failure::Law;
use super::knobs::Mutation;
use super::link::LinkId;
use super::node::{LifeId, NodeMessage};
use super::tasks::Letter;
use super::world::World;
use crate::model::{Attempt, EventKind, InstanceId, Leftover, PoolPhase, Rank, ScaledBecause, Scaling};
use crate::pool::effect::Effect;
use crate::pool::messages::{Heard, Limits, Timer};
use crate::pool::state::State;
use crate::pool::{Candidate, StartError};

/// What reaches the pool's mailbox.
#[derive(Clone, Debug)]
pub(super) enum PoolMessage {
    Heard(Heard),
    Prepared(Box<Candidate>),
    Unprepared(String, StartError),
    Ready { rank: Rank, attempt: Attempt, link: LinkId },
    Paused { rank: Rank, attempt: Attempt },
    Noticed { rank: Rank, attempt: Attempt, within: Duration },
    Gone { rank: Rank, attempt: Attempt, reason: String, retry: bool },
    Stop,
}

/// The pool of the client process.
#[derive(Debug)]
pub(super) struct Pool {
    state: State,
    pub(super) inbox: Duration,
    /// The clouds that were asked to set things up.
    kits: BTreeSet<String>,
    /// What machines are rented with.
    source: Option<Box<Candidate>>,
    nodes: BTreeMap<(Rank, Attempt), LifeId>,
    links: BTreeMap<Rank, LinkId>,
    /// Since when it is being given back.
    pub(super) stopping: Option<Duration>,
    pub(super) ended: bool,
    /// Its owner was told that it did not start, while machines are kept.
    pub(super) failed: bool,
    /// Its owner wants everything given back.
    pub(super) stopped: bool,
    /// It hears what the queue wants.
    pub(super) scales: bool,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            state: State::new(),
            inbox: Duration::ZERO,
            kits: BTreeSet::new(),
            source: None,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            stopping: None,
            ended: false,
            failed: false,
            stopped: false,
            scales: false,
        }
    }

    /// Keeps what only the shell may hold and passes on the rest.
    fn take_in(&mut self, message: PoolMessage) -> Heard {
        match message {
            PoolMessage::Heard(heard) => heard,
            PoolMessage::Prepared(candidate) => {
                self.kits.insert(candidate.offer.provider.clone());
                self.source = Some(candidate);
                Heard::Prepared(Ok(()))
            }
            PoolMessage::Unprepared(provider, error) => {
                self.kits.insert(provider);
                Heard::Prepared(Err(error))
            }
            PoolMessage::Ready { rank, attempt, link } => {
                self.links.insert(rank, link);
                Heard::NodeReady { rank, attempt }
            }
            PoolMessage::Noticed { rank, attempt, within } => Heard::NodeNoticed { rank, attempt, within },
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
        let Some(pool) = &mut self.pool else { return };
        let at = Self::arrival(&mut self.dice, self.now, &mut pool.inbox);
        self.agenda.plan(at, Event::Pool(message));
    }

    pub(super) fn begin_pool(&mut self) {
        self.wishes = self.draw_wishes();
        // Half of them are impatient, so that much happens in the time that calls come.
        let scaling = match self.dice.chance(500) {
            true => Scaling::default(),
            false => Scaling { idle: Duration::from_secs(5), cooldown: Duration::from_secs(2) },
        };
        let limits = Limits { total: self.wishes.max_total_cost, hourly: None, scaling, slots: self.slots };
        self.cast_pool(PoolMessage::Heard(Heard::Born { limits }));
    }

    pub(super) fn pool_hears(&mut self, message: PoolMessage) {
        let Some(pool) = self.pool.as_mut().filter(|it| !it.ended) else { return };
        let heard = pool.take_in(message);
        self.hear_pool(heard);
    }

    fn hear_pool(&mut self, heard: Heard) {
        let moment = self.moment();
        let Some(pool) = self.pool.as_mut().filter(|it| !it.ended) else { return };
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
            self.pool_does(effect);
        }
    }

    fn pool_does(&mut self, effect: Effect) {
        let teardown = self.mutation != Some(Mutation::ForgetTeardown) || self.summary.started == 1;
        let Some(pool) = &mut self.pool else { return };
        match effect {
            Effect::AskOffers => self.ask(Asked::Offers),
            Effect::Prepare { candidate, .. } => self.ask(Asked::Prepare { candidate }),
            Effect::Provision { request, count } => {
                if let Some(source) = pool.source.clone() {
                    self.ask(Asked::Provision { request, count, source });
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
                self.cast_queue(Letter::NodeLeaves { rank, by_choice });
            }
            Effect::QueueGone { rank } => self.cast_queue(Letter::NodeGone { rank }),
            Effect::QueueLost { rank } => self.cast_queue(Letter::NodeLost { rank }),
            Effect::QueueStop => {
                if self.mutation != Some(Mutation::ForgetQueueStop) {
                    self.cast_queue(Letter::Stop);
                }
            }
            Effect::Keep { rank, instance } => self.ask(Asked::Keep { rank, instance }),
            Effect::Release { instances } => self.ask(Asked::Release { instances }),
            Effect::Terminate { mut instances } if !pool.kits.is_empty() => {
                if self.mutation == Some(Mutation::ReleaseKept) {
                    instances = self.own_machines().map(|it| it.name.clone()).collect();
                }
                self.ask(Asked::Terminate { instances });
            }
            Effect::Terminate { .. } => self.cast_pool(PoolMessage::Heard(Heard::Terminated(Ok(())))),
            Effect::Teardown if !pool.kits.is_empty() && teardown => self.ask(Asked::Teardown),
            Effect::Teardown => self.cast_pool(PoolMessage::Heard(Heard::TornDown(Ok(Vec::new())))),
            Effect::Wake(Timer::Budget, _) if self.mutation == Some(Mutation::ForgetBudget) => {}
            Effect::Wake(Timer::Keep, _) if self.mutation == Some(Mutation::ForgetKept) => {}
            Effect::Wake(timer, after) => self.plan(after, Event::PoolTimer(timer)),
            Effect::Announce(EventKind::Pool(PoolPhase::Stopping)) => pool.stopping = Some(self.now),
            Effect::Announce(EventKind::Scaled { from, to, why }) => self.judge_size(from, to, &why),
            // No client of this world leaves its pool.
            Effect::Announce(_) | Effect::Detach => {}
            Effect::Started { .. } => self.summary.started = 1,
            Effect::Failed { .. } => {
                pool.failed = true;
                self.summary.kept += 1;
            }
            Effect::Ended { failure, left } => self.end_pool(failure.as_ref(), &left),
        }
    }

    /// What a pool decides by itself keeps it in its bounds.
    fn judge_size(&mut self, from: u32, to: u32, why: &ScaledBecause) {
        let (least, most) = self.wishes.nodes.scales().unwrap_or_default();
        match why {
            ScaledBecause::Asked | ScaledBecause::Refused(_) => return,
            _ if to > from => self.summary.grown += 1,
            _ => self.summary.shrunk += 1,
        }
        if to > from && to > most || to < from && to < least {
            let what = format!("it wants {to} nodes, not {from}, and may have {least} to {most}: {why}");
            self.breach(Law::Size, what);
        }
    }

    fn spawn(&mut self, rank: Rank, attempt: Attempt, instance: InstanceId) {
        if let Some(other) = self
            .lives
            .iter()
            .find(|it| it.alive && (it.rank == rank && !it.leaving || it.instance == instance))
        {
            let what = format!("{rank}.{attempt} on {instance} beside {}.{}", other.rank, other.attempt);
            self.breach(Law::Ranks, what);
        }
        let life = self.begin_life(rank, attempt, instance);
        if let Some(pool) = &mut self.pool {
            pool.nodes.insert((rank, attempt), life);
        }
    }

    fn end_pool(&mut self, failure: Option<&StartError>, left: &[Leftover]) {
        self.note(|| format!("    pool ended: {failure:?}, left {left:?}"));
        let Some(pool) = &mut self.pool else { return };
        pool.ended = true;
        // Its actor's timers end with it.
        self.agenda.retain(|event| !matches!(event, Event::PoolTimer(_)));
        let Some(pool) = &mut self.pool else { return };
        for life in std::mem::take(&mut pool.nodes).into_values() {
            self.cast_node(life, NodeMessage::Stop);
        }
        self.end_queue();
        let named = |name: &InstanceId| left.iter().any(|it| it.what.ends_with(&format!(" {name}")));
        let forgotten = self.own_machines().find(|it| it.told && it.dead.is_none() && !named(&it.name));
        if let Some(machine) = forgotten {
            let what = format!("the pool has ended without a word of {}", machine.name);
            self.breach(Law::NothingLeft, what);
        } else if !self.prepared.is_empty() && left.is_empty() {
            self.breach(Law::NothingLeft, "what was prepared is still there, and not named".to_owned());
        }
    }
}
