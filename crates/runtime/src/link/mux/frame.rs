//! What two sides of a multiplexed connection say to each other, as bytes.
//!
//! ```text
//! frame = kind (1 byte), length of the content (3 bytes), stream (4 bytes), content; all big endian
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::link::error::Cause;
use crate::link::wire::WireError;

/// The bytes before a frame's content.
pub(super) const HEADER: usize = 8;

/// The largest content. With its header it fills one TLS record, so that neither is cut in two, and it
/// is what a small message may have to wait for behind a large one.
pub(crate) const CONTENT: usize = 16 * 1024 - HEADER;

/// The longest reason that a side gives for closing, in bytes.
const REASON: usize = 4096;

/// A stream's number: odd for those that the client opens, even for the worker's.
pub(crate) type StreamId = u32;

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// There is a new stream.
    Open(StreamId),
    /// Bytes of a stream.
    Data(StreamId, Bytes),
    /// The stream ends here, in good order.
    End(StreamId),
    /// The writer has given the stream up.
    Reset(StreamId),
    /// The reader wants no more of the stream.
    Stop(StreamId),
    /// So many more bytes may be sent on the stream; on stream 0: on the connection.
    Credit(StreamId, u32),
    /// Here I am.
    Ping,
    /// This is over.
    Close(Cause, String),
}

/// The stream number that means the connection.
pub(super) const CONNECTION: StreamId = 0;

impl Frame {
    /// The frame as bytes. Content over the limit is cut, which our own never is.
    pub(crate) fn encode(&self) -> Bytes {
        match self {
            Self::Open(stream) => whole(1, *stream, &[]),
            Self::Data(stream, content) => whole(2, *stream, content),
            Self::End(stream) => whole(3, *stream, &[]),
            Self::Reset(stream) => whole(4, *stream, &[]),
            Self::Stop(stream) => whole(5, *stream, &[]),
            Self::Credit(stream, bytes) => whole(6, *stream, &bytes.to_be_bytes()),
            Self::Ping => whole(7, CONNECTION, &[]),
            Self::Close(cause, reason) => {
                let mut content = cause.code().to_be_bytes().to_vec();
                content.extend(reason.bytes().take(REASON));
                whole(8, CONNECTION, &content)
            }
        }
    }

    /// Takes the first frame out of what has arrived; `None` while it is not whole.
    pub(crate) fn take(arrived: &mut BytesMut) -> Result<Option<Self>, WireError> {
        let Some(header) = arrived.first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, a, b, c, stream @ ..] = *header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > CONTENT {
            return Err(WireError::Content { length: length as u64, limit: CONTENT });
        }
        let stream = StreamId::from_be_bytes(stream);
        if arrived.len() < HEADER + length {
            return Ok(None);
        }
        arrived.advance(HEADER);
        let mut content = arrived.split_to(length);
        let frame = match (kind, length) {
            (1, 0) => Self::Open(stream),
            (2, _) => Self::Data(stream, kept(content)),
            (3, 0) => Self::End(stream),
            (4, 0) => Self::Reset(stream),
            (5, 0) => Self::Stop(stream),
            (6, 4) => Self::Credit(stream, content.get_u32()),
            (7, 0) => Self::Ping,
            (8, 4..) => {
                let cause = Cause::from(content.get_u32());
                let reason =
                    String::from_utf8_lossy(&content).chars().filter(|it| !it.is_control()).collect();
                Self::Close(cause, reason)
            }
            (kind, length) => {
                let reason = format!("no frame of kind {kind} has {length} bytes");
                return Err(WireError::Undecodable { what: "a frame of a connection", reason });
            }
        };
        Ok(Some(frame))
    }
}

/// As much of `bytes` as one frame carries, as that frame.
pub(super) fn data(stream: StreamId, bytes: &[u8]) -> Bytes {
    whole(2, stream, bytes)
}

fn whole(kind: u8, stream: StreamId, content: &[u8]) -> Bytes {
    let content = content.get(..CONTENT).unwrap_or(content);
    let mut frame = BytesMut::with_capacity(HEADER + content.len());
    frame.put_u8(kind);
    frame.put_uint(content.len() as u64, 3);
    frame.put_u32(stream);
    frame.put_slice(content);
    frame.freeze()
}

/// Content to be kept. A small one is copied, so that it does not keep the whole buffer in memory.
fn kept(content: BytesMut) -> Bytes {
    const SMALL: usize = 4096;
    if content.len() < SMALL { Bytes::copy_from_slice(&content) } else { content.freeze() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::Open(1),
            Frame::Data(3, Bytes::from_static(b"hello")),
            Frame::Data(3, Bytes::from(vec![7; CONTENT])),
            Frame::Data(3, Bytes::new()),
            Frame::End(u32::MAX),
            Frame::Reset(2),
            Frame::Stop(2),
            Frame::Credit(CONNECTION, 1 << 20),
            Frame::Ping,
            Frame::Close(Cause::Ended, "the lease has lapsed".to_owned()),
        ]
    }

    #[test]
    fn a_frame_is_read_however_it_arrives() {
        for frame in frames() {
            let encoded = frame.encode();
            let mut arrived = BytesMut::new();
            for (at, byte) in encoded.iter().enumerate() {
                assert_eq!(Frame::take(&mut arrived), Ok(None), "{at} of {frame:?}");
                arrived.put_u8(*byte);
            }
            assert_eq!(Frame::take(&mut arrived), Ok(Some(frame)));
            assert!(arrived.is_empty());
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_header_alone() {
        let mut arrived = BytesMut::from(&[2, 0xff, 0xff, 0xff, 0, 0, 0, 1][..]);
        assert_eq!(Frame::take(&mut arrived), Err(WireError::Content { length: 0xff_ffff, limit: CONTENT }));
    }

    #[test]
    fn a_reason_cannot_play_with_the_terminal() {
        let mut arrived = BytesMut::from(&Frame::Close(Cause::Done, "a\x1b[2Jb".to_owned()).encode()[..]);
        let expected = Frame::Close(Cause::Done, "a[2Jb".to_owned());
        assert_eq!(Frame::take(&mut arrived), Ok(Some(expected)));
    }

    proptest! {
        #[test]
        fn garbage_is_a_typed_error_or_a_frame_and_never_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut arrived = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Frame::take(&mut arrived) {}
        }
    }
}
