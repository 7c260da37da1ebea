//! What the queue decides. Pure: messages in, effects out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::ahead::{Ahead, Load, Paces, Room};
use super::holding::Holding;
use super::keys::Keys;
use super::order::{GroupId, Lost, OnLost, Retries, Target, Undone};
use super::task::Task;
use crate::model::{Attempt, Incarnation, Key, KeyError, Rank, TaskId};
use crate::retention::Left;
use reconcile::Life;
pub(crate) use waits::Demand;

mod leaving;
mod recall;
mod reconcile;
mod turns;
mod waits;

/// What the queue hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The task that is submitted next has this key.
    Keyed { id: TaskId, key: Key },
    /// A node has something under these keys. What another owner left of that is waited with until then.
    Held { rank: Rank, worker: Incarnation, keys: Vec<(Key, Left)>, until: Instant },
    /// A caller waits for a grant.
    Submitted { id: TaskId, target: Target, group: GroupId, retries: Retries, load: Load },
    /// A caller wants one grant on each ready rank; the ids are taken from `first` on.
    Broadcast { first: TaskId, group: GroupId, retries: Retries, lost: OnLost, load: Load },
    /// A granted task has its outcome, after it ran for so long, if that is known.
    Answered { id: TaskId, attempt: Attempt, took: Option<Duration> },
    /// The outcome of a granted task, which has a key, stays at its worker.
    Stays { id: TaskId, attempt: Attempt },
    /// A granted task's time was over, and as far as is known its node had not begun it.
    Expired { id: TaskId, attempt: Attempt },
    /// A granted task was asked for back, and its node has not begun it and will not.
    GivenBack { id: TaskId, attempt: Attempt },
    /// A granted task failed by its own fault, and its caller would try again.
    Failed { id: TaskId, attempt: Attempt, reason: String },
    /// A granted task was not taken, because its node keeps as much as it may.
    Full { id: TaskId, attempt: Attempt },
    /// A granted task's link to this worker broke.
    Broken { id: TaskId, attempt: Attempt, worker: Incarnation, reason: String },
    /// A granted task lost its node.
    Lost { id: TaskId, attempt: Attempt, reason: String },
    /// The task cannot be tried again: some of what it gives, or takes, has been taken.
    Committed { id: TaskId },
    /// The caller is no longer interested.
    Cancelled { id: TaskId },
    /// The pool has this many ranks.
    Sized { nodes: u32 },
    /// The pool may get nodes that it does not have, whenever tasks wait; or not.
    Grows { grows: bool },
    /// The pool will have a node of this rank.
    NodeWanted { rank: Rank },
    /// A node takes tasks over a link to this worker.
    NodeReady { rank: Rank, slots: u32, worker: Incarnation },
    /// A node takes no new tasks until it, or its replacement, is ready again.
    NodePaused { rank: Rank },
    /// The process of a node's worker has ended, while its machine lives.
    WorkerDied { rank: Rank },
    /// A node takes nothing new, and ends when what it has is over; its rank may get another one meanwhile.
    /// `by_choice`: the pool itself gives it up, and what is lost by that costs no try.
    NodeLeaves { rank: Rank, by_choice: bool },
    /// A node is over; its rank may get another one.
    NodeGone { rank: Rank },
    /// A node will not come back.
    NodeLost { rank: Rank },
    /// How long the way to a node and back takes.
    RoundTrip { rank: Rank, takes: Duration },
    /// Some time has passed, in which a node could have answered something.
    Looked,
    /// The pool ends.
    Stopped,
}

/// What the queue wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The task may run on this rank.
    Grant { id: TaskId, attempt: Attempt, rank: Rank },
    /// The task gets no (further) grant.
    Refuse { id: TaskId, why: Undone },
    /// The broadcast has one task per rank of this list, with ids in a row; it may be empty.
    Shares { first: TaskId, ranks: Vec<Rank> },
    /// The task has no try left: its outcome is the last one's.
    Exhausted { id: TaskId },
    /// The task goes back to the queue.
    Retry { id: TaskId, attempt: Attempt, reason: String },
    /// This try should come back from where it waits, if it has not begun there.
    Recall { id: TaskId, attempt: Attempt, rank: Rank },
    /// The worker of this rank is told that these are waited for, and no others.
    Reconcile { rank: Rank, waits: Vec<(TaskId, Attempt)> },
    /// The task may ask this rank, whose link broke, what became of its try.
    Resume { id: TaskId, attempt: Attempt, rank: Rank },
    /// The worker of this rank is told that this try is not waited for.
    Release { id: TaskId, attempt: Attempt, rank: Rank },
}

/// The queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// How many ranks the pool has, lost ones included.
    nodes: u32,
    ranks: BTreeMap<Rank, Room>,
    paces: Paces,
    /// How often nodes have been looked at.
    looks: u32,
    lost: BTreeSet<Rank>,
    tasks: BTreeMap<TaskId, Task>,
    /// Untargeted tasks by group, and whose turn it is.
    waiting: BTreeMap<GroupId, VecDeque<TaskId>>,
    turns: VecDeque<GroupId>,
    /// Tasks that wait for one rank.
    pinned: BTreeMap<Rank, VecDeque<TaskId>>,
    /// The rank after which the next untargeted task looks for a slot.
    last: Option<Rank>,
    /// The worker that each rank has, linked or not.
    lives: BTreeMap<Rank, Life>,
    keys: Keys,
    holding: Holding,
    /// Whether tasks may wait for nodes that are not wanted yet; `None` until that is said.
    grows: Option<bool>,
    stopped: bool,
}

impl State {
    pub(crate) fn new(ahead: Ahead) -> Self {
        Self {
            nodes: 0,
            ranks: BTreeMap::new(),
            paces: Paces::new(ahead),
            looks: 0,
            lost: BTreeSet::new(),
            tasks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
            pinned: BTreeMap::new(),
            last: None,
            lives: BTreeMap::new(),
            keys: Keys::default(),
            holding: Holding::default(),
            grows: None,
            stopped: false,
        }
    }

    /// Decides, and adds what it wants done to `effects`, whose memory is the caller's to use again.
    pub(crate) fn take_in(&mut self, heard: Heard, effects: &mut Vec<Effect>) {
        match heard {
            Heard::Keyed { id, key } => {
                if !self.keys.take(key.clone(), id) {
                    effects.push(Effect::Refuse { id, why: Undone::Key(KeyError::InUse { key }) });
                }
            }
            Heard::Held { rank, worker, keys, until } => self.found(rank, &worker, keys, until),
            Heard::Submitted { id, target, group, retries, load } => {
                let task = self.homed(id, Task::new(target, group, retries, load));
                self.submit(id, task, effects);
            }
            Heard::Broadcast { first, group, retries, lost, load } => {
                self.broadcast(first, group, retries, lost, load, effects);
            }
            Heard::Answered { id, attempt, took } => self.answered(id, attempt, took, effects),
            Heard::Expired { id, attempt } => self.expired(id, attempt, effects),
            Heard::Stays { id, attempt } => self.stays(id, attempt, effects),
            Heard::GivenBack { id, attempt } => self.given_back(id, attempt, effects),
            Heard::Failed { id, attempt, reason } => self.fail(id, attempt, reason, effects),
            Heard::Full { id, attempt } => {
                let on = self.current(id, attempt).and_then(Task::place);
                if let Some((rank, room)) = on.and_then(|rank| Some((rank, self.ranks.get_mut(&rank)?))) {
                    room.full = true;
                    self.make_room(rank, effects);
                }
                self.give_back(id, attempt, effects);
            }
            Heard::Broken { id, attempt, worker, reason } => {
                self.broken(id, attempt, &worker, reason, effects);
            }
            Heard::Lost { id, attempt, reason } => self.lose(id, attempt, reason, effects),
            Heard::Committed { id } => {
                if let Some(task) = self.tasks.get_mut(&id) {
                    task.left = Retries { own: 0, infrastructure: 0, ..task.left };
                    task.once = true;
                }
            }
            Heard::Cancelled { id } => {
                self.leave(id, effects);
                self.forget(id);
            }
            Heard::Sized { nodes } => self.nodes = nodes,
            Heard::Grows { grows } => self.may_grow(grows, effects),
            Heard::NodeWanted { rank } => {
                // Of those between nobody knows that they will ever be there: what asks for them is not kept waiting.
                self.lost.extend((self.nodes..rank.0).map(Rank));
                self.lost.remove(&rank);
                self.nodes = self.nodes.max(rank.next().0);
            }
            Heard::NodeReady { rank, slots, worker } => {
                self.linked(rank, worker, effects);
                let mut room = Room::new(slots);
                self.tasks
                    .values()
                    .filter(|it| it.is_on(rank))
                    .for_each(|it| room.take(it.load, it.expected()));
                self.ranks.insert(rank, room);
                self.lost.remove(&rank);
                self.tasks.values_mut().for_each(|it| it.blame.acquit(rank));
            }
            Heard::NodePaused { rank } => {
                if let Some(room) = self.ranks.get_mut(&rank) {
                    room.open = false;
                }
            }
            Heard::WorkerDied { rank } => {
                self.end_life(rank, "its worker has ended", effects);
                self.tasks.values_mut().for_each(|it| it.blame.convict(rank));
            }
            Heard::NodeLeaves { rank, by_choice } => self.leaves(rank, by_choice, effects),
            Heard::NodeGone { rank } => {
                if let Some(room) = self.ranks.get_mut(&rank) {
                    room.open = false;
                }
                self.end_life(rank, "its node is gone", effects);
            }
            Heard::NodeLost { rank } => self.lose_node(rank, effects),
            Heard::RoundTrip { rank, takes } => {
                if let Some(room) = self.ranks.get_mut(&rank) {
                    room.round_trip = takes;
                }
            }
            Heard::Looked => {
                self.ranks.values_mut().for_each(|it| it.full = false);
                self.recall(effects);
            }
            Heard::Stopped => {
                self.stopped = true;
                self.lose_suspended(None, "the pool is being given back", effects);
                self.refuse_waiting(|_| true, &Undone::Stopped, effects);
            }
        }
        self.hand_out(effects);
    }

    fn submit(&mut self, id: TaskId, task: Task, effects: &mut Vec<Effect>) {
        let refusal = if self.stopped { Some(Undone::Stopped) } else { self.refusal(task.target) };
        if let Some(why) = refusal {
            self.keys.give(id, false);
            effects.push(Effect::Refuse { id, why });
            return;
        }
        let (target, group, load) = (task.target, task.group, task.load);
        self.tasks.insert(id, task);
        // Most calls come while nobody waits, and need no place among those who do.
        if target == Target::Any
            && self.turns.is_empty()
            && self.pinned.is_empty()
            && let Some(rank) = self.next_rank(load)
        {
            self.last = Some(rank);
            self.grant(id, rank, effects);
            return;
        }
        self.enqueue(id, target, group);
    }

    /// Why a task with this target could never run.
    fn refusal(&self, target: Target) -> Option<Undone> {
        match target {
            // A pool that grows has a head sooner than anything else.
            Target::Rank(Rank(0)) if self.grows == Some(true) => None,
            Target::Rank(rank) if rank.0 >= self.nodes || self.lost.contains(&rank) => {
                Some(Undone::NoSuchNode { rank, nodes: self.nodes })
            }
            Target::Rank(_) => None,
            Target::Any => self.all_lost().then_some(Undone::NoNodes),
        }
    }

    fn broadcast(
        &mut self,
        first: TaskId,
        group: GroupId,
        retries: Retries,
        lost: OnLost,
        load: Load,
        effects: &mut Vec<Effect>,
    ) {
        let ranks: Vec<Rank> = match self.stopped {
            true => Vec::new(),
            false => self.ranks.iter().filter(|(_, it)| it.open).map(|(rank, _)| *rank).collect(),
        };
        let infrastructure = match lost {
            OnLost::Replace => retries.infrastructure,
            // A share is for the node as it is now: when that is lost, so is the share.
            OnLost::FailFast | OnLost::Ignore => 0,
        };
        effects.push(Effect::Shares { first, ranks: ranks.clone() });
        let mut id = first;
        for rank in ranks {
            let left = Retries { infrastructure, ..retries };
            self.submit(id, Task::new(Target::Rank(rank), group, left, load), effects);
            id = id.next();
        }
    }

    fn fail(&mut self, id: TaskId, attempt: Attempt, reason: String, effects: &mut Vec<Effect>) {
        let Some(task) = self.current(id, attempt).cloned() else { return };
        self.leave(id, effects);
        let over = self.stopped || self.refusal(task.target).is_some();
        match task.left.own.checked_sub(1) {
            Some(own) if !over => {
                self.release(&task);
                self.again(id, Task { left: Retries { own, ..task.left }, ..task });
                effects.push(Effect::Retry { id, attempt: attempt.next(), reason });
            }
            _ => {
                self.forget(id);
                effects.push(Effect::Exhausted { id });
            }
        }
    }

    fn lose(&mut self, id: TaskId, attempt: Attempt, reason: String, effects: &mut Vec<Effect>) {
        let Some(task) = self.current(id, attempt).cloned() else { return };
        self.leave(id, effects);
        self.release(&task);
        let rank = task.on.map(|(rank, _)| rank);
        let lost = || Lost { rank, reason: reason.clone(), attempts: attempt.0 + 1 };
        let refusal = if self.stopped {
            Some(Undone::Stopped)
        } else if task.left.infrastructure == 0 && (task.once || !task.excused) {
            Some(Undone::Lost(lost()))
        } else if let Some(why) = task.blame.condemns(task.left.crashes) {
            Some(Undone::Lost(Lost { reason: format!("{reason}; {why}"), ..lost() }))
        } else {
            // The rank that it is meant for, or every rank, is lost: more tries cannot help.
            self.refusal(task.target).map(|_| Undone::Lost(lost()))
        };
        match refusal {
            Some(why) => {
                self.remove(id);
                effects.push(Effect::Refuse { id, why });
            }
            None => {
                // What its pool gave up on its own account is not counted against it.
                let cost = u32::from(!task.excused);
                let infrastructure = task.left.infrastructure.saturating_sub(cost);
                let left = Retries { infrastructure, ..task.left };
                // Its rank may have another node, which did not lose it.
                let blame = task.blame.lost_with(task.place());
                self.again(id, Task { left, blame, ..task });
                effects.push(Effect::Retry { id, attempt: attempt.next(), reason });
            }
        }
    }

    /// A task that has not begun is as it was before it was sent: none of its tries is used up.
    fn give_back(&mut self, id: TaskId, attempt: Attempt, effects: &mut Vec<Effect>) {
        let Some(task) = self.current(id, attempt).cloned() else { return };
        self.release(&task);
        match if self.stopped { Some(Undone::Stopped) } else { self.refusal(task.target) } {
            Some(why) => {
                self.remove(id);
                effects.push(Effect::Refuse { id, why });
            }
            None => self.again(id, task),
        }
    }

    /// Queues the next try of a task, whose slot is free again.
    fn again(&mut self, id: TaskId, task: Task) {
        let (attempt, from) = (task.attempt.next(), task.place());
        let next = Task {
            attempt,
            on: None,
            recalled: None,
            suspended: false,
            apart: false,
            excused: false,
            ..task
        };
        let next = self.homed_again(id, next, from);
        let (target, group) = (next.target, next.group);
        self.tasks.insert(id, next);
        self.enqueue(id, target, group);
    }

    fn refuse_waiting(&mut self, which: impl Fn(&Task) -> bool, why: &Undone, effects: &mut Vec<Effect>) {
        let refused: Vec<TaskId> =
            self.tasks.iter().filter(|(_, it)| it.on.is_none() && which(it)).map(|(id, _)| *id).collect();
        for id in refused {
            self.forget(id);
            effects.push(Effect::Refuse { id, why: why.clone() });
        }
    }

    /// Hands out free slots, and what nodes may have ahead: to pinned tasks of the rank first, then in turns
    /// to the groups. Only the one whose turn it is is looked at: who comes after it waits for it.
    fn hand_out(&mut self, effects: &mut Vec<Effect>) {
        if self.stopped {
            return;
        }
        if !self.pinned.is_empty() {
            let ranks: Vec<Rank> = self.pinned.keys().copied().collect();
            ranks.into_iter().for_each(|it| self.hand_out_pinned(it, effects));
        }
        while let Some(load) = self.next_load() {
            let Some(rank) = self.next_rank(load) else { break };
            let Some(id) = self.next_waiting() else { break };
            self.last = Some(rank);
            self.grant(id, rank, effects);
        }
    }

    fn hand_out_pinned(&mut self, rank: Rank, effects: &mut Vec<Effect>) {
        while let Some(queue) = self.pinned.get_mut(&rank) {
            let Some(id) = queue.front().copied() else {
                self.pinned.remove(&rank);
                break;
            };
            let load = self.tasks.get(&id).map(|it| it.load);
            let room = self.ranks.get(&rank);
            let fits =
                load.zip(room).is_some_and(|(load, room)| room.is_free() || self.paces.fits(load, room));
            // What is there already needs no slot.
            let is_there = room.is_some_and(|it| it.open && !it.full) && self.keys.is_left(id, rank);
            if !fits && !is_there {
                break;
            }
            queue.pop_front();
            self.grant(id, rank, effects);
        }
    }

    fn grant(&mut self, id: TaskId, rank: Rank, effects: &mut Vec<Effect>) {
        let (Some(task), Some(room)) = (self.tasks.get_mut(&id), self.ranks.get_mut(&rank)) else { return };
        let expected = self.paces.expected(task.load);
        task.link = self.lives.get(&rank).map_or(0, Life::link);
        (task.on, task.apart, task.excused) = (Some((rank, expected)), false, false);
        room.take(task.load, expected);
        effects.push(Effect::Grant { id, attempt: task.attempt, rank });
        self.keys.go(id, rank);
        self.count_inherited(rank);
    }

    /// The first rank with a free slot after the last one that was given an untargeted task; without any,
    /// the first that may have this one ahead. One whose slots are doubted only when there is no other.
    fn next_rank(&self, load: Load) -> Option<Rank> {
        let after = self.last.map_or(Rank(0), Rank::next);
        let around = |doubted: bool| {
            let ranks = self.ranks.range(after..).chain(self.ranks.range(..after));
            ranks.filter(move |(_, it)| it.doubted == doubted)
        };
        let first = |doubted: bool| {
            let free = around(doubted).find(|(_, it)| it.is_free());
            free.or_else(|| around(doubted).find(|(_, it)| self.paces.fits(load, it)))
        };
        first(false).or_else(|| first(true)).map(|(rank, _)| *rank)
    }

    /// Removes a task from wherever it is.
    fn forget(&mut self, id: TaskId) {
        self.unqueue(id);
        if let Some(task) = self.remove(id) {
            self.release(&task);
        }
    }

    fn remove(&mut self, id: TaskId) -> Option<Task> {
        let task = self.tasks.remove(&id);
        self.keys.give(id, task.as_ref().is_some_and(|it| it.on.is_some()));
        task
    }

    fn release(&mut self, task: &Task) {
        if let Some(room) = task.place().and_then(|rank| self.ranks.get_mut(&rank)) {
            room.give(task.load, task.expected());
        }
    }

    /// A task whose present try is this one, under way.
    fn current(&self, id: TaskId, attempt: Attempt) -> Option<&Task> {
        self.tasks.get(&id).filter(|it| it.attempt == attempt && it.on.is_some())
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
