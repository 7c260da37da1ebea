//! What the queue decides about calls that a node was given ahead and does not come to. Pure, part of the queue's
//! state.

use super::{Effect, State};
use crate::model::Rank;
use crate::tasks::Target;
use crate::tasks::ahead::Room;

impl State {
    /// Asks for tasks back from nodes that have answered nothing since the last look and have some ahead,
    /// as many as other nodes could begin at once.
    pub(super) fn recall(&mut self, effects: &mut Vec<Effect>) {
        let idle: u32 = match self.turns.is_empty() {
            true => self.ranks.values().filter(|it| it.open).map(|it| it.slots.saturating_sub(it.used)).sum(),
            false => 0,
        };
        let stuck = |it: &mut Room| !std::mem::take(&mut it.answered) && it.used > it.slots;
        let stuck: Vec<(Rank, u32)> = self
            .ranks
            .iter_mut()
            .filter_map(|(rank, it)| stuck(it).then_some((*rank, it.used.saturating_sub(it.slots))))
            .collect();
        if stuck.is_empty() || idle == 0 {
            return;
        }
        let asked = self.tasks.values().filter(|it| it.recalled).count();
        let mut wanted = usize::try_from(idle).unwrap_or(usize::MAX).saturating_sub(asked);
        for (rank, ahead) in stuck {
            let ahead = usize::try_from(ahead).unwrap_or(usize::MAX);
            // Workers begin in order, so the newest are the ones that wait.
            let newest = self
                .tasks
                .iter_mut()
                .rev()
                .filter(|(_, it)| !it.recalled && it.target == Target::Any && it.is_on(rank));
            for (id, task) in newest.take(ahead.min(wanted)) {
                wanted -= 1;
                task.recalled = true;
                effects.push(Effect::Recall { id: *id, attempt: task.attempt, rank });
            }
        }
    }
}
