//! One call on one stream, both halves.
//!
//! ```text
//! client: kind, RequestHeader, arguments, end
//! worker: OutcomeHeader, body, end
//! client gives the stream up -> the worker cancels the task
//! ```

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWriteExt};

use super::error::LinkError;
use super::transport::{Incoming, Outgoing, Stream, Transport};
use super::wire::{self, Kind, WireError};
use crate::model::{Attempt, Crash, FunctionId, Panic, TaskId};

/// Bodies up to this size are written together with their header: one write, usually one packet.
const TOGETHER: usize = 16 * 1024;

/// What a worker is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// The task.
    pub task: TaskId,
    /// Which try of it this is.
    pub attempt: Attempt,
    /// The function.
    pub function: FunctionId,
    /// How long it may take from now on. The worker's clock starts when it has read the header.
    pub remaining: Option<Duration>,
    /// Its encoded arguments.
    pub arguments: Bytes,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function's value, encoded.
    Returned(Bytes),
    /// The function's own error, encoded.
    Failed(Bytes),
    /// It panicked.
    Panicked(Panic),
    /// Its time was over. A blocking function may still be running.
    TimedOut,
    /// The worker cancelled it.
    Cancelled,
    /// Its value or error could not be encoded or sent.
    Unencodable(String),
    /// Its arguments could not be decoded.
    Undecodable(String),
    /// The worker has no such function.
    UnknownFunction,
    /// The worker takes no more calls. This one has not been started.
    Draining,
    /// Its process ended before it did.
    Crashed(Crash),
    /// The worker could not start a process for it, in words. It has not been started.
    NotStarted(String),
}

/// The frame before a call's arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHeader {
    /// The task.
    pub task: TaskId,
    /// Which try of it this is.
    pub attempt: Attempt,
    /// The function.
    pub function: FunctionId,
    /// How long it may take.
    pub remaining: Option<Duration>,
    /// The size of the arguments in bytes.
    pub length: u64,
}

/// The frame before an outcome's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutcomeHeader {
    kind: OutcomeKind,
    length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OutcomeKind {
    Returned,
    Failed,
    Panicked,
    TimedOut,
    Cancelled,
    Unencodable,
    Undecodable,
    UnknownFunction,
    Draining,
    Crashed,
    NotStarted,
}

/// A stream that is given up unless the call on it has come to its end.
struct Held {
    stream: Stream,
    ended: bool,
}

/// The client's half of a call. Dropping the future gives the stream up.
pub(super) async fn call(
    carrier: &dyn Transport,
    request: CallRequest,
    limit: u64,
) -> Result<Outcome, LinkError> {
    let length = request.arguments.len() as u64;
    if length > limit {
        return Err(LinkError::TooLarge { what: "arguments", length, limit });
    }
    let mut held = Held { stream: carrier.open_for(length).await?, ended: false };
    let Stream { outgoing, incoming } = &mut held.stream;
    // The worker may answer before it has read everything, so both go on at once. When writing fails,
    // reading says why.
    let answered = tokio::select! {
        answered = read_outcome(&mut **incoming, limit) => answered,
        never = write_request(&mut **outgoing, request) => match never {},
    };
    match answered {
        Ok(outcome) => {
            held.ended = true;
            Ok(outcome)
        }
        Err(WireError::Body { what, length, limit }) => Err(LinkError::TooLarge { what, length, limit }),
        Err(WireError::Interrupted(reason)) => Err(carrier.over().unwrap_or(LinkError::Broken { reason })),
        Err(other) => Err(carrier.over().unwrap_or(LinkError::Garbled(other))),
    }
}

/// The worker's half: reads what comes before the arguments.
///
/// # Errors
/// When the stream fails or says something else.
pub async fn read_header(incoming: &mut dyn Incoming) -> Result<RequestHeader, WireError> {
    let frame = wire::read_frame(incoming, "a call").await?;
    wire::decode(&frame, "a call")
}

/// The worker's half: reads the arguments and the end of the request.
///
/// # Errors
/// When the stream fails, or the arguments are over `limit`.
pub async fn read_arguments(
    incoming: &mut dyn Incoming,
    header: &RequestHeader,
    limit: u64,
) -> Result<Bytes, WireError> {
    let arguments = wire::read_body(incoming, header.length, limit, "arguments").await?;
    wire::read_end(incoming).await?;
    Ok(arguments)
}

/// The worker's half: answers. A body over `limit` is answered as [`Outcome::Unencodable`].
///
/// # Errors
/// When the stream fails.
pub async fn write_outcome(
    outgoing: &mut dyn Outgoing,
    outcome: Outcome,
    limit: u64,
) -> Result<(), WireError> {
    let (mut kind, mut body) = outcome.split()?;
    let length = body.len() as u64;
    if length > limit {
        kind = OutcomeKind::Unencodable;
        body = Bytes::from(format!("an outcome of {length} bytes is over the limit of {limit}"));
    }
    let mut buffer = Vec::new();
    wire::put_compact(&mut buffer, &OutcomeHeader { kind, length: body.len() as u64 })?;
    write_whole(outgoing, buffer, body).await.map_err(|it| WireError::Interrupted(it.to_string()))
}

async fn write_request(outgoing: &mut dyn Outgoing, request: CallRequest) -> std::convert::Infallible {
    let CallRequest { task, attempt, function, remaining, arguments } = request;
    let header = RequestHeader { task, attempt, function, remaining, length: arguments.len() as u64 };
    let mut buffer = vec![Kind::Call as u8];
    match wire::put_compact(&mut buffer, &header) {
        Ok(()) => {
            let _ = write_whole(outgoing, buffer, arguments).await;
        }
        // Five numbers always fit; were it otherwise, giving up makes the reader fail.
        Err(_) => outgoing.reset(),
    }
    std::future::pending().await
}

async fn write_whole(outgoing: &mut dyn Outgoing, mut header: Vec<u8>, body: Bytes) -> std::io::Result<()> {
    if body.len() <= TOGETHER {
        header.extend_from_slice(&body);
        outgoing.write_all(&header).await?;
    } else {
        outgoing.write_all(&header).await?;
        outgoing.write_all(&body).await?;
    }
    outgoing.shutdown().await
}

pub(super) async fn read_outcome<R: AsyncRead + Unpin + ?Sized>(
    incoming: &mut R,
    limit: u64,
) -> Result<Outcome, WireError> {
    let frame = wire::read_frame(incoming, "an outcome").await?;
    let OutcomeHeader { kind, length } = wire::decode(&frame, "an outcome")?;
    let body = wire::read_body(incoming, length, limit, "an outcome").await?;
    wire::read_end(incoming).await?;
    Outcome::join(kind, body)
}

impl Outcome {
    pub(crate) fn split(self) -> Result<(OutcomeKind, Bytes), WireError> {
        Ok(match self {
            Self::Returned(value) => (OutcomeKind::Returned, value),
            Self::Failed(error) => (OutcomeKind::Failed, error),
            Self::Panicked(panic) => {
                let body = rmp_serde::to_vec_named(&panic);
                (OutcomeKind::Panicked, body.map_err(|it| WireError::Unencodable(it.to_string()))?.into())
            }
            Self::TimedOut => (OutcomeKind::TimedOut, Bytes::new()),
            Self::Cancelled => (OutcomeKind::Cancelled, Bytes::new()),
            Self::Unencodable(reason) => (OutcomeKind::Unencodable, reason.into()),
            Self::Undecodable(reason) => (OutcomeKind::Undecodable, reason.into()),
            Self::UnknownFunction => (OutcomeKind::UnknownFunction, Bytes::new()),
            Self::Draining => (OutcomeKind::Draining, Bytes::new()),
            Self::Crashed(crash) => {
                let body = rmp_serde::to_vec_named(&crash);
                (OutcomeKind::Crashed, body.map_err(|it| WireError::Unencodable(it.to_string()))?.into())
            }
            Self::NotStarted(reason) => (OutcomeKind::NotStarted, reason.into()),
        })
    }

    pub(crate) fn join(kind: OutcomeKind, body: Bytes) -> Result<Self, WireError> {
        let text = |body: Bytes| String::from_utf8_lossy(&body).into_owned();
        Ok(match kind {
            OutcomeKind::Returned => Self::Returned(body),
            OutcomeKind::Failed => Self::Failed(body),
            OutcomeKind::Panicked => Self::Panicked(wire::decode(&body, "a panic")?),
            OutcomeKind::TimedOut => Self::TimedOut,
            OutcomeKind::Cancelled => Self::Cancelled,
            OutcomeKind::Unencodable => Self::Unencodable(text(body)),
            OutcomeKind::Undecodable => Self::Undecodable(text(body)),
            OutcomeKind::UnknownFunction => Self::UnknownFunction,
            OutcomeKind::Draining => Self::Draining,
            OutcomeKind::Crashed => Self::Crashed(wire::decode(&body, "a crash")?),
            OutcomeKind::NotStarted => Self::NotStarted(text(body)),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.ended {
            self.stream.outgoing.reset();
            self.stream.incoming.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcomes() -> Vec<Outcome> {
        vec![
            Outcome::Returned(Bytes::from_static(b"value")),
            Outcome::Failed(Bytes::from_static(b"error")),
            Outcome::Panicked(Panic { message: "boom".repeat(40_000), place: Some("a.rs:1:2".to_owned()) }),
            Outcome::TimedOut,
            Outcome::Cancelled,
            Outcome::Unencodable("why".to_owned()),
            Outcome::Undecodable("why".to_owned()),
            Outcome::UnknownFunction,
            Outcome::Draining,
            Outcome::Crashed(Crash { signal: Some(6), code: None, output: vec!["why".to_owned()] }),
            Outcome::NotStarted("why".to_owned()),
        ]
    }

    #[test]
    fn every_outcome_survives_the_wire() {
        for outcome in outcomes() {
            let (kind, body) = outcome.clone().split().expect("encoded");
            assert_eq!(Outcome::join(kind, body), Ok(outcome));
        }
    }

    proptest! {
        #[test]
        fn a_body_of_garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for outcome in outcomes() {
                let (kind, _) = outcome.split().expect("encoded");
                let _ = Outcome::join(kind, Bytes::from(bytes.clone()));
            }
        }

        #[test]
        fn a_header_survives_the_wire(
            task: u64, attempt: u32, function: u32, remaining: Option<Duration>, length: u64,
        ) {
            let header = RequestHeader {
                task: TaskId(task),
                attempt: Attempt(attempt),
                function: FunctionId(function),
                remaining,
                length,
            };
            let encoded = rmp_serde::to_vec(&header).expect("encoded");
            prop_assert_eq!(wire::decode::<RequestHeader>(&encoded, "a call"), Ok(header));
        }
    }
}
