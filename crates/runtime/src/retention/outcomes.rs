//! The calls that a worker answers for apart from its lanes, and their outcomes, until they are released. Pure:
//! `T` is an outcome, `H` a handle of whoever drives it: what cancels a call when it is dropped, and whom to tell
//! when it has ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::extents::{Extent, Extents};
use crate::model::{Attempt, Epoch, Key, Retention, TaskId};

#[path = "left.rs"]
mod left;

pub use left::Left;

/// One try of one task, as its client knows it.
pub type Try = (TaskId, Attempt);

/// What a call with a key is: a hash of its function and its arguments.
pub type Print = [u8; 32];

/// One try of one task of one owner of the pool: task numbers begin anew with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Whose task it is.
    pub epoch: Epoch,
    /// Which try of it.
    pub it: Try,
}

/// Everything that is kept.
#[derive(Debug)]
pub struct Outcomes<T, H> {
    limits: Retention,
    epoch: Epoch,
    entries: BTreeMap<Run, Entry<T, H>>,
    keys: BTreeMap<Key, Run>,
    /// Tries that found the call of their key, and during which link: they stand for it.
    joined: BTreeMap<Try, (Run, u64)>,
    /// What is in memory, by its size.
    by_size: BTreeSet<(u64, Run)>,
    memory: u64,
    extents: Extents,
    /// The file could not be written, and nothing in it was given back since.
    disk_failed: bool,
    /// Counts the links of clients.
    session: u64,
    /// Those that were released and are not here: what was sent before that may arrive later.
    early: VecDeque<Try>,
}

#[derive(Debug)]
struct Entry<T, H> {
    /// The link during which it came, or was asked for last.
    session: u64,
    key: Option<(Key, Print)>,
    stage: Stage<T, H>,
}

#[derive(Debug)]
enum Stage<T, H> {
    Running {
        cancel: H,
        waits: Option<H>,
    },
    Memory {
        outcome: T,
        size: u64,
    },
    /// In memory, and on its way to the file.
    Moving {
        outcome: T,
        size: u64,
        to: Extent,
    },
    Disk(Extent),
}

/// What a call meets when it arrives.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived<H> {
    /// It runs.
    New,
    /// Its key has been here: it is to be asked for like one of a link that broke.
    Known(H),
    /// Another function, or other arguments, have its key.
    Differs(H),
    /// Nothing new is taken.
    Full(H),
    /// It was released before it came.
    Unwanted(H),
}

/// What a client hears that asks for a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Resumed<'a, T, H> {
    /// It never arrived, or was given back.
    Unknown(H),
    /// It runs; the handle is told when it has ended. One that was told to wait before waits in vain.
    Running(Option<H>),
    /// Its outcome. It stays until it is released.
    Kept(Body<'a, T>),
}

/// Where an outcome is.
#[derive(Debug, PartialEq, Eq)]
pub enum Body<'a, T> {
    /// Here.
    Memory(&'a T),
    /// In the file.
    Disk(Extent),
}

/// What was released, to be dropped where no lock is held.
#[derive(Debug, PartialEq, Eq)]
pub enum Released<T, H> {
    /// It ran: its handle cancels it when dropped, and nobody who waits for it will be told.
    Running(H, Option<H>),
    /// It was kept.
    Kept(Option<T>),
}

/// An outcome that is to be written to the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Spill<'a, T> {
    /// Whose it is.
    pub run: Run,
    /// What to write.
    pub outcome: &'a T,
    /// Where to.
    pub to: Extent,
}

impl<T, H> Outcomes<T, H> {
    /// Nothing is kept yet.
    pub const fn new(limits: Retention) -> Self {
        Self {
            limits,
            epoch: Epoch(0),
            entries: BTreeMap::new(),
            keys: BTreeMap::new(),
            joined: BTreeMap::new(),
            by_size: BTreeSet::new(),
            memory: 0,
            extents: Extents::new(limits.disk),
            disk_failed: false,
            session: 0,
            early: VecDeque::new(),
        }
    }

    /// A client has linked. What an older owner left without a key is nobody's now.
    pub fn link(&mut self, epoch: Epoch) -> Vec<Released<T, H>> {
        self.session += 1;
        self.early.clear();
        if epoch <= self.epoch {
            return Vec::new();
        }
        self.epoch = epoch;
        self.joined.clear();
        let orphans = self.entries.iter().filter(|(_, it)| it.key.is_none()).map(|(run, _)| *run);
        let orphans: Vec<Run> = orphans.collect();
        orphans.into_iter().filter_map(|run| self.remove(run)).collect()
    }

    /// The try as it is called here.
    pub const fn run(&self, it: Try) -> Run {
        Run { epoch: self.epoch, it }
    }

    /// A call has arrived that is answered for here.
    pub fn arrive(&mut self, it: Try, key: Option<(Key, Print)>, cancel: H) -> Arrived<H> {
        let run = self.run(it);
        if self.early.contains(&it) {
            return Arrived::Unwanted(cancel);
        }
        if let Some((key, print)) = &key
            && let Some(before) = self.keys.get(key).copied()
        {
            let entry = self.entries.get(&before);
            let is_same = entry.and_then(|it| it.key.as_ref()).is_some_and(|(_, it)| it == print);
            // Its own last try has ended, and its caller wants another.
            let is_again = before.epoch == run.epoch && before.it.0 == it.0 && before.it.1 < it.1;
            match (is_same, is_again && entry.is_some_and(|it| !it.is_running())) {
                (_, true) => drop(self.remove(before)),
                (true, false) => {
                    self.joined.insert(it, (before, self.session));
                    return Arrived::Known(cancel);
                }
                (false, false) => return Arrived::Differs(cancel),
            }
        }
        self.make_room();
        if self.is_full() {
            return Arrived::Full(cancel);
        }
        if let Some((key, _)) = &key {
            self.keys.insert(key.clone(), run);
        }
        self.entries
            .insert(run, Entry { session: self.session, key, stage: Stage::Running { cancel, waits: None } });
        Arrived::New
    }

    /// The link of a call that runs, or waits for a slot, is over.
    pub fn detach(&mut self, run: Run, cancel: H) {
        self.entries.insert(
            run,
            Entry { session: self.session, key: None, stage: Stage::Running { cancel, waits: None } },
        );
    }

    /// Whether the call is still wanted.
    pub fn is_wanted(&self, run: Run) -> bool {
        self.entries.get(&run).is_some_and(Entry::is_running)
    }

    /// A call has ended. Whoever waits for it is to be told; an outcome that nobody wants is given back.
    pub fn finish(&mut self, run: Run, outcome: T, size: u64) -> Result<Option<H>, T> {
        let Some(Entry { stage: stage @ Stage::Running { .. }, .. }) = self.entries.get_mut(&run) else {
            return Err(outcome);
        };
        let size = size.saturating_add(OVERHEAD);
        let before = std::mem::replace(stage, Stage::Memory { outcome, size });
        self.memory = self.memory.saturating_add(size);
        self.by_size.insert((size, run));
        match before {
            Stage::Running { waits, .. } => Ok(waits),
            Stage::Memory { .. } | Stage::Moving { .. } | Stage::Disk(_) => Ok(None),
        }
    }

    /// An outcome was sent, and its link is over before it was acknowledged; or it is too large for its lane.
    pub fn keep(&mut self, run: Run, outcome: T, size: u64) {
        if !self.entries.contains_key(&run) {
            let size = size.saturating_add(OVERHEAD);
            self.entries.insert(
                run,
                Entry { session: self.session, key: None, stage: Stage::Memory { outcome, size } },
            );
            self.memory = self.memory.saturating_add(size);
            self.by_size.insert((size, run));
        }
    }

    /// The client asks what became of a call.
    pub fn resume(&mut self, it: Try, waits: H) -> Resumed<'_, T, H> {
        let run = self.found(it);
        let session = self.session;
        let entry = self.entries.get_mut(&run).map(|it| {
            it.session = session;
            &mut it.stage
        });
        match entry {
            None => Resumed::Unknown(waits),
            Some(Stage::Running { waits: before, .. }) => Resumed::Running(before.replace(waits)),
            Some(Stage::Memory { outcome, .. } | Stage::Moving { outcome, .. }) => {
                Resumed::Kept(Body::Memory(outcome))
            }
            Some(Stage::Disk(extent)) => Resumed::Kept(Body::Disk(*extent)),
        }
    }

    /// The outcome of a call that has one.
    pub fn body(&self, it: Try) -> Option<Body<'_, T>> {
        match &self.entries.get(&self.found(it))?.stage {
            Stage::Running { .. } => None,
            Stage::Memory { outcome, .. } | Stage::Moving { outcome, .. } => Some(Body::Memory(outcome)),
            Stage::Disk(extent) => Some(Body::Disk(*extent)),
        }
    }

    /// The client has the outcome, or does not want it: both mean that it is forgotten, and cancelled if it
    /// runs.
    pub fn release(&mut self, it: Try) -> Option<Released<T, H>> {
        let run = self.found(it);
        self.joined.remove(&it);
        let released = self.remove(run);
        if released.is_none() {
            self.early.push_back(it);
            if self.early.len() > EARLY {
                self.early.pop_front();
            }
        }
        released
    }

    /// The client has the outcome of a call. One with a key stays until its caller has taken it.
    pub fn taken(&mut self, run: Run) -> Option<Released<T, H>> {
        let is_plain = self.entries.get(&run).is_some_and(|it| it.key.is_none());
        if is_plain { self.remove(run) } else { None }
    }

    /// A call that has not begun will not: it is as if it had never arrived.
    pub fn give_back(&mut self, run: Run) -> Option<Released<T, H>> {
        self.remove(run)
    }

    /// The client says what it waits for. What it had here besides is released: it has it, or does not want
    /// it. What an older owner left under a key stays.
    pub fn reconcile(&mut self, waits: &BTreeSet<Try>) -> Vec<Released<T, H>> {
        let wanted: BTreeSet<Run> = waits.iter().map(|it| self.found(*it)).collect();
        let joined: BTreeSet<Run> = self.joined.values().map(|(run, _)| *run).collect();
        let is_own = |run: &Run| run.epoch == self.epoch || joined.contains(run);
        // What came over the same link may have come before this.
        let is_older = |it: &Entry<T, H>| it.session < self.session;
        let is_over = |run: &Run, it: &Entry<T, H>| is_own(run) && is_older(it) && !wanted.contains(run);
        let over = self.entries.iter().filter(|(run, it)| is_over(run, it)).map(|(run, _)| *run);
        let over: Vec<Run> = over.collect();
        let session = self.session;
        self.joined.retain(|it, (_, joined)| *joined == session || waits.contains(it));
        over.into_iter().filter_map(|run| self.remove(run)).collect()
    }

    /// What is to be written to the file next, while more is in memory than may be. It counts as in memory
    /// until it [was written](Self::spilled).
    pub fn spill(&mut self) -> Option<Spill<'_, T>> {
        if self.memory <= self.limits.memory || self.disk_failed {
            return None;
        }
        let (size, run) = self.by_size.iter().next_back().copied()?;
        let to = self.extents.take(size)?;
        self.by_size.remove(&(size, run));
        let entry = self.entries.get_mut(&run)?;
        let moving = |stage| match stage {
            Stage::Memory { outcome, size } => Stage::Moving { outcome, size, to },
            other => other,
        };
        replace(&mut entry.stage, moving, Stage::Disk(to));
        match &entry.stage {
            Stage::Moving { outcome, .. } => Some(Spill { run, outcome, to }),
            Stage::Running { .. } | Stage::Memory { .. } | Stage::Disk(_) => None,
        }
    }

    /// An outcome was written to its place in the file, or could not be and stays in memory. One that is no
    /// longer in memory is given back.
    pub fn spilled(&mut self, run: Run, to: Extent, written: bool) -> Option<T> {
        let stage = self.entries.get_mut(&run).map(|it| &mut it.stage);
        let Some(stage) = stage.filter(|it| matches!(it, Stage::Moving { to: there, .. } if *there == to))
        else {
            // It was released meanwhile, and left the room in the file to its writer.
            self.give(to);
            return None;
        };
        let mut out = None;
        let (mut gone, mut stays) = (0, None);
        replace(
            stage,
            |stage| match stage {
                Stage::Moving { outcome, size, .. } if written => {
                    (out, gone) = (Some(outcome), size);
                    Stage::Disk(to)
                }
                Stage::Moving { outcome, size, .. } => {
                    stays = Some(size);
                    Stage::Memory { outcome, size }
                }
                other => other,
            },
            Stage::Disk(to),
        );
        self.memory = self.memory.saturating_sub(gone);
        if let Some(size) = stays {
            self.by_size.insert((size, run));
            self.extents.give(to);
            self.disk_failed = true;
        }
        out
    }

    /// Whether nothing new is taken: more is in memory than may be, and it cannot go to the file, or not fast
    /// enough.
    pub fn is_full(&self) -> bool {
        let Retention { memory, .. } = self.limits;
        let largest = self.by_size.iter().next_back();
        let can_move = !self.disk_failed && largest.is_none_or(|(size, _)| self.extents.has_room(*size));
        self.memory > memory && (!can_move || self.memory > memory.saturating_mul(2))
    }

    /// Whether there is something to [`spill`](Self::spill), and room for it.
    pub fn can_spill(&self) -> bool {
        let largest = self.by_size.iter().next_back();
        self.memory > self.limits.memory
            && !self.disk_failed
            && largest.is_some_and(|(size, _)| self.extents.has_room(*size))
    }

    /// How many bytes are kept, in memory and in the file.
    pub const fn kept(&self) -> (u64, u64) {
        (self.memory, self.extents.used())
    }

    /// How many calls run or are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What an older owner left under keys, and this one has not asked for, goes before nothing new is taken: the
    /// oldest first.
    pub fn make_room(&mut self) {
        while self.is_full() {
            let is_old = |run: &Run, it: &Entry<T, H>| {
                run.epoch < self.epoch
                    && !it.is_running()
                    && !self.joined.values().any(|(joined, _)| joined == run)
            };
            let Some(run) = self.entries.iter().find(|(run, it)| is_old(run, it)).map(|(run, _)| *run) else {
                return;
            };
            drop(self.remove(run));
        }
    }

    fn found(&self, it: Try) -> Run {
        self.joined.get(&it).map_or_else(|| self.run(it), |(run, _)| *run)
    }

    fn remove(&mut self, run: Run) -> Option<Released<T, H>> {
        let Entry { key, stage, .. } = self.entries.remove(&run)?;
        if let Some((key, _)) = key
            && self.keys.get(&key) == Some(&run)
        {
            self.keys.remove(&key);
        }
        Some(match stage {
            Stage::Running { cancel, waits } => Released::Running(cancel, waits),
            Stage::Memory { outcome, size } => {
                self.by_size.remove(&(size, run));
                self.memory = self.memory.saturating_sub(size);
                Released::Kept(Some(outcome))
            }
            // Its writer still writes there, and gives the room back when it is done.
            Stage::Moving { outcome, size, .. } => {
                self.memory = self.memory.saturating_sub(size);
                Released::Kept(Some(outcome))
            }
            Stage::Disk(extent) => {
                self.give(extent);
                Released::Kept(None)
            }
        })
    }

    fn give(&mut self, extent: Extent) {
        self.extents.give(extent);
        self.disk_failed = false;
    }
}

impl<T, H> Entry<T, H> {
    const fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }
}

/// Changes a value by taking it; `meanwhile` is what is there if that panics.
fn replace<S>(place: &mut S, change: impl FnOnce(S) -> S, meanwhile: S) {
    *place = change(std::mem::replace(place, meanwhile));
}

/// What an outcome takes beside its body: its place in the tables, and what an empty one is.
const OVERHEAD: u64 = 256;

/// How many of those are remembered that were released before they came: far more than are ever on their way
/// at that moment.
const EARLY: usize = 1024;

#[cfg(test)]
#[path = "outcomes_tests.rs"]
mod tests;
