//! Many tasks that ask and end together, each time under one lock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::{Answer, Presented, Tasks};
use crate::model::{Attempt, Rank, TaskId};
use crate::tasks::order::Order;
use crate::tasks::state::Heard;

/// What one of many is told, with its place among those who wait; `None`: there is no room for more who wait.
pub(in crate::tasks) type Told = Option<(Answer, Option<OwnedSemaphorePermit>)>;

/// A granted task that has a value.
#[derive(Clone, Copy, Debug)]
pub(in crate::tasks) struct Returned {
    pub(in crate::tasks) id: TaskId,
    pub(in crate::tasks) attempt: Attempt,
    pub(in crate::tasks) rank: Rank,
    /// How long it ran, if that is known.
    pub(in crate::tasks) took: Option<Duration>,
}

impl Tasks {
    /// Many new tasks without keys ask where they may run. What each is told, in their order.
    pub(in crate::tasks) fn submit_all(&self, orders: &[(TaskId, Order)]) -> Vec<Told> {
        let (mut told, mut started) = (Vec::with_capacity(orders.len()), Vec::with_capacity(orders.len()));
        let mut permit = None;
        self.hear(|queue, errands| {
            for (id, order) in orders {
                // One is enough for all that need not wait.
                permit = permit.take().or_else(|| Arc::clone(self.room()).try_acquire_owned().ok());
                if permit.is_none() {
                    told.push(None);
                    continue;
                }
                let task = Presented { id: *id, function: order.function.name, granted: None };
                let answer = queue.ask(task, self.submitted(*id, order), errands);
                started.extend(errands.own.take());
                let waits = if matches!(answer, Answer::Later(_)) { permit.take() } else { None };
                told.push(Some((answer, waits)));
            }
        });
        self.inner.events.tasks_started(started.iter().map(|it| (it.task, it.attempt, it.rank, it.function)));
        told
    }

    /// Many granted tasks have their values.
    pub(in crate::tasks) fn returned(&self, tasks: &[Returned]) {
        if tasks.is_empty() {
            return;
        }
        self.inner.events.tasks_finished(tasks.iter().map(|it| (it.id, it.attempt, it.rank)));
        self.hear(|queue, errands| {
            for Returned { id, attempt, took, .. } in tasks {
                queue.hear(Heard::Answered { id: *id, attempt: *attempt, took: *took }, errands);
            }
        });
    }
}
