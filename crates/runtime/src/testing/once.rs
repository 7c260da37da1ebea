//! The law of keys: what is asked for under a key is computed once for as long as the node lives that has computed it,
//! whichever program asks, but for what was given up by its caller or was in the way of other outcomes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::calls::Call;
use super::cloud::MachineId;
use super::failure::Law;
use super::link::LinkId;
use super::worker::{CALM, Of, Worker, key};
use super::world::World;
use crate::model::{Key, TaskId};
use crate::retention::Run;

/// What was begun under a key, and by which life of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    key: u32,
    machine: MachineId,
    worker: u64,
}

impl World {
    /// A worker begins with a call.
    pub(super) fn check_once(&mut self, machine: MachineId, run: Run, of: Of) {
        let Of::Key(number) = of else { return };
        let Some(worker) = self.workers.get(&machine).map(|it| it.number) else { return };
        let before = self.begun.iter().filter(|it| it.key == number).copied().collect::<Vec<_>>();
        self.begun.push(Begun { key: number, machine, worker });
        let owner = self.newest_owner;
        let is_present = self.epoch_of(owner) == run.epoch;
        let call = self.program(owner).and_then(|it| it.calls.get(&run.it.0));
        let granted = call.filter(|it| it.is_at(run.it.1)).map(|it| it.granted);
        let Some(granted) = granted.filter(|_| is_present && !self.excused.contains(&number)) else { return };
        if let Some(other) = before.iter().find(|it| self.had_it(it, granted)) {
            let what = format!("key {number} is computed on {machine:?}, and was on {:?}", other.machine);
            self.breach(Law::Once, what);
        }
    }

    /// Whether the owner could have asked this worker, which has begun with a key, for what came of it.
    fn had_it(&self, begun: &Begun, granted: Duration) -> bool {
        let alive = self.workers.get(&begun.machine).filter(|it| it.number == begun.worker);
        let is_there = self.machine(begun.machine).is_some_and(|it| it.dead.is_none());
        let owner = self.newest_owner;
        let life = self
            .lives
            .iter()
            .rev()
            .find(|it| it.alive && !it.leaving && it.program == owner && it.is_on(begun.machine));
        let link = life.and_then(super::node::Life::link).and_then(|it| self.links.get(it.0));
        let is_known = link.is_some_and(|it| it.alive && it.reconciled.is_some_and(|at| at + CALM < granted));
        is_there && is_known && alive.is_some_and(|it| !it.draining)
    }

    /// A worker that is given calls can be found again by whoever attaches, unless its client has said that it cannot.
    pub(super) fn check_written(&mut self, machine: MachineId) {
        let (Some(worker), Some(entry)) = (self.workers.get(&machine), self.journal.entry()) else { return };
        let name = self.machine(machine).map(|it| &it.name);
        let Some(written) = entry.machines.iter().find(|it| Some(&it.instance) == name) else { return };
        let found = written.node.as_ref().map(|it| &it.incarnation);
        if found != Some(&worker.name()) && !worker.unwritten && !worker.draining {
            let what = format!("{} is given a call, and the journal has {found:?} there", worker.name());
            self.breach(Law::Written, what);
        }
    }

    /// Who asked for it gave it up: it may be computed again.
    pub(super) fn excuse(&mut self, id: TaskId) {
        if let Some(number) = self.me.calls.get(&id).and_then(Call::key) {
            self.excused.insert(number);
        }
    }

    /// The queue lets go of an outcome that stayed at its worker, because the worker has no room.
    pub(super) fn excuse_released(&mut self, id: TaskId, full: bool) {
        if full {
            self.excuse(id);
        }
    }

    /// What a worker had under these keys, and what its client does not wait for there, is waited for elsewhere.
    pub(super) fn give_up_elsewhere(&mut self, machine: MachineId, link: LinkId, before: Vec<Key>) {
        let gone = self.gone(machine, before);
        let client = self.links.get(link.0).and_then(|it| self.program(it.program));
        let waits = |number: u32| {
            client.is_some_and(|it| it.calls.values().any(|it| it.key() == Some(number) && !it.is_over()))
        };
        // Or it was taken from where it was begun later.
        let last = |number: u32| self.begun.iter().rev().find(|it| it.key == number).map(|it| it.machine);
        let elsewhere = gone.into_iter().filter(|it| waits(*it) || last(*it) != Some(machine));
        let elsewhere: Vec<u32> = elsewhere.collect();
        self.begun.retain(|it| it.machine != machine || !elsewhere.contains(&it.key));
    }

    /// The keys of these under which a worker has nothing any more.
    fn gone(&self, machine: MachineId, before: Vec<Key>) -> Vec<u32> {
        let after: BTreeSet<Key> =
            self.workers.get(&machine).map(Worker::keys).into_iter().flatten().collect();
        let gone: BTreeSet<Key> = before.into_iter().filter(|it| !after.contains(it)).collect();
        if gone.is_empty() {
            return Vec::new();
        }
        (0..self.keys).filter(|it| gone.contains(&key(*it))).collect()
    }

    /// What a worker had under these keys, and does not have any more, was in the way of something new.
    pub(super) fn excuse_evicted(&mut self, machine: MachineId, before: Vec<Key>) {
        let gone = self.gone(machine, before);
        self.excused.extend(gone);
    }
}
