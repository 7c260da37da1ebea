//! What one side of a multiplexed connection decides: whose bytes go next, who may send how much, and
//! when a stream is over. Frames and calls of the streams' handles in, frames out; nothing here waits.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

use super::frame::{CONNECTION, CONTENT, Frame, HEADER, StreamId, data};
use super::half::{Phase, Receiving, SEND_BUFFER, STREAM_WINDOW, Sending};

/// How much all streams may have under way; four times one stream's, as with QUIC, so that one that is
/// not read does not hold up the others. Streams of items have room beside it.
const CONNECTION_WINDOW: u64 = 64 << 20;

/// How many streams each side may have open. More wait for one to end.
pub(super) const STREAMS: usize = 4096;

/// One side of a connection.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) is_client: bool,
    pub(super) last_ours: StreamId,
    pub(super) last_theirs: StreamId,
    pub(super) streams: BTreeMap<StreamId, Entry>,
    pub(super) open_ours: usize,
    pub(super) open_theirs: usize,
    pub(super) openers: Vec<Waker>,
    /// Frames that need no credit, in order. Each stream has at most a few here.
    pub(super) orders: VecDeque<Frame>,
    /// Who has bytes to send and credit for them, by priority, each list in turns.
    pub(super) turns: BTreeMap<i32, VecDeque<StreamId>>,
    pub(super) credit: u64,
    pub(super) window: u64,
    pub(super) unreported: u64,
    /// For how many streams of items there is room.
    rooms: u32,
    pub(super) over: Option<String>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    /// Counts among those that are open.
    pub(super) is_open: bool,
}

/// Why a half cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The other side gave it up, or does not want it.
    GivenUp,
    /// We gave it up.
    LetGo,
    /// The connection is over.
    Over(String),
}

impl State {
    pub(crate) fn new(is_client: bool) -> Self {
        Self {
            is_client,
            last_ours: 0,
            last_theirs: 0,
            streams: BTreeMap::new(),
            open_ours: 0,
            open_theirs: 0,
            openers: Vec::new(),
            orders: VecDeque::new(),
            turns: BTreeMap::new(),
            credit: CONNECTION_WINDOW,
            window: CONNECTION_WINDOW,
            unreported: 0,
            rooms: 0,
            over: None,
        }
    }

    /// Opens a stream, as soon as there may be one more.
    pub(crate) fn open(&mut self, cx: &mut Context<'_>) -> Poll<Result<StreamId, Broken>> {
        if let Some(over) = &self.over {
            return Poll::Ready(Err(Broken::Over(over.clone())));
        }
        if self.open_ours >= STREAMS {
            keep(&mut self.openers, cx);
            return Poll::Pending;
        }
        let Some(stream) = self.next_stream() else {
            let reason = "it has carried all the streams that it can number".to_owned();
            return Poll::Ready(Err(Broken::Over(reason)));
        };
        self.last_ours = stream;
        self.open_ours += 1;
        self.streams.insert(stream, Entry::new());
        self.order(Frame::Open(stream));
        Poll::Ready(Ok(stream))
    }

    /// Takes bytes to send, as many as there is room for.
    pub(crate) fn write(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Broken>> {
        if let Some(over) = &self.over {
            return Poll::Ready(Err(Broken::Over(over.clone())));
        }
        let Some(Entry { sending, .. }) = self.streams.get_mut(&stream) else {
            return Poll::Ready(Err(Broken::LetGo));
        };
        if sending.is_unwanted {
            return Poll::Ready(Err(Broken::GivenUp));
        }
        if sending.phase != Phase::Open {
            return Poll::Ready(Err(Broken::LetGo));
        }
        let mut taken = 0;
        for part in bytes.chunks(CONTENT) {
            if sending.waiting >= SEND_BUFFER {
                break;
            }
            sending.frames.push_back(data(stream, part));
            sending.waiting += part.len();
            taken += part.len();
        }
        if taken == 0 && !bytes.is_empty() {
            sending.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.list(stream);
        Poll::Ready(Ok(taken))
    }

    /// Nothing follows what has been written.
    pub(crate) fn end(&mut self, stream: StreamId) {
        let Some(Entry { sending, .. }) = self.streams.get_mut(&stream) else { return };
        if sending.phase == Phase::Open {
            sending.phase = Phase::Ending;
            self.end_if_sent(stream);
        }
    }

    /// Gives up what we send.
    pub(crate) fn reset(&mut self, stream: StreamId) {
        let Some(Entry { sending, .. }) = self.streams.get_mut(&stream) else { return };
        if !sending.is_over() {
            sending.clear();
            sending.phase = Phase::Reset;
            sending.wake();
            self.order(Frame::Reset(stream));
            self.retire(stream);
        }
    }

    /// Wants nothing more of what we receive.
    pub(crate) fn stop(&mut self, stream: StreamId) {
        let Some(Entry { receiving, .. }) = self.streams.get_mut(&stream) else { return };
        let dropped = receiving.clear();
        if receiving.phase == Phase::Open {
            receiving.phase = Phase::Stopping;
            self.order(Frame::Stop(stream));
        }
        self.consumed(dropped);
    }

    pub(super) fn prioritise(&mut self, stream: StreamId, priority: i32) {
        let Some(Entry { sending, .. }) = self.streams.get_mut(&stream) else { return };
        // A place in the old list is met and passed over.
        sending.is_listed &= sending.priority == priority;
        sending.priority = priority;
        self.list(stream);
    }

    /// Reads what has arrived.
    pub(crate) fn read(
        &mut self,
        stream: StreamId,
        into: &mut ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        let Some(Entry { receiving, .. }) = self.streams.get_mut(&stream) else {
            return Poll::Ready(Err(Broken::LetGo));
        };
        let mut read = 0;
        while let Some(chunk) = receiving.chunks.front_mut() {
            let length = chunk.len().min(into.remaining());
            into.put_slice(chunk.get(..length).unwrap_or_default());
            read += length as u64;
            chunk.advance(length);
            if !chunk.is_empty() {
                break;
            }
            receiving.chunks.pop_front();
        }
        if read == 0 && into.remaining() > 0 {
            return match (receiving.phase, &self.over) {
                (Phase::Ended, _) => Poll::Ready(Ok(())),
                (Phase::Reset, _) => Poll::Ready(Err(Broken::GivenUp)),
                (Phase::Stopping | Phase::Ending, _) => Poll::Ready(Err(Broken::LetGo)),
                (Phase::Open, Some(over)) => Poll::Ready(Err(Broken::Over(over.clone()))),
                (Phase::Open, None) => {
                    receiving.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        receiving.unreported += read;
        if receiving.phase == Phase::Open && receiving.unreported >= STREAM_WINDOW / 4 {
            let bytes = std::mem::take(&mut receiving.unreported);
            receiving.window += bytes;
            self.order(Frame::Credit(stream, number(bytes)));
        }
        self.consumed(read);
        Poll::Ready(Ok(()))
    }

    /// Resolves when nobody wants what we send any more.
    pub(super) fn unwanted(&mut self, stream: StreamId, cx: &mut Context<'_>) -> Poll<()> {
        let wanted = self.over.is_none();
        match self.streams.get_mut(&stream) {
            Some(Entry { sending, is_open: true, .. }) if wanted && !sending.is_unwanted => {
                keep(&mut sending.watchers, cx);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// The writing handle is gone: what was written still goes out.
    pub(crate) fn let_go_sending(&mut self, stream: StreamId) {
        self.end(stream);
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.sending.has_handle = false;
            self.retire(stream);
        }
    }

    /// The reading handle is gone.
    pub(crate) fn let_go_receiving(&mut self, stream: StreamId) {
        self.stop(stream);
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.receiving.has_handle = false;
            self.retire(stream);
        }
    }

    /// The next frame to send, if there is one that may be sent.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        if let Some(order) = self.orders.pop_front() {
            return Some(order.encode());
        }
        while let Some(mut turn) = self.turns.last_entry() {
            let priority = *turn.key();
            let Some(stream) = turn.get_mut().pop_front() else {
                turn.remove();
                continue;
            };
            let Some(Entry { sending, .. }) = self.streams.get_mut(&stream) else { continue };
            if sending.priority != priority || !sending.is_listed {
                continue;
            }
            let Some(size) = sending.next_size() else {
                sending.is_listed = false;
                continue;
            };
            if size > sending.credit {
                // Listed again by the credit that it waits for.
                sending.is_listed = false;
                continue;
            }
            if size > self.credit {
                turn.get_mut().push_front(stream);
                return None;
            }
            let frame = sending.frames.pop_front()?;
            sending.credit -= size;
            sending.waiting = sending.waiting.saturating_sub(frame.len() - HEADER);
            self.credit -= size;
            if sending.frames.is_empty() {
                sending.is_listed = false;
            } else {
                turn.get_mut().push_back(stream);
            }
            if sending.waiting < SEND_BUFFER
                && let Some(writer) = sending.writer.take()
            {
                writer.wake();
            }
            self.end_if_sent(stream);
            return Some(frame);
        }
        None
    }

    /// Says that we are here.
    pub(super) fn ping(&mut self) {
        self.order(Frame::Ping);
    }

    /// The connection is over: whoever waits hears of it. `told` is what the other side is to hear.
    pub(super) fn finish(&mut self, reason: String, told: Option<Frame>) {
        if self.over.is_some() {
            return;
        }
        self.over = Some(reason);
        self.orders.clear();
        self.orders.extend(told);
        self.turns.clear();
        for entry in self.streams.values_mut() {
            entry.sending.clear();
            entry.sending.wake();
            entry.receiving.wake();
        }
        self.openers.drain(..).for_each(Waker::wake);
    }

    /// Whether something is to be said that needs no credit.
    pub(super) fn owes(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Whether no stream is left.
    pub(super) fn is_unused(&self) -> bool {
        self.streams.is_empty()
    }

    fn next_stream(&self) -> Option<StreamId> {
        match self.last_ours {
            0 => Some(if self.is_client { 1 } else { 2 }),
            last => last.checked_add(2),
        }
    }

    /// Says something that needs no credit, unless all has been said.
    pub(super) fn order(&mut self, frame: Frame) {
        if self.over.is_none() {
            self.orders.push_back(frame);
        }
    }

    /// Takes as much more as so many streams may have under way that nobody reads, if that is more than before.
    pub(crate) fn widen(&mut self, streams: u32) {
        for _ in self.rooms..streams {
            self.window += STREAM_WINDOW;
            self.order(Frame::Credit(CONNECTION, number(STREAM_WINDOW)));
        }
        self.rooms = self.rooms.max(streams);
    }

    /// Bytes have left our memory, so as many more may come.
    pub(super) fn consumed(&mut self, bytes: u64) {
        self.unreported += bytes;
        if self.unreported >= CONNECTION_WINDOW / 4 {
            self.window += self.unreported;
            self.order(Frame::Credit(CONNECTION, number(self.unreported)));
            self.unreported = 0;
        }
    }

    /// Gives a stream that can send a turn.
    pub(super) fn list(&mut self, stream: StreamId) {
        let Some(Entry { sending, .. }) = self.streams.get_mut(&stream) else { return };
        if !sending.is_listed && sending.next_size().is_some_and(|it| it <= sending.credit) {
            sending.is_listed = true;
            self.turns.entry(sending.priority).or_default().push_back(stream);
        }
    }

    fn end_if_sent(&mut self, stream: StreamId) {
        let Some(Entry { sending, .. }) = self.streams.get_mut(&stream) else { return };
        if sending.phase == Phase::Ending && sending.frames.is_empty() {
            sending.phase = Phase::Ended;
            self.order(Frame::End(stream));
            self.retire(stream);
        }
    }

    /// Counts a stream out when both sides have heard its end, and forgets it when its handles are gone
    /// too.
    pub(super) fn retire(&mut self, stream: StreamId) {
        let is_ours = (stream % 2 == 1) == self.is_client;
        let Some(entry) = self.streams.get_mut(&stream) else { return };
        if !entry.sending.is_over() || !entry.receiving.is_over() {
            return;
        }
        if std::mem::take(&mut entry.is_open) {
            entry.sending.wake();
            if is_ours {
                self.open_ours = self.open_ours.saturating_sub(1);
                self.openers.drain(..).for_each(Waker::wake);
            } else {
                self.open_theirs = self.open_theirs.saturating_sub(1);
            }
        }
        if !entry.sending.has_handle && !entry.receiving.has_handle {
            self.streams.remove(&stream);
        }
    }
}

impl Entry {
    pub(super) fn new() -> Self {
        Self { sending: Sending::new(), receiving: Receiving::new(), is_open: true }
    }
}

fn number(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn keep(wakers: &mut Vec<Waker>, cx: &Context<'_>) {
    if !wakers.iter().any(|it| it.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
