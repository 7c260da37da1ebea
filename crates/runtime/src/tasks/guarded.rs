//! What the queue's lock guards: the state, and who waits for what it decides. What a decision leads to
//! outside is noted as errands, for when the lock is free again.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::messages::{Decision, Grant};
use super::order::Undone;
use super::queue::{Answer, Presented};
use super::state::{Effect, Heard, State};
use crate::link::Link;
use crate::model::{Attempt, EventKind, Rank, TaskId};
use crate::retention::Try;

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) state: State,
    pub(super) links: BTreeMap<Rank, Link>,
    /// Who waits for a decision.
    pub(super) waiting: BTreeMap<TaskId, Waiting>,
    pub(super) ended: bool,
    /// Memory for what the state wants, between two decisions.
    pub(super) effects: Vec<Effect>,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) function: &'static str,
    pub(super) decide: oneshot::Sender<Decision>,
    /// Where the try before this one was granted.
    pub(super) granted: Option<(Attempt, Rank)>,
}

/// What is to be done once the lock is free again.
#[derive(Default)]
pub(super) struct Errands {
    /// The try that the one who asks has just been granted, which follows all other events.
    pub(super) own: Option<Started>,
    pub(super) decisions: Vec<(TaskId, oneshot::Sender<Decision>, Decision)>,
    pub(super) events: Vec<EventKind>,
    pub(super) recalls: Vec<(Link, TaskId, Attempt)>,
    pub(super) releases: Vec<(Link, TaskId, Attempt)>,
    pub(super) reconciled: Vec<(Rank, Link, Vec<Try>)>,
}

/// A try that begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    pub(super) function: &'static str,
    pub(super) task: TaskId,
    pub(super) attempt: Attempt,
    pub(super) rank: Rank,
}

impl Queue {
    pub(super) fn hear(&mut self, heard: Heard, errands: &mut Errands) {
        let mut effects = self.decide(heard);
        for effect in effects.drain(..) {
            self.act(effect, errands);
        }
        self.effects = effects;
    }

    /// Something happened to a task whose caller goes on with whatever is decided now.
    pub(super) fn ask(&mut self, task: Presented, heard: Heard, errands: &mut Errands) -> Answer {
        if self.ended {
            return Answer::Now(Decision::Refuse(Undone::Stopped));
        }
        if let (Heard::Lost { .. } | Heard::Broken { .. }, Some((_, rank))) = (&heard, task.granted) {
            self.pause_if_over(rank, errands);
        }
        let (mut decided, mut effects) = (None, self.decide(heard));
        for effect in effects.drain(..) {
            match effect {
                Effect::Grant { id, attempt, rank } if id == task.id => {
                    let own = Started { function: task.function, task: id, attempt, rank };
                    decided = self.grant(attempt, rank).map(Decision::Grant);
                    errands.own = decided.is_some().then_some(own);
                }
                Effect::Refuse { id, why } if id == task.id => {
                    errands.events.extend(refused(id, &why, task.granted));
                    decided = Some(Decision::Refuse(why));
                }
                Effect::Exhausted { id } if id == task.id => decided = Some(Decision::Exhausted),
                Effect::Resume { id, attempt, rank } if id == task.id => {
                    let link = self.links.get(&rank).cloned();
                    decided = link.map(|link| Decision::Resume(Grant { attempt, rank, link }));
                }
                other => self.act(other, errands),
            }
        }
        self.effects = effects;
        decided.map_or_else(
            || {
                let (decide, decision) = oneshot::channel();
                let Presented { id, function, granted } = task;
                self.waiting.insert(id, Waiting { function, decide, granted });
                Answer::Later(decision)
            },
            Answer::Now,
        )
    }

    /// The caller of a task is gone. Without a try that it knows of, there may be one that it was granted and
    /// has not heard of: that was said to begin, and is said to end.
    pub(super) fn cancel(&mut self, task: TaskId, granted: Option<(Attempt, Rank)>, errands: &mut Errands) {
        let waited = self.waiting.remove(&task).is_some();
        if granted.is_none()
            && !waited
            && let Some((attempt, rank)) = self.state.on(task)
        {
            errands.events.push(EventKind::TaskCancelled { task, attempt, rank });
        }
        self.hear(Heard::Cancelled { id: task }, errands);
    }

    /// What the state wants. The memory is to be put back.
    pub(super) fn decide(&mut self, heard: Heard) -> Vec<Effect> {
        let mut effects = std::mem::take(&mut self.effects);
        self.state.take_in(heard, &mut effects);
        effects
    }

    /// A caller may see that a link is over before its node does. Until the node has another, nothing
    /// more is granted there: all tries of a task would be used up within a moment.
    pub(super) fn pause_if_over(&mut self, rank: Rank, errands: &mut Errands) {
        if self.links.get(&rank).is_some_and(|it| it.over().is_some()) {
            self.links.remove(&rank);
            self.hear(Heard::NodePaused { rank }, errands);
        }
    }

    pub(super) fn act(&mut self, effect: Effect, errands: &mut Errands) {
        match effect {
            Effect::Grant { id, attempt, rank } => {
                let Some(waiting) = self.waiting.remove(&id) else { return };
                if let Some(grant) = self.grant(attempt, rank) {
                    let (task, function) = (id, waiting.function.to_owned());
                    errands.events.push(EventKind::TaskStarted { task, attempt, rank, function });
                    errands.decisions.push((id, waiting.decide, Decision::Grant(grant)));
                }
            }
            Effect::Refuse { id, why } => {
                let Some(waiting) = self.waiting.remove(&id) else { return };
                errands.events.extend(refused(id, &why, waiting.granted));
                errands.decisions.push((id, waiting.decide, Decision::Refuse(why)));
            }
            Effect::Exhausted { id } => {
                if let Some(waiting) = self.waiting.remove(&id) {
                    errands.decisions.push((id, waiting.decide, Decision::Exhausted));
                }
            }
            Effect::Retry { id, attempt, reason } => {
                errands.events.push(EventKind::TaskRetried { task: id, attempt, reason });
            }
            Effect::Recall { id, attempt, rank } => {
                errands.recalls.extend(self.links.get(&rank).map(|it| (it.clone(), id, attempt)));
            }
            Effect::Release { id, attempt, rank } => {
                errands.releases.extend(self.links.get(&rank).map(|it| (it.clone(), id, attempt)));
            }
            Effect::Reconcile { rank, waits } => {
                errands.reconciled.extend(self.links.get(&rank).map(|it| (rank, it.clone(), waits)));
            }
            Effect::Resume { id, attempt, rank } => {
                let (Some(link), Some(waiting)) = (self.links.get(&rank).cloned(), self.waiting.remove(&id))
                else {
                    return;
                };
                let decision = Decision::Resume(Grant { attempt, rank, link });
                errands.decisions.push((id, waiting.decide, decision));
            }
            // Shares are taken where they are asked for.
            Effect::Shares { .. } => {}
        }
    }

    /// The right to run, with the link; `None` when the link has just gone, and the pool will say so.
    pub(super) fn grant(&self, attempt: Attempt, rank: Rank) -> Option<Grant> {
        let link = self.links.get(&rank)?.clone();
        Some(Grant { attempt, rank, link })
    }
}

/// What is said of a refusal. A task that never started has nobody who waits to see it end.
fn refused(task: TaskId, why: &Undone, granted: Option<(Attempt, Rank)>) -> Option<EventKind> {
    match (why, granted) {
        (Undone::Lost(lost), _) => Some(EventKind::TaskLost { task, reason: lost.to_string() }),
        (_, Some((attempt, rank))) => Some(EventKind::TaskCancelled { task, attempt, rank }),
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FunctionId, Incarnation};
    use crate::tasks::ahead::{Ahead, Load};
    use crate::tasks::order::{GroupId, Retries, Target};

    #[test]
    fn a_try_that_its_caller_never_heard_of_is_said_to_end_and_one_that_waits_is_not() {
        let (mut state, mut effects) = (State::new(Ahead::default()), Vec::new());
        let load = Load { function: FunctionId(0), bytes: 0 };
        let submitted = |id| Heard::Submitted {
            id,
            target: Target::Any,
            group: GroupId(1),
            retries: Retries::default(),
            load,
        };
        let (granted, waits) = (TaskId(1), TaskId(2));
        for heard in [
            Heard::Sized { nodes: 1 },
            Heard::NodeReady { rank: Rank(0), slots: 1, worker: Incarnation::new("w") },
            submitted(granted),
        ] {
            state.take_in(heard, &mut effects);
        }
        assert_eq!(state.on(granted), Some((Attempt(0), Rank(0))));
        let (links, waiting) = (BTreeMap::new(), BTreeMap::new());
        let mut queue = Queue { state, links, waiting, ended: false, effects: Vec::new() };
        let mut errands = Errands::default();
        queue.hear(submitted(waits), &mut errands);
        let (decide, _decision) = oneshot::channel();
        queue.waiting.insert(waits, Waiting { function: "f", decide, granted: None });
        queue.cancel(waits, None, &mut errands);
        assert_eq!(errands.events, []);
        queue.cancel(granted, None, &mut errands);
        let told = EventKind::TaskCancelled { task: granted, attempt: Attempt(0), rank: Rank(0) };
        assert_eq!(errands.events, [told]);
        assert_eq!(queue.state.held(), 0);
    }
}
