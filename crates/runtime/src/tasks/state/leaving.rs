//! What the queue decides when a pool changes its size: about a node that is leaving while its machine still lives, and
//! about tasks that no node is there for yet. Pure, part of the queue's state.

use super::{Effect, State};
use crate::model::Rank;
use crate::tasks::{Target, Undone};

impl State {
    /// A node takes nothing new. What it has been granted goes on, in none of its rank's slots.
    pub(super) fn leaves(&mut self, rank: Rank, by_choice: bool, effects: &mut Vec<Effect>) {
        self.ranks.remove(&rank);
        if by_choice {
            // Before its end is known: what had lost its link there is not counted either.
            self.tasks.values_mut().filter(|it| it.is_on(rank)).for_each(|it| it.excused = true);
        }
        self.end_life(rank, "its node is leaving", effects);
        self.tasks.values_mut().filter(|it| it.is_on(rank)).for_each(|it| it.apart = true);
    }

    /// Whether tasks may wait for nodes that are not wanted yet. What waits for nothing else is refused.
    pub(super) fn may_grow(&mut self, grows: bool, effects: &mut Vec<Effect>) {
        self.grows = Some(grows);
        let head = Target::Rank(Rank(0));
        if let Some(why) = self.refusal(head) {
            self.refuse_waiting(|task| task.target == head, &why, effects);
        }
        if self.all_lost() {
            self.refuse_waiting(|_| true, &Undone::NoNodes, effects);
        }
    }

    /// A node will not come back.
    pub(super) fn lose_node(&mut self, rank: Rank, effects: &mut Vec<Effect>) {
        self.ranks.remove(&rank);
        self.lost.insert(rank);
        self.end_life(rank, "its node is lost", effects);
        if let Some(why) = self.refusal(Target::Rank(rank)) {
            self.refuse_waiting(|task| task.target == Target::Rank(rank), &why, effects);
        }
        if self.all_lost() {
            self.refuse_waiting(|_| true, &Undone::NoNodes, effects);
        }
    }

    /// Whether there is no node, and will be none.
    pub(super) fn all_lost(&self) -> bool {
        match (self.grows, self.nodes) {
            (Some(true), _) | (None, 0) => false,
            (Some(false), 0) => true,
            (Some(false) | None, nodes) => u32::try_from(self.lost.len()).is_ok_and(|lost| lost >= nodes),
        }
    }
}
