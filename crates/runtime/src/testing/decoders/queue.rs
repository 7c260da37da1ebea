//! The queue of a pool, told anything in any order, against `model.rs`. Nothing of it comes from outside as bytes;
//! the bytes are what happens, so that one search looks for both.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{Model, Told, Why};
use crate::model::{Attempt, FunctionId, Incarnation, Rank, TaskId};
use crate::tasks::ahead::{Ahead, Load};
use crate::tasks::state::{Effect, Heard, State};
use crate::tasks::{GroupId, OnLost, Retries, Target};

/// How many ranks there are at most.
const RANKS: u8 = 4;

/// How many bytes of what happens are enough: some five hundred things. The model is slow with more.
const MOST: usize = 1500;

/// The bytes as what happens, one after the other. The first says how far ahead nodes are given calls.
pub(super) fn lives(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let ahead = match first % 3 {
        0 => Ahead { calls: 0, ..Ahead::default() },
        1 => Ahead { known: 1, calls: 3, ..Ahead::default() },
        _ => Ahead::default(),
    };
    let mut queue = Queue {
        state: State::new(ahead),
        model: Model::default(),
        ahead,
        answered: BTreeMap::new(),
        next: TaskId(0),
    };
    let mut bytes = rest.iter().copied().take(MOST);
    while let Some(what) = bytes.next() {
        let heard = queue.draw(what, &mut bytes);
        queue.hear(heard);
    }
    queue.hear(Heard::Stopped);
    let waits = queue.state.waits();
    assert_eq!(
        (waits.for_slot, waits.for_node, waits.for_rank.len()),
        (0, 0, 0),
        "a queue that stopped waits"
    );
}

/// Both, and what the model does not know.
struct Queue {
    state: State,
    model: Model,
    ahead: Ahead,
    answered: BTreeMap<FunctionId, u32>,
    next: TaskId,
}

impl Queue {
    fn draw(&self, what: u8, bytes: &mut impl Iterator<Item = u8>) -> Heard {
        let mut byte = || bytes.next().unwrap_or_default();
        let load = |it: u8| Load { function: FunctionId(u32::from(it % 2)), bytes: u64::from(it) << 14 };
        let (one, other) = (byte(), byte());
        let rank = Rank(u32::from(one % RANKS));
        let group = GroupId(u64::from(other % 3));
        let retries = Retries {
            own: u32::from(other >> 2 & 1),
            infrastructure: u32::from(other >> 3 & 3),
            crashes: u32::from(other >> 5 & 3),
        };
        let (id, attempt) = self.some(one, other);
        // A rank has one of two workers.
        let worker = || Incarnation::new(if other & 4 == 0 { "one" } else { "two" });
        match what % 20 {
            0..=3 => Heard::Submitted { id: self.next, target: Target::Any, group, retries, load: load(one) },
            4 => Heard::Submitted {
                id: self.next,
                target: Target::Rank(rank),
                group,
                retries,
                load: load(one),
            },
            5 => {
                let lost = match one % 3 {
                    0 => OnLost::FailFast,
                    1 => OnLost::Replace,
                    _ => OnLost::Ignore,
                };
                Heard::Broadcast { first: self.next, group, retries, lost, load: load(one) }
            }
            7 if other > 200 => Heard::Expired { id, attempt },
            6 | 7 => Heard::Answered { id, attempt, took: Some(Duration::from_micros(other.into())) },
            8 => Heard::GivenBack { id, attempt },
            9 => Heard::Failed { id, attempt, reason: "it".to_owned() },
            10 => Heard::Lost { id, attempt, reason: "it".to_owned() },
            11 if other > 200 => Heard::Committed { id },
            11 => Heard::Cancelled { id },
            12 if other > 100 => Heard::Sized { nodes: u32::from(other % (RANKS + 1)) },
            12 => Heard::RoundTrip { rank, takes: Duration::from_millis(other.into()) },
            13 | 14 => Heard::NodeReady { rank, slots: u32::from(other % 4), worker: worker() },
            15 => Heard::NodePaused { rank },
            16 if other > 128 => Heard::WorkerDied { rank },
            16 => Heard::NodeLost { rank },
            17 => Heard::Broken { id, attempt, worker: worker(), reason: "it".to_owned() },
            18 if other > 128 => Heard::Full { id, attempt },
            18 if other > 96 => Heard::NodeLeaves { rank, by_choice: one % 2 == 0 },
            18 => Heard::NodeGone { rank },
            _ if what > 200 => Heard::Stopped,
            _ if other > 224 => Heard::Grows { grows: one % 2 == 0 },
            _ if other > 192 => Heard::NodeWanted { rank },
            _ => Heard::Looked,
        }
    }

    /// A task that there is, mostly with the try that it is at.
    fn some(&self, one: u8, other: u8) -> (TaskId, Attempt) {
        let at = usize::from(one) % self.model.tasks.len().max(1);
        match self.model.tasks.iter().nth(at) {
            Some((id, task)) if other % 16 != 15 => (*id, task.attempt),
            Some((id, task)) => (*id, task.attempt.next()),
            None => (TaskId(other.into()), Attempt::default()),
        }
    }

    fn hear(&mut self, heard: Heard) {
        let expected = self.model.hear(&heard);
        match &heard {
            Heard::Submitted { .. } => self.next = self.next.next(),
            // A broadcast has an id for every rank that there can be.
            Heard::Broadcast { .. } => (0..RANKS).for_each(|_| self.next = self.next.next()),
            _ => {}
        }
        if let Heard::Answered { took: Some(_), .. } = &heard {
            (0..2).for_each(|it| *self.answered.entry(FunctionId(it)).or_default() += 1);
        }
        let has_looked = heard == Heard::Looked;
        let effects = self.state.hear(heard);
        let mut told = Vec::new();
        for effect in effects {
            match effect {
                Effect::Grant { id, attempt, rank } => {
                    self.model.grant(id, attempt, rank);
                    let (slots, _) = self.model.ranks.get(&rank).copied().unwrap_or_default();
                    let (used, known) = (self.model.used(rank), self.answered.values().max().copied());
                    let is_known = known.unwrap_or_default() >= self.ahead.known;
                    let most = if is_known { slots + self.ahead.calls } else { slots };
                    assert!(used <= most, "{rank} has {used} tasks in {slots} slots");
                }
                Effect::Recall { id, attempt, rank } => {
                    assert!(has_looked, "tasks are asked for back at a look");
                    let Some(task) = self.model.tasks.get(&id) else { unreachable!("{id} is over") };
                    assert_eq!((task.attempt, task.on), (attempt, Some(rank)));
                }
                Effect::Refuse { id, why } => told.push(Told::Refused(id, Why::from(&why))),
                Effect::Exhausted { id } => told.push(Told::Exhausted(id)),
                Effect::Retry { id, attempt, .. } => told.push(Told::Again(id, attempt)),
                Effect::Shares { first, ranks } => told.push(Told::Shares(first, ranks)),
                Effect::Reconcile { rank, waits } => told.push(Told::Reconciled(rank, waits)),
                Effect::Resume { id, attempt, rank } => told.push(Told::Resumed(id, attempt, rank)),
                Effect::Release { id, attempt, rank } => told.push(Told::Released(id, attempt, rank)),
            }
        }
        assert_eq!(told, expected);
        assert_eq!(self.state.held(), self.model.tasks.len(), "it keeps what is over, or loses a task");
        let running = self.model.tasks.values().filter(|it| it.on.is_some()).count();
        assert_eq!(self.state.waits().running, running);
        assert!(!self.model.leaves_idle(), "a slot is free and a task waits for it");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let sized = [12, 0, 104];
    let ready = [13, 0, 2, 13, 1, 1];
    let calls = [0, 1, 0, 0, 2, 9, 1, 3, 40, 4, 1, 44, 5, 1, 60, 0, 0, 1];
    let ends = [6, 0, 3, 9, 1, 4, 10, 0, 12, 16, 0, 200, 13, 0, 2, 10, 1, 24, 8, 0, 0, 19, 0, 0];
    let breaks =
        [18, 1, 100, 13, 1, 1, 15, 0, 0, 17, 0, 0, 17, 1, 0, 13, 0, 2, 18, 0, 200, 19, 0, 0, 18, 1, 0];
    let losses = [16, 1, 0, 10, 2, 8, 15, 0, 0, 16, 0, 0, 11, 0, 0, 219, 0, 0];
    (0..3).map(|ahead| [&[ahead][..], &sized, &ready, &calls, &breaks, &ends, &losses].concat()).collect()
}
