//! What another owner of the pool has left at workers: that a client hears of it, and gives up no node that has some.

use std::time::Duration;

use super::Worker;
use crate::model::{Incarnation, Key, Rank};
use crate::retention::Left;
use crate::testing::cloud::MachineId;
use crate::testing::event::Event;
use crate::testing::failure::Law;
use crate::testing::knobs::Mutation;
use crate::testing::letter::Letter;
use crate::testing::link::LinkId;
use crate::testing::world::World;

impl Worker {
    /// The keys under which something runs or is kept, and what of it another owner left. What runs of that is told
    /// when it has ended.
    pub(super) fn left(&mut self) -> Vec<(Key, Left)> {
        let left: Vec<(Key, Left)> = self.outcomes.keys().map(|(key, left)| (key.clone(), left)).collect();
        let runs = left.iter().filter(|(_, it)| *it == Left::Running);
        self.told = runs.map(|(key, _)| key.clone()).collect();
        left
    }
}

impl World {
    /// The client of a worker hears of what another owner left there and has ended.
    pub(super) fn tell_ends(&mut self, id: MachineId) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(link) = worker.link else { return };
        let over: Vec<(Key, Left)> =
            worker.told.iter().map(|key| (key.clone(), worker.outcomes.left(key))).collect();
        let over: Vec<(Key, Left)> = over.into_iter().filter(|(_, left)| *left != Left::Running).collect();
        if over.is_empty() {
            return;
        }
        worker.told.retain(|it| !over.iter().any(|(key, _)| key == it));
        let name = worker.name();
        let latency = self.dice.up_to(Duration::from_millis(100));
        let Some(way) = self.links.get_mut(link.0) else { return };
        way.back = (now + latency).max(way.back);
        let (at, program) = (way.back, way.program);
        self.plan_for(program, at, Event::Keys(link, name, over));
    }

    /// A worker has said under which keys it has something.
    pub(in crate::testing) fn hears_keys(
        &mut self,
        link: LinkId,
        worker: Incarnation,
        mut keys: Vec<(Key, Left)>,
    ) {
        match self.mutation {
            Some(Mutation::IgnoreKeys) => return,
            Some(Mutation::IgnoreLeft) => keys.iter_mut().for_each(|(_, left)| *left = Left::Nothing),
            _ => {}
        }
        let Some(rank) = self.rank_of(link) else { return };
        if !keys.is_empty() {
            self.cast_queue(Letter::Held { rank, worker: worker.clone(), keys });
        }
        // What has no more to say says that.
        self.cast_queue(Letter::Held { rank, worker, keys: Vec::new() });
    }

    /// A node is given up as idle: its worker runs nothing that another owner left.
    pub(in crate::testing) fn check_left(&mut self, rank: Rank) {
        let link = self.me.queue.as_ref().and_then(|it| it.links.get(&rank).copied());
        let left = self.workers.values().filter(|it| it.link.is_some() && it.link == link);
        let left = left.flat_map(|it| it.outcomes.keys()).find(|(_, left)| *left == Left::Running);
        if let Some((key, _)) = left {
            let what = format!("{rank} is given up as idle, and runs what another owner left under {key}");
            self.breach(Law::Drained, what);
        }
    }
}
