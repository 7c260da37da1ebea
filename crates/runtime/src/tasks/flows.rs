//! Calls of functions of streams, as callers have them from the queue.

use std::time::Duration;

use super::{Share, Tasks, load};
use crate::model::Rank;
use crate::registry::BoxSource;
use crate::tasks::flow::Flow;
use crate::tasks::order::{OnLost, Order, Undone};
use crate::tasks::state::Heard;

impl Tasks {
    /// The items of one call of a function of streams, or of a call that takes streams. Nothing happens
    /// until it is polled; dropping it cancels the call wherever it is.
    pub fn flow(&self, order: Order, idle: Option<Duration>, inputs: Vec<BoxSource>) -> Flow {
        Flow::queued(self.clone(), order, idle, inputs)
    }

    /// One call of a function of streams on every node that is ready now, in rank order, like
    /// [`broadcast`](Self::broadcast). A share that is lost is the reader's to judge.
    ///
    /// # Errors
    /// As there.
    pub fn flow_everywhere(&self, order: Order, idle: Option<Duration>) -> Result<Vec<(Rank, Flow)>, Undone> {
        let group = order.group.unwrap_or_else(|| self.group());
        let (retries, function, load) = (self.retries(&order), order.function.name, load(&order));
        let lost = OnLost::FailFast;
        let heard = Heard::Broadcast { first: self.first_share(), group, retries, lost, load };
        let run = |it: Share| {
            let (rank, id, decision) = it.take();
            (rank, Flow::shared(self.clone(), order.clone(), idle, id, decision))
        };
        Ok(self.shares(heard, function)?.into_iter().map(run).collect())
    }
}
