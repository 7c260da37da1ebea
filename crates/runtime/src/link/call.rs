//! One call on one stream, both halves.
//!
//! ```text
//! client: kind, RequestHeader, arguments, end
//! worker: OutcomeHeader, body, end
//! client gives the stream up -> nothing yet: the worker cancels the task when a lane brings its `Release`
//! ```
//!
//! Small calls share lanes instead; see `lane`. A large outcome of one is asked for here.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::error::LinkError;
use super::transport::{Incoming, Outgoing, Stream, Transport};
use super::wire::{self, Kind, WireError};
use crate::model::{Attempt, Crash, FunctionId, Key, Panic, TaskId};
use crate::payload::Payload;

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
    /// What it takes turns as, among those that wait for a slot on the worker: calls of one number take
    /// their turns as one, so that a single call never waits behind all of them.
    pub turn: u64,
    /// How long it may take from now on. The worker's clock starts when it has read the header.
    pub remaining: Option<Duration>,
    /// What its outcome is kept under until [`Link::release`](super::Link::release) says that it was taken.
    pub key: Option<Key>,
    /// Its encoded arguments.
    pub arguments: Payload,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function's value, encoded.
    Returned(Payload),
    /// The function's own error, encoded.
    Failed(Bytes),
    /// It panicked.
    Panicked(Panic),
    /// Its time was over; these are the last lines of its process, if it has one of its own. A blocking function
    /// without one may still be running.
    TimedOut(Vec<String>),
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
    /// It was asked for back before it was started, and will not be.
    Recalled,
    /// Its process ended before it did.
    Crashed(Crash),
    /// The worker could not start a process for it, in words. It has not been started.
    NotStarted(String),
    /// The worker has never seen it, or has given it back; said of a call of a link that broke.
    Unknown,
    /// The worker has another call under its key, with another function or other arguments.
    Differs,
    /// The worker keeps as much as it may, and takes nothing new. This one has not been started.
    Full,
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
    /// What it takes turns as.
    pub turn: u64,
    /// How long it may take.
    pub remaining: Option<Duration>,
    /// The size of the arguments in bytes.
    pub length: u64,
    /// What its outcome is kept under.
    pub key: Option<Key>,
    /// It was sent over a link that broke: only its outcome is asked for, or whether it ever came.
    pub resumes: bool,
}

/// The frame before an outcome's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutcomeHeader {
    kind: OutcomeKind,
    length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub(crate) enum OutcomeKind {
    Returned = 0,
    Failed = 1,
    Panicked = 2,
    TimedOut = 3,
    Cancelled = 4,
    Unencodable = 5,
    Undecodable = 6,
    UnknownFunction = 7,
    Draining = 8,
    Recalled = 9,
    Crashed = 10,
    NotStarted = 11,
    Unknown = 12,
    Differs = 13,
    Full = 14,
}

/// A stream that is given up unless the call on it has come to its end.
pub(crate) struct Held {
    pub(crate) stream: Stream,
    pub(crate) ended: bool,
}

/// The client's half of a call, or of asking for the outcome of one that was sent over a link that broke.
/// Dropping the future gives the stream up.
pub(super) async fn call(
    carrier: &dyn Transport,
    request: CallRequest,
    resumes: bool,
    limit: u64,
) -> Result<Outcome, LinkError> {
    send(carrier, Kind::Call, request, resumes, limit).await
}

/// The client's half of a probe. Dropping the future gives the stream up, and the probe with it.
pub(super) async fn probe(
    carrier: &dyn Transport,
    request: CallRequest,
    limit: u64,
) -> Result<Outcome, LinkError> {
    send(carrier, Kind::Probe, request, false, limit).await
}

async fn send(
    carrier: &dyn Transport,
    kind: Kind,
    request: CallRequest,
    resumes: bool,
    limit: u64,
) -> Result<Outcome, LinkError> {
    let length = request.arguments.len() as u64;
    let mut held = Held { stream: carrier.open_for(length).await?, ended: false };
    let Stream { outgoing, incoming } = &mut held.stream;
    // The worker may answer before it has read everything, so both go on at once. When writing fails,
    // reading says why.
    let answered = tokio::select! {
        answered = read_outcome(&mut **incoming, limit) => answered,
        never = write_request(&mut **outgoing, kind, request, resumes) => match never {},
    };
    held.ended = answered.is_ok();
    answered.map_err(|it| failure(carrier, it))
}

/// Asks for the outcome of a call of a lane that was too large for it, of about this many bytes. Dropping the future
/// gives it up.
pub(super) async fn fetch(
    carrier: &dyn Transport,
    number: u64,
    length: u64,
    limit: u64,
) -> Result<Outcome, LinkError> {
    let mut held = Held { stream: carrier.open_for(length).await?, ended: false };
    let Stream { outgoing, incoming } = &mut held.stream;
    let mut asked = vec![Kind::Outcome as u8];
    asked.extend_from_slice(&number.to_be_bytes());
    let answered = match write_whole(&mut **outgoing, asked, &Payload::default()).await {
        Ok(()) => read_outcome(&mut **incoming, limit).await,
        Err(error) => Err(WireError::Interrupted(error.to_string())),
    };
    held.ended = answered.is_ok();
    answered.map_err(|it| failure(carrier, it))
}

fn failure(carrier: &dyn Transport, error: WireError) -> LinkError {
    match error {
        WireError::Body { what, length, limit } => LinkError::TooLarge { what, length, limit },
        WireError::Interrupted(reason) => carrier.over().unwrap_or(LinkError::Broken { reason }),
        other => carrier.over().unwrap_or(LinkError::Garbled(other)),
    }
}

/// The worker's half: which call's outcome is asked for on a stream of its own.
///
/// # Errors
/// When the stream fails or says something else.
pub async fn read_number(incoming: &mut dyn Incoming) -> Result<u64, WireError> {
    let mut number = [0; 8];
    match incoming.read_exact(&mut number).await {
        Ok(_) => {}
        Err(error) => return Err(wire::stopped(&error, "the number of a call")),
    }
    wire::read_end(incoming).await?;
    Ok(u64::from_be_bytes(number))
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
        body = format!("an outcome of {length} bytes is over the limit of {limit}").into();
    }
    let mut buffer = Vec::new();
    wire::put_compact(&mut buffer, &OutcomeHeader { kind, length: body.len() as u64 })?;
    write_whole(outgoing, buffer, &body).await.map_err(|it| WireError::Interrupted(it.to_string()))
}

async fn write_request(
    outgoing: &mut dyn Outgoing,
    kind: Kind,
    request: CallRequest,
    resumes: bool,
) -> std::convert::Infallible {
    let CallRequest { task, attempt, function, turn, remaining, key, arguments } = request;
    let length = arguments.len() as u64;
    let header = RequestHeader { task, attempt, function, turn, remaining, length, key, resumes };
    let mut buffer = vec![kind as u8];
    match wire::put_compact(&mut buffer, &header) {
        Ok(()) => {
            let _ = write_whole(outgoing, buffer, &arguments).await;
        }
        // A few numbers and a key always fit; were it otherwise, giving up makes the reader fail.
        Err(_) => outgoing.reset(),
    }
    std::future::pending().await
}

async fn write_whole(
    outgoing: &mut dyn Outgoing,
    mut header: Vec<u8>,
    body: &Payload,
) -> std::io::Result<()> {
    if body.len() <= TOGETHER {
        body.parts().for_each(|it| header.extend_from_slice(it));
        outgoing.write_all(&header).await?;
    } else {
        outgoing.write_all(&header).await?;
        for part in body.parts() {
            outgoing.write_bytes(part.clone()).await?;
        }
    }
    outgoing.shutdown().await
}

pub(crate) async fn read_outcome<R: AsyncRead + Unpin + ?Sized>(
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
    /// About how many bytes its body has, and never fewer.
    pub fn length(&self) -> u64 {
        let length = match self {
            Self::Returned(value) => value.len(),
            Self::Failed(error) => error.len(),
            Self::Unencodable(reason) | Self::Undecodable(reason) | Self::NotStarted(reason) => reason.len(),
            Self::Crashed(Crash { output, .. }) | Self::TimedOut(output) => {
                output.iter().map(|it| it.len() + 8).sum::<usize>() + 64
            }
            // What its names and lengths take is less than this.
            Self::Panicked(panic) => panic.message.len() + panic.place.as_ref().map_or(0, String::len) + 64,
            Self::Cancelled
            | Self::UnknownFunction
            | Self::Draining
            | Self::Recalled
            | Self::Unknown
            | Self::Differs
            | Self::Full => 0,
        };
        u64::try_from(length).unwrap_or(u64::MAX)
    }

    /// The outcome as bytes, for a file: what kind it is, and its body.
    ///
    /// # Errors
    /// When a panic or a crash cannot be encoded.
    pub fn to_parts(&self) -> Result<(u8, Payload), WireError> {
        self.clone().split().map(|(kind, body)| (kind as u8, body))
    }

    /// The outcome of what [`to_parts`](Self::to_parts) gave.
    ///
    /// # Errors
    /// When these bytes are no outcome.
    pub fn of_parts(kind: u8, body: Bytes) -> Result<Self, WireError> {
        Self::join(OutcomeKind::try_from(kind)?, body)
    }

    pub(crate) fn split(self) -> Result<(OutcomeKind, Payload), WireError> {
        Ok(match self {
            Self::Returned(value) => (OutcomeKind::Returned, value),
            Self::Failed(error) => (OutcomeKind::Failed, error.into()),
            Self::Panicked(panic) => {
                let body = rmp_serde::to_vec_named(&panic);
                (OutcomeKind::Panicked, body.map_err(|it| WireError::Unencodable(it.to_string()))?.into())
            }
            Self::TimedOut(output) if output.is_empty() => (OutcomeKind::TimedOut, Payload::default()),
            Self::TimedOut(output) => {
                let body = rmp_serde::to_vec_named(&output);
                (OutcomeKind::TimedOut, body.map_err(|it| WireError::Unencodable(it.to_string()))?.into())
            }
            Self::Cancelled => (OutcomeKind::Cancelled, Payload::default()),
            Self::Unencodable(reason) => (OutcomeKind::Unencodable, reason.into()),
            Self::Undecodable(reason) => (OutcomeKind::Undecodable, reason.into()),
            Self::UnknownFunction => (OutcomeKind::UnknownFunction, Payload::default()),
            Self::Draining => (OutcomeKind::Draining, Payload::default()),
            Self::Recalled => (OutcomeKind::Recalled, Payload::default()),
            Self::Crashed(crash) => {
                let body = rmp_serde::to_vec_named(&crash);
                (OutcomeKind::Crashed, body.map_err(|it| WireError::Unencodable(it.to_string()))?.into())
            }
            Self::NotStarted(reason) => (OutcomeKind::NotStarted, reason.into()),
            Self::Unknown => (OutcomeKind::Unknown, Payload::default()),
            Self::Differs => (OutcomeKind::Differs, Payload::default()),
            Self::Full => (OutcomeKind::Full, Payload::default()),
        })
    }

    pub(crate) fn join(kind: OutcomeKind, body: Bytes) -> Result<Self, WireError> {
        let text = |body: Bytes| String::from_utf8_lossy(&body).into_owned();
        Ok(match kind {
            OutcomeKind::Returned => Self::Returned(body.into()),
            OutcomeKind::Failed => Self::Failed(body),
            OutcomeKind::Panicked => Self::Panicked(wire::decode(&body, "a panic")?),
            OutcomeKind::TimedOut if body.is_empty() => Self::TimedOut(Vec::new()),
            OutcomeKind::TimedOut => Self::TimedOut(wire::decode(&body, "the last output of a call")?),
            OutcomeKind::Cancelled => Self::Cancelled,
            OutcomeKind::Unencodable => Self::Unencodable(text(body)),
            OutcomeKind::Undecodable => Self::Undecodable(text(body)),
            OutcomeKind::UnknownFunction => Self::UnknownFunction,
            OutcomeKind::Draining => Self::Draining,
            OutcomeKind::Recalled => Self::Recalled,
            OutcomeKind::Crashed => Self::Crashed(wire::decode(&body, "a crash")?),
            OutcomeKind::NotStarted => Self::NotStarted(text(body)),
            OutcomeKind::Unknown => Self::Unknown,
            OutcomeKind::Differs => Self::Differs,
            OutcomeKind::Full => Self::Full,
        })
    }
}

impl TryFrom<u8> for OutcomeKind {
    type Error = WireError;

    fn try_from(byte: u8) -> Result<Self, WireError> {
        Ok(match byte {
            0 => Self::Returned,
            1 => Self::Failed,
            2 => Self::Panicked,
            3 => Self::TimedOut,
            4 => Self::Cancelled,
            5 => Self::Unencodable,
            6 => Self::Undecodable,
            7 => Self::UnknownFunction,
            8 => Self::Draining,
            9 => Self::Recalled,
            10 => Self::Crashed,
            11 => Self::NotStarted,
            12 => Self::Unknown,
            13 => Self::Differs,
            14 => Self::Full,
            other => {
                let reason = format!("{other} is no outcome");
                return Err(WireError::Undecodable { what: "an outcome", reason });
            }
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
            Outcome::Returned("value".into()),
            Outcome::Failed(Bytes::from_static(b"error")),
            Outcome::Panicked(Panic { message: "boom".repeat(40_000), place: Some("a.rs:1:2".to_owned()) }),
            Outcome::TimedOut(vec![]),
            Outcome::TimedOut(vec!["epoch 1".to_owned()]),
            Outcome::Cancelled,
            Outcome::Unencodable("why".to_owned()),
            Outcome::Undecodable("why".to_owned()),
            Outcome::UnknownFunction,
            Outcome::Draining,
            Outcome::Recalled,
            Outcome::Crashed(Crash { signal: Some(6), code: None, output: vec!["why".to_owned()] }),
            Outcome::NotStarted("why".to_owned()),
        ]
    }

    #[test]
    fn every_outcome_survives_the_wire() {
        for outcome in outcomes() {
            let (kind, body) = outcome.clone().split().expect("encoded");
            assert_eq!(OutcomeKind::try_from(kind as u8), Ok(kind));
            assert_eq!(Outcome::join(kind, body.into_bytes()), Ok(outcome));
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
            task: u64, attempt: u32, function: u32, turn: u64, remaining: Option<Duration>, length: u64,
        ) {
            let header = RequestHeader {
                task: TaskId(task),
                attempt: Attempt(attempt),
                function: FunctionId(function),
                turn,
                remaining,
                length,
                key: (turn % 2 == 0).then(|| Key::new("key").expect("fits")),
                resumes: attempt % 2 == 0,
            };
            let encoded = rmp_serde::to_vec(&header).expect("encoded");
            prop_assert_eq!(wire::decode::<RequestHeader>(&encoded, "a call"), Ok(header));
        }
    }
}
