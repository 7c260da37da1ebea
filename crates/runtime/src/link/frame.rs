//! What travels on a lane: small calls and their outcomes, many in one write, told apart by the number that
//! the client gives each call. Both halves of a lane use it.
//!
//! ```text
//! frame     = length of the rest (4 bytes), kind (1), number (8), then what the kind says; big endian
//! call      = task (8), attempt (4), function (4), turn (8), nanoseconds left (8, all ones: no limit), arguments
//! cancel    = nothing
//! recall    = nothing
//! alone     = task (8), attempt (4): a call on a stream of its own is asked for back
//! keyed     = length of a key (2), the key, then a call's content
//! resume    = task (8), attempt (4): a call of a link that broke, which is answered under this number
//! release   = task (8), attempt (4): its outcome is there, or nobody wants it; it has no number of its own
//! waits     = whether more follows (1), then the task (8) and attempt (4) of each call that is waited for
//! taken     = nothing; its number is how many outcomes of this lane are there by now
//! keys      = of each key under which the worker has something: length (2), text, what another owner left there (1)
//! forget    = the key of a shared value (40); it has no number of its own
//! needs     = whether more follows (1), then the key (40) of each shared value that is still needed
//! outcome   = what became of it (1), nanoseconds that it ran (8), body
//! elsewhere = nanoseconds that it ran (8), about its length (8): it is large, and asked for on a stream of its own
//! ```

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};

use super::call::{Outcome, OutcomeKind};
use super::wire::WireError;
use crate::model::{Attempt, FunctionId, Key, TaskId};
use crate::payload::{CommonKey, Payload};
use crate::retention::{Left, Try};

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

/// The longest key as it travels: with the place in a gather behind it.
const KEY_MOST: usize = Key::MOST + 32;

/// The largest rest of a frame.
pub(super) const FRAME_MOST: usize = LANE_LIMIT + HEAD + CALL_HEAD + KEY_MOST + 2;

/// A task and its attempt.
const TRY: usize = 12;

/// How many calls one frame says are waited for.
const WAITS: usize = LANE_LIMIT / TRY - 1;

/// The key of a shared value.
const COMMON: usize = size_of::<CommonKey>();

/// How many of them one frame says are needed.
const NEEDS: usize = LANE_LIMIT / COMMON - 1;

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
        /// What its outcome is kept under.
        key: Option<Key>,
        /// Its encoded arguments.
        arguments: Bytes,
    },
    /// This call was sent over a link that broke: answer it under this number, or say that it never came.
    Resume {
        /// What its outcome is told by.
        number: u64,
        /// Which call.
        it: Try,
    },
    /// The outcome of this call is there, or nobody wants it.
    Release {
        /// Which call.
        it: Try,
    },
    /// Of the calls of links before, these are waited for.
    Waits {
        /// Which.
        tries: Vec<Try>,
        /// Whether more of them follow.
        more: bool,
    },
    /// So many outcomes of this lane have come by now.
    Taken {
        /// Since the lane was opened.
        count: u64,
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
    /// The same of a call on a stream of its own.
    RecallAlone {
        /// Which call.
        it: Try,
    },
    /// Nobody needs this shared value any more.
    Forget {
        /// Which.
        key: CommonKey,
    },
    /// Of the shared values that came over links before, these are still needed.
    Needs {
        /// Which.
        keys: Vec<CommonKey>,
        /// Whether more of them follow.
        more: bool,
    },
}

/// A call without a key, whose arguments stay with whoever asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SmallCall<'a> {
    pub(crate) it: Try,
    pub(crate) function: FunctionId,
    pub(crate) turn: u64,
    pub(crate) remaining: Option<Duration>,
    pub(crate) arguments: &'a Payload,
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
        /// About how many bytes it has.
        length: u64,
    },
    /// Something runs or is kept under these keys.
    Keys {
        /// Which, and what of it another owner of the pool has left.
        keys: Vec<(Key, Left)>,
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
    Keyed = 7,
    Resume = 8,
    Release = 9,
    Waits = 10,
    Taken = 11,
    Keys = 12,
    RecallAlone = 13,
    Needs = 14,
}

impl Request {
    /// Appends the frame to `buffer`.
    pub fn put(&self, buffer: &mut Vec<u8>) {
        match self {
            Self::Call { number, task, attempt, function, turn, remaining, key, arguments } => {
                match key {
                    None => head(buffer, Kind::Call, *number, CALL_HEAD + arguments.len()),
                    Some(key) => {
                        head(buffer, Kind::Keyed, *number, key_length(key) + CALL_HEAD + arguments.len());
                        put_key(buffer, key);
                    }
                }
                put_terms(buffer, (*task, *attempt), *function, *turn, *remaining);
                buffer.put_slice(arguments);
            }
            Self::Resume { number, it } => {
                head(buffer, Kind::Resume, *number, TRY);
                put_try(buffer, *it);
            }
            Self::Release { it } => {
                head(buffer, Kind::Release, 0, TRY);
                put_try(buffer, *it);
            }
            Self::Waits { tries, more } => {
                head(buffer, Kind::Waits, 0, 1 + TRY * tries.len());
                buffer.put_u8(u8::from(*more));
                tries.iter().for_each(|it| put_try(buffer, *it));
            }
            Self::Taken { count } => head(buffer, Kind::Taken, *count, 0),
            Self::Cancel { number } => head(buffer, Kind::Cancel, *number, 0),
            Self::Recall { number } => head(buffer, Kind::Recall, *number, 0),
            Self::RecallAlone { it } => {
                head(buffer, Kind::RecallAlone, 0, TRY);
                put_try(buffer, *it);
            }
            Self::Forget { key } => {
                head(buffer, Kind::Forget, 0, key.len());
                buffer.put_slice(key);
            }
            Self::Needs { keys, more } => {
                head(buffer, Kind::Needs, 0, 1 + COMMON * keys.len());
                buffer.put_u8(u8::from(*more));
                keys.iter().for_each(|it| buffer.put_slice(it));
            }
        }
    }

    /// Says which calls are waited for, in as many frames as that takes.
    pub fn put_waits(buffer: &mut Vec<u8>, tries: &[Try]) {
        parts(tries, WAITS, |tries, more| Self::Waits { tries, more }.put(buffer));
    }

    /// Says which shared values are needed, in as many frames as that takes.
    pub fn put_needs(buffer: &mut Vec<u8>, keys: &[CommonKey]) {
        parts(keys, NEEDS, |keys, more| Self::Needs { keys, more }.put(buffer));
    }

    /// Reads a frame where it lies; `own` makes bytes of a part of it that can be kept.
    pub(super) fn read(mut frame: &[u8], own: impl FnOnce(&[u8]) -> Bytes) -> Result<Self, WireError> {
        let (kind, number) = (frame.try_get_u8(), frame.try_get_u64());
        let (Ok(kind), Ok(number)) = (kind, number) else { return Err(garbled("it has no number")) };
        match kind {
            kind if kind == Kind::Call as u8 || kind == Kind::Keyed as u8 => {
                let key = if kind == Kind::Keyed as u8 { Some(get_key(&mut frame)?) } else { None };
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
                    key,
                    arguments: own(frame),
                })
            }
            kind if kind == Kind::Resume as u8 && frame.len() == TRY => {
                Ok(Self::Resume { number, it: get_try(&mut frame) })
            }
            kind if kind == Kind::Release as u8 && frame.len() == TRY => {
                Ok(Self::Release { it: get_try(&mut frame) })
            }
            kind if kind == Kind::Waits as u8 && frame.len() % TRY == 1 => {
                let more = frame.get_u8() != 0;
                let tries = (0..frame.len() / TRY).map(|_| get_try(&mut frame)).collect();
                Ok(Self::Waits { tries, more })
            }
            kind if kind == Kind::Taken as u8 && frame.is_empty() => Ok(Self::Taken { count: number }),
            kind if kind == Kind::Cancel as u8 && frame.is_empty() => Ok(Self::Cancel { number }),
            kind if kind == Kind::Recall as u8 && frame.is_empty() => Ok(Self::Recall { number }),
            kind if kind == Kind::RecallAlone as u8 && frame.len() == TRY => {
                Ok(Self::RecallAlone { it: get_try(&mut frame) })
            }
            kind if kind == Kind::Forget as u8 => match frame.try_into() {
                Ok(key) => Ok(Self::Forget { key }),
                Err(_) => Err(garbled("the key of a shared value is cut off")),
            },
            kind if kind == Kind::Needs as u8 && frame.len() % COMMON == 1 => {
                let more = frame.get_u8() != 0;
                let (keys, _) = frame.as_chunks();
                Ok(Self::Needs { keys: keys.to_vec(), more })
            }
            _ => Err(garbled("a client does not say this")),
        }
    }
}

impl Reply {
    /// Appends the frame of an outcome to `buffer`; of one that is too large for a lane, where it is. Returns whether
    /// it was small enough.
    ///
    /// # Errors
    /// When a panic cannot be encoded.
    pub fn put(
        buffer: &mut Vec<u8>,
        number: u64,
        took: Duration,
        outcome: &Outcome,
    ) -> Result<bool, WireError> {
        if outcome.length() > LANE_LIMIT as u64 {
            Self::put_elsewhere(buffer, number, took, outcome.length());
            return Ok(false);
        }
        let mut put = |kind: OutcomeKind, body: &Payload| {
            head(buffer, Kind::Outcome, number, HEAD + body.len());
            buffer.put_u8(kind as u8);
            buffer.put_u64(nanoseconds(took));
            body.parts().for_each(|part| buffer.put_slice(part));
        };
        // Nearly all are, and need not be had.
        if let Outcome::Returned(value) = outcome {
            put(OutcomeKind::Returned, value);
        } else {
            let (kind, body) = outcome.clone().split()?;
            put(kind, &body);
        }
        Ok(true)
    }

    /// Appends the frame of an outcome that is kept apart, for who asks for it on a stream of its own.
    pub fn put_elsewhere(buffer: &mut Vec<u8>, number: u64, took: Duration, length: u64) {
        head(buffer, Kind::Elsewhere, number, 16);
        buffer.put_u64(nanoseconds(took));
        buffer.put_u64(length);
    }

    /// Says which keys the worker has, in as many frames as that takes; one without any says that there are no more.
    pub fn put_keys<'a>(buffer: &mut Vec<u8>, keys: impl Iterator<Item = (&'a Key, Left)>) {
        let mut keys = keys.peekable();
        while keys.peek().is_some() {
            let mut frame = Vec::new();
            while let Some((key, left)) = keys.next_if(|it| frame.len() + key_length(it.0) < LANE_LIMIT) {
                put_key(&mut frame, key);
                frame.put_u8(left as u8);
            }
            head(buffer, Kind::Keys, 0, frame.len());
            buffer.put_slice(&frame);
        }
        head(buffer, Kind::Keys, 0, 0);
    }

    /// Says what another owner has left under a key by now.
    pub fn put_left(buffer: &mut Vec<u8>, key: &Key, left: Left) {
        head(buffer, Kind::Keys, 0, key_length(key) + 1);
        put_key(buffer, key);
        buffer.put_u8(left as u8);
    }

    /// As of a request.
    pub(super) fn read(mut frame: &[u8], own: impl FnOnce(&[u8]) -> Bytes) -> Result<Self, WireError> {
        let (kind, number) = (frame.try_get_u8(), frame.try_get_u64());
        let (Ok(kind), Ok(number)) = (kind, number) else { return Err(garbled("it has no number")) };
        match kind {
            kind if kind == Kind::Keys as u8 => {
                let mut keys = Vec::new();
                while !frame.is_empty() {
                    let key = get_key(&mut frame)?;
                    let left = frame.try_get_u8().ok().and_then(left);
                    keys.push((key, left.ok_or_else(|| garbled("nobody leaves this under a key"))?));
                }
                Ok(Self::Keys { keys })
            }
            kind if kind == Kind::Outcome as u8 => {
                let (kind, took) = (frame.try_get_u8(), frame.try_get_u64());
                let (Ok(kind), Ok(took)) = (kind, took) else {
                    return Err(garbled("an outcome is cut off"));
                };
                let outcome = Outcome::join(OutcomeKind::try_from(kind)?, own(frame))?;
                Ok(Self::Outcome { number, took: Duration::from_nanos(took), outcome })
            }
            kind if kind == Kind::Elsewhere as u8 && frame.len() == 16 => {
                let (took, length) = (Duration::from_nanos(frame.get_u64()), frame.get_u64());
                Ok(Self::Elsewhere { number, took, length })
            }
            _ => Err(garbled("a worker does not say this")),
        }
    }
}

/// Gives out all of it, so many at a time; of nothing, nothing once.
fn parts<T: Clone>(all: &[T], most: usize, mut give: impl FnMut(Vec<T>, bool)) {
    let mut rest = all;
    loop {
        let (now, later) = rest.split_at(rest.len().min(most));
        give(now.to_vec(), !later.is_empty());
        if later.is_empty() {
            return;
        }
        rest = later;
    }
}

fn head(buffer: &mut Vec<u8>, kind: Kind, number: u64, content: usize) {
    // What is put here is at most FRAME_MOST; were it not, the reader would refuse it by its length.
    buffer.put_u32(u32::try_from(HEAD + content).unwrap_or(u32::MAX));
    buffer.put_u8(kind as u8);
    buffer.put_u64(number);
}

/// Appends the frame of a call without a key whose arguments are elsewhere.
pub(super) fn put_call(buffer: &mut Vec<u8>, number: u64, call: &SmallCall<'_>) {
    let SmallCall { it, function, turn, remaining, arguments } = *call;
    head(buffer, Kind::Call, number, CALL_HEAD + arguments.len());
    put_terms(buffer, it, function, turn, remaining);
    arguments.parts().for_each(|part| buffer.put_slice(part));
}

fn put_terms(buffer: &mut Vec<u8>, it: Try, function: FunctionId, turn: u64, remaining: Option<Duration>) {
    put_try(buffer, it);
    buffer.put_u32(function.0);
    buffer.put_u64(turn);
    buffer.put_u64(remaining.map_or(NO_LIMIT, |it| nanoseconds(it).min(NO_LIMIT - 1)));
}

fn put_try(buffer: &mut Vec<u8>, (task, attempt): Try) {
    buffer.put_u64(task.0);
    buffer.put_u32(attempt.0);
}

/// A task and its attempt, of a frame that is long enough.
fn get_try(frame: &mut &[u8]) -> Try {
    let (task, attempt) = (frame.try_get_u64(), frame.try_get_u32());
    (TaskId(task.unwrap_or_default()), Attempt(attempt.unwrap_or_default()))
}

const fn key_length(key: &Key) -> usize {
    2 + key.as_str().len()
}

fn put_key(buffer: &mut Vec<u8>, key: &Key) {
    // A key has at most KEY_MOST bytes; were it more, the reader would refuse it by its length.
    buffer.put_u16(u16::try_from(key.as_str().len()).unwrap_or(u16::MAX));
    buffer.put_slice(key.as_str().as_bytes());
}

fn get_key(frame: &mut &[u8]) -> Result<Key, WireError> {
    let cut = || garbled("a key is cut off, or too long");
    let length = usize::from(frame.try_get_u16().map_err(|_| cut())?);
    let (text, rest) = frame.split_at_checked(length).filter(|_| length <= KEY_MOST).ok_or_else(cut)?;
    *frame = rest;
    let text = std::str::from_utf8(text).map_err(|_| garbled("a key is no text"))?;
    Ok(Key::read(text.to_owned()))
}

/// What another owner left, as it travels.
const fn left(byte: u8) -> Option<Left> {
    match byte {
        0 => Some(Left::Nothing),
        1 => Some(Left::Running),
        2 => Some(Left::Kept),
        _ => None,
    }
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
