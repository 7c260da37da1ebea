//! How many nodes a simulated pool has: what its owner asks for, and whether it keeps to that and to its bounds.

use super::failure::Law;
use super::knobs::Mutation;
use super::world::World;
use crate::journal::JournalError;
use crate::model::{Nodes, ScaledBecause};
use crate::pool::messages::Heard;

impl World {
    /// Now and then an owner wants another number of nodes, which may be one that it cannot have.
    pub(super) fn draw_sizes(&mut self) {
        for _ in 0..2 {
            let (at, nodes) = (self.dice.up_to(self.timing.boot * 2), self.dice.count(0, self.nodes + 2));
            if self.dice.chance(RESIZED) {
                self.plan(at, super::event::Event::Owner(super::event::Owner::Resizes(nodes)));
            }
        }
    }

    /// The owner wants so many nodes.
    pub(super) fn resizes(&mut self, nodes: u32) {
        let moment = self.awake_moment();
        let Some(pool) = self.me.pool.as_mut().filter(|it| it.started && !it.ended) else { return };
        if pool.state.resizable(nodes, moment, &self.timing).is_err()
            && self.mutation != Some(Mutation::ResizeBeyond)
        {
            return;
        }
        // What cannot be written is written later, or never: then whoever attaches goes on with what was.
        match self.write(|store, owner| store.sized(owner, nodes)) {
            Err(JournalError::Superseded { .. }) => return,
            Err(_) => {}
            Ok(()) => self.sized = self.me.owner.clone().map(|(pool, _)| (pool, nodes)),
        }
        let Some(pool) = self.me.pool.as_mut() else { return };
        pool.asked = Some(nodes);
        let now = self.moment();
        let Some(demand) = self.me.queue.as_ref().map(|it| it.demand(now)) else { return };
        self.summary.resized += 1;
        self.most_nodes = self.most_nodes.max(nodes);
        self.hear_pool(Heard::Resized { nodes, demand });
    }

    /// Who takes a pool over that keeps its number goes on with the one that was last asked for.
    pub(super) fn judge_inherited(&mut self, nodes: u32) {
        let asked =
            self.sized.as_ref().filter(|(pool, _)| self.me.owner.as_ref().is_some_and(|it| it.0 == *pool));
        let asked = asked.map_or(self.nodes, |it| it.1);
        if self.wishes.nodes.scales().is_none() && nodes != asked {
            self.breach(Law::Size, format!("it goes on with {nodes} nodes, and was asked for {asked}"));
        }
    }

    /// What a pool decides by itself keeps it in its bounds, and what it is asked for brings it nearer to that.
    pub(super) fn judge_size(&mut self, from: u32, to: u32, why: &ScaledBecause) {
        let (least, most) = self.wishes.nodes.scales().unwrap_or((0, Nodes::MOST));
        let asked = self.me.pool.as_ref().and_then(|it| it.asked);
        match why {
            ScaledBecause::Refused(_) => return,
            ScaledBecause::Asked if asked.is_none_or(|it| to > from.max(it) || to < from.min(it)) => {
                let what = format!("it wants {to} nodes, not {from}, and was asked for {asked:?}");
                return self.breach(Law::Size, what);
            }
            ScaledBecause::Asked => {}
            _ if to > from => self.summary.grown += 1,
            _ => self.summary.shrunk += 1,
        }
        if to > from && to > most || to < from && to < least {
            let what = format!("it wants {to} nodes, not {from}, and may have {least} to {most}: {why}");
            self.breach(Law::Size, what);
        }
    }
}

/// How many of a thousand owners want another number, each time that they may.
const RESIZED: u32 = 400;
