//! The two halves of one stream as its connection keeps them: what waits to be sent, what has arrived
//! and waits to be read, and who waits for either.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;

use super::frame::HEADER;

/// How much one stream may have under way, in bytes; the same as with QUIC.
pub(super) const STREAM_WINDOW: u64 = 16 << 20;

/// How much a stream takes from its writer before it has been sent, in bytes. More is memory, less
/// makes a writer wait in the middle of what the network could take.
pub(super) const SEND_BUFFER: usize = 256 * 1024;

/// How a half stands with the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Bytes flow.
    Open,
    /// The writer has said that nothing follows what waits. Sending only.
    Ending,
    /// The reader has said that it wants no more, and the writer has not confirmed. Receiving only.
    Stopping,
    /// It ended in good order.
    Ended,
    /// The writer gave it up.
    Reset,
}

/// What we send.
#[derive(Debug)]
pub(super) struct Sending {
    /// Whole frames.
    pub(super) frames: VecDeque<Bytes>,
    /// Bytes in them.
    pub(super) waiting: usize,
    /// How many bytes the other side takes.
    pub(super) credit: u64,
    pub(super) priority: i32,
    pub(super) phase: Phase,
    /// The other side wants no more.
    pub(super) is_unwanted: bool,
    /// Is in a turn's list.
    pub(super) is_listed: bool,
    pub(super) has_handle: bool,
    pub(super) writer: Option<Waker>,
    pub(super) watchers: Vec<Waker>,
}

/// What we receive.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) chunks: VecDeque<Bytes>,
    /// How many bytes the other side may still send.
    pub(super) window: u64,
    /// How many have been read since it was last told so.
    pub(super) unreported: u64,
    pub(super) phase: Phase,
    pub(super) has_handle: bool,
    pub(super) reader: Option<Waker>,
}

impl Sending {
    pub(super) fn new() -> Self {
        Self {
            frames: VecDeque::new(),
            waiting: 0,
            credit: STREAM_WINDOW,
            priority: 0,
            phase: Phase::Open,
            is_unwanted: false,
            is_listed: false,
            has_handle: true,
            writer: None,
            watchers: Vec::new(),
        }
    }

    /// Whether the other side has heard the end.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Reset)
    }

    /// How many bytes the next frame carries.
    pub(super) fn next_size(&self) -> Option<u64> {
        self.frames.front().map(|it| it.len().saturating_sub(HEADER) as u64)
    }

    /// Drops what waits.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.waiting = 0;
    }

    pub(super) fn wake(&mut self) {
        self.writer.take().into_iter().chain(self.watchers.drain(..)).for_each(Waker::wake);
    }
}

impl Receiving {
    pub(super) fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            window: STREAM_WINDOW,
            unreported: 0,
            phase: Phase::Open,
            has_handle: true,
            reader: None,
        }
    }

    /// Whether the other side will send no more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Reset)
    }

    /// Drops what has not been read, and says how much that was.
    pub(super) fn clear(&mut self) -> u64 {
        self.chunks.drain(..).map(|it| it.len() as u64).sum()
    }

    pub(super) fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}
