//! The laws of the queue: a second set of books, kept from what the queue hears and says, in which
//! every entry can be judged at once.

use std::collections::{BTreeMap, BTreeSet};

use super::failure::Law;
use super::tasks::AHEAD;
use crate::model::{Attempt, FunctionId, Incarnation, Key, Rank, TaskId};
use crate::retention::Left;
use crate::tasks::Target;
use crate::tasks::state::{Effect, Heard};

/// A broken law, and what broke it.
pub(super) type Breach = (Law, String);

/// The books of one queue.
#[derive(Debug)]
pub(super) struct Ledger {
    retries: u32,
    tasks: BTreeMap<TaskId, Entry>,
    ranks: BTreeMap<Rank, Place>,
    waiting_anywhere: usize,
    /// How many outcomes of each function have told how long it takes.
    known: BTreeMap<FunctionId, u32>,
    stopped: bool,
    /// Tasks whose link broke, and that wait for another.
    suspended: BTreeSet<TaskId>,
    /// The task that is submitted next, if it has a key.
    keyed: Option<(TaskId, Key)>,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    function: FunctionId,
    limit: u32,
    tries: u32,
    on: Option<Rank>,
    /// The node that it is on is leaving: it has none of its rank's slots.
    apart: bool,
    /// Its pool gave that node up, and what is lost by that costs no try.
    excused: bool,
    /// Its key: it may have to wait for who has something under that.
    keyed: Option<Key>,
}

#[derive(Debug, Default)]
struct Place {
    open: bool,
    /// It takes nothing until the next look.
    full: bool,
    slots: u32,
    used: u32,
    /// Tasks that wait for this rank and no other.
    waiting: usize,
    /// Its worker, and what another owner of the pool left there that nobody has asked for.
    worker: Option<Incarnation>,
    left: BTreeMap<Key, Left>,
    /// It has said all that it has; what it says now is what became of that.
    has_said: bool,
}

impl Place {
    /// How many of its slots are not taken by what another owner left.
    fn own_slots(&self) -> u32 {
        let left = self.left.values().filter(|it| **it == Left::Running).count();
        self.slots.saturating_sub(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Its worker has ended.
    fn ends(&mut self) {
        (self.worker, self.left) = (None, BTreeMap::new());
    }
}

impl Ledger {
    pub(super) const fn new(retries: u32) -> Self {
        Self {
            retries,
            tasks: BTreeMap::new(),
            ranks: BTreeMap::new(),
            waiting_anywhere: 0,
            known: BTreeMap::new(),
            stopped: false,
            suspended: BTreeSet::new(),
            keyed: None,
        }
    }

    /// Takes in what the queue is about to hear. Returns whether it may change anything: an answer of
    /// an old attempt may not.
    pub(super) fn hears(&mut self, heard: &Heard) -> bool {
        match heard {
            Heard::Submitted { id, target, load, .. } => {
                self.open(*id, *target, self.retries, load.function);
            }
            Heard::Answered { id, attempt, took } if self.runs(*id, *attempt) => {
                let function = self.tasks.get(id).filter(|_| took.is_some()).map(|it| it.function);
                if let Some(function) = function {
                    *self.known.entry(function).or_default() += 1;
                }
                self.close(*id);
            }
            Heard::Expired { id, attempt } if self.runs(*id, *attempt) => self.close(*id),
            Heard::GivenBack { id, attempt } | Heard::Full { id, attempt } if self.runs(*id, *attempt) => {
                let on = self.tasks.get(id).filter(|it| !it.apart).and_then(|it| it.on);
                // One that had a slot by these books, and never began, says that there is none.
                if let Some(place) = on.and_then(|it| self.ranks.get_mut(&it))
                    && (matches!(heard, Heard::Full { .. }) || place.used <= place.slots)
                {
                    place.full = true;
                }
                self.back(*id);
                // It has not been tried, but for its number.
                if let Some(entry) = self.tasks.get_mut(id) {
                    entry.limit += 1;
                }
            }
            Heard::Lost { id, attempt, .. } | Heard::Failed { id, attempt, .. }
                if self.runs(*id, *attempt) =>
            {
                if matches!(heard, Heard::Lost { .. }) {
                    self.excuse(*id);
                }
                self.back(*id);
            }
            Heard::Broken { id, attempt, .. } if self.runs(*id, *attempt) => {
                self.suspended.insert(*id);
            }
            Heard::Answered { .. }
            | Heard::Expired { .. }
            | Heard::Lost { .. }
            | Heard::Broken { .. }
            | Heard::Failed { .. }
            | Heard::Full { .. }
            | Heard::GivenBack { .. } => {
                return false;
            }
            Heard::Cancelled { id } => self.close(*id),
            Heard::NodeReady { rank, slots, worker } => {
                let place = self.ranks.entry(*rank).or_default();
                (place.open, place.full, place.slots) = (true, false, *slots);
                (place.worker, place.left, place.has_said) = (Some(worker.clone()), BTreeMap::new(), false);
            }
            Heard::Held { rank, worker, keys, .. } => {
                let place = self.ranks.entry(*rank).or_default();
                if place.worker.as_ref() == Some(worker) {
                    place.has_said |= keys.is_empty();
                    let runs = |key: &Key| place.left.get(key) == Some(&Left::Running);
                    let news = keys.iter().filter(|(key, _)| !place.has_said || runs(key));
                    let news: Vec<(Key, Left)> = news.cloned().collect();
                    place.left.extend(news);
                }
            }
            Heard::NodeLeaves { rank, by_choice } => {
                let place = self.ranks.entry(*rank).or_default();
                (place.open, place.used) = (false, 0);
                place.ends();
                for entry in self.tasks.values_mut().filter(|it| it.on == Some(*rank)) {
                    (entry.apart, entry.excused) = (true, *by_choice || entry.excused);
                }
            }
            Heard::NodePaused { rank } => self.ranks.entry(*rank).or_default().open = false,
            Heard::NodeGone { rank } | Heard::NodeLost { rank } => {
                let place = self.ranks.entry(*rank).or_default();
                place.open = false;
                place.ends();
            }
            Heard::WorkerDied { rank } => self.ranks.entry(*rank).or_default().ends(),
            Heard::Stopped => self.stopped = true,
            Heard::Keyed { id, key } => self.keyed = Some((*id, key.clone())),
            Heard::Committed { id } => {
                if let Some(entry) = self.tasks.get_mut(id) {
                    entry.limit = entry.tries.saturating_sub(1);
                }
            }
            Heard::Looked => self.ranks.values_mut().for_each(|it| it.full = false),
            Heard::Broadcast { .. }
            | Heard::Stays { .. }
            | Heard::Sized { .. }
            | Heard::Grows { .. }
            | Heard::NodeWanted { .. }
            | Heard::RoundTrip { .. } => {}
        }
        true
    }

    /// Judges what the queue said to something fresh, and what it knows now.
    pub(super) fn judge(&mut self, heard: &Heard, effects: &[Effect], known: usize) -> Result<(), Breach> {
        let lost = match heard {
            Heard::Lost { id, .. } | Heard::Failed { id, .. } => Some(*id),
            _ => None,
        };
        let mut heeded = lost.is_none();
        for effect in effects {
            match effect {
                Effect::Grant { id, attempt, rank } => self.grant(*id, *attempt, *rank)?,
                Effect::Refuse { id, .. } | Effect::Exhausted { id } => {
                    if self.suspended.remove(id) {
                        self.back(*id);
                    }
                    heeded |= lost == Some(*id);
                    self.refuse(*id)?;
                }
                Effect::Shares { first, ranks } => {
                    let mut id = *first;
                    let Heard::Broadcast { load, .. } = heard else { continue };
                    for rank in ranks {
                        self.open(id, Target::Rank(*rank), 0, load.function);
                        id = id.next();
                    }
                }
                Effect::Retry { id, .. } => {
                    if self.suspended.remove(id) {
                        self.excuse(*id);
                        self.back(*id);
                    }
                    heeded |= lost == Some(*id);
                }
                Effect::Resume { id, attempt, rank } => {
                    let is_there = self.tasks.get(id).is_some_and(|it| it.on == Some(*rank));
                    if !self.suspended.remove(id) || !is_there || !self.runs(*id, *attempt) {
                        return Err((
                            Law::NoneTwice,
                            format!("task {id} is asked for, and waits for nothing"),
                        ));
                    }
                }
                Effect::Recall { .. } | Effect::Reconcile { .. } | Effect::Release { .. } => {}
            }
        }
        if !heeded {
            return Err((Law::NoneLost, format!("{heard:?} is neither tried again nor refused")));
        }
        if self.tasks.len() != known {
            let what = format!("the queue knows {known} tasks, and {} are open", self.tasks.len());
            return Err((Law::Known, what));
        }
        self.none_forgotten(heard)?;
        self.none_idle()
    }

    /// What waits for a link hears when there is one, and when there will be none.
    fn none_forgotten(&self, heard: &Heard) -> Result<(), Breach> {
        let rank = match heard {
            Heard::NodeReady { rank, .. }
            | Heard::NodeLeaves { rank, .. }
            | Heard::NodeGone { rank }
            | Heard::WorkerDied { rank }
            | Heard::NodeLost { rank } => *rank,
            _ => return Ok(()),
        };
        let waits = |id: &&TaskId| self.tasks.get(id).is_some_and(|it| it.on == Some(rank));
        match self.suspended.iter().find(waits) {
            Some(id) => Err((Law::NoneLost, format!("task {id} still waits for a link after {heard:?}"))),
            None => Ok(()),
        }
    }

    pub(super) fn stale(heard: &Heard) -> Breach {
        (Law::Stale, format!("{heard:?} is of an old attempt and changed something"))
    }

    /// A task that the node of a rank has.
    pub(super) fn on(&self, rank: Rank) -> Option<TaskId> {
        self.tasks.iter().find(|(_, it)| it.on == Some(rank) && !it.apart).map(|(id, _)| *id)
    }

    /// The attempt that runs now.
    pub(super) fn attempt(&self, id: TaskId) -> Option<Attempt> {
        let entry = self.tasks.get(&id)?;
        entry.on.map(|_| Attempt(entry.tries.saturating_sub(1)))
    }

    pub(super) fn open_tasks(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.keys().copied()
    }

    fn runs(&self, id: TaskId, attempt: Attempt) -> bool {
        self.attempt(id) == Some(attempt)
    }

    fn open(&mut self, id: TaskId, target: Target, limit: u32, function: FunctionId) {
        let keyed = self.keyed.take_if(|(of, _)| *of == id).map(|(_, key)| key);
        self.tasks.insert(
            id,
            Entry { target, function, limit, tries: 0, on: None, apart: false, excused: false, keyed },
        );
        self.wait(id, target);
    }

    fn is_keyed(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|it| it.keyed.is_some())
    }

    fn wait(&mut self, id: TaskId, target: Target) {
        match target {
            Target::Any if self.is_keyed(id) => {}
            Target::Any => self.waiting_anywhere += 1,
            Target::Rank(rank) => self.ranks.entry(rank).or_default().waiting += 1,
        }
    }

    fn wait_no_more(&mut self, target: Target, keyed: bool) {
        let waiting = match target {
            Target::Any if keyed => return,
            Target::Any => &mut self.waiting_anywhere,
            Target::Rank(rank) => &mut self.ranks.entry(rank).or_default().waiting,
        };
        *waiting = waiting.saturating_sub(1);
    }

    /// A task is lost; that costs no try where its pool gave the node up.
    fn excuse(&mut self, id: TaskId) {
        if let Some(entry) = self.tasks.get_mut(&id).filter(|it| it.excused) {
            entry.limit += 1;
        }
    }

    fn back(&mut self, id: TaskId) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let (target, on) = (entry.target, entry.on.take().filter(|_| !entry.apart));
        (entry.apart, entry.excused) = (false, false);
        self.free(on);
        self.wait(id, target);
    }

    fn close(&mut self, id: TaskId) {
        self.suspended.remove(&id);
        let Some(entry) = self.tasks.remove(&id) else { return };
        match entry.on {
            Some(_) => self.free(entry.on.filter(|_| !entry.apart)),
            None => self.wait_no_more(entry.target, entry.keyed.is_some()),
        }
    }

    fn free(&mut self, on: Option<Rank>) {
        if let Some(place) = on.and_then(|it| self.ranks.get_mut(&it)) {
            place.used = place.used.saturating_sub(1);
        }
    }

    fn grant(&mut self, id: TaskId, attempt: Attempt, rank: Rank) -> Result<(), Breach> {
        let told = format!("task {id} attempt {attempt} on rank {rank}");
        let Some(entry) = self.tasks.get_mut(&id).filter(|it| it.on.is_none()) else {
            return Err((Law::NoneTwice, format!("{told} is granted, and does not wait")));
        };
        let place = self.ranks.entry(rank).or_default();
        let is_known = self.known.get(&entry.function).is_some_and(|it| *it >= AHEAD.known);
        let most = place.own_slots() + if is_known { AHEAD.calls } else { 0 };
        // What is there already needs no slot.
        let is_there = entry.keyed.as_ref().and_then(|it| place.left.remove(it));
        let is_there = is_there.is_some_and(|it| it != Left::Nothing);
        let law = if attempt.0 != entry.tries || entry.tries > entry.limit {
            Some(Law::Tries)
        } else if self.stopped {
            Some(Law::Stopped)
        } else if !place.open
            || place.full
            || !matches!(entry.target, Target::Any) && entry.target != Target::Rank(rank)
        {
            Some(Law::Closed)
        } else if place.used >= most && !is_there {
            Some(Law::Slots)
        } else {
            None
        };
        if let Some(law) = law {
            return Err((law, format!("{told} is granted: {entry:?}, {place:?}")));
        }
        (entry.on, entry.apart, entry.excused) = (Some(rank), false, false);
        entry.tries += 1;
        place.used += 1;
        let (target, keyed) = (entry.target, entry.keyed.is_some());
        self.wait_no_more(target, keyed);
        Ok(())
    }

    fn refuse(&mut self, id: TaskId) -> Result<(), Breach> {
        match self.tasks.get(&id) {
            Some(entry) if entry.on.is_none() => {
                self.close(id);
                Ok(())
            }
            other => Err((Law::NoneTwice, format!("task {id} is refused, and does not wait: {other:?}"))),
        }
    }

    fn none_idle(&self) -> Result<(), Breach> {
        let idle = self.ranks.iter().find(|(_, it)| {
            it.open && !it.full && it.used < it.own_slots() && (it.waiting > 0 || self.waiting_anywhere > 0)
        });
        match idle {
            Some((rank, place)) if !self.stopped => {
                Err((Law::NoneIdle, format!("rank {rank} has a free slot while a task waits: {place:?}")))
            }
            _ => Ok(()),
        }
    }
}
