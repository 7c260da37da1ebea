//! The queue's machine alone, one call after the other, for whoever measures what a decision takes.

use std::time::Duration;

use crate::model::{Attempt, FunctionId, Incarnation, Rank, TaskId};
use crate::tasks::state::{Effect, Heard, State};
use crate::tasks::{GroupId, Retries, Target, ahead};

/// A queue of two nodes, without callers and links.
#[derive(Debug)]
pub struct Machine {
    state: State,
    effects: Vec<Effect>,
    next: u64,
}

/// How many calls each node runs at once.
const SLOTS: u32 = 2;

impl Machine {
    /// Two nodes that are ready, and so many calls that are on them or wait.
    pub fn with(calls: u64) -> Self {
        let mut machine = Self { state: State::new(ahead::Ahead::default()), effects: Vec::new(), next: 0 };
        machine.hear(Heard::Sized { nodes: 2 });
        for rank in [Rank(0), Rank(1)] {
            machine.hear(Heard::NodeReady { rank, slots: SLOTS, worker: Incarnation::new(rank.to_string()) });
        }
        (0..calls).for_each(|_| machine.submit());
        machine
    }

    /// The oldest call is answered, and another comes: what a gather does for each of its calls. How many
    /// things the queue wanted done.
    pub fn step(&mut self, calls: u64) -> usize {
        let id = TaskId(self.next.saturating_sub(calls));
        let took = Some(Duration::from_micros(1));
        self.hear(Heard::Answered { id, attempt: Attempt::default(), took });
        let wanted = self.effects.len();
        self.submit();
        wanted + self.effects.len()
    }

    fn submit(&mut self) {
        let id = TaskId(self.next);
        self.next += 1;
        self.hear(Heard::Submitted {
            id,
            target: Target::Any,
            group: GroupId(1),
            retries: Retries::default(),
            load: ahead::Load { function: FunctionId(0), bytes: 3 },
        });
    }

    fn hear(&mut self, heard: Heard) {
        self.effects.clear();
        self.state.take_in(heard, &mut self.effects);
    }
}

impl State {
    /// What it decides, as a list of its own.
    pub(crate) fn hear(&mut self, heard: Heard) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.take_in(heard, &mut effects);
        effects
    }
}
