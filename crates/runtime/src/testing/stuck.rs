//! The law of stuck slots: what a node was given and has not begun, because a function that nobody waits for has its
//! slot, finishes elsewhere while others have nothing to do.

use std::time::Duration;

use super::calls::Call;
use super::failure::Law;
use super::world::World;
use crate::model::{Rank, TaskId};
use crate::retention::Try;

impl World {
    /// Looks for a call that has waited at its worker for long, while another node could have begun with it.
    pub(super) fn check_stuck(&mut self) {
        let stuck = self.me.calls.iter().find_map(|(id, call)| self.is_stuck(*id, call));
        if let Some(((id, _), rank, free)) = stuck {
            let what =
                format!("task {id} waits on node {rank}, which does not begin with it, and {free} is free");
            self.breach(Law::Stuck, what);
        }
    }

    fn is_stuck(&self, id: TaskId, call: &Call) -> Option<(Try, Rank, Rank)> {
        // What has a key waits for the worker that has something under it.
        let (link, attempt) = call.under_way().filter(|_| call.key().is_none())?;
        let queue = self.me.queue.as_ref()?;
        // What was sent again may have been asked for before it came; and what is free may be kept for others that were
        // asked for, and have begun.
        let has_turn = call.resent.is_none() && queue.asked + PATIENCE < self.now;
        let patience = if has_turn { PATIENCE } else { AGAIN };
        let is_long = |since: Duration| since + patience < self.now;
        let (way, it) = (self.links.get(link.0).filter(|it| it.alive)?, (id, attempt));
        let waits = self.workers.get(&way.machine).is_some_and(|at| at.has_link(link) && at.has_waiting(it));
        let answers =
            self.machine(way.machine).is_some_and(|at| at.dead.is_none() && is_long(at.silent_until()));
        let life = self.lives.get(self.life_of(link)?.0).filter(|it| it.alive && !it.leaving)?;
        let (other, _) = queue.free.iter().find(|(rank, since)| **rank != life.rank && is_long(**since))?;
        let sent = call.resent.unwrap_or(call.granted);
        let calm = is_long(sent) && is_long(self.me.asleep) && way.reconciled.is_some_and(is_long);
        (calm && waits && answers).then_some((it, life.rank, *other))
    }
}

/// How long a call may wait that way: its node is asked for it within a few looks.
const PATIENCE: Duration = Duration::from_secs(5);

/// And how long until its turn has come, or come again: a hundred looks after the last, and as many for the next.
const AGAIN: Duration = Duration::from_secs(25);
