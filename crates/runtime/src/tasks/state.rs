//! What the queue decides. Pure: messages in, effects out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::blame::Blame;
use super::order::{GroupId, Lost, OnLost, Retries, Target, Undone};
use crate::model::{Attempt, Rank, TaskId};
use crate::status::Waits;

/// What the queue hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A caller waits for a grant.
    Submitted { id: TaskId, target: Target, group: GroupId, retries: Retries },
    /// A caller wants one grant on each ready rank; the ids are taken from `first` on.
    Broadcast { first: TaskId, group: GroupId, retries: Retries, lost: OnLost },
    /// A granted task has its outcome.
    Answered { id: TaskId, attempt: Attempt },
    /// A granted task failed by its own fault, and its caller would try again.
    Failed { id: TaskId, attempt: Attempt, reason: String },
    /// A granted task lost its node.
    Lost { id: TaskId, attempt: Attempt, reason: String },
    /// The task cannot be tried again: some of what it gives, or takes, has been taken.
    Committed { id: TaskId },
    /// The caller is no longer interested.
    Cancelled { id: TaskId },
    /// The pool has this many ranks.
    Sized { nodes: u32 },
    /// A node takes tasks.
    NodeReady { rank: Rank, slots: u32 },
    /// A node takes no new tasks until it, or its replacement, is ready again.
    NodePaused { rank: Rank },
    /// The process of a node's worker has ended, while its machine lives.
    WorkerDied { rank: Rank },
    /// A node will not come back.
    NodeLost { rank: Rank },
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
}

/// The queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// How many ranks the pool has, lost ones included.
    nodes: u32,
    ranks: BTreeMap<Rank, Slots>,
    lost: BTreeSet<Rank>,
    tasks: BTreeMap<TaskId, Task>,
    /// Untargeted tasks by group, and whose turn it is.
    waiting: BTreeMap<GroupId, VecDeque<TaskId>>,
    turns: VecDeque<GroupId>,
    /// Tasks that wait for one rank.
    pinned: BTreeMap<Rank, VecDeque<TaskId>>,
    /// The rank after which the next untargeted task looks for a slot.
    last: Option<Rank>,
    stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slots {
    total: u32,
    used: u32,
    open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Task {
    target: Target,
    group: GroupId,
    attempt: Attempt,
    /// How often it may still be tried again.
    left: Retries,
    /// Where it runs; `None` while it waits.
    on: Option<Rank>,
    blame: Blame,
}

impl State {
    pub(crate) const fn new() -> Self {
        Self {
            nodes: 0,
            ranks: BTreeMap::new(),
            lost: BTreeSet::new(),
            tasks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
            pinned: BTreeMap::new(),
            last: None,
            stopped: false,
        }
    }

    pub(crate) fn hear(&mut self, heard: Heard) -> Vec<Effect> {
        let mut effects = Vec::new();
        match heard {
            Heard::Submitted { id, target, group, retries } => {
                self.submit(id, target, group, retries, &mut effects);
            }
            Heard::Broadcast { first, group, retries, lost } => {
                self.broadcast(first, group, retries, lost, &mut effects);
            }
            Heard::Answered { id, attempt } => {
                if self.is_current(id, attempt) {
                    self.forget(id);
                }
            }
            Heard::Failed { id, attempt, reason } => self.fail(id, attempt, reason, &mut effects),
            Heard::Lost { id, attempt, reason } => self.lose(id, attempt, reason, &mut effects),
            Heard::Committed { id } => {
                if let Some(task) = self.tasks.get_mut(&id) {
                    task.left = Retries { own: 0, infrastructure: 0, ..task.left };
                }
            }
            Heard::Cancelled { id } => self.forget(id),
            Heard::Sized { nodes } => self.nodes = nodes,
            Heard::NodeReady { rank, slots } => {
                let used = self.running_on(rank);
                self.ranks.insert(rank, Slots { total: slots, used, open: true });
                self.lost.remove(&rank);
                self.tasks.values_mut().for_each(|it| it.blame.acquit(rank));
            }
            Heard::NodePaused { rank } => {
                if let Some(slots) = self.ranks.get_mut(&rank) {
                    slots.open = false;
                }
            }
            Heard::WorkerDied { rank } => self.tasks.values_mut().for_each(|it| it.blame.convict(rank)),
            Heard::NodeLost { rank } => self.lose_node(rank, &mut effects),
            Heard::Stopped => {
                self.stopped = true;
                self.refuse_waiting(|_| true, &Undone::Stopped, &mut effects);
            }
        }
        self.hand_out(&mut effects);
        effects
    }

    fn submit(
        &mut self,
        id: TaskId,
        target: Target,
        group: GroupId,
        left: Retries,
        effects: &mut Vec<Effect>,
    ) {
        let refusal = if self.stopped { Some(Undone::Stopped) } else { self.refusal(target) };
        if let Some(why) = refusal {
            effects.push(Effect::Refuse { id, why });
            return;
        }
        self.tasks.insert(
            id,
            Task { target, group, left, attempt: Attempt::default(), on: None, blame: Blame::default() },
        );
        self.enqueue(id, target, group);
    }

    /// How many tasks it knows.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn held(&self) -> usize {
        self.tasks.len()
    }

    /// What the tasks wait for, counted.
    pub(crate) fn waits(&self) -> Waits {
        let mut waits = Waits::default();
        let is_any_open = self.ranks.values().any(|it| it.open);
        for task in self.tasks.values() {
            match (task.on, task.target) {
                (Some(_), _) => waits.running += 1,
                (None, Target::Rank(rank)) => *waits.for_rank.entry(rank).or_default() += 1,
                (None, Target::Any) if is_any_open => waits.for_slot += 1,
                (None, Target::Any) => waits.for_node += 1,
            }
        }
        waits
    }

    /// Why a task with this target could never run.
    fn refusal(&self, target: Target) -> Option<Undone> {
        match target {
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
            self.submit(id, Target::Rank(rank), group, Retries { infrastructure, ..retries }, effects);
            id = id.next();
        }
    }

    fn fail(&mut self, id: TaskId, attempt: Attempt, reason: String, effects: &mut Vec<Effect>) {
        if !self.is_current(id, attempt) {
            return;
        }
        let Some(task) = self.tasks.get(&id).cloned() else { return };
        let over = self.stopped || self.refusal(task.target).is_some();
        match task.left.own.checked_sub(1) {
            Some(own) if !over => {
                self.release(task.on);
                self.again(id, Task { left: Retries { own, ..task.left }, ..task }, reason, effects);
            }
            _ => {
                self.forget(id);
                effects.push(Effect::Exhausted { id });
            }
        }
    }

    fn lose(&mut self, id: TaskId, attempt: Attempt, reason: String, effects: &mut Vec<Effect>) {
        if !self.is_current(id, attempt) {
            return;
        }
        let Some(task) = self.tasks.get(&id).cloned() else { return };
        self.release(task.on);
        let lost = || Lost { rank: task.on, reason: reason.clone(), attempts: attempt.0 + 1 };
        let refusal = if self.stopped {
            Some(Undone::Stopped)
        } else if task.left.infrastructure == 0 {
            Some(Undone::Lost(lost()))
        } else if let Some(why) = task.blame.condemns(task.left.crashes) {
            Some(Undone::Lost(Lost { reason: format!("{reason}; {why}"), ..lost() }))
        } else {
            // The rank that it is meant for, or every rank, is lost: more tries cannot help.
            self.refusal(task.target).map(|_| Undone::Lost(lost()))
        };
        match refusal {
            Some(why) => {
                self.tasks.remove(&id);
                effects.push(Effect::Refuse { id, why });
            }
            None => {
                let infrastructure = task.left.infrastructure.saturating_sub(1);
                let left = Retries { infrastructure, ..task.left };
                let blame = task.blame.lost_with(task.on);
                self.again(id, Task { left, blame, ..task }, reason, effects);
            }
        }
    }

    /// Queues the next try of a task, whose slot is free again.
    fn again(&mut self, id: TaskId, task: Task, reason: String, effects: &mut Vec<Effect>) {
        let attempt = task.attempt.next();
        let (target, group) = (task.target, task.group);
        self.tasks.insert(id, Task { attempt, on: None, ..task });
        self.enqueue(id, target, group);
        effects.push(Effect::Retry { id, attempt, reason });
    }

    fn lose_node(&mut self, rank: Rank, effects: &mut Vec<Effect>) {
        self.ranks.remove(&rank);
        self.lost.insert(rank);
        let why = Undone::NoSuchNode { rank, nodes: self.nodes };
        self.refuse_waiting(|task| task.target == Target::Rank(rank), &why, effects);
        if self.all_lost() {
            self.refuse_waiting(|_| true, &Undone::NoNodes, effects);
        }
    }

    fn all_lost(&self) -> bool {
        self.nodes > 0 && u32::try_from(self.lost.len()).is_ok_and(|lost| lost >= self.nodes)
    }

    fn refuse_waiting(&mut self, which: impl Fn(&Task) -> bool, why: &Undone, effects: &mut Vec<Effect>) {
        let refused: Vec<TaskId> =
            self.tasks.iter().filter(|(_, it)| it.on.is_none() && which(it)).map(|(id, _)| *id).collect();
        for id in refused {
            self.forget(id);
            effects.push(Effect::Refuse { id, why: why.clone() });
        }
    }

    /// Hands out free slots: to pinned tasks of the rank first, then in turns to the groups.
    fn hand_out(&mut self, effects: &mut Vec<Effect>) {
        if self.stopped {
            return;
        }
        let ranks: Vec<Rank> = self.pinned.keys().copied().collect();
        for rank in ranks {
            while self.has_slot(rank) {
                let Some(id) = self.pinned.get_mut(&rank).and_then(VecDeque::pop_front) else { break };
                self.grant(id, rank, effects);
            }
            if self.pinned.get(&rank).is_some_and(VecDeque::is_empty) {
                self.pinned.remove(&rank);
            }
        }
        while !self.turns.is_empty() {
            let Some(rank) = self.next_rank() else { break };
            let Some(id) = self.next_waiting() else { break };
            self.last = Some(rank);
            self.grant(id, rank, effects);
        }
    }

    fn grant(&mut self, id: TaskId, rank: Rank, effects: &mut Vec<Effect>) {
        let (Some(task), Some(slots)) = (self.tasks.get_mut(&id), self.ranks.get_mut(&rank)) else { return };
        task.on = Some(rank);
        slots.used += 1;
        effects.push(Effect::Grant { id, attempt: task.attempt, rank });
    }

    fn has_slot(&self, rank: Rank) -> bool {
        self.ranks.get(&rank).is_some_and(|it| it.open && it.used < it.total)
    }

    /// The first rank with a free slot after the last one that was given an untargeted task.
    fn next_rank(&self) -> Option<Rank> {
        let free = |it: &&Rank| self.has_slot(**it);
        let after = self.last.map_or(Rank(0), Rank::next);
        self.ranks
            .range(after..)
            .map(|(rank, _)| rank)
            .find(free)
            .or_else(|| self.ranks.keys().find(free))
            .copied()
    }

    fn next_waiting(&mut self) -> Option<TaskId> {
        let group = self.turns.pop_front()?;
        let queue = self.waiting.get_mut(&group)?;
        let id = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&group);
        } else {
            self.turns.push_back(group);
        }
        id
    }

    fn enqueue(&mut self, id: TaskId, target: Target, group: GroupId) {
        match target {
            Target::Rank(rank) => self.pinned.entry(rank).or_default().push_back(id),
            Target::Any => {
                let queue = self.waiting.entry(group).or_default();
                if queue.is_empty() {
                    self.turns.push_back(group);
                }
                queue.push_back(id);
            }
        }
    }

    /// Removes a task from wherever it is.
    fn forget(&mut self, id: TaskId) {
        let Some(task) = self.tasks.remove(&id) else { return };
        match (task.on, task.target) {
            (Some(rank), _) => self.release(Some(rank)),
            (None, Target::Rank(rank)) => {
                if let Some(queue) = self.pinned.get_mut(&rank) {
                    queue.retain(|it| *it != id);
                    if queue.is_empty() {
                        self.pinned.remove(&rank);
                    }
                }
            }
            (None, Target::Any) => {
                if let Some(queue) = self.waiting.get_mut(&task.group) {
                    queue.retain(|it| *it != id);
                    if queue.is_empty() {
                        self.waiting.remove(&task.group);
                        self.turns.retain(|it| *it != task.group);
                    }
                }
            }
        }
    }

    fn release(&mut self, rank: Option<Rank>) {
        if let Some(slots) = rank.and_then(|it| self.ranks.get_mut(&it)) {
            slots.used = slots.used.saturating_sub(1);
        }
    }

    fn running_on(&self, rank: Rank) -> u32 {
        u32::try_from(self.tasks.values().filter(|it| it.on == Some(rank)).count()).unwrap_or(u32::MAX)
    }

    fn is_current(&self, id: TaskId, attempt: Attempt) -> bool {
        self.tasks.get(&id).is_some_and(|it| it.attempt == attempt && it.on.is_some())
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
