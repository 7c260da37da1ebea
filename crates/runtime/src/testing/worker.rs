//! The shell of a simulated worker: one life of a process that runs calls over one link after the other. What it
//! keeps is the real thing (`retention`); the rest does what the worker's desk does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::event::Word;
use super::link::LinkId;
use crate::lease::{Owner, Renewals};
use crate::model::{Epoch, Incarnation, Key, Retention, TaskId};
use crate::retention::{Body, Extent, Outcomes, Run, Sent, Try};

mod desk;
mod left;

/// One life of a worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) number: u64,
    /// The newest owner that it has heard of, and the newest program that it took an order of.
    pub(super) owner: Owner,
    pub(super) heard: u32,
    pub(super) renewals: Renewals,
    /// It takes nothing new.
    pub(super) draining: bool,
    /// The owner of its pool that told it so.
    pub(super) drained_by: Option<u32>,
    /// How it is found again could not be written down.
    pub(super) unwritten: bool,
    /// The link that counts, and whose it is.
    link: Option<LinkId>,
    epoch: Epoch,
    outcomes: Outcomes<Made, ()>,
    /// What outcomes are that went to the disk, by where they begin there.
    written: BTreeMap<u64, Made>,
    /// What came by the link that counts and is not answered.
    open: BTreeSet<Try>,
    /// Those of them that have a key.
    apart: BTreeSet<Try>,
    waiting: VecDeque<Run>,
    running: BTreeMap<Run, Of>,
    /// What runs on though nobody wants it, and keeps its slot: plain functions.
    outlived: BTreeSet<Run>,
    /// Everything that it has ever begun.
    begun: BTreeSet<Run>,
    /// What was asked for of it, by whom it was.
    what: BTreeMap<Run, Of>,
    sent: Sent<Delivery>,
    /// Who asked, over the link that counts, for what still runs.
    asked: BTreeSet<Try>,
    /// The keys of which its client was told that what another owner left there runs.
    told: BTreeSet<Key>,
    /// What was in memory when its last link broke.
    unheard: u64,
}

/// What an outcome is of: whoever gets another's has not got its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    /// A task of a program.
    Task(u32, TaskId),
    /// What was asked for under a key.
    Key(u32),
}

/// What is said of a call, and how large that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    size: u64,
    word: Word,
}

/// Where what was sent is beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// Nowhere.
    Here(Made),
    /// It is kept.
    Kept,
    /// It can be said again.
    Word,
}

/// What reaches a worker, or happens in it.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Call(Try, Of),
    Ask(Try),
    Cancel(Try),
    Recall(Try),
    Release(Try),
    Waits(Vec<Try>),
    /// So many outcomes of the link are with the client.
    Taken(u64),
    /// It notices that the link is over.
    Over,
}

/// What happens inside a worker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inside {
    /// A call that runs ends.
    Ends(Run),
    /// An outcome has been written to the disk, or not.
    Written(Run, Extent, bool),
}

/// The largest outcome here.
const LARGEST: u64 = 1 << 20;

/// What workers may keep here: little, so that its bounds are met.
const LIMITS: Retention = Retention { memory: 1 << 18, disk: 1 << 19 };

/// What every call of a key is: all who ask for one ask for the same.
const PRINT: [u8; 32] = [0; 32];

impl Worker {
    fn new(number: u64, epoch: Epoch, program: u32) -> Self {
        Self {
            number,
            owner: Owner::new(epoch),
            heard: program,
            renewals: Renewals::default(),
            draining: false,
            drained_by: None,
            unwritten: false,
            link: None,
            epoch,
            outcomes: Outcomes::new(LIMITS),
            written: BTreeMap::new(),
            open: BTreeSet::new(),
            apart: BTreeSet::new(),
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            outlived: BTreeSet::new(),
            begun: BTreeSet::new(),
            what: BTreeMap::new(),
            sent: Sent::default(),
            asked: BTreeSet::new(),
            told: BTreeSet::new(),
            unheard: 0,
        }
    }

    pub(super) fn name(&self) -> Incarnation {
        Incarnation::new(format!("w{}", self.number))
    }

    pub(super) fn has_link(&self, link: LinkId) -> bool {
        self.link == Some(link)
    }

    /// Whether a try that came by the link that counts has not begun.
    pub(super) fn has_waiting(&self, it: Try) -> bool {
        self.open.contains(&it) && self.waiting.contains(&self.run(it))
    }

    /// The keys under which something runs or is kept.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.outcomes.keys().map(|(key, _)| key.clone()).collect()
    }

    const fn run(&self, it: Try) -> Run {
        Run { epoch: self.epoch, it }
    }

    /// The link is over: what runs runs on, and what was not acknowledged is kept.
    fn close(&mut self) {
        for (run, made) in self.sent.take() {
            if let Delivery::Here(made) = made {
                self.outcomes.keep(run, made, made.size);
            }
        }
        self.sent = Sent::default();
        for it in std::mem::take(&mut self.open) {
            if !self.apart.contains(&it) {
                self.outcomes.detach(self.run(it), ());
            }
        }
        self.apart.clear();
        self.asked.clear();
        self.told.clear();
        self.link = None;
        self.unheard = self.outcomes.kept().0;
    }

    /// Whether a call of a link before, or of this one, is still wanted.
    fn wants(&self, run: Run) -> bool {
        let is_open = self.link.is_some() && run.epoch == self.epoch && self.open.contains(&run.it);
        match is_open && !self.apart.contains(&run.it) {
            true => true,
            false => self.outcomes.is_wanted(run),
        }
    }

    /// Whether anything is left of a call.
    fn has(&self, run: Run) -> bool {
        let is_present = run.epoch == self.epoch;
        self.sent.has(run)
            || is_present && (self.open.contains(&run.it) || self.outcomes.body(run.it).is_some())
            || self.outcomes.is_wanted(run)
    }

    /// What is kept for a try, if it has ended.
    fn made(&self, it: Try) -> Option<Word> {
        match self.outcomes.body(it)? {
            Body::Memory(made) => Some(made.word),
            Body::Disk(extent) => self.written.get(&extent.offset).map(|it| it.word),
        }
    }
}

/// The key of this number.
pub(super) fn key(number: u32) -> Key {
    Key::read(format!("k{number}"))
}

/// After this long everything that was said has been heard.
pub(super) const CALM: Duration = Duration::from_secs(5);
