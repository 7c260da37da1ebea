//! One message as MessagePack after its length in four bytes, big endian: how a process that this
//! program starts as a worker or a machine gets its order, on standard input, and answers, on standard
//! output. Both sides use this; whatever the bytes are, nothing here panics.
//!
//! An answer has a mark before it, because a program may print before it becomes a worker: a test
//! program says how many tests it is about to run.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::start::{WorkerStart, WorkerUp};

/// Why a frame could not be written or read. Trying again cannot help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The stream failed or ended within the frame.
    #[error("the stream ended or failed within the frame: {0}")]
    Stream(#[source] io::Error),
    /// The length says that no such frame was ever written.
    #[error("a frame of {length} bytes is over the limit of {FRAME_LIMIT}")]
    TooLong {
        /// The length that was announced.
        length: usize,
    },
    /// The value cannot be encoded.
    #[error("the value cannot be encoded: {0}")]
    Encode(#[source] rmp_serde::encode::Error),
    /// The content is not what it should be.
    #[error("the frame's content cannot be decoded: {0}")]
    Decode(#[source] rmp_serde::decode::Error),
}

impl WorkerStart {
    /// The order as a frame.
    ///
    /// # Errors
    /// When it is over a mebibyte.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        encode_order(self)
    }

    /// Reads the order: the first thing that a worker does with its standard input. Blocks.
    ///
    /// # Errors
    /// When the stream ends first, or carries anything else.
    pub fn read(from: impl Read) -> Result<Self, FrameError> {
        read_order(from)
    }
}

impl WorkerUp {
    /// Writes the answer as one frame and flushes. Blocks.
    ///
    /// # Errors
    /// When the stream fails, which means that nobody waits for the answer any more.
    pub fn write(&self, to: impl Write) -> Result<(), FrameError> {
        write_answer(self, to)
    }

    /// The answer out of what came so far; `None` while more has to come.
    ///
    /// # Errors
    /// When what came is the start of no answer.
    pub fn decode(received: &[u8]) -> Result<Option<Self>, FrameError> {
        decode_answer(received)
    }
}

/// A value as a frame, for the standard input of a process that [`read_order`] reads it.
///
/// # Errors
/// When it is over a mebibyte.
pub fn encode_order<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let content = rmp_serde::to_vec_named(value).map_err(FrameError::Encode)?;
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    checked(length)?;
    Ok([&length[..], &content].concat())
}

/// Reads one frame. Blocks.
///
/// # Errors
/// When the stream ends first, or carries anything else.
pub fn read_order<T: DeserializeOwned>(mut from: impl Read) -> Result<T, FrameError> {
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(FrameError::Stream)?;
    let mut content = vec![0; checked(length)?];
    from.read_exact(&mut content).map_err(FrameError::Stream)?;
    rmp_serde::from_slice(&content).map_err(FrameError::Decode)
}

/// Writes a value as an answer and flushes. Blocks.
///
/// # Errors
/// When the stream fails, which means that nobody waits for the answer any more.
pub fn write_answer<T: Serialize>(value: &T, mut to: impl Write) -> Result<(), FrameError> {
    let answer = [MARK, &encode_order(value)?].concat();
    to.write_all(&answer).and_then(|()| to.flush()).map_err(FrameError::Stream)
}

/// The answer out of what came so far; `None` while more has to come. What came before the mark is
/// skipped.
///
/// # Errors
/// When what follows the mark is no answer, or too much came without a mark.
pub fn decode_answer<T: DeserializeOwned>(received: &[u8]) -> Result<Option<T>, FrameError> {
    let Some(at) = received.windows(MARK.len()).position(|it| it == MARK) else {
        let length = received.len();
        return if length > FRAME_LIMIT { Err(FrameError::TooLong { length }) } else { Ok(None) };
    };
    let frame = received.get(at + MARK.len()..).unwrap_or_default();
    let Some((length, rest)) = frame.split_first_chunk() else { return Ok(None) };
    match rest.get(..checked(*length)?) {
        Some(content) => rmp_serde::from_slice(content).map(Some).map_err(FrameError::Decode),
        None => Ok(None),
    }
}

fn checked(length: [u8; 4]) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_LIMIT { Err(FrameError::TooLong { length }) } else { Ok(length) }
}

/// Bytes of a frame's content: an order is a few certificates, some kilobytes. More is garbage, and no
/// memory is set aside for it.
const FRAME_LIMIT: usize = 1 << 20;

/// What comes before an answer: nothing that a program prints.
const MARK: &[u8] = b"\0skyward answer\0";

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;
    use crate::link::Identity;
    use crate::model::{End, Epoch, Executor, Incarnation, Notice, PoolId, Rank, Secret};

    fn order() -> WorkerStart {
        WorkerStart {
            pool: PoolId::new("p1"),
            rank: Rank(3),
            incarnation: Incarnation::new("p1-3-1"),
            epoch: Epoch(1),
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            identity: Identity {
                certificate: vec![1; 500],
                key: Secret::new(vec![2; 120]),
                authority: vec![],
            },
            cookie: Secret::new("cookie".into()),
            lease: Duration::from_secs(60),
            end: End::Command { shell: "sudo shutdown -h now".into() },
            notice: Notice::None,
            slots: 4,
            executor: Executor::Process,
            reuse: true,
            retention: Default::default(),
            kill: Duration::from_secs(1),
            detect: Duration::from_secs(12),
            drain: Duration::from_secs(5),
            inputs: Duration::from_secs(30),
            accelerators: vec![],
            secrets: [("TOKEN".to_owned(), Secret::new("hush".to_owned()))].into(),
        }
    }

    #[test]
    fn an_order_arrives_as_it_was_written() {
        let frame = order().encode().unwrap();
        let read = WorkerStart::read(&frame[..]).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", order()));
        assert_eq!((read.identity, read.cookie), (order().identity, order().cookie));
        assert_eq!(read.secrets, order().secrets);
    }

    #[test]
    fn an_answer_is_read_however_it_arrives() {
        for up in [WorkerUp::Listening { port: 4242, tcp: 4243, pid: 17 }, WorkerUp::Failed("no port".into())]
        {
            let mut frame = b"\nrunning 1 test\n".to_vec();
            up.write(&mut frame).unwrap();
            for end in 0..frame.len() {
                assert_eq!(WorkerUp::decode(&frame[..end]).unwrap(), None);
            }
            assert_eq!(WorkerUp::decode(&frame).unwrap(), Some(up.clone()));
            frame.extend_from_slice(b"more");
            assert_eq!(WorkerUp::decode(&frame).unwrap(), Some(up));
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_memory_is_set_aside() {
        let frame = [0xff; 8];
        let answer = [MARK, &frame[..]].concat();
        assert!(matches!(WorkerUp::decode(&answer), Err(FrameError::TooLong { .. })));
        let chatter = vec![b'x'; FRAME_LIMIT + 1];
        assert!(matches!(WorkerUp::decode(&chatter), Err(FrameError::TooLong { .. })));
        assert!(matches!(WorkerStart::read(&frame[..]), Err(FrameError::TooLong { .. })));
        let large = WorkerStart { cookie: Secret::new("x".repeat(FRAME_LIMIT)), ..order() };
        assert!(matches!(large.encode(), Err(FrameError::TooLong { .. })));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let framed = [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat();
            let _ = WorkerUp::decode(&bytes);
            let _ = WorkerUp::decode(&[MARK, &framed[..]].concat());
            let _ = WorkerStart::read(&framed[..]);
        }
    }
}
