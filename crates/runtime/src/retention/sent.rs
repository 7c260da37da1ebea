//! The outcomes that were put on a lane, in their order, until the client has said how many it has. Pure.

use std::collections::VecDeque;

use super::outcomes::Run;

/// What was sent on one lane and not acknowledged.
#[derive(Debug)]
pub struct Sent<T> {
    acknowledged: u64,
    waiting: VecDeque<(Run, T)>,
}

/// The client acknowledges more than was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl<T> Default for Sent<T> {
    fn default() -> Self {
        Self { acknowledged: 0, waiting: VecDeque::new() }
    }
}

impl<T> Sent<T> {
    /// An outcome was put on the lane.
    pub fn put(&mut self, run: Run, outcome: T) {
        self.waiting.push_back((run, outcome));
    }

    /// The client has so many outcomes of this lane by now. They are given back to be dropped.
    ///
    /// # Errors
    /// When it cannot.
    pub fn acknowledge(&mut self, count: u64) -> Result<impl Iterator<Item = (Run, T)>, TooMany> {
        let new = count.saturating_sub(self.acknowledged);
        let new = usize::try_from(new).ok().filter(|it| *it <= self.waiting.len()).ok_or(TooMany)?;
        self.acknowledged = self.acknowledged.max(count);
        Ok(self.waiting.drain(..new))
    }

    /// The link is over: what was not acknowledged.
    pub fn take(&mut self) -> impl Iterator<Item = (Run, T)> {
        std::mem::take(&mut self.waiting).into_iter()
    }

    /// Whether the outcome of this call was not acknowledged.
    pub fn has(&self, run: Run) -> bool {
        self.waiting.iter().any(|(it, _)| *it == run)
    }

    /// How many were not acknowledged.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all were acknowledged.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attempt, Epoch, TaskId};

    #[test]
    fn outcomes_are_acknowledged_in_their_order_and_no_more_than_were_sent() {
        let run = |task| Run { epoch: Epoch(1), it: (TaskId(task), Attempt(0)) };
        let mut sent = Sent::default();
        for task in 0..5 {
            sent.put(run(task), task);
        }
        let take = |sent: &mut Sent<u64>, count| {
            sent.acknowledge(count).map(|it| it.map(|(_, it)| it).collect::<Vec<_>>())
        };
        assert_eq!(take(&mut sent, 2), Ok(vec![0, 1]));
        // One that was said twice, or comes late, changes nothing.
        assert_eq!((take(&mut sent, 2), take(&mut sent, 1)), (Ok(vec![]), Ok(vec![])));
        assert_eq!(take(&mut sent, 6), Err(TooMany));
        assert_eq!((sent.len(), sent.take().count(), sent.is_empty()), (3, 3, true));
    }
}
