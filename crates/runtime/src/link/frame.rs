//! What travels on a lane: small calls and their outcomes, many in one write, told apart by the number that
//! the client gives each call. Both halves of a lane use it.
//!
//! ```text
//! frame     = length of the rest (4 bytes), kind (1), number (8), then what the kind says; big endian
//! call      = task (8), attempt (4), function (4), turn (8), nanoseconds left (8, all ones: no limit), arguments
//! cancel    = nothing
//! recall    = nothing
//! forget    = the key of a shared value (40); it has no number of its own
//! outcome   = what became of it (1), nanoseconds that it ran (8), body
//! elsewhere = nanoseconds that it ran (8): the outcome is large and is asked for on a stream of its own
//! ```

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::call::{Outcome, OutcomeKind};
use super::wire::WireError;
use crate::model::{Attempt, FunctionId, TaskId};
use crate::payload::CommonKey;

/// The largest arguments and the largest outcome that travel on a lane. Larger ones have a stream of their
/// own: at 1 Gbit/s this many bytes delay those behind them by half a millisecond.
pub const LANE_LIMIT: usize = 64 * 1024;

/// How many calls of one link may be on its lanes, sent and not answered; the credit that a worker gives
/// every client. A lane's reader never waits for a task, so this many are what a worker holds at most.
/// Further calls have streams of their own, which wait for each other.
pub const CREDIT_CALLS: usize = 4096;

/// The bytes of arguments that those calls may have together.
pub const CREDIT_BYTES: usize = 16 << 20;

/// What comes before a frame's own content: kind and number.
const HEAD: usize = 9;

/// What comes before a call's arguments.
const CALL_HEAD: usize = 32;

/// The largest rest of a frame.
const FRAME_MOST: usize = LANE_LIMIT + HEAD + CALL_HEAD;

/// How much is read at once at most.
const READ: usize = 64 * 1024;

/// Contents up to this size are copied out of what was read, so that a small one that is kept for long
/// does not keep all of it.
const COPIED: usize = 4 * 1024;

/// The time left of a call without a limit.
const NO_LIMIT: u64 = u64::MAX;

/// What a client writes on a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A call.
    Call {
        /// What its outcome is told by.
        number: u64,
        /// The task.
        task: TaskId,
        /// Which try of it this is.
        attempt: Attempt,
        /// The function.
        function: FunctionId,
        /// What it takes turns as.
        turn: u64,
        /// How long it may take from now on.
        remaining: Option<Duration>,
        /// Its encoded arguments.
        arguments: Bytes,
    },
    /// Nobody waits for this call any more. It is not answered.
    Cancel {
        /// Which.
        number: u64,
    },
    /// If this call has not begun, it should not, and be answered as [`Outcome::Recalled`].
    Recall {
        /// Which.
        number: u64,
    },
    /// Nobody needs this shared value any more.
    Forget {
        /// Which.
        key: CommonKey,
    },
}

/// What a worker writes on a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What became of a call.
    Outcome {
        /// Which.
        number: u64,
        /// How long it ran, waiting left out.
        took: Duration,
        /// Its outcome.
        outcome: Outcome,
    },
    /// It has an outcome that is too large for a lane.
    Elsewhere {
        /// Which.
        number: u64,
        /// How long it ran, waiting left out.
        took: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Call = 1,
    Cancel = 2,
    Recall = 3,
    Outcome = 4,
    Elsewhere = 5,
    Forget = 6,
}

/// Cuts what was read into frames.
#[derive(Debug, Default)]
pub struct Frames {
    read: BytesMut,
}

impl Request {
    /// Appends the frame to `buffer`.
    pub fn put(&self, buffer: &mut Vec<u8>) {
        match self {
            Self::Call { number, task, attempt, function, turn, remaining, arguments } => {
                head(buffer, Kind::Call, *number, CALL_HEAD + arguments.len());
                buffer.put_u64(task.0);
                buffer.put_u32(attempt.0);
                buffer.put_u32(function.0);
                buffer.put_u64(*turn);
                buffer.put_u64(remaining.map_or(NO_LIMIT, |it| nanoseconds(it).min(NO_LIMIT - 1)));
                buffer.put_slice(arguments);
            }
            Self::Cancel { number } => head(buffer, Kind::Cancel, *number, 0),
            Self::Recall { number } => head(buffer, Kind::Recall, *number, 0),
            Self::Forget { key } => {
                head(buffer, Kind::Forget, 0, key.len());
                buffer.put_slice(key);
            }
        }
    }

    fn read(mut frame: Bytes) -> Result<Self, WireError> {
        let (kind, number) = (frame.try_get_u8(), frame.try_get_u64());
        let (Ok(kind), Ok(number)) = (kind, number) else { return Err(garbled("it has no number")) };
        match kind {
            kind if kind == Kind::Call as u8 => {
                if frame.len() < CALL_HEAD {
                    return Err(garbled("a call is cut off"));
                }
                let (task, attempt) = (TaskId(frame.get_u64()), Attempt(frame.get_u32()));
                let (function, turn) = (FunctionId(frame.get_u32()), frame.get_u64());
                let remaining = Some(frame.get_u64()).filter(|it| *it != NO_LIMIT);
                Ok(Self::Call {
                    number,
                    task,
                    attempt,
                    function,
                    turn,
                    remaining: remaining.map(Duration::from_nanos),
                    arguments: frame,
                })
            }
            kind if kind == Kind::Cancel as u8 && frame.is_empty() => Ok(Self::Cancel { number }),
            kind if kind == Kind::Recall as u8 && frame.is_empty() => Ok(Self::Recall { number }),
            kind if kind == Kind::Forget as u8 => match frame.as_ref().try_into() {
                Ok(key) => Ok(Self::Forget { key }),
                Err(_) => Err(garbled("the key of a shared value is cut off")),
            },
            _ => Err(garbled("a client does not say this")),
        }
    }
}

impl Reply {
    /// Appends the frame of an outcome to `buffer`; of one that is too large for a lane, where it is, and
    /// gives the outcome back.
    ///
    /// # Errors
    /// When a panic cannot be encoded.
    pub fn put(
        buffer: &mut Vec<u8>,
        number: u64,
        took: Duration,
        outcome: Outcome,
    ) -> Result<Option<Outcome>, WireError> {
        if outcome.length() > LANE_LIMIT as u64 {
            head(buffer, Kind::Elsewhere, number, 8);
            buffer.put_u64(nanoseconds(took));
            return Ok(Some(outcome));
        }
        let (kind, body) = outcome.split()?;
        head(buffer, Kind::Outcome, number, HEAD + body.len());
        buffer.put_u8(kind as u8);
        buffer.put_u64(nanoseconds(took));
        for part in body.parts() {
            buffer.put_slice(part);
        }
        Ok(None)
    }

    fn read(mut frame: Bytes) -> Result<Self, WireError> {
        let (kind, number) = (frame.try_get_u8(), frame.try_get_u64());
        let (Ok(kind), Ok(number)) = (kind, number) else { return Err(garbled("it has no number")) };
        match kind {
            kind if kind == Kind::Outcome as u8 => {
                let (kind, took) = (frame.try_get_u8(), frame.try_get_u64());
                let (Ok(kind), Ok(took)) = (kind, took) else {
                    return Err(garbled("an outcome is cut off"));
                };
                let outcome = Outcome::join(OutcomeKind::try_from(kind)?, frame)?;
                Ok(Self::Outcome { number, took: Duration::from_nanos(took), outcome })
            }
            kind if kind == Kind::Elsewhere as u8 && frame.len() == 8 => {
                Ok(Self::Elsewhere { number, took: Duration::from_nanos(frame.get_u64()) })
            }
            _ => Err(garbled("a worker does not say this")),
        }
    }
}

impl Frames {
    /// Where the next bytes are read to.
    pub fn room(&mut self) -> &mut BytesMut {
        self.read.reserve(READ.min(self.read.len().max(READ / 16).saturating_mul(4)));
        &mut self.read
    }

    /// The next request, if all of it is there.
    ///
    /// # Errors
    /// When the client broke the protocol.
    pub fn request(&mut self) -> Result<Option<Request>, WireError> {
        self.next()?.map(Request::read).transpose()
    }

    /// The next reply, if all of it is there.
    ///
    /// # Errors
    /// When the worker broke the protocol.
    pub fn reply(&mut self) -> Result<Option<Reply>, WireError> {
        self.next()?.map(Reply::read).transpose()
    }

    /// Whether something was read that is no whole frame yet.
    pub fn is_amid(&self) -> bool {
        !self.read.is_empty()
    }

    fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(length) = self.read.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        let Some(length) = usize::try_from(length).ok().filter(|it| *it <= FRAME_MOST) else {
            return Err(WireError::Frame { length: length.into() });
        };
        let Some(frame) = self.read.get(4..4 + length) else { return Ok(None) };
        if length <= COPIED {
            let copied = Bytes::copy_from_slice(frame);
            self.read.advance(4 + length);
            return Ok(Some(copied));
        }
        self.read.advance(4);
        Ok(Some(self.read.split_to(length).freeze()))
    }
}

fn head(buffer: &mut Vec<u8>, kind: Kind, number: u64, content: usize) {
    // What is put here is at most FRAME_MOST; were it not, the reader would refuse it by its length.
    buffer.put_u32(u32::try_from(HEAD + content).unwrap_or(u32::MAX));
    buffer.put_u8(kind as u8);
    buffer.put_u64(number);
}

/// A duration as it travels: at most 584 years, which no call takes.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn garbled(reason: &str) -> WireError {
    WireError::Undecodable { what: "a frame of a lane", reason: reason.to_owned() }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
