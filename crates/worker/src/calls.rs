//! The books of one link's small calls: which of them are open, and which answers the client has not
//! acknowledged. The desk keeps them behind its lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use skyward_runtime::link::{CREDIT_BYTES, CREDIT_CALLS, Outcome, Reply, WireError};
use skyward_runtime::model::FunctionId;
use skyward_runtime::payload::CommonKey;
use skyward_runtime::retention::{Run, Sent, Try};
use tokio::sync::oneshot;

use crate::desk::Lane;
use crate::execute::Deadline;
use crate::keep::{Done, Handle};
use crate::numbered::Numbered;

#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) open: Numbered<Open>,
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

/// A call that is not answered yet. When its link is over, one that its end has left something to.
#[derive(Debug)]
pub(crate) struct Open {
    /// The lane that it came by.
    pub(crate) lane: usize,
    pub(crate) begun: bool,
    pub(crate) function: FunctionId,
    pub(crate) deadline: Deadline,
    /// Until it begins.
    pub(crate) arguments: Bytes,
    pub(crate) bytes: usize,
    pub(crate) run: Run,
    pub(crate) wanted: Wanted,
}

/// Who knows whether a call is still wanted.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// These books: it is for as long as it is open. Nobody waits for the end of that, as most calls are over before
    /// anybody would.
    Here,
    /// Likewise; dropped to tell who waits.
    Awaited(Handle),
    /// What is kept, which answers for it. Resolves when it is not any more, for whoever runs it.
    Kept(Option<oneshot::Receiver<()>>),
}

/// What a call begins with.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) run: Run,
    pub(crate) function: FunctionId,
    pub(crate) deadline: Deadline,
    pub(crate) arguments: Bytes,
    /// It is answered for by what is kept.
    pub(crate) apart: bool,
}

impl Wanted {
    pub(crate) const fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
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

impl Calls {
    /// Takes a call in, within the credit that the client has.
    pub(crate) fn enter(&mut self, number: u64, open: Open) -> Result<(), WireError> {
        if self.over {
            return Err(WireError::Interrupted("the link is over".to_owned()));
        }
        let bytes = self.bytes.saturating_add(open.bytes);
        let fits = self.open.len() < CREDIT_CALLS && bytes <= CREDIT_BYTES;
        if !fits || !self.open.insert(number, open) {
            return Err(WireError::Credit { calls: CREDIT_CALLS, bytes: CREDIT_BYTES });
        }
        self.bytes = bytes;
        self.waiting += 1;
        Ok(())
    }

    /// What the call begins with, if it is still there; from now on it runs.
    pub(crate) fn begin(&mut self, number: u64) -> Option<Begun> {
        let open = self.open.get_mut(number)?;
        open.begun = true;
        self.waiting = self.waiting.saturating_sub(1);
        let Open { run, function, deadline, .. } = *open;
        let arguments = std::mem::take(&mut open.arguments);
        Some(Begun { run, function, deadline, arguments, apart: open.wanted.is_kept() })
    }

    /// Resolves when a call that goes on is not wanted any more.
    pub(crate) fn unwanted(&mut self, number: u64) -> oneshot::Receiver<()> {
        let (wanted, unwanted) = oneshot::channel();
        match self.open.get_mut(number).map(|it| &mut it.wanted) {
            Some(Wanted::Kept(told)) => told.take().unwrap_or(unwanted),
            Some(it) => {
                *it = Wanted::Awaited(wanted);
                unwanted
            }
            // Nobody wants it: its sender is dropped here.
            None => unwanted,
        }
    }

    /// The link is over. Its calls, with what tells them that they are not wanted any more, of those that are not kept.
    /// What they go on with stays here.
    pub(crate) fn end(&mut self) -> Vec<(Run, Handle)> {
        let mut left = Vec::new();
        self.open.retain_mut(|open| {
            match std::mem::replace(&mut open.wanted, Wanted::Kept(None)) {
                Wanted::Here => {
                    let (wanted, told) = oneshot::channel();
                    left.push((open.run, wanted));
                    open.wanted = Wanted::Kept(Some(told));
                }
                Wanted::Awaited(wanted) => left.push((open.run, wanted)),
                kept @ Wanted::Kept(_) => open.wanted = kept,
            }
            matches!(open.wanted, Wanted::Kept(Some(_)))
        });
        (self.waiting, self.bytes) = (0, 0);
        self.alone.clear();
        self.kept.clear();
        left
    }

    pub(crate) fn leave(&mut self, number: u64) -> Option<Open> {
        let open = self.open.remove(number)?;
        self.bytes = self.bytes.saturating_sub(open.bytes);
        if !open.begun {
            self.waiting = self.waiting.saturating_sub(1);
        }
        Some(open)
    }

    pub(crate) fn leave_if_waiting(&mut self, number: u64) -> Option<Open> {
        self.open.get(number).is_some_and(|it| !it.begun).then(|| self.leave(number)).flatten()
    }

    /// Answers with an outcome that is nowhere else.
    pub(crate) fn say(&mut self, lane: &Lane, number: u64, run: Run, done: Done) -> Result<(), WireError> {
        self.put(lane, number, &done)?;
        self.sent(lane, run, Delivery::Here(done));
        Ok(())
    }

    /// Answers what can be said again whenever it is asked for.
    pub(crate) fn word(
        &mut self,
        lane: &Lane,
        number: u64,
        run: Run,
        word: Outcome,
    ) -> Result<(), WireError> {
        self.put(lane, number, &Done::of(word))?;
        self.sent(lane, run, Delivery::Word);
        Ok(())
    }

    /// Answers with an outcome that is kept.
    pub(crate) fn repeat(
        &mut self,
        lane: &Lane,
        number: u64,
        run: Run,
        done: &Done,
    ) -> Result<(), WireError> {
        self.put(lane, number, done)?;
        self.sent(lane, run, Delivery::Kept);
        Ok(())
    }

    /// Says that an outcome is kept that is too large for a lane; it is asked for by the same number.
    pub(crate) fn point(&mut self, lane: &Lane, (number, it): (u64, Try), took: Duration, length: u64) {
        self.leave(number);
        self.kept.insert(number, it);
        lane.outbox.put(false, |buffer| Reply::put_elsewhere(buffer, number, took, length));
    }

    fn put(&self, lane: &Lane, number: u64, done: &Done) -> Result<(), WireError> {
        let (alone, took) = (self.open.is_empty(), done.took);
        let put = lane.outbox.put(alone, |buffer| Reply::put(buffer, number, took, &done.outcome));
        if let Err(error) = put {
            // Only a panic's words are encoded here.
            let unencodable = Outcome::Unencodable(error.to_string());
            lane.outbox.put(alone, |buffer| Reply::put(buffer, number, took, &unencodable))?;
        }
        Ok(())
    }

    fn sent(&mut self, lane: &Lane, run: Run, delivery: Delivery) {
        if let Some(sent) = self.lanes.get_mut(lane.index) {
            sent.put(run, delivery);
        }
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
        Open {
            lane: 0,
            begun: false,
            function: FunctionId(0),
            deadline: Deadline::after(None),
            arguments: Bytes::from(vec![1; 9]),
            bytes,
            run: Run { epoch: Epoch(1), it: (TaskId(number), Attempt(0)) },
            wanted: Wanted::Here,
        }
    }

    fn enter(calls: &mut Calls, numbers: std::ops::RangeInclusive<u64>) {
        numbers.for_each(|it| calls.enter(it, open(it, 9)).expect("within the credit"));
    }

    /// Whether nobody wants the call any more.
    fn is_told(told: &mut oneshot::Receiver<()>) -> bool {
        told.try_recv() == Err(oneshot::error::TryRecvError::Closed)
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
        enter(&mut calls, 1..=2);
        assert_eq!(calls.begin(2).map(|it| it.arguments.len()), Some(9));
        assert!(calls.leave(1).is_some_and(|it| it.arguments.len() == 9) && calls.leave(2).is_some());
        assert!(calls.begin(1).is_none() && calls.open.is_empty());
        assert_eq!((calls.bytes, calls.waiting), (0, 0));
    }

    #[test]
    fn a_call_that_is_cancelled_hears_so_also_when_it_asks_later() {
        let mut calls = Calls::default();
        enter(&mut calls, 1..=2);
        let mut asked = calls.unwanted(1);
        assert!(!is_told(&mut asked));
        drop((calls.leave(1), calls.leave(2)));
        assert!(is_told(&mut asked) && is_told(&mut calls.unwanted(2)));
    }

    #[test]
    fn a_call_hears_that_it_is_not_wanted_whether_its_link_ends_before_it_asks_or_after() {
        let mut calls = Calls::default();
        enter(&mut calls, 1..=2);
        let mut asked = calls.unwanted(1);
        let left = calls.end();
        assert_eq!(left.iter().map(|(run, _)| run.it.0).collect::<Vec<_>>(), [TaskId(1), TaskId(2)]);
        assert!(calls.begin(1).is_none(), "it asked before, and needs no more of these");
        let begun = calls.begin(2).expect("it is not over");
        assert_eq!((begun.arguments.len(), begun.apart), (9, true));
        let mut told = calls.unwanted(2);
        assert!(!is_told(&mut asked) && !is_told(&mut told));
        drop(left);
        assert!(is_told(&mut asked) && is_told(&mut told));
    }
}
