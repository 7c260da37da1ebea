//! The processes of a node's slots.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use skyward_runtime::link::Outcome;
use skyward_runtime::model::Roster;
use skyward_runtime::program::{TaskOrder, TaskStart, WorkerStart};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Job;
use super::child::{Child, News, Ran};
use super::commons::Commons;
use super::devices::Share;
use super::tail::Words;
use super::talk::Talk;
use crate::home::home;
use crate::output::Output;
use crate::slots::Slot;

/// A place for a process for each slot.
#[derive(Debug)]
pub(crate) struct Processes {
    start: WorkerStart,
    places: Mutex<Places>,
    peers: watch::Sender<Option<Roster>>,
    fate: watch::Receiver<Option<Instant>>,
    output: Arc<Output>,
    commons: Commons,
}

#[derive(Debug)]
struct Places {
    /// Those that no task is in, each with its idle process.
    free: BTreeMap<u32, Option<Child>>,
    /// Nothing is kept any more.
    closed: bool,
}

/// One place while a task is in it. When it is dropped its process is ended first, unless it has been
/// put to rest.
struct Held {
    processes: Arc<Processes>,
    place: u32,
    child: Option<Child>,
    slot: Option<Slot>,
}

impl Processes {
    pub(super) fn new(
        start: &WorkerStart,
        output: Arc<Output>,
        fate: watch::Receiver<Option<Instant>>,
    ) -> Self {
        let free = (0..start.slots.max(1)).map(|it| (it, None)).collect();
        let places = Mutex::new(Places { free, closed: false });
        let commons = Commons::new(&home().unwrap_or_default());
        Self { start: start.clone(), places, peers: watch::Sender::new(None), fate, output, commons }
    }

    /// Runs a call in the process of a free place. What the process says meanwhile is found by `words`.
    pub(crate) async fn run(
        self: &Arc<Self>,
        job: Job,
        slot: Slot,
        talk: &mut Talk,
        words: &Words,
    ) -> Outcome {
        let mut held = self.take(slot);
        let Job { task, attempt, id, arguments, .. } = job;
        loop {
            let child = match held.child().await {
                Ok(child) => child,
                Err(reason) => return Outcome::NotStarted(reason),
            };
            let was_idle = child.has_run();
            words.are(child.tail());
            let arguments = arguments.clone();
            match child.run(task, TaskOrder::Run { task, attempt, function: id, arguments }, talk).await {
                Ran::Ended { outcome, whole } => {
                    if whole {
                        held.rest();
                    }
                    return outcome;
                }
                Ran::Gone { unharmed } => {
                    let crash = child.crash().await;
                    held.child = None;
                    // Something that an earlier task has left behind ended it. This one has not begun, and
                    // the next process has run nothing before.
                    if unharmed && was_idle {
                        continue;
                    }
                    if unharmed {
                        return Outcome::NotStarted(format!("its process ended before it began; it {crash}"));
                    }
                    tracing::warn!(%task, place = held.place, %crash, "a task's process ended before it");
                    return Outcome::Crashed(crash);
                }
            }
        }
    }

    /// What calls share.
    pub(super) const fn commons(&self) -> &Commons {
        &self.commons
    }

    /// Tells every process who is in the pool, now or when it runs the next task.
    pub(super) fn introduce(&self, roster: &Roster) {
        self.peers.send_if_modified(|it| {
            let newer = it.as_ref().is_none_or(|it| it.age() < roster.age());
            if newer {
                *it = Some(roster.clone());
            }
            newer
        });
    }

    /// Ends the idle ones, and keeps none from now on.
    pub(super) async fn end(&self) {
        let idle: Vec<Child> = {
            let mut places = self.places();
            places.closed = true;
            places.free.values_mut().filter_map(Option::take).collect()
        };
        futures_util::future::join_all(idle.into_iter().map(Child::end)).await;
    }

    /// There are as many places as slots, so whoever has a slot finds one.
    fn take(self: &Arc<Self>, slot: Slot) -> Held {
        let (place, child) = self.places().free.pop_first().unwrap_or_default();
        Held { processes: Arc::clone(self), place, child, slot: Some(slot) }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the process of a place is told.
    fn told(&self, place: u32, share: Share) -> TaskStart {
        let start = &self.start;
        TaskStart {
            pool: start.pool.clone(),
            rank: start.rank,
            incarnation: start.incarnation.clone(),
            address: start.listen,
            slots: start.slots,
            slot: place,
            accelerators: share.accelerators,
            devices: share.devices,
            secrets: start.secrets.clone(),
            commons: self.commons.folder().to_owned(),
        }
    }
}

impl Held {
    /// The place's process, which takes tasks; started if there is none.
    async fn child(&mut self) -> Result<&mut Child, String> {
        if self.child.as_ref().is_some_and(Child::has_ended)
            && let Some(mut child) = self.child.take()
        {
            // What it has started is not to run beside the next one.
            drop(child.crash().await);
        }
        let child = match self.child.take() {
            Some(child) => self.child.insert(child),
            None => self.start().await?,
        };
        Ok(child)
    }

    async fn start(&mut self) -> Result<&mut Child, String> {
        let start = &self.processes.start;
        let share = Share::of(self.place, start.slots, &start.accelerators);
        let news = News {
            peers: with_unseen(self.processes.peers.subscribe()),
            fate: with_unseen(self.processes.fate.clone()),
        };
        let output = Arc::clone(&self.processes.output);
        let told = self.processes.told(self.place, share.clone());
        let child = Child::start(share.visible().as_deref(), news, start.kill, output).map_err(|error| {
            format!("failed to start a process for it: {error}; is there memory for one?")
        })?;
        // From here on it is ended when the call is given up.
        let child = self.child.insert(child);
        if let Err(error) = child.ready(told).await {
            let crash = child.crash().await;
            return Err(format!("failed to start a process for it: {error}; it {crash}"));
        }
        Ok(child)
    }

    /// The task has ended: its process waits for the next one, if it may.
    fn rest(&mut self) {
        let mut places = self.processes.places();
        if self.processes.start.reuse && !places.closed {
            places.free.insert(self.place, self.child.take());
            drop(places);
            self.slot = None;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let (processes, place) = (Arc::clone(&self.processes), self.place);
        match (self.child.take(), Handle::try_current()) {
            // The slot is free when nothing of the task runs any more.
            (Some(child), Ok(runtime)) => {
                runtime.spawn(async move {
                    child.end().await;
                    processes.places().free.insert(place, None);
                    drop(slot);
                });
            }
            (_, _) => drop(processes.places().free.insert(place, None)),
        }
    }
}

/// A fresh receiver has seen the value that there is; a fresh process has not.
fn with_unseen<T>(mut news: watch::Receiver<T>) -> watch::Receiver<T> {
    news.mark_changed();
    news
}
