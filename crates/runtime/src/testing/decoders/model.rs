//! What the queue of a pool promises, written once more in the simplest way: no rooms, no paces, no indices.
//! `queue.rs` holds the real one to it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Attempt, Incarnation, Rank, TaskId};
use crate::tasks::state::Heard;
use crate::tasks::{GroupId, OnLost, Retries, Target, Undone};

/// What the queue says to callers, but for grants and recalls, which it may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Refused(TaskId, Why),
    Exhausted(TaskId),
    Again(TaskId, Attempt),
    Shares(TaskId, Vec<Rank>),
    Reconciled(Rank, Vec<(TaskId, Attempt)>),
    Resumed(TaskId, Attempt, Rank),
    Released(TaskId, Attempt, Rank),
}

/// Why a task gets no grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Stopped,
    NoSuchNode,
    NoNodes,
    Lost,
    Else,
}

#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) target: Target,
    pub(super) attempt: Attempt,
    pub(super) on: Option<Rank>,
    group: GroupId,
    left: Retries,
    deaths: u32,
    suspected: Option<Rank>,
    /// Which of its rank's links it was sent over, and whether that broke.
    link: u32,
    suspended: bool,
    /// Its node is leaving, and because its pool gives it up.
    apart: bool,
    excused: bool,
    /// It may not run again.
    once: bool,
}

impl Task {
    /// The rank whose node has it, unless that is leaving.
    fn place(&self) -> Option<Rank> {
        self.on.filter(|_| !self.apart)
    }
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) tasks: BTreeMap<TaskId, Task>,
    /// Ready ranks: their slots, and whether they take more.
    pub(super) ranks: BTreeMap<Rank, (u32, bool)>,
    /// Untargeted tasks that wait, by group, the group whose turn it is first.
    turns: Vec<(GroupId, Vec<TaskId>)>,
    /// Targeted ones, in the order in which they came.
    pinned: Vec<TaskId>,
    lost: BTreeSet<Rank>,
    /// Ranks that take nothing until the next look.
    full: BTreeSet<Rank>,
    /// The worker that each rank has, and how many links led to it before.
    lives: BTreeMap<Rank, (Incarnation, u32)>,
    nodes: u32,
    grows: Option<bool>,
    pub(super) stopped: bool,
}

impl From<&Undone> for Why {
    fn from(why: &Undone) -> Self {
        match why {
            Undone::Stopped => Self::Stopped,
            Undone::NoSuchNode { .. } => Self::NoSuchNode,
            Undone::NoNodes => Self::NoNodes,
            Undone::Lost(_) => Self::Lost,
            Undone::Key(_)
            | Undone::Failed(_)
            | Undone::Panicked(_)
            | Undone::Crashed(_)
            | Undone::TimedOut(_)
            | Undone::Cancelled
            | Undone::Superseded(_)
            | Undone::Unencodable(_)
            | Undone::Undecodable(_) => Self::Else,
        }
    }
}

impl Model {
    /// What has to be told about it.
    pub(super) fn hear(&mut self, heard: &Heard) -> Vec<Told> {
        let mut told = Vec::new();
        match heard {
            Heard::Submitted { id, target, group, retries, .. } => {
                told.extend(self.submit(*id, *target, *group, *retries));
            }
            Heard::Broadcast { first, group, retries, lost, .. } => {
                let open = self.ranks.iter().filter(|(_, (_, open))| *open && !self.stopped);
                let ranks: Vec<_> = open.map(|(rank, _)| *rank).collect();
                told.push(Told::Shares(*first, ranks.clone()));
                let infrastructure = if *lost == OnLost::Replace { retries.infrastructure } else { 0 };
                let mut id = *first;
                for rank in ranks {
                    told.extend(self.submit(
                        id,
                        Target::Rank(rank),
                        *group,
                        Retries { infrastructure, ..*retries },
                    ));
                    id = id.next();
                }
            }
            Heard::Answered { id, attempt, .. } | Heard::Expired { id, attempt } => {
                if self.current(*id, *attempt).is_some() {
                    told.extend(self.leave(*id));
                    self.remove(*id);
                }
            }
            Heard::GivenBack { id, attempt } | Heard::Full { id, attempt } => {
                let on = self.current(*id, *attempt).and_then(|it| it.place());
                if let Some(rank) = on {
                    // One that had a slot by these books, and never began, says that there is none.
                    let slots = self.ranks.get(&rank).map_or(0, |(slots, _)| *slots);
                    if matches!(heard, Heard::Full { .. }) || self.used(rank) <= slots {
                        self.full.insert(rank);
                    }
                }
                if let Some(task) = self.current(*id, *attempt) {
                    match self.hopeless(task.target) {
                        Some(why) => told.extend(self.refuse(*id, why)),
                        None => self.again(*id, task),
                    }
                }
            }
            Heard::Failed { id, attempt, .. } => {
                if let Some(mut task) = self.current(*id, *attempt) {
                    told.extend(self.leave(*id));
                    if task.left.own == 0 || self.hopeless(task.target).is_some() {
                        self.remove(*id);
                        told.push(Told::Exhausted(*id));
                    } else {
                        task.left.own -= 1;
                        told.push(Told::Again(*id, attempt.next()));
                        self.again(*id, task);
                    }
                }
            }
            Heard::Lost { id, attempt, .. } => {
                if let Some(task) = self.current(*id, *attempt) {
                    told.extend(self.lose(*id, task));
                }
            }
            Heard::Broken { id, attempt, worker, .. } => told.extend(self.broken(*id, *attempt, worker)),
            Heard::Committed { id } => {
                if let Some(task) = self.tasks.get_mut(id) {
                    (task.left.own, task.left.infrastructure) = (0, 0);
                    task.once = true;
                }
            }
            Heard::Cancelled { id } => {
                told.extend(self.leave(*id));
                self.remove(*id);
            }
            Heard::Sized { nodes } => self.nodes = *nodes,
            Heard::Grows { grows } => {
                self.grows = Some(*grows);
                let head = Target::Rank(Rank(0));
                if let Some(why) = self.hopeless(head) {
                    told.extend(self.refuse_waiting(why, |it| it.target == head));
                }
                if self.all_lost() {
                    told.extend(self.refuse_waiting(Why::NoNodes, |_| true));
                }
            }
            Heard::NodeWanted { rank } => {
                self.lost.extend((self.nodes..rank.0).map(Rank));
                self.lost.remove(rank);
                self.nodes = self.nodes.max(rank.0 + 1);
            }
            Heard::NodeReady { rank, slots, worker } => {
                told.extend(self.linked(*rank, worker));
                self.full.remove(rank);
                self.ranks.insert(*rank, (*slots, true));
                self.lost.remove(rank);
                let suspects = self.tasks.values_mut().filter(|it| it.suspected == Some(*rank));
                suspects.for_each(|it| it.suspected = None);
            }
            Heard::NodePaused { rank } => {
                if let Some((_, open)) = self.ranks.get_mut(rank) {
                    *open = false;
                }
            }
            Heard::WorkerDied { rank } => {
                told.extend(self.end_life(*rank));
                for task in self.tasks.values_mut().filter(|it| it.suspected == Some(*rank)) {
                    (task.deaths, task.suspected) = (task.deaths + 1, None);
                }
            }
            Heard::NodeLeaves { rank, by_choice } => {
                self.ranks.remove(rank);
                let here = self.tasks.values_mut().filter(|it| it.place() == Some(*rank));
                here.for_each(|it| it.excused |= *by_choice);
                told.extend(self.end_life(*rank));
                let left = self.tasks.values_mut().filter(|it| it.place() == Some(*rank));
                left.for_each(|it| it.apart = true);
            }
            Heard::NodeGone { rank } => {
                if let Some((_, open)) = self.ranks.get_mut(rank) {
                    *open = false;
                }
                told.extend(self.end_life(*rank));
            }
            Heard::NodeLost { rank } => {
                self.ranks.remove(rank);
                self.lost.insert(*rank);
                told.extend(self.end_life(*rank));
                if let Some(why) = self.hopeless(Target::Rank(*rank)) {
                    told.extend(self.refuse_waiting(why, |it| it.target == Target::Rank(*rank)));
                }
                if self.all_lost() {
                    told.extend(self.refuse_waiting(Why::NoNodes, |_| true));
                }
            }
            Heard::RoundTrip { .. } => {}
            Heard::Looked => self.full.clear(),
            // Keys only say where to wait; they have tests of their own.
            Heard::Keyed { .. } | Heard::Held { .. } | Heard::Stays { .. } => {}
            Heard::Stopped => {
                self.stopped = true;
                told.extend(self.lose_suspended(|_| true));
                told.extend(self.refuse_waiting(Why::Stopped, |_| true));
            }
        }
        told
    }

    /// A grant: of the right try, to a rank that takes it, and of the one whose turn it is.
    pub(super) fn grant(&mut self, id: TaskId, attempt: Attempt, rank: Rank) {
        assert!(self.takes(rank), "{rank} takes nothing");
        let link = self.lives.get(&rank).map_or(0, |(_, link)| *link);
        let turn = self.turns.first().and_then(|(_, them)| them.first()).copied();
        let Some(task) = self.tasks.get_mut(&id) else { unreachable!("{id} is over") };
        assert_eq!((task.attempt, task.on), (attempt, None), "{id} has this try, once");
        (task.on, task.link) = (Some(rank), link);
        match task.target {
            Target::Rank(wanted) => {
                assert_eq!(wanted, rank, "{id} is for another");
                let tasks = &self.tasks;
                let first = self
                    .pinned
                    .iter()
                    .find(|it| tasks.get(it).is_some_and(|it| it.target == Target::Rank(rank)));
                assert_eq!(first, Some(&id), "another waits for {rank} since before");
                self.pinned.retain(|it| *it != id);
            }
            Target::Any => {
                assert_eq!(turn, Some(id), "it is the turn of another");
                let (group, mut rest) = self.turns.remove(0);
                rest.remove(0);
                if !rest.is_empty() {
                    self.turns.push((group, rest));
                }
            }
        }
    }

    /// How many tasks a rank has.
    pub(super) fn used(&self, rank: Rank) -> u32 {
        self.tasks.values().filter(|it| it.place() == Some(rank)).map(|_| 1).sum()
    }

    /// Whether a task could begin at once somewhere and waits all the same.
    pub(super) fn leaves_idle(&self) -> bool {
        let free = |rank: &Rank| {
            self.takes(*rank) && self.ranks.get(rank).is_some_and(|(slots, _)| self.used(*rank) < *slots)
        };
        let waits = |it: &Task| match it.target {
            Target::Any => self.ranks.keys().any(free),
            Target::Rank(rank) => free(&rank),
        };
        !self.stopped && self.tasks.values().any(|it| it.on.is_none() && waits(it))
    }

    fn takes(&self, rank: Rank) -> bool {
        self.is_open(rank) && !self.full.contains(&rank)
    }

    fn is_open(&self, rank: Rank) -> bool {
        self.ranks.get(&rank).is_some_and(|(_, open)| *open)
    }

    /// A rank has a link, to the worker that it had or to another.
    fn linked(&mut self, rank: Rank, worker: &Incarnation) -> Vec<Told> {
        let (mut told, mut link) = (Vec::new(), 0);
        match self.lives.get(&rank) {
            Some((same, before)) if same == worker => link = before + 1,
            _ => told = self.end_life(rank),
        }
        self.lives.insert(rank, (worker.clone(), link));
        let on_it = || self.tasks.iter().filter(|(_, it)| it.place() == Some(rank));
        told.push(Told::Reconciled(rank, on_it().map(|(id, it)| (*id, it.attempt)).collect()));
        let resumed = on_it().filter(|(_, it)| it.suspended);
        told.extend(resumed.map(|(id, it)| Told::Resumed(*id, it.attempt, rank)));
        for task in self.tasks.values_mut().filter(|it| it.place() == Some(rank)) {
            task.suspended = false;
        }
        told
    }

    fn broken(&mut self, id: TaskId, attempt: Attempt, worker: &Incarnation) -> Vec<Told> {
        let Some(task) = self.current(id, attempt) else { return Vec::new() };
        let Some(rank) = task.place() else { return self.lose(id, task) };
        if self.stopped || self.lives.get(&rank).is_none_or(|(it, _)| it != worker) {
            return self.lose(id, task);
        }
        if self.is_open(rank) {
            return vec![Told::Resumed(id, attempt, rank)];
        }
        self.tasks.entry(id).and_modify(|it| it.suspended = true);
        Vec::new()
    }

    fn end_life(&mut self, rank: Rank) -> Vec<Told> {
        self.lives.remove(&rank);
        self.lose_suspended(|it| it.place() == Some(rank))
    }

    fn lose_suspended(&mut self, which: impl Fn(&Task) -> bool) -> Vec<Told> {
        let them = self.tasks.iter().filter(|(_, it)| it.suspended && which(it));
        let them: Vec<_> = them.map(|(id, it)| (*id, it.clone())).collect();
        them.into_iter().flat_map(|(id, task)| self.lose(id, task)).collect()
    }

    /// What was sent over an older link may be waited for in vain: its worker is told not to.
    fn leave(&self, id: TaskId) -> Option<Told> {
        let task = self.tasks.get(&id)?;
        let rank = task.place().filter(|it| self.is_open(*it))?;
        let (_, link) = self.lives.get(&rank)?;
        (*link != task.link).then_some(Told::Released(id, task.attempt, rank))
    }

    fn submit(&mut self, id: TaskId, target: Target, group: GroupId, left: Retries) -> Option<Told> {
        if let Some(why) = self.hopeless(target) {
            return Some(Told::Refused(id, why));
        }
        let attempt = Attempt::default();
        let task = Task {
            target,
            group,
            left,
            attempt,
            on: None,
            deaths: 0,
            suspected: None,
            link: 0,
            suspended: false,
            apart: false,
            excused: false,
            once: left.infrastructure == 0,
        };
        self.wait(id, task);
        None
    }

    fn lose(&mut self, id: TaskId, task: Task) -> Vec<Told> {
        self.leave(id).into_iter().chain([self.lost(id, task)]).collect()
    }

    fn lost(&mut self, id: TaskId, task: Task) -> Told {
        let is_blamed = task.deaths >= task.left.crashes.max(1);
        if self.stopped {
            self.remove(id);
            return Told::Refused(id, Why::Stopped);
        }
        let is_used_up = task.left.infrastructure == 0 && (task.once || !task.excused);
        if is_used_up || is_blamed || self.hopeless(task.target).is_some() {
            self.remove(id);
            return Told::Refused(id, Why::Lost);
        }
        let cost = u32::from(!task.excused);
        let left = Retries { infrastructure: task.left.infrastructure.saturating_sub(cost), ..task.left };
        let attempt = task.attempt.next();
        self.again(id, Task { left, suspected: task.on, ..task });
        Told::Again(id, attempt)
    }

    fn again(&mut self, id: TaskId, task: Task) {
        self.wait(
            id,
            Task {
                attempt: task.attempt.next(),
                on: None,
                suspended: false,
                apart: false,
                excused: false,
                ..task
            },
        );
    }

    fn wait(&mut self, id: TaskId, task: Task) {
        match (task.target, self.turns.iter_mut().find(|(group, _)| *group == task.group)) {
            (Target::Rank(_), _) => self.pinned.push(id),
            (Target::Any, Some((_, them))) => them.push(id),
            (Target::Any, None) => self.turns.push((task.group, vec![id])),
        }
        self.tasks.insert(id, task);
    }

    fn remove(&mut self, id: TaskId) {
        self.tasks.remove(&id);
        self.pinned.retain(|it| *it != id);
        self.turns.iter_mut().for_each(|(_, them)| them.retain(|it| *it != id));
        self.turns.retain(|(_, them)| !them.is_empty());
    }

    fn refuse(&mut self, id: TaskId, why: Why) -> Option<Told> {
        self.remove(id);
        Some(Told::Refused(id, why))
    }

    fn refuse_waiting(&mut self, why: Why, which: impl Fn(&Task) -> bool) -> Vec<Told> {
        let waiting = self.tasks.iter().filter(|(_, it)| it.on.is_none() && which(it));
        let waiting: Vec<_> = waiting.map(|(id, _)| *id).collect();
        waiting.into_iter().filter_map(|it| self.refuse(it, why)).collect()
    }

    /// Why a task with this target can never run.
    fn hopeless(&self, target: Target) -> Option<Why> {
        match target {
            _ if self.stopped => Some(Why::Stopped),
            Target::Rank(Rank(0)) if self.grows == Some(true) => None,
            Target::Rank(rank) => {
                (rank.0 >= self.nodes || self.lost.contains(&rank)).then_some(Why::NoSuchNode)
            }
            Target::Any => self.all_lost().then_some(Why::NoNodes),
        }
    }

    fn all_lost(&self) -> bool {
        match self.grows {
            Some(true) => false,
            Some(false) if self.nodes == 0 => true,
            Some(false) | None => self.nodes > 0 && self.lost.len() >= self.nodes as usize,
        }
    }

    fn current(&self, id: TaskId, attempt: Attempt) -> Option<Task> {
        self.tasks.get(&id).filter(|it| it.attempt == attempt && it.on.is_some()).cloned()
    }
}
