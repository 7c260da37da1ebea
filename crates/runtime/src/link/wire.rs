//! How a stream begins and what a frame is: used by both sides of hello and call, and by what else
//! speaks over a stream.
//!
//! ```text
//! stream = kind (1 byte), then what the kind says
//! frame  = length (4 bytes, big endian, at most FRAME_LIMIT), then that much MessagePack
//! body   = as many raw bytes as the frame before it said
//! ```

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest frame. Frames are headers; what is large travels as a body.
pub const FRAME_LIMIT: usize = 64 * 1024;

/// The largest body unless it is set: 2 GiB.
pub const BODY_LIMIT: u64 = 2 << 30;

/// How much of an announced body is reserved before any of it has arrived.
const FIRST_RESERVE: usize = 64 * 1024;

/// What a stream is for: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first stream of a connection: who is there.
    Hello = 1,
    /// The control plane.
    Control = 2,
    /// One call.
    Call = 3,
    /// Files, in either direction.
    File = 4,
    /// What runs on the node writes.
    Output = 5,
    /// One call of a function of streams.
    Stream = 6,
    /// Items that such a function takes.
    Input = 7,
    /// Small calls and their outcomes, many of them.
    Lane = 10,
    /// The outcome of a small call, which is too large for a lane.
    Outcome = 8,
    /// A value that many calls share.
    Shared = 9,
    /// The same, which the node may have from others.
    Spread = 11,
    /// What one node gives another of it.
    Chunks = 12,
    /// A call that shows whether the node is well.
    Probe = 13,
}

/// Bytes from the other side that make no sense, or stopped coming.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The stream failed or was given up before it was complete.
    #[error("the stream was given up: {0}")]
    Interrupted(String),
    /// The stream ended in good order, but too early.
    #[error("the stream ended in the middle of {0}")]
    Truncated(&'static str),
    /// The stream goes on where it has to end.
    #[error("the stream goes on after its end")]
    Overlong,
    /// A stream of a kind that is not known, or not expected here.
    #[error("a stream of kind {0} is not expected here")]
    Kind(u8),
    /// A frame that is too large.
    #[error("a frame of {length} bytes is over the limit of {FRAME_LIMIT}")]
    Frame {
        /// Its size as announced.
        length: u64,
    },
    /// A part of a stream that is too large to be one.
    #[error("a frame of {length} bytes is over the limit of {limit}")]
    Content {
        /// Its size as announced.
        length: u64,
        /// The most that is taken.
        limit: usize,
    },
    /// A body that is too large.
    #[error("{what} of {length} bytes are over the limit of {limit}")]
    Body {
        /// Of what.
        what: &'static str,
        /// Its size as announced.
        length: u64,
        /// The most that is taken.
        limit: u64,
    },
    /// A frame that is not what it should be.
    #[error("a frame cannot be decoded as {what}: {reason}")]
    Undecodable {
        /// What it should be.
        what: &'static str,
        /// In the decoder's words.
        reason: String,
    },
    /// More calls on lanes than the other side is allowed.
    #[error("more calls are on the lanes than the limit of {calls} calls and {bytes} bytes allows")]
    Credit {
        /// How many calls may be.
        calls: usize,
        /// How many bytes of arguments they may have.
        bytes: usize,
    },
    /// A frame of ours that cannot be made.
    #[error("a frame cannot be encoded: {0}")]
    Unencodable(String),
}

impl WireError {
    /// Whether the other side broke the protocol, as opposed to having gone away.
    pub const fn is_violation(&self) -> bool {
        !matches!(self, Self::Interrupted(_) | Self::Unencodable(_))
    }
}

impl TryFrom<u8> for Kind {
    type Error = WireError;

    fn try_from(byte: u8) -> Result<Self, WireError> {
        match byte {
            1 => Ok(Self::Hello),
            2 => Ok(Self::Control),
            3 => Ok(Self::Call),
            4 => Ok(Self::File),
            5 => Ok(Self::Output),
            6 => Ok(Self::Stream),
            7 => Ok(Self::Input),
            10 => Ok(Self::Lane),
            8 => Ok(Self::Outcome),
            9 => Ok(Self::Shared),
            11 => Ok(Self::Spread),
            12 => Ok(Self::Chunks),
            13 => Ok(Self::Probe),
            other => Err(WireError::Kind(other)),
        }
    }
}

/// Appends a frame to `buffer`. With field names, so that other versions can read it.
pub(super) fn put_named(buffer: &mut Vec<u8>, value: &impl Serialize) -> Result<(), WireError> {
    put(buffer, rmp_serde::to_vec_named(value))
}

/// Appends a frame to `buffer`. Without field names: both sides are of the same version.
pub(super) fn put_compact(buffer: &mut Vec<u8>, value: &impl Serialize) -> Result<(), WireError> {
    put(buffer, rmp_serde::to_vec(value))
}

fn put(buffer: &mut Vec<u8>, encoded: Result<Vec<u8>, rmp_serde::encode::Error>) -> Result<(), WireError> {
    let encoded = encoded.map_err(|it| WireError::Unencodable(it.to_string()))?;
    let length = u32::try_from(encoded.len()).ok().filter(|_| encoded.len() <= FRAME_LIMIT);
    let Some(length) = length else { return Err(WireError::Frame { length: encoded.len() as u64 }) };
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(&encoded);
    Ok(())
}

/// What a frame says.
pub(super) fn decode<T: DeserializeOwned>(frame: &[u8], what: &'static str) -> Result<T, WireError> {
    rmp_serde::from_slice(frame).map_err(|it| WireError::Undecodable { what, reason: it.to_string() })
}

/// Writes a value as one frame, with field names. For streams of a kind of their own.
///
/// # Errors
/// When it does not fit into a frame, or the stream fails.
pub async fn write_message<W: AsyncWrite + Unpin + ?Sized>(
    writer: &mut W,
    value: &(impl Serialize + Sync),
) -> Result<(), WireError> {
    let mut buffer = Vec::new();
    put_named(&mut buffer, value)?;
    writer.write_all(&buffer).await.map_err(|it| WireError::Interrupted(it.to_string()))
}

/// Reads one frame as a value. `what` says in errors what it should be.
///
/// # Errors
/// When the stream fails, ends or says something else.
pub async fn read_message<T: DeserializeOwned, R: AsyncRead + Unpin + ?Sized>(
    reader: &mut R,
    what: &'static str,
) -> Result<T, WireError> {
    decode(&read_frame(reader, what).await?, what)
}

/// Reads the first byte of a stream.
pub(super) async fn read_kind<R: AsyncRead + Unpin + ?Sized>(reader: &mut R) -> Result<Kind, WireError> {
    Kind::try_from(reader.read_u8().await.map_err(|it| stopped(&it, "its kind"))?)
}

/// Reads one frame.
pub(super) async fn read_frame<R: AsyncRead + Unpin + ?Sized>(
    reader: &mut R,
    what: &'static str,
) -> Result<Vec<u8>, WireError> {
    let length = reader.read_u32().await.map_err(|it| stopped(&it, what))?;
    if usize::try_from(length).map_or(true, |it| it > FRAME_LIMIT) {
        return Err(WireError::Frame { length: length.into() });
    }
    read_exactly(reader, length.into(), what).await
}

/// Reads a body whose length was announced. What is reserved grows with what arrives. `what` says in
/// errors what it is.
///
/// # Errors
/// When the stream fails or ends first, or the length is over `limit`.
pub async fn read_body<R: AsyncRead + Unpin + ?Sized>(
    reader: &mut R,
    length: u64,
    limit: u64,
    what: &'static str,
) -> Result<Bytes, WireError> {
    if length > limit {
        return Err(WireError::Body { what, length, limit });
    }
    read_exactly(reader, length, what).await.map(Bytes::from)
}

/// Reads the end of a stream.
pub(super) async fn read_end<R: AsyncRead + Unpin + ?Sized>(reader: &mut R) -> Result<(), WireError> {
    match reader.read(&mut [0; 1]).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(WireError::Overlong),
        Err(error) => Err(stopped(&error, "its end")),
    }
}

async fn read_exactly<R: AsyncRead + Unpin + ?Sized>(
    reader: &mut R,
    length: u64,
    what: &'static str,
) -> Result<Vec<u8>, WireError> {
    let wanted = usize::try_from(length).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(wanted.min(FIRST_RESERVE));
    reader.take(length).read_to_end(&mut bytes).await.map_err(|it| stopped(&it, what))?;
    if bytes.len() == wanted { Ok(bytes) } else { Err(WireError::Truncated(what)) }
}

pub(super) fn stopped(error: &std::io::Error, what: &'static str) -> WireError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => WireError::Truncated(what),
        _ => WireError::Interrupted(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::call::{OutcomeHeader, RequestHeader};
    use crate::link::hello::{Answer, Hello};

    fn read<T>(future: impl Future<Output = T>) -> T {
        // Reading from a slice never waits.
        futures_util::FutureExt::now_or_never(future).expect("a slice is always ready")
    }

    #[test]
    fn a_stream_begins_with_a_known_kind() {
        for (bytes, expected) in [
            (&[1][..], Ok(Kind::Hello)),
            (&[2], Ok(Kind::Control)),
            (&[3], Ok(Kind::Call)),
            (&[4], Ok(Kind::File)),
            (&[5], Ok(Kind::Output)),
            (&[6], Ok(Kind::Stream)),
            (&[7], Ok(Kind::Input)),
            (&[10], Ok(Kind::Lane)),
            (&[8], Ok(Kind::Outcome)),
            (&[9], Ok(Kind::Shared)),
            (&[11], Ok(Kind::Spread)),
            (&[12], Ok(Kind::Chunks)),
            (&[13], Ok(Kind::Probe)),
            (&[14], Err(WireError::Kind(14))),
            (&[0], Err(WireError::Kind(0))),
            (&[255], Err(WireError::Kind(255))),
            (&[], Err(WireError::Truncated("its kind"))),
        ] {
            assert_eq!(read(read_kind(&mut &*bytes)), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_frame_is_as_long_as_it_says_and_not_too_long() {
        for (bytes, expected) in [
            (&[0, 0, 0, 2, 7, 8][..], Ok(vec![7, 8])),
            (&[0, 0, 0, 0], Ok(vec![])),
            (&[0, 0, 0, 3, 7, 8], Err(WireError::Truncated("it"))),
            (&[0, 0], Err(WireError::Truncated("it"))),
            (&[0, 1, 0, 1], Err(WireError::Frame { length: 65537 })),
            (&[255, 255, 255, 255], Err(WireError::Frame { length: u32::MAX.into() })),
        ] {
            assert_eq!(read(read_frame(&mut &*bytes, "it")), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_body_is_refused_by_its_announced_length_and_never_reserved_by_it() {
        let limit = WireError::Body { what: "it", length: 11, limit: 10 };
        assert_eq!(read(read_body(&mut &[0_u8; 11][..], 11, 10, "it")), Err(limit));
        let short = read(read_body(&mut &[0_u8; 3][..], u64::MAX, u64::MAX, "it"));
        assert_eq!(short, Err(WireError::Truncated("it")));
        assert_eq!(read(read_body(&mut &b"abc"[..], 3, 10, "it")), Ok(Bytes::from_static(b"abc")));
    }

    #[test]
    fn a_frame_of_ours_over_the_limit_is_not_made() {
        let refused = put_compact(&mut Vec::new(), &"x".repeat(FRAME_LIMIT)).expect_err("too large");
        assert!(matches!(refused, WireError::Frame { .. }), "{refused}");
    }

    proptest! {
        #[test]
        fn garbage_is_a_typed_error_or_a_value_and_never_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = read(read_kind(&mut &*bytes));
            let _ = read(read_frame(&mut &*bytes, "it"));
            let _ = decode::<Hello>(&bytes, "a hello");
            let _ = decode::<Answer>(&bytes, "an answer");
            let _ = decode::<RequestHeader>(&bytes, "a call");
            let _ = decode::<OutcomeHeader>(&bytes, "an outcome");
        }

        #[test]
        fn what_is_put_is_read_again(text in "\\PC{0,200}") {
            let mut buffer = Vec::new();
            put_named(&mut buffer, &text).expect("fits");
            put_compact(&mut buffer, &text).expect("fits");
            let mut reader = &*buffer;
            for _ in 0..2 {
                let frame = read(read_frame(&mut reader, "it")).expect("whole");
                prop_assert_eq!(decode::<String>(&frame, "it").expect("text"), text.clone());
            }
            prop_assert_eq!(read(read_end(&mut reader)), Ok(()));
        }
    }
}
