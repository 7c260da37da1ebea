//! The place of a call of streams in the queue or on a node, given back when dropped.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::messages::Decision;
use super::meter::Meter;
use super::order::{Order, Undone};
use super::queue::{Presented, Tasks};
use super::state::Heard;
use crate::model::{Attempt, Rank, TaskId};

/// A task's place.
pub(super) struct Ticket {
    pub(super) tasks: Tasks,
    pub(super) id: TaskId,
    function: &'static str,
    /// The try that is under way, or was last.
    pub(super) granted: Option<(Attempt, Rank)>,
    open: bool,
    /// It is on a node at this moment, which costs something.
    runs: bool,
    meter: Option<Meter>,
}

impl Ticket {
    /// The place of a task that is in the queue already.
    pub(super) fn of(tasks: Tasks, id: TaskId, order: &Order) -> Self {
        tasks.show(id, order);
        let (function, meter) = (order.function.name, order.meter.clone());
        Self { tasks, id, function, granted: None, open: true, runs: false, meter }
    }

    /// A try is on a node.
    pub(super) const fn runs(&mut self) {
        self.runs = true;
    }

    /// A try has ended: what it cost is counted. Before the queue hears of it, and forgets it.
    pub(super) fn count(&mut self) {
        if std::mem::take(&mut self.runs)
            && let Some(meter) = &self.meter
        {
            meter.add(self.tasks.so_far(self.id));
        }
    }

    /// Lets an order into the queue, as soon as there is room in it. What comes first says what was
    /// decided; the permit is held until then.
    pub(super) async fn submit(
        tasks: Tasks,
        order: &Order,
    ) -> Result<(Self, oneshot::Receiver<Decision>, OwnedSemaphorePermit), Undone> {
        let permit = Arc::clone(tasks.room()).acquire_owned().await.map_err(|_| Undone::Stopped)?;
        let id = tasks.next_id();
        let ticket = Self::of(tasks, id, order);
        let decision = ticket.tasks.submit(id, order).receiver();
        Ok((ticket, decision, permit))
    }

    /// Tells of the end of the present try; where the next decision comes from.
    pub(super) fn ask(&self, heard: Heard) -> oneshot::Receiver<Decision> {
        let presented = Presented { id: self.id, function: self.function, granted: self.granted };
        self.tasks.ask(presented, heard).receiver()
    }

    /// It was refused: what its caller is told.
    pub(super) fn refused(self, why: Undone) -> Undone {
        let told = self.tasks.told(why);
        self.end(told)
    }

    /// The queue has forgotten the task, so it need not be told that its caller is gone.
    pub(super) fn end<T>(mut self, result: T) -> T {
        self.open = false;
        result
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.count();
        if self.open {
            tracing::debug!(task = %self.id, function = self.function, "cancelled by its caller");
            self.tasks.cancel(self.id, self.granted);
        }
    }
}
