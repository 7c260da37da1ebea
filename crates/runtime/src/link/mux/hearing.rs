//! What the other side of a multiplexed connection may say, and what that changes.

use bytes::Bytes;

use super::frame::{CONNECTION, Frame, StreamId};
use super::half::Phase;
use super::state::{Entry, STREAMS, State};
use crate::link::error::Cause;
use crate::link::wire::WireError;

/// What a frame brought, beyond what the state has taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing.
    Nothing,
    /// A stream that the other side opened.
    Opened(StreamId),
    /// The other side has closed the connection.
    Closed(Cause, String),
}

impl State {
    /// Takes in what the other side says.
    ///
    /// # Errors
    /// When it breaks the protocol.
    pub(crate) fn take_in(&mut self, frame: Frame) -> Result<News, WireError> {
        match frame {
            Frame::Ping => {}
            Frame::Close(cause, reason) => return Ok(News::Closed(cause, reason)),
            Frame::Open(stream) => return self.opened(stream),
            Frame::Credit(CONNECTION, bytes) => self.credit = self.credit.saturating_add(bytes.into()),
            Frame::Data(stream, bytes) => self.arrived(stream, bytes)?,
            Frame::End(stream) => self.finished(stream, Phase::Ended)?,
            Frame::Reset(stream) => self.finished(stream, Phase::Reset)?,
            Frame::Stop(stream) => {
                if let Some(entry) = self.known(stream)? {
                    entry.sending.is_unwanted = true;
                    entry.sending.wake();
                    self.reset(stream);
                }
            }
            Frame::Credit(stream, bytes) => {
                if let Some(entry) = self.known(stream)? {
                    entry.sending.credit = entry.sending.credit.saturating_add(bytes.into());
                    self.list(stream);
                }
            }
        }
        Ok(News::Nothing)
    }

    /// A stream that the other side opens.
    fn opened(&mut self, stream: StreamId) -> Result<News, WireError> {
        let is_ours = (stream % 2 == 1) == self.is_client;
        if is_ours || stream <= self.last_theirs {
            return Err(odd(format!("stream {stream} cannot be opened now")));
        }
        if self.open_theirs >= STREAMS {
            return Err(odd(format!("more than {STREAMS} streams are open")));
        }
        self.last_theirs = stream;
        self.open_theirs += 1;
        self.streams.insert(stream, Entry::new());
        Ok(News::Opened(stream))
    }

    /// A stream that the other side may speak of; `None` when it is over here.
    fn known(&mut self, stream: StreamId) -> Result<Option<&mut Entry>, WireError> {
        let is_ours = (stream % 2 == 1) == self.is_client;
        let last = if is_ours { self.last_ours } else { self.last_theirs };
        if stream > last {
            return Err(odd(format!("stream {stream} has not been opened")));
        }
        Ok(self.streams.get_mut(&stream))
    }

    fn arrived(&mut self, stream: StreamId, bytes: Bytes) -> Result<(), WireError> {
        let length = bytes.len() as u64;
        let Some(left) = self.window.checked_sub(length) else {
            return Err(odd("more bytes than were asked for".to_owned()));
        };
        self.window = left;
        let Some(Entry { receiving, .. }) = self.known(stream)? else {
            self.consumed(length);
            return Ok(());
        };
        match receiving.phase {
            Phase::Open => {
                let Some(left) = receiving.window.checked_sub(length) else {
                    return Err(odd(format!("more bytes on stream {stream} than were asked for")));
                };
                receiving.window = left;
                if length > 0 {
                    receiving.chunks.push_back(bytes);
                    receiving.wake();
                }
            }
            Phase::Stopping | Phase::Ending => self.consumed(length),
            Phase::Ended | Phase::Reset => return Err(odd(format!("stream {stream} goes on after its end"))),
        }
        Ok(())
    }

    /// What we receive of a stream has come to its end.
    fn finished(&mut self, stream: StreamId, phase: Phase) -> Result<(), WireError> {
        let Some(Entry { receiving, .. }) = self.known(stream)? else { return Ok(()) };
        if receiving.is_over() {
            return Err(odd(format!("stream {stream} ends twice")));
        }
        // What was given up is not delivered, as with QUIC.
        let dropped = if phase == Phase::Reset { receiving.clear() } else { 0 };
        receiving.phase = phase;
        receiving.wake();
        self.consumed(dropped);
        self.retire(stream);
        Ok(())
    }
}

fn odd(reason: String) -> WireError {
    WireError::Undecodable { what: "what a connection may say now", reason }
}
