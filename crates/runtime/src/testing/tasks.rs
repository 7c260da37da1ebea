//! The shell of the simulated queue: does with the effects of `tasks::state` what `tasks::queue` does. What
//! callers tell it takes a while here, as it does when a thread is kept from running before it has the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::event::{CallEvent, Decided, Event};
use super::failure::Law;
use super::knobs::Mutation;
use super::ledger::Ledger;
use super::letter::Letter;
use super::link::LinkId;
use super::pool::PoolMessage;
use super::worker::Work;
use super::world::World;
use crate::model::{Incarnation, Rank, TaskId};
use crate::pool::messages::Heard as PoolHeard;
use crate::tasks::ahead::Ahead;
use crate::tasks::state::{Demand, Effect, Heard, State};
use crate::tasks::{OnLost, Retries};

/// The queue of the client process.
#[derive(Debug)]
pub(super) struct Queue {
    state: State,
    /// What every task is given; a share of a broadcast has none.
    retries: Retries,
    inbox: Duration,
    ledger: Ledger,
    pub(super) links: BTreeMap<Rank, LinkId>,
    /// Who was submitted, and whether it waits for a decision.
    callers: BTreeMap<TaskId, bool>,
    /// Broadcasts that wait for their shares.
    shares: BTreeSet<TaskId>,
    /// Whether a look at stuck nodes is planned.
    looks: bool,
    /// What the pool was told last.
    told: Demand,
    /// Since when nodes could begin with something at once.
    pub(super) free: BTreeMap<Rank, Duration>,
    /// When it asked for a call back last.
    pub(super) asked: Duration,
}

/// What nodes are given ahead here: little, so that its bounds are met.
pub(super) const AHEAD: Ahead = Ahead { known: 1, calls: 3, bytes: 1 << 20, work: Duration::from_millis(10) };

/// How long after one look at stuck nodes the next is.
const LOOK: Duration = Duration::from_millis(100);

impl Queue {
    pub(super) fn new(retries: u32, mutation: Option<Mutation>) -> Self {
        let extra = u32::from(mutation == Some(Mutation::ExtraTry));
        Self {
            state: State::new(match mutation {
                Some(Mutation::AheadUnknown) => Ahead { known: 0, ..AHEAD },
                _ => AHEAD,
            }),
            retries: Retries { infrastructure: retries + extra, ..Retries::default() },
            inbox: Duration::ZERO,
            ledger: Ledger::new(retries),
            links: BTreeMap::new(),
            callers: BTreeMap::new(),
            shares: BTreeSet::new(),
            looks: false,
            told: Demand::default(),
            free: BTreeMap::new(),
            asked: Duration::ZERO,
        }
    }

    /// What it has and wants.
    pub(super) fn demand(&self, now: Instant) -> Demand {
        self.state.demand(now)
    }

    /// Notes which nodes could begin with something at once.
    fn note_free(&mut self, now: Duration) {
        let free = |it: &Rank| self.state.is_free(*it);
        self.free.retain(|it, _| free(it));
        for rank in self.links.keys().filter(|it| free(it)) {
            self.free.entry(*rank).or_insert(now);
        }
    }

    /// Keeps what only the shell may hold and passes on the rest.
    fn take_in(&mut self, letter: Letter, slots: u32, worker: Incarnation, now: Instant) -> Heard {
        match letter {
            Letter::Submit { id, target, group, load } => {
                self.callers.insert(id, true);
                Heard::Submitted { id, target, group, retries: self.retries, load }
            }
            Letter::Keyed { id, key } => Heard::Keyed { id, key },
            Letter::Held { rank, worker, keys } => Heard::Held { rank, worker, keys, until: now + LEFT },
            Letter::Stays { id, attempt } => Heard::Stays { id, attempt },
            Letter::Broadcast { first, group, load } => {
                self.shares.insert(first);
                Heard::Broadcast { first, group, retries: self.retries, lost: OnLost::FailFast, load }
            }
            Letter::Answered { id, attempt, took } => {
                self.callers.remove(&id);
                Heard::Answered { id, attempt, took: Some(took) }
            }
            Letter::GivenBack { id, attempt } => {
                if let Some(waits) = self.callers.get_mut(&id) {
                    *waits = true;
                }
                Heard::GivenBack { id, attempt }
            }
            Letter::Full { id, attempt } => {
                if let Some(waits) = self.callers.get_mut(&id) {
                    *waits = true;
                }
                Heard::Full { id, attempt }
            }
            Letter::Broken { id, attempt, worker, reason, .. } => {
                if let Some(waits) = self.callers.get_mut(&id) {
                    *waits = true;
                }
                Heard::Broken { id, attempt, worker, reason }
            }
            Letter::NodeLeaves { rank, by_choice } => {
                self.links.remove(&rank);
                Heard::NodeLeaves { rank, by_choice }
            }
            Letter::NodeGone { rank } => {
                self.links.remove(&rank);
                Heard::NodeGone { rank }
            }
            Letter::Looked => {
                self.looks = false;
                Heard::Looked
            }
            Letter::Lost { id, attempt, reason } => {
                if let Some(waits) = self.callers.get_mut(&id) {
                    *waits = true;
                }
                Heard::Lost { id, attempt, reason }
            }
            Letter::Committed { id } => Heard::Committed { id },
            Letter::Cancelled { id } => {
                self.callers.remove(&id);
                Heard::Cancelled { id }
            }
            Letter::Sized { nodes } => Heard::Sized { nodes },
            Letter::Grows { grows } => Heard::Grows { grows },
            Letter::NodeWanted { rank } => Heard::NodeWanted { rank },
            Letter::NodeReady { rank, link } => {
                self.links.insert(rank, link);
                Heard::NodeReady { rank, slots, worker }
            }
            Letter::NodePaused { rank } => {
                self.links.remove(&rank);
                Heard::NodePaused { rank }
            }
            Letter::WorkerDied { rank } => Heard::WorkerDied { rank },
            Letter::NodeLost { rank } => {
                self.links.remove(&rank);
                Heard::NodeLost { rank }
            }
            Letter::Stop => Heard::Stopped,
            Letter::Again(heard) => heard,
        }
    }
}

impl World {
    pub(super) fn cast_queue(&mut self, letter: Letter) {
        let Some(queue) = &mut self.me.queue else { return };
        let at = Self::arrival(&mut self.dice, self.now, &mut queue.inbox);
        self.plan_for(self.me.number, at, Event::Queue(letter));
    }

    pub(super) fn queue_hears(&mut self, letter: Letter) {
        let Some(queue) = &mut self.me.queue else { return self.undelivered(&letter) };
        let mut worker = Incarnation::new("");
        match &letter {
            Letter::NodeReady { link, .. } => {
                worker = self.links.get(link.0).map_or(worker, |it| it.worker.clone());
            }
            // A caller may see that a link is over before its node does.
            Letter::Broken { link, .. } => {
                let rank = queue.links.iter().find(|(_, it)| *it == link).map(|(rank, _)| *rank);
                if let Some(rank) = rank {
                    self.queue_hears(Letter::NodePaused { rank });
                }
            }
            _ => {}
        }
        let now = self.moment();
        let Some(queue) = &mut self.me.queue else { return };
        let is_look = matches!(letter, Letter::Looked);
        let heard = queue.take_in(letter, self.slots, worker, now);
        let fresh = queue.ledger.hears(&heard);
        let full = matches!(heard, Heard::Full { .. });
        let before = (!fresh).then(|| queue.state.clone());
        let mutated = mutate(self.mutation, heard.clone(), &queue.ledger);
        let effects = mutated.map(|it| queue.state.hear(it)).unwrap_or_default();
        let judged = match before {
            Some(before) if before != queue.state || !effects.is_empty() => Err(Ledger::stale(&heard)),
            Some(_) => Ok(()),
            None => queue.ledger.judge(&heard, &effects, queue.state.held()),
        };
        queue.note_free(self.now);
        let look = queue.state.wants_a_look() && !std::mem::replace(&mut queue.looks, true);
        self.note(|| format!("    queue -> {effects:?}"));
        if let Err((law, what)) = judged {
            self.breach(law, what);
        }
        for effect in effects {
            self.queue_does(effect, full);
        }
        if look {
            self.plan(LOOK, Event::Queue(Letter::Looked));
        }
        self.tell_demand();
        if is_look {
            self.check_stuck();
        }
    }

    /// A pool that scales hears what is wanted of it, when that has changed.
    fn tell_demand(&mut self) {
        if self.mutation == Some(Mutation::ForgetDemand) || self.me.pool.as_ref().is_none_or(|it| !it.scales)
        {
            return;
        }
        let now = self.moment();
        let Some(queue) = &mut self.me.queue else { return };
        let mut demand = queue.state.demand(now);
        if self.mutation == Some(Mutation::CloseBusy) {
            demand = Demand { idle: queue.links.keys().copied().collect(), ..Demand::default() };
        }
        if demand != queue.told {
            queue.told = demand.clone();
            self.cast_pool(PoolMessage::Heard(PoolHeard::Demanded(demand)));
        }
    }

    /// A node takes nothing more, if it has nothing. Whether it does not.
    pub(super) fn close_idle(&mut self, rank: Rank) -> bool {
        let now = self.moment();
        let Some(queue) = &mut self.me.queue else { return false };
        let is_idle = queue.state.is_idle(rank, now) || self.mutation == Some(Mutation::CloseBusy);
        if is_idle {
            if let Some(id) = queue.ledger.on(rank) {
                let what = format!("{rank} is given up as idle, and has task {id}");
                self.breach(Law::Drained, what);
            }
            self.check_left(rank);
            self.queue_hears(Letter::NodeLeaves { rank, by_choice: true });
        }
        is_idle
    }

    fn queue_does(&mut self, effect: Effect, full: bool) {
        let Some(queue) = &mut self.me.queue else { return };
        match effect {
            Effect::Grant { id, attempt, rank } => {
                let Some(link) = queue.links.get(&rank).copied() else { return };
                let Some(waits) = queue.callers.get_mut(&id) else { return };
                if std::mem::take(waits) {
                    self.summary.retried += u64::from(attempt.0 > 0);
                    self.check_stopping(id);
                    self.check_leaving(link, id);
                    self.check_well(link, id);
                    if attempt.0 == 0 || self.mutation != Some(Mutation::LoseRetry) {
                        self.decide(id, Decided::Grant { attempt, link });
                    }
                }
            }
            Effect::Refuse { id, .. } | Effect::Exhausted { id } => {
                let waits = queue.callers.remove(&id) == Some(true);
                if waits && self.mutation != Some(Mutation::LoseRefusal) {
                    self.decide(id, Decided::Refuse);
                }
            }
            Effect::Shares { first, ranks } => self.share(first, ranks),
            Effect::Resume { id, attempt, rank } => {
                let Some(link) = queue.links.get(&rank).copied() else { return };
                let Some(waits) = queue.callers.get_mut(&id) else { return };
                if std::mem::take(waits) {
                    self.summary.resumed += 1;
                    self.decide(id, Decided::Resume { attempt, link });
                }
            }
            Effect::Reconcile { rank, waits } => {
                let Some(link) = queue.links.get(&rank).copied() else { return };
                self.tell_worker(link, Work::Waits(waits));
                let now = self.now;
                if let Some(link) = self.links.get_mut(link.0) {
                    link.reconciled = Some(now);
                }
            }
            Effect::Release { id, attempt, rank } => {
                self.excuse_released(id, full);
                let Some(queue) = &self.me.queue else { return };
                let Some(link) = queue.links.get(&rank).copied() else { return };
                self.tell_worker(link, Work::Release((id, attempt)));
            }
            Effect::Recall { .. } if self.mutation == Some(Mutation::ForgetRecall) => {}
            Effect::Recall { id, attempt, .. } => {
                queue.asked = self.now;
                let after = self.dice.up_to(Duration::from_millis(100));
                self.plan(after, Event::Call(id, CallEvent::Recalled(attempt)));
            }
            Effect::Retry { .. } => {}
        }
    }

    /// A mailbox is dropped with its actor, and with each message the way back to who sent it.
    fn undelivered(&mut self, letter: &Letter) {
        match letter {
            Letter::Submit { id, .. }
            | Letter::Lost { id, .. }
            | Letter::Broken { id, .. }
            | Letter::Full { id, .. }
            | Letter::GivenBack { id, .. } => self.decide(*id, Decided::Over),
            Letter::Broadcast { first, .. } => self.decide(caller_of(*first), Decided::Over),
            Letter::Answered { .. }
            | Letter::Keyed { .. }
            | Letter::Held { .. }
            | Letter::Stays { .. }
            | Letter::Committed { .. }
            | Letter::Looked
            | Letter::Cancelled { .. }
            | Letter::Sized { .. }
            | Letter::Grows { .. }
            | Letter::NodeWanted { .. }
            | Letter::NodeReady { .. }
            | Letter::NodePaused { .. }
            | Letter::NodeLeaves { .. }
            | Letter::NodeGone { .. }
            | Letter::NodeLost { .. }
            | Letter::Stop
            | Letter::WorkerDied { .. }
            | Letter::Again(_) => {}
        }
    }

    /// Whether every worker that is linked has said under which keys it has something.
    pub(super) fn is_reconciled(&self) -> bool {
        self.me.queue.as_ref().is_none_or(|it| it.state.is_reconciled())
    }

    fn decide(&mut self, id: TaskId, decided: Decided) {
        let after = self.dice.up_to(Duration::from_millis(1));
        self.plan(after, Event::Call(id, CallEvent::Decided(decided)));
    }

    fn share(&mut self, first: TaskId, ranks: Vec<Rank>) {
        let Some(queue) = self.me.queue.as_mut().filter(|it| it.shares.contains(&first)) else { return };
        queue.shares.remove(&first);
        let mut shares = Vec::with_capacity(ranks.len());
        let mut id = first;
        for _ in &ranks {
            queue.callers.insert(id, true);
            shares.push(id);
            id = id.next();
        }
        let caller = caller_of(first);
        if self.waits(caller) {
            self.hold_shares(&shares, &ranks);
            let after = self.dice.up_to(Duration::from_millis(1));
            self.plan(after, Event::Call(caller, CallEvent::Shares(shares)));
        } else {
            self.drop_shares(&shares);
        }
    }

    /// The caller of a broadcast has gone: each share cancels itself.
    pub(super) fn drop_shares(&mut self, shares: &[TaskId]) {
        if self.mutation == Some(Mutation::LeakShares) {
            return;
        }
        for id in shares {
            self.cast_queue(Letter::Cancelled { id: *id });
        }
    }

    /// The queue's actor ends: what waits for a decision learns that there will be none.
    pub(super) fn end_queue(&mut self) {
        let Some(queue) = self.me.queue.take() else { return };
        if let Some(id) = queue.ledger.open_tasks().find(|it| self.is_long_over(*it)) {
            self.breach(Law::Known, format!("the queue keeps task {id}, which nobody waits for"));
        }
        let waiting = queue.callers.into_iter().filter(|(_, waits)| *waits).map(|(id, _)| id);
        for id in waiting.chain(queue.shares.into_iter().map(caller_of)) {
            self.decide(id, Decided::Over);
        }
    }
}

/// For how long outcomes that another owner left are waited with.
const LEFT: Duration = Duration::from_secs(30);

/// Who waits for the shares of a broadcast: the id before theirs.
pub(super) const fn caller_of(first: TaskId) -> TaskId {
    TaskId(first.0.saturating_sub(1))
}

fn mutate(mutation: Option<Mutation>, heard: Heard, ledger: &Ledger) -> Option<Heard> {
    match (mutation, heard) {
        (Some(Mutation::AcceptStale), Heard::Answered { id, attempt, took }) => {
            Some(Heard::Answered { id, attempt: ledger.attempt(id).unwrap_or(attempt), took })
        }
        (Some(Mutation::ExtraSlot), Heard::NodeReady { rank, slots, worker }) => {
            Some(Heard::NodeReady { rank, slots: slots + 1, worker })
        }
        (Some(Mutation::ForgetPause), Heard::NodePaused { .. })
        | (Some(Mutation::ForgetReady), Heard::NodeReady { .. }) => None,
        (_, heard) => Some(heard),
    }
}
