//! A function of streams inside the process of its task: what it makes is sent when the worker has asked for it,
//! what it takes is asked for when it waits for it.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use skyward_runtime::inside::TaskContext;
use skyward_runtime::items::record::{self, Record};
use skyward_runtime::items::{Filled, Producer};
use skyward_runtime::link::Outcome;
use skyward_runtime::program::TaskReport;
use skyward_runtime::registry::{Body, Fault, Function, Input, Inputs, Trouble};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};

use super::talk::{AHEAD, BATCH};
use crate::panics;

/// What one task and the thread that talks to the worker have between them.
pub(super) struct Ends {
    given: Vec<mpsc::Sender<Given>>,
    wanted: Arc<Semaphore>,
}

/// The task's side of it.
pub(super) struct Streams {
    given: Vec<mpsc::Receiver<Given>>,
    wanted: Arc<Semaphore>,
    say: mpsc::Sender<TaskReport>,
}

/// What was asked for has come.
enum Given {
    Items(Bytes),
    End(Option<Fault>),
}

/// Both sides for a function, and what its task says.
pub(super) fn streams(body: Option<&Body>) -> (Ends, Streams, mpsc::Receiver<TaskReport>) {
    let count = match body {
        Some(Body::Stream { inputs, .. } | Body::Iterator { inputs, .. }) => *inputs,
        Some(Body::Async(_) | Body::Blocking(_)) | None => 0,
    };
    // One is asked for at a time.
    let (send, receive) = (0..count).map(|_| mpsc::channel(1)).unzip();
    // No more batches than the worker takes, and of each stream one wish and the last word.
    let (say, said) = mpsc::channel(AHEAD + 2 * count);
    let wanted = Arc::new(Semaphore::new(0));
    (Ends { given: send, wanted: Arc::clone(&wanted) }, Streams { given: receive, wanted, say }, said)
}

impl Ends {
    /// The worker takes one batch more.
    pub(super) fn more(&self) {
        self.wanted.add_permits(1);
    }

    /// Items of an input have come.
    ///
    /// # Errors
    /// When nobody has asked for them: a worker that says nonsense is as good as none.
    pub(super) fn given(&self, index: u16, items: Bytes) -> io::Result<()> {
        self.pass(index, Given::Items(items))
    }

    /// An input has ended.
    ///
    /// # Errors
    /// As for [`given`](Self::given).
    pub(super) fn closed(&self, index: u16, fault: Option<Fault>) -> io::Result<()> {
        self.pass(index, Given::End(fault))
    }

    fn pass(&self, index: u16, given: Given) -> io::Result<()> {
        match self.given.get(usize::from(index)).map(|it| it.try_send(given)) {
            Some(Err(TrySendError::Full(_))) => {
                Err(io::Error::other("it was given what it had not asked for"))
            }
            // A function may have let go of it.
            Some(Ok(()) | Err(TrySendError::Closed(_))) | None => Ok(()),
        }
    }
}

/// Runs the function to its end. `held` is dropped when nothing of it runs any more.
pub(super) async fn run(
    function: &'static Function,
    arguments: Bytes,
    streams: Streams,
    held: impl Send + 'static,
    context: &TaskContext,
) -> Outcome {
    let Streams { given, wanted, say } = streams;
    let trouble = Trouble::default();
    let inputs = (0..).zip(given).map(|(index, given)| input(index, given, say.clone())).collect();
    let inputs = Inputs::new(inputs, trouble.clone());
    let caught = |it: &(dyn std::any::Any + Send)| panics::caught(it);
    let Some(mut producer) = Producer::start(&function.body, arguments, inputs, context, held, caught) else {
        return Outcome::Undecodable("this is not a function of streams".to_owned());
    };
    let may_say = async || {
        if let Ok(permit) = wanted.acquire().await {
            permit.forget();
        }
    };
    let make = async {
        loop {
            // Nothing is made before the worker can take it.
            may_say().await;
            let mut items = Vec::new();
            match std::future::poll_fn(|context| producer.poll_fill(context, &mut items, BATCH)).await {
                // Who does not hear it has gone, and this process with it.
                Filled::More => drop(say.send(TaskReport::Made(items.into())).await),
                Filled::End(finish) => return Outcome::from(finish),
            }
        }
    };
    let outcome = tokio::select! {
        biased;
        // A function that was kept from its input does not know what it says.
        fault = trouble.told() => match fault {
            Fault::Unencodable(reason) => Outcome::Unencodable(reason),
            Fault::Undecodable(reason) => Outcome::Undecodable(reason),
        },
        outcome = make => return outcome,
    };
    if let Body::Iterator { .. } = function.body {
        // Its thread is ahead: what it made before comes first.
        let mut items = Vec::new();
        producer.take_made(&mut items);
        if !items.is_empty() {
            may_say().await;
            drop(say.send(TaskReport::Made(items.into())).await);
        }
    }
    outcome
}

/// A stream of which more may be asked for.
struct Asking {
    index: u16,
    say: mpsc::Sender<TaskReport>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        // There is room, unless nobody listens any more.
        let _ = self.say.try_send(TaskReport::LetsGo { index: self.index });
    }
}

/// What the worker gives of one stream.
fn input(index: u16, given: mpsc::Receiver<Given>, say: mpsc::Sender<TaskReport>) -> Input {
    let state = Some((BytesMut::new(), given, Asking { index, say }));
    let items = futures_util::stream::unfold(state, move |state| async move {
        let (mut items, mut given, asking) = state?;
        loop {
            match record::take(&mut items) {
                Ok(Some(Record::Item(item))) => return Some((Ok(item), Some((items, given, asking)))),
                Ok(Some(Record::End) | None) => {}
                Err(error) => return Some((Err(Fault::Undecodable(error.to_string())), None)),
            }
            let asked = asking.say.send(TaskReport::Wants { index }).await;
            match (asked, given.recv().await) {
                (Ok(()), Some(Given::Items(more))) => items = BytesMut::from(more),
                (Ok(()), Some(Given::End(None))) => return None,
                (Ok(()), Some(Given::End(Some(fault)))) => return Some((Err(fault), None)),
                // The task is being given up.
                (Err(_), _) | (_, None) => {
                    return Some((Err(Fault::Undecodable("its stream was given up".to_owned())), None));
                }
            }
        }
    });
    items.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_is_an_error_and_what_nobody_wants_any_more_is_none() {
        let body = Body::Iterator { inputs: 1, run: |_, _, _| Err("never run".to_owned()) };
        let (ends, streams, _said) = super::streams(Some(&body));
        assert!(ends.given(0, Bytes::new()).is_ok());
        assert!(ends.given(0, Bytes::new()).is_err());
        assert!(ends.closed(0, None).is_err());
        assert!(ends.closed(7, None).is_ok());
        drop(streams);
        assert!(ends.given(0, Bytes::new()).is_ok());
    }

    #[tokio::test]
    async fn who_lets_a_stream_go_says_so_also_while_it_waits_and_whatever_else_is_to_be_said() {
        let body = Body::Iterator { inputs: 2, run: |_, _, _| Err("never run".to_owned()) };
        let (_ends, streams, mut said) = super::streams(Some(&body));
        let Streams { given, say, .. } = streams;
        for _ in 0..AHEAD {
            say.try_send(TaskReport::Made(Bytes::new())).expect("room");
        }
        for (index, given) in (0..).zip(given) {
            let mut input = input(index, given, say.clone());
            assert!(futures_util::poll!(input.next()).is_pending(), "nothing was given");
        }
        for _ in 0..AHEAD {
            assert_eq!(said.recv().await, Some(TaskReport::Made(Bytes::new())));
        }
        for index in 0..2 {
            assert_eq!(said.recv().await, Some(TaskReport::Wants { index }));
            assert_eq!(said.recv().await, Some(TaskReport::LetsGo { index }));
        }
    }
}
