//! Calls of functions of streams: their inputs arrive, a slot is taken, items go out until the end.
//!
//! ```text
//! header, arguments, each input --a slot--> making and sending --ended, unwanted, out of time--> over
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use skyward_runtime::inside::TaskContext;
use skyward_runtime::items::{Finish, Producer};
use skyward_runtime::link::{
    BODY_LIMIT, Cause, InputHeader, Items, Outcome, Piece, RequestHeader, Room, Session, Stream, WireError,
    Writer, read_arguments, read_header, read_input_header,
};
use skyward_runtime::registry::{Body, Fault, Input, Inputs, Trouble};
use tokio::sync::oneshot;

use crate::desk::Desk;
use crate::execute::Deadline;
use crate::executor::{Job, Talk, Words};
use crate::panics;
use crate::worker::Worker;

/// Inputs and calls of one link that have not found each other yet.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    waiting: Mutex<BTreeMap<InputHeader, Waiting>>,
}

/// Whoever came first.
#[derive(Debug)]
enum Waiting {
    /// An input. Dropping the sender says that it was taken.
    Input(Arrived, oneshot::Sender<Infallible>),
    /// A call.
    Call(oneshot::Sender<Arrived>),
}

/// An input on its way, and room for it on the link.
#[derive(Debug)]
struct Arrived {
    stream: Stream,
    room: Room,
}

/// A call's place among those that wait.
struct Place<'a> {
    arrivals: &'a Arrivals,
    header: InputHeader,
}

/// Answers one call.
pub(crate) async fn call(
    worker: &Worker,
    session: &Arc<Session>,
    desk: &Desk,
    arrivals: &Arrivals,
    stream: Stream,
) -> Result<(), WireError> {
    let Stream { outgoing, mut incoming } = stream;
    let header = read_header(&mut *incoming).await?;
    let deadline = Deadline::after(header.remaining);
    let mut writer = Writer::new(outgoing);
    let mut ahead = None;
    let outcome = match worker.registry.get(header.function) {
        Some(function) => {
            let arguments = read_arguments(&mut *incoming, &header, BODY_LIMIT).await?;
            let trouble = Trouble::default();
            let (unwanted, words) = (writer.unwanted(), Words::default());
            let (writer, ahead) = (&mut writer, &mut ahead);
            let run = async {
                let inputs =
                    match inputs(&function.body, &header, session, arrivals, worker.start.inputs).await {
                        Ok(inputs) => inputs,
                        Err(outcome) => return Ok(outcome),
                    };
                // What has been sent of its streams cannot be sent again.
                let recalled = match inputs.is_empty() {
                    true => desk.recalled((header.task, header.attempt)),
                    false => Box::pin(std::future::pending()),
                };
                let slot = tokio::select! {
                    biased;
                    slot = worker.slots.take(header.turn) => slot,
                    () = recalled => return Ok(Outcome::Recalled),
                };
                let Some(slot) = slot else { return Ok(Outcome::Draining) };
                let caught = |it: &(dyn std::any::Any + Send)| panics::caught(it);
                if let Some(processes) = worker.executor.processes() {
                    let RequestHeader { task, attempt, function: id, .. } = header;
                    let job = Job { task, attempt, id, function, arguments };
                    let (mut talk, made) = Talk::of(inputs);
                    let producer = ahead.insert(Producer::of(made, caught));
                    let run = async {
                        let outcome = processes.run(job, slot, &mut talk, &words).await;
                        // Nothing more is made: what sends it has an end now.
                        drop(talk);
                        Ok::<_, WireError>(outcome)
                    };
                    // What was made goes first, whatever the process comes to.
                    let (outcome, _) = tokio::try_join!(run, writer.pump(producer))?;
                    return Ok(outcome);
                }
                // Whichever way this ends, what still runs of the function is unwanted then.
                let context = TaskContext::new();
                let inputs = Inputs::new(inputs, trouble.clone());
                let started = Producer::start(&function.body, arguments, inputs, &context, slot, caught);
                let finish = match (started, &function.body) {
                    (Some(producer), Body::Iterator { .. }) => writer.pump(ahead.insert(producer)).await,
                    (Some(mut producer), _) => writer.pump(&mut producer).await,
                    (None, _) => Ok(Finish::Undecodable("this is not a function of streams".to_owned())),
                };
                finish.map(Outcome::from)
            };
            tokio::select! {
                biased;
                // A function that was kept from its input does not know what it says.
                fault = trouble.told() => Some(match fault {
                    Fault::Unencodable(reason) => Outcome::Unencodable(reason),
                    Fault::Undecodable(reason) => Outcome::Undecodable(reason),
                }),
                outcome = run => outcome.ok(),
                () = unwanted => None,
                () = deadline.over() => Some(Outcome::TimedOut(words.last())),
                () = worker.slots.cancelling() => Some(Outcome::Cancelled),
            }
        }
        None => {
            incoming.stop();
            Some(Outcome::UnknownFunction)
        }
    };
    match outcome {
        // What was made before goes first, however it ended, and keeps no slot from others.
        Some(outcome) => {
            if let Some(mut producer) = ahead {
                writer.take_made(&mut producer);
            }
            writer.finish(outcome, BODY_LIMIT).await
        }
        None => Ok(()),
    }
}

/// The streams that a function takes.
async fn inputs(
    body: &Body,
    header: &RequestHeader,
    session: &Arc<Session>,
    arrivals: &Arrivals,
    together: Duration,
) -> Result<Vec<Input>, Outcome> {
    let count = match body {
        Body::Stream { inputs, .. } | Body::Iterator { inputs, .. } => *inputs,
        Body::Async(_) | Body::Blocking(_) => 0,
    };
    let each = (0..).take(count).map(|index| {
        let header = InputHeader { task: header.task, attempt: header.attempt, index };
        async move {
            let stream = arrivals.wait_for(header, together).await;
            let missing = || Outcome::Undecodable(format!("stream {index} that it takes did not arrive"));
            Ok(input(stream.ok_or_else(missing)?, Arc::clone(session)))
        }
    });
    try_join_all(each).await
}

/// An arrived stream as items.
fn input(arrived: Arrived, session: Arc<Session>) -> Input {
    let Arrived { stream, room } = arrived;
    let items = Items::new(stream.incoming, BODY_LIMIT);
    let pieces = futures_util::stream::unfold(Some((items, session, room)), |state| async {
        let (mut items, session, room) = state?;
        let fault = match std::future::poll_fn(|context| items.poll_next(context)).await {
            Ok(Piece::Item(item)) => return Some((Ok(item), Some((items, session, room)))),
            Ok(Piece::End(Outcome::Returned(_))) => return None,
            Ok(Piece::End(Outcome::Unencodable(reason))) => Fault::Unencodable(reason),
            Ok(Piece::End(Outcome::Panicked(panic))) => {
                Fault::Unencodable(format!("a stream that it takes {panic}"))
            }
            Ok(Piece::End(_)) => {
                Fault::Undecodable("a stream that it takes has no end of its own".to_owned())
            }
            Err(error) => {
                if error.is_violation() {
                    session.close(Cause::Protocol, &error.to_string());
                }
                Fault::Undecodable(format!("a stream that it takes broke: {error}"))
            }
        };
        Some((Err(fault), None))
    });
    pieces.boxed()
}

impl Arrivals {
    /// An input has arrived: it stays until its call asks for it, but not for longer than this.
    pub(crate) async fn take_in(
        &self,
        session: &Session,
        stream: Stream,
        together: Duration,
    ) -> Result<(), WireError> {
        let mut arrived = Arrived { stream, room: session.room() };
        let header = read_input_header(&mut *arrived.stream.incoming).await?;
        let (taken, is_taken) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            match waiting.remove(&header) {
                Some(Waiting::Call(call)) => {
                    // Its call may have ended meanwhile; dropping the stream tells the client.
                    let _ = call.send(arrived);
                    return Ok(());
                }
                Some(Waiting::Input(..)) => return Err(WireError::Overlong),
                None => waiting.insert(header, Waiting::Input(arrived, taken)),
            };
        }
        if tokio::time::timeout(together, is_taken).await.is_err() {
            self.waiting().remove(&header);
        }
        Ok(())
    }

    /// The input of a call; `None` when it does not come.
    async fn wait_for(&self, header: InputHeader, together: Duration) -> Option<Arrived> {
        let (call, input) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if let Some(Waiting::Input(arrived, _taken)) = waiting.remove(&header) {
                return Some(arrived);
            }
            waiting.insert(header, Waiting::Call(call));
        }
        let _place = Place { arrivals: self, header };
        tokio::time::timeout(together, input).await.ok()?.ok()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<InputHeader, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.arrivals.waiting();
        if matches!(waiting.get(&self.header), Some(Waiting::Call(_))) {
            waiting.remove(&self.header);
        }
    }
}
