//! What this worker keeps until its client has it, over all of its links: `runtime::retention` behind a lock, with
//! the file for what does not fit into memory.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use skyward_runtime::link::Outcome;
use skyward_runtime::model::{Epoch, FunctionId, Key, Retention};
use skyward_runtime::payload::Block;
use skyward_runtime::retention::{Arrived, Body, Extent, Left, Outcomes, Print, Resumed, Run, Try};
use tokio::sync::oneshot;

use crate::spool::Spool;

/// What is kept. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    outcomes: Mutex<Outcomes<Done, Handle>>,
    /// Nothing new is taken.
    full: AtomicBool,
    /// Something is being written to the file.
    spilling: AtomicBool,
    spool: Spool,
}

/// Dropped to cancel a call; told when one has ended.
pub(crate) type Handle = oneshot::Sender<()>;

/// A call that has ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Done {
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
}

/// What is known of a call that a client asks for.
#[derive(Debug)]
pub(crate) enum Known {
    Nothing,
    /// It runs; resolves when there is more to be known.
    Running(oneshot::Receiver<()>),
    /// It has ended, and its outcome is here.
    Ended(Done),
    /// It has ended, and its outcome is in the file: so many bytes.
    InFile(u64),
}

impl Done {
    /// A word about a call that has not run.
    pub(crate) const fn of(outcome: Outcome) -> Self {
        Self { took: Duration::ZERO, outcome }
    }

    /// With memory of its own: what is kept for long must not keep what lies beside it.
    fn alone(mut self) -> Self {
        if let Outcome::Returned(value) = &mut self.outcome
            && value.len() <= Block::LARGEST
        {
            *value = Bytes::copy_from_slice(&std::mem::take(value).into_bytes()).into();
        }
        self
    }
}

impl Keep {
    /// Nothing is kept yet. The file is made in this directory.
    pub(crate) fn new(limits: Retention, directory: PathBuf) -> Self {
        let shared = Shared {
            outcomes: Mutex::new(Outcomes::new(limits)),
            full: AtomicBool::new(false),
            spilling: AtomicBool::new(false),
            spool: Spool::new(directory),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A client has linked.
    pub(crate) fn link(&self, epoch: Epoch) {
        self.change(|it| it.link(epoch));
    }

    /// A call has arrived that is answered for here.
    pub(crate) fn arrive(&self, it: Try, key: Option<(Key, Print)>, cancel: Handle) -> Arrived<Handle> {
        self.change(|outcomes| outcomes.arrive(it, key, cancel))
    }

    /// The link of a call that runs, or waits for a slot, is over.
    pub(crate) fn detach(&self, run: Run, cancel: Handle) {
        self.change(|it| it.detach(run, cancel));
    }

    /// Whether a call that is answered for here is still wanted.
    pub(crate) fn is_wanted(&self, run: Run) -> bool {
        self.outcomes().is_wanted(run)
    }

    /// A call that is answered for here has ended. Who waits for it is told.
    pub(crate) fn finish(&self, run: Run, done: Done) {
        let (size, done) = (done.outcome.length(), done.alone());
        if let Ok(Some(waits)) = self.change(|it| it.finish(run, done, size)) {
            let _ = waits.send(());
        }
    }

    /// An outcome was not acknowledged before its link was over, or is too large for its lane.
    pub(crate) fn keep(&self, run: Run, done: Done) {
        let (size, done) = (done.outcome.length(), done.alone());
        self.change(|it| it.keep(run, done, size));
    }

    /// What is known of a call.
    pub(crate) fn ask(&self, it: Try) -> Known {
        let (waits, told) = oneshot::channel();
        let mut outcomes = self.outcomes();
        match outcomes.resume(it, waits) {
            Resumed::Unknown(_) => Known::Nothing,
            Resumed::Running(_) => Known::Running(told),
            Resumed::Kept(Body::Memory(done)) => Known::Ended(done.clone()),
            Resumed::Kept(Body::Disk(extent)) => Known::InFile(extent.length),
        }
    }

    /// The outcome of a call, wherever it is; `None` when it has none, or cannot be read.
    pub(crate) async fn load(&self, it: Try) -> Option<Outcome> {
        let extent = match self.outcomes().body(it)? {
            Body::Memory(done) => return Some(done.outcome.clone()),
            Body::Disk(extent) => extent,
        };
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || shared.spool.read(extent)).await;
        match read {
            // It may have been released meanwhile, and something else be there.
            Ok(Ok(outcome)) => (self.outcomes().body(it)? == Body::Disk(extent)).then_some(outcome),
            Ok(Err(error)) => {
                tracing::error!(%error, "a kept outcome cannot be read");
                None
            }
            Err(_) => None,
        }
    }

    /// The client has the outcome, or does not want it: what runs is cancelled.
    pub(crate) fn release(&self, it: Try) {
        drop(self.change(|outcomes| outcomes.release(it)));
    }

    /// The client has the outcome, but whoever called may not.
    pub(crate) fn taken(&self, run: Run) {
        drop(self.change(|it| it.taken(run)));
    }

    /// A call that has not begun will not.
    pub(crate) fn give_back(&self, run: Run) {
        drop(self.change(|it| it.give_back(run)));
    }

    /// The client waits for these of the calls of links before.
    pub(crate) fn reconcile(&self, waits: &BTreeSet<Try>) {
        drop(self.change(|it| it.reconcile(waits)));
    }

    /// The keys under which something runs or is kept, and what of it another owner has left.
    pub(crate) fn keys(&self) -> Vec<(Key, Left)> {
        self.outcomes().keys().map(|(key, left)| (key.clone(), left)).collect()
    }

    /// What another owner has left under a key.
    pub(crate) fn left(&self, key: &Key) -> Left {
        self.outcomes().left(key)
    }

    /// What to wait for until the call that another owner has left under a key has ended, where one runs.
    pub(crate) fn watch(&self, key: &Key) -> Option<oneshot::Receiver<()>> {
        let (waits, told) = oneshot::channel();
        self.outcomes().watch(key, waits).is_ok().then_some(told)
    }

    /// Whether nothing new is taken.
    pub(crate) fn is_full(&self) -> bool {
        let full = || self.shared.full.load(Ordering::Relaxed);
        full() && {
            self.change(Outcomes::make_room);
            full()
        }
    }

    /// What is released is dropped after the lock is, as it may run on then.
    fn change<R>(&self, change: impl FnOnce(&mut Outcomes<Done, Handle>) -> R) -> R {
        let mut outcomes = self.outcomes();
        let changed = change(&mut outcomes);
        self.shared.full.store(outcomes.is_full(), Ordering::Relaxed);
        let spills = outcomes.can_spill() && !self.shared.spilling.swap(true, Ordering::Relaxed);
        drop(outcomes);
        if spills {
            let keep = self.clone();
            tokio::task::spawn_blocking(move || keep.spill());
        }
        changed
    }

    /// Writes to the file until little enough is in memory. Blocks.
    fn spill(&self) {
        loop {
            let mut outcomes = self.outcomes();
            let next = outcomes.spill().map(|it| (it.run, it.outcome.clone(), it.to));
            let Some((run, done, to)) = next else {
                self.shared.spilling.store(false, Ordering::Relaxed);
                self.shared.full.store(outcomes.is_full(), Ordering::Relaxed);
                return;
            };
            drop(outcomes);
            let written = self.write(&done.outcome, to);
            let mut outcomes = self.outcomes();
            let moved = outcomes.spilled(run, to, written);
            self.shared.full.store(outcomes.is_full(), Ordering::Relaxed);
            drop(outcomes);
            drop(moved);
        }
    }

    fn write(&self, outcome: &Outcome, to: Extent) -> bool {
        let written = self.shared.spool.write(outcome, to);
        if let Err(error) = &written {
            tracing::warn!(%error, "an outcome cannot be written to the disk; it stays in memory");
        }
        written.is_ok()
    }

    fn outcomes(&self) -> MutexGuard<'_, Outcomes<Done, Handle>> {
        self.shared.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call with a key is told from others by.
pub(crate) fn print(function: FunctionId, arguments: &Bytes) -> Print {
    let mut hasher = Sha256::new();
    hasher.update(function.0.to_be_bytes());
    hasher.update(arguments);
    hasher.finalize().into()
}
