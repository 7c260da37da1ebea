//! Simulated nodes that leave: told by their cloud, or by their pool, that what they have is the last.

use std::time::Duration;

use super::cloud::MachineId;
use super::failure::Law;
use super::knobs::Mutation;
use super::link::LinkId;
use super::node::{Life, LifeId, NodeMessage, Step};
use super::world::{HICCUP, World};
use crate::journal::JournalError;
use crate::model::TaskId;
use crate::node::Leave;
use crate::node::messages::Heard;

impl World {
    pub(super) fn leaves(&mut self, id: LifeId) {
        let now = self.now;
        if let Some(life) = self.lives.get_mut(id.0) {
            (life.leaving, life.left) = (true, now);
        }
    }

    /// A node that finishes what it has is given nothing more, once the queue has had time to hear of it.
    pub(super) fn check_leaving(&mut self, link: LinkId, id: TaskId) {
        let life = self.life_of(link).and_then(|it| self.lives.get(it.0));
        if life.is_some_and(|it| it.leaving && self.now > it.left + HICCUP * 2) {
            self.breach(Law::Closed, format!("task {id} is granted to a node that is leaving"));
        }
    }

    /// Who takes a pool over links no worker that its owner before has told to finish.
    pub(super) fn check_taken_over(&mut self, machine: MachineId) {
        let by = self.workers.get(&machine).and_then(|it| it.drained_by);
        if by.is_some_and(|it| it != self.me.number) {
            let what =
                format!("program {} takes {machine:?} over, which program {by:?} let go", self.me.number);
            self.breach(Law::LetGo, what);
        }
    }

    /// A node is told to finish what it has, and its worker with it.
    pub(super) fn drain(&mut self, id: LifeId, leave: Leave) {
        let Some(life) = self.lives.get_mut(id.0) else { return };
        let (machine, link, instance) = (life.machine, life.link(), life.instance.clone());
        let is_bad = life.probing.as_ref().is_some_and(super::probing::Probing::is_bad);
        life.probing.iter_mut().for_each(super::probing::Probing::over);
        let goes_on = leave.preempted || leave.within > self.timing.drain;
        // Here the disk has always room for it.
        if let Some(owner) = self.me.owner.clone().filter(|_| goes_on) {
            if self.mutation != Some(Mutation::ForgetLeaves)
                && let Err(by @ JournalError::Superseded { .. }) = self.journal.leaves(&owner, &instance)
            {
                // Its worker works for that one.
                self.superseded(by);
                return self.cast_node(id, NodeMessage::Heard(Heard::Drained));
            }
            self.workers.get_mut(&machine).into_iter().for_each(|it| it.unwritten = true);
        }
        if leave.preempted && !is_bad && !self.machine(machine).is_some_and(|it| it.noticed) {
            let what = format!("a node drains as if {machine:?} was to be taken, which is not");
            self.breach(Law::Noticed, what);
        }
        if link.is_some_and(|it| self.link_is_alive(it)) && self.takes_order(machine, "to drain") {
            // A program that owns the pool no more cannot write that down.
            let by = Some(self.me.number).filter(|it| *it == self.newest_owner);
            let worker = self.workers.get_mut(&machine);
            worker.into_iter().for_each(|it| (it.draining, it.drained_by) = (true, by));
        }
        self.begin_step(id, Step::Drain, leave.within);
    }

    /// A machine's cloud says that it takes it: its worker tells, where one is linked.
    pub(super) fn notice(&mut self, machine: MachineId, within: Duration) {
        let told = |it: &Life| it.alive && it.machine == machine && it.link().is_some();
        let Some(life) = self.lives.iter().position(told) else { return };
        self.summary.noticed += 1;
        let reason = "its cloud gave notice".to_owned();
        self.cast_node(LifeId(life), NodeMessage::Heard(Heard::Noticed { within, reason }));
    }
}
