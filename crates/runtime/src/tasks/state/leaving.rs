//! What the queue decides about a node that is leaving while its machine still lives: what it has may end there,
//! and its rank may get another node meanwhile. Pure, part of the queue's state.

use super::{Effect, State};
use crate::model::Rank;

impl State {
    /// A node takes nothing new. What it has been granted goes on, in none of its rank's slots.
    pub(super) fn leaves(&mut self, rank: Rank, effects: &mut Vec<Effect>) {
        self.ranks.remove(&rank);
        self.end_life(rank, "its node is leaving", effects);
        self.tasks.values_mut().filter(|it| it.is_on(rank)).for_each(|it| it.apart = true);
    }
}
