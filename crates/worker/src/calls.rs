//! The books of one link's small calls: which of them are open, and which answers the client has not
//! acknowledged. The desk keeps them behind its lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use skyward_runtime::link::{CREDIT_BYTES, CREDIT_CALLS, Outbox, Outcome, Reply, WireError};
use skyward_runtime::payload::CommonKey;
use skyward_runtime::retention::{Run, Sent, Try};
use tokio::sync::oneshot;

use crate::execute::Deadline;
use crate::keep::{Done, Handle};

#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) open: BTreeMap<u64, Open>,
    /// How many of them wait for a slot.
    pub(crate) waiting: usize,
    /// The bytes of their arguments.
    pub(crate) bytes: usize,
    /// Who waits for a slot on a stream of its own, and is told there when it is asked for back.
    pub(crate) alone: BTreeMap<Try, oneshot::Sender<()>>,
    /// Large outcomes that the client has been told of and does not have yet.
    pub(crate) kept: BTreeMap<u64, Try>,
    /// What was sent on each lane and not acknowledged.
    pub(crate) lanes: Vec<Sent<Delivery>>,
    /// What the client has said so far that it waits for.
    pub(crate) waits: BTreeSet<Try>,
    /// What it has said so far that it needs of what it gave to share.
    pub(crate) needs: BTreeSet<CommonKey>,
    /// The link is over: nothing that is still read of it counts.
    pub(crate) over: bool,
}

/// A call that is not answered yet.
#[derive(Debug)]
pub(crate) struct Open {
    /// The lane that it came by.
    pub(crate) lane: usize,
    pub(crate) begun: bool,
    pub(crate) deadline: Deadline,
    pub(crate) arguments: Arguments,
    pub(crate) bytes: usize,
    pub(crate) run: Run,
    /// Dropped when nobody wants the call any more; `None`: it is answered for by what is kept.
    pub(crate) wanted: Option<Handle>,
}

/// The arguments of a call until it begins. Whoever waits for a slot with it may wait for long after nobody wants the
/// call any more, and then has nothing of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments(Arc<Mutex<Bytes>>);

impl Arguments {
    pub(crate) fn new(arguments: Bytes) -> Self {
        Self(Arc::new(Mutex::new(arguments)))
    }

    /// They are had once.
    pub(crate) fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was sent on a lane.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// An outcome that is nowhere else.
    Here(Done),
    /// One that is kept.
    Kept,
    /// A word that can be said again.
    Word,
}

/// One lane, as what runs needs it to answer.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) outbox: Outbox,
    /// Its place among the lanes of its link.
    pub(crate) index: usize,
}

impl Calls {
    /// Takes a call in, within the credit that the client has.
    pub(crate) fn enter(&mut self, number: u64, open: Open) -> Result<(), WireError> {
        if self.over {
            return Err(WireError::Interrupted("the link is over".to_owned()));
        }
        self.bytes = self.bytes.saturating_add(open.bytes);
        self.waiting += 1;
        let before = self.open.insert(number, open);
        if before.is_some() || self.open.len() > CREDIT_CALLS || self.bytes > CREDIT_BYTES {
            return Err(WireError::Credit { calls: CREDIT_CALLS, bytes: CREDIT_BYTES });
        }
        Ok(())
    }

    /// Whether the call is still there; from now on it runs.
    pub(crate) fn begin(&mut self, number: u64) -> bool {
        let Some(open) = self.open.get_mut(&number) else { return false };
        open.begun = true;
        self.waiting = self.waiting.saturating_sub(1);
        true
    }

    pub(crate) fn leave(&mut self, number: u64) -> Option<Open> {
        let open = self.open.remove(&number)?;
        self.bytes = self.bytes.saturating_sub(open.bytes);
        if !open.begun {
            self.waiting = self.waiting.saturating_sub(1);
            drop(open.arguments.take());
        }
        Some(open)
    }

    pub(crate) fn leave_if_waiting(&mut self, number: u64) -> Option<Open> {
        self.open.get(&number).is_some_and(|it| !it.begun).then(|| self.leave(number)).flatten()
    }

    /// Answers with an outcome that is nowhere else.
    pub(crate) fn say(&mut self, lane: &Lane, number: u64, run: Run, done: Done) -> Result<(), WireError> {
        let kept = done.clone();
        self.put(lane, number, run, done, Delivery::Here(kept))
    }

    /// Answers what can be said again whenever it is asked for.
    pub(crate) fn word(
        &mut self,
        lane: &Lane,
        number: u64,
        run: Run,
        word: Outcome,
    ) -> Result<(), WireError> {
        self.put(lane, number, run, Done::of(word), Delivery::Word)
    }

    /// Says that an outcome is kept that is too large for a lane; it is asked for by the same number.
    pub(crate) fn point(&mut self, lane: &Lane, (number, it): (u64, Try), took: Duration, length: u64) {
        self.leave(number);
        self.kept.insert(number, it);
        lane.outbox.put(false, |buffer| Reply::put_elsewhere(buffer, number, took, length));
    }

    pub(crate) fn put(
        &mut self,
        lane: &Lane,
        number: u64,
        run: Run,
        done: Done,
        delivery: Delivery,
    ) -> Result<(), WireError> {
        let (alone, took) = (self.open.is_empty(), done.took);
        let put = lane.outbox.put(alone, |buffer| Reply::put(buffer, number, took, done.outcome));
        if let Err(error) = put {
            // Only a panic's words are encoded here.
            let unencodable = Outcome::Unencodable(error.to_string());
            lane.outbox.put(alone, |buffer| Reply::put(buffer, number, took, unencodable))?;
        }
        if let Some(sent) = self.lanes.get_mut(lane.index) {
            sent.put(run, delivery);
        }
        Ok(())
    }
}

/// Resolves when a call that waits on a stream of its own is asked for back.
pub(crate) fn recalled(calls: &Arc<Mutex<Calls>>, it: Try) -> BoxFuture<'static, ()> {
    let (recall, recalled) = oneshot::channel();
    let place = Alone { calls: Arc::clone(calls), it };
    place.calls().alone.insert(it, recall);
    Box::pin(async move {
        let _place = place;
        // Nobody asks over a link that is over.
        if recalled.await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// The place of a call among those that wait on streams of their own.
struct Alone {
    calls: Arc<Mutex<Calls>>,
    it: Try,
}

impl Alone {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.calls().alone.remove(&self.it);
    }
}

#[cfg(test)]
mod tests {
    use skyward_runtime::model::{Attempt, Epoch, TaskId};

    use super::*;

    fn open(number: u64, bytes: usize) -> Open {
        let run = Run { epoch: Epoch(1), it: (TaskId(number), Attempt(0)) };
        let (deadline, arguments) = (Deadline::after(None), Arguments::default());
        Open { lane: 0, begun: false, deadline, arguments, bytes, run, wanted: None }
    }

    #[test]
    fn a_client_that_sends_more_than_its_credit_breaks_the_protocol() {
        let (mut many, mut large, mut twice) = (Calls::default(), Calls::default(), Calls::default());
        for number in 0..CREDIT_CALLS as u64 {
            many.enter(number, open(number, 1)).expect("within the credit");
        }
        let over = WireError::Credit { calls: CREDIT_CALLS, bytes: CREDIT_BYTES };
        assert!(over.is_violation());
        assert_eq!(many.enter(u64::MAX, open(0, 1)), Err(over.clone()));
        large.enter(0, open(0, CREDIT_BYTES)).expect("within the credit");
        assert_eq!(large.enter(1, open(1, 1)), Err(over.clone()));
        twice.enter(0, open(0, 1)).expect("within the credit");
        assert_eq!(twice.enter(0, open(0, 1)), Err(over));
    }

    #[test]
    fn what_is_given_up_before_it_begins_keeps_no_arguments() {
        let mut calls = Calls::default();
        let (waits, runs) = (Bytes::from(vec![1; 9]), Bytes::from(vec![2; 9]));
        let kept: Vec<Arguments> = (1..)
            .zip([waits, runs])
            .map(|(number, it)| {
                let arguments = Arguments::new(it);
                let open = Open { arguments: arguments.clone(), ..open(number, 9) };
                calls.enter(number, open).expect("within the credit");
                arguments
            })
            .collect();
        assert!(calls.begin(2));
        assert!(calls.leave(1).is_some() && calls.leave(2).is_some());
        assert_eq!(kept.iter().map(|it| it.take().len()).collect::<Vec<_>>(), [0, 9]);
        assert_eq!((calls.bytes, calls.waiting), (0, 0));
    }
}
