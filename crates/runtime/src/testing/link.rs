//! The simulated network: links to workers, which break when one end is silent for too long.

use std::collections::BTreeSet;
use std::time::Duration;

use super::cloud::MachineId;
use super::event::{CallEvent, Event};
use super::node::{LifeId, NodeMessage};
use super::worker::Work;
use super::world::World;
use crate::model::{Incarnation, Rank, TaskId};

/// A link, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(pub(super) usize);

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) machine: MachineId,
    /// The program that opened it.
    pub(super) program: u32,
    life: LifeId,
    pub(super) alive: bool,
    /// The calls on it, with the number of their try.
    pub(super) running: BTreeSet<(TaskId, u64)>,
    /// The life of the worker that it leads to.
    pub(super) worker: Incarnation,
    /// When what was said last on each lane, and back, is there.
    pub(super) first: Duration,
    pub(super) second: Duration,
    pub(super) back: Duration,
    /// How many outcomes have come by it.
    pub(super) taken: u64,
    /// When the worker was told what is waited for.
    pub(super) reconciled: Option<Duration>,
    /// By [`Mutation::ForgetFence`](super::Mutation::ForgetFence): what is read of it counts although there is
    /// another.
    pub(super) unfenced: bool,
}

impl World {
    pub(super) fn open_link(&mut self, life: LifeId, machine: MachineId) -> LinkId {
        let id = LinkId(self.links.len());
        let worker = self.workers.get(&machine).map_or_else(|| Incarnation::new("none"), |it| it.name());
        let now = self.now;
        self.links.push(Link {
            machine,
            program: self.me.number,
            life,
            alive: true,
            running: BTreeSet::new(),
            worker,
            first: now,
            second: now,
            back: now,
            taken: 0,
            reconciled: None,
            unfenced: false,
        });
        self.welcome(machine, id);
        id
    }

    pub(super) fn link_is_alive(&self, id: LinkId) -> bool {
        self.links.get(id.0).is_some_and(|it| it.alive)
    }

    /// Whether the worker still takes it for the link that counts.
    pub(super) fn is_linked_to(&self, id: LinkId) -> bool {
        let machine = self.links.get(id.0).map(|it| it.machine);
        machine.and_then(|it| self.workers.get(&it)).is_some_and(|it| it.has_link(id))
    }

    /// The node whose link it is.
    pub(super) fn life_of(&self, id: LinkId) -> Option<LifeId> {
        self.links.get(id.0).map(|it| it.life)
    }

    /// The rank of the node whose link it is.
    pub(super) fn rank_of(&self, id: LinkId) -> Option<Rank> {
        self.links.get(id.0).and_then(|it| self.lives.get(it.life.0)).map(|it| it.rank)
    }

    /// The links that a program has.
    pub(super) fn links_by(&self, program: u32) -> Vec<LinkId> {
        let all = self.links.iter().enumerate();
        all.filter(|(_, it)| it.alive && it.program == program).map(|(at, _)| LinkId(at)).collect()
    }

    pub(super) fn links_of(&self, machine: MachineId) -> Vec<LinkId> {
        let all = self.links.iter().enumerate();
        all.filter(|(_, it)| it.alive && it.machine == machine).map(|(at, _)| LinkId(at)).collect()
    }

    /// The machine answers nothing for a while: each of its links breaks when that is too long.
    pub(super) fn silence(&mut self, machine: MachineId, length: Duration) {
        if length < self.timing.detect {
            return;
        }
        for link in self.links_of(machine) {
            let after = self.timing.detect;
            self.plan(after, Event::LinkBroken(link, "silent for too long"));
        }
    }

    /// The worker closes a link, as its client has another. Its client may hear of that before it has that one, or after.
    pub(super) fn replace(&mut self, id: LinkId) {
        if self.dice.chance(500) {
            return self.break_link(id, REPLACED);
        }
        let after = self.dice.up_to(Duration::from_millis(100));
        self.plan(after, Event::Replaced(id));
    }

    /// The worker has taken a link for over. A client that is awake meanwhile is told; one that sleeps finds out.
    pub(super) fn hears_of_silence(&mut self, id: LinkId) {
        let client = self.links.get(id.0).and_then(|it| self.program(it.program));
        if client.is_some_and(|it| it.asleep <= self.now) {
            self.break_link(id, "silent for too long");
        }
    }

    /// A link ends: whoever uses it notices, each at its own time.
    pub(super) fn break_link(&mut self, id: LinkId, why: &'static str) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        if !std::mem::replace(&mut link.alive, false) {
            return;
        }
        let (life, program, running) = (link.life, link.program, std::mem::take(&mut link.running));
        self.summary.broken += 1;
        // The worker may go on reading what is there already.
        let after = self.dice.up_to(self.timing.detect);
        self.plan(after, Event::Work(id, Work::Over));
        self.cast_node(life, NodeMessage::Closed(id, why));
        for (task, call) in running {
            let at = self.now + self.dice.up_to(Duration::from_millis(2));
            self.plan_for(program, at, Event::Call(task, CallEvent::Breaks(call, why)));
        }
    }
}

/// Why a worker closes a link that is well.
pub(super) const REPLACED: &str = "the pool's client has linked again";
