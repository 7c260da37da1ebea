//! Calls of functions of streams. Each has a stream of its own, and so has each stream that the function
//! takes: a slow one holds up no other, and the carrier's own credit is the backpressure.
//!
//! ```text
//! client: kind Stream, RequestHeader, arguments, end      worker: items, END, outcome, end
//! client: kind Input, InputHeader, items, END, outcome, end      (for each stream that it takes)
//! who reads gives up -> who writes stops      client gives the call up -> the worker cancels it
//! ```

use std::io::Cursor;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::coop;
use tokio_util::io::poll_read_buf;

use super::call::{CallRequest, Outcome, RequestHeader, read_outcome, write_outcome};
use super::dialer::Link;
use super::error::LinkError;
use super::room::Room;
use super::transport::{Incoming, Outgoing, Stream};
use super::wire::{self, BODY_LIMIT, Kind, WireError};
use crate::items::record::{self, Record};
use crate::items::{Filled, Finish, ITEM_LIMIT, Producer};
use crate::model::{Attempt, TaskId};

/// How many bytes of items go to the carrier at once, and how many more are made meanwhile. Large enough
/// that its cost is shared by many small items; each side of a stream holds about two of it.
const BATCH: usize = 32 * 1024;

/// What an input is for: the frame before its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InputHeader {
    /// The task that takes it.
    pub task: TaskId,
    /// Which try of it.
    pub attempt: Attempt,
    /// Which of its streams, from 0 in the order of the arguments.
    pub index: u16,
}

/// One of the things that come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// An item, encoded.
    Item(Bytes),
    /// How it ended. There is nothing after it.
    End(Outcome),
}

/// Items that come in, until the piece that says how they ended. Dropping it before that gives them up:
/// whoever makes them stops.
pub struct Items {
    stage: Stage,
    buffer: BytesMut,
    limit: u64,
}

enum Stage {
    Reading(Box<dyn Incoming>),
    Ending(BoxFuture<'static, Result<Outcome, WireError>>),
    Over,
}

/// How much is read at once.
const READ: usize = 64 * 1024;

/// A call of a function of streams, as its caller has it: the items that come back. Dropping it before the
/// end cancels the call.
pub struct Inflow {
    link: Link,
    items: Items,
    request: Request,
    /// Its reader may be slow, and nothing else on the link is to wait for it.
    _room: Room,
}

/// The request may be long, and the worker may answer before it has read all of it.
enum Request {
    Sending(BoxFuture<'static, Sending>),
    /// Kept, because giving the call up gives up both halves.
    Sent(Sending),
}

/// The half of a stream that we write. Given up when dropped before its end.
struct Sending {
    outgoing: Box<dyn Outgoing>,
    ended: bool,
}

/// Items that go out, in batches: while one is on its way the next is made, and what is made while the way
/// is free goes at once.
pub struct Writer {
    sending: Sending,
    filling: Vec<u8>,
    writing: Vec<u8>,
    written: usize,
}

impl Link {
    /// Calls a function of streams on the worker.
    ///
    /// # Errors
    /// When the link is over, or the arguments are over its limit.
    pub async fn stream(&self, request: CallRequest) -> Result<Inflow, LinkError> {
        let (length, limit) = (request.arguments.len() as u64, self.body_limit());
        if length > limit {
            return Err(LinkError::TooLarge { what: "arguments", length, limit });
        }
        let room = self.room();
        let Stream { outgoing, incoming } = self.open(Kind::Stream, 0).await?;
        let sending = Sending { outgoing, ended: false };
        let request = Request::Sending(Box::pin(send(sending, request)));
        Ok(Inflow { link: self.clone(), items: Items::new(incoming, limit), request, _room: room })
    }

    /// Sends items to a function that takes them, until there are no more or it wants no more. Neither is
    /// an error.
    ///
    /// # Errors
    /// When the link is over.
    pub async fn feed(&self, to: InputHeader, producer: &mut Producer) -> Result<(), LinkError> {
        let Stream { mut outgoing, incoming: _incoming } = self.open(Kind::Input, 0).await?;
        let unwanted = outgoing.unwanted();
        let fed = async {
            let mut header = Vec::new();
            wire::put_compact(&mut header, &to)?;
            outgoing.write_all(&header).await.map_err(|it| WireError::Interrupted(it.to_string()))?;
            let mut writer = Writer::new(outgoing);
            let finish = writer.pump(producer).await?;
            writer.finish(finish.into(), BODY_LIMIT).await
        };
        tokio::select! {
            fed = fed => match fed {
                Err(error) => self.over().map_or_else(
                    || {
                        tracing::debug!(%error, "a function wants no more of a stream that it takes");
                        Ok(())
                    },
                    Err,
                ),
                Ok(()) => Ok(()),
            },
            () = unwanted => Ok(()),
        }
    }
}

impl Inflow {
    /// The next thing that comes back.
    ///
    /// # Errors
    /// When the link breaks, at once; when the worker makes no sense.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, LinkError>> {
        if let Request::Sending(sending) = &mut self.request
            && let Poll::Ready(sent) = sending.as_mut().poll(context)
        {
            self.request = Request::Sent(sent);
        }
        Poll::Ready(match ready!(self.items.poll_next(context)) {
            Ok(piece) => {
                if let (Piece::End(_), Request::Sent(sending)) = (&piece, &mut self.request) {
                    sending.ended = true;
                }
                Ok(piece)
            }
            Err(WireError::Body { what, length, limit }) => Err(LinkError::TooLarge { what, length, limit }),
            Err(WireError::Interrupted(reason)) => {
                Err(self.link.over().unwrap_or(LinkError::Broken { reason }))
            }
            Err(other) => Err(self.link.over().unwrap_or(LinkError::Garbled(other))),
        })
    }
}

impl Items {
    /// Reads items, and an outcome of at most so many bytes, from where they begin.
    pub fn new(incoming: Box<dyn Incoming>, limit: u64) -> Self {
        Self { stage: Stage::Reading(incoming), buffer: BytesMut::new(), limit }
    }

    /// The next thing that comes in.
    ///
    /// # Errors
    /// When the stream fails, ends too early or says something else.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, WireError>> {
        loop {
            match &mut self.stage {
                Stage::Reading(incoming) => {
                    match record::take(&mut self.buffer) {
                        Ok(Some(Record::Item(item))) => return Poll::Ready(Ok(Piece::Item(item))),
                        Ok(Some(Record::End)) => {
                            self.end();
                            continue;
                        }
                        Ok(None) => {}
                        Err(record::TooLarge(length)) => {
                            let limit = ITEM_LIMIT as u64;
                            return Poll::Ready(Err(WireError::Body { what: "items", length, limit }));
                        }
                    }
                    // What is reserved grows with what has arrived, whatever length was announced.
                    self.buffer.reserve(READ);
                    let read = ready!(poll_read_buf(Pin::new(incoming), context, &mut self.buffer));
                    match read {
                        Ok(0) => return Poll::Ready(Err(WireError::Truncated("its items"))),
                        Ok(_) => {}
                        Err(error) => return Poll::Ready(Err(WireError::Interrupted(error.to_string()))),
                    }
                }
                Stage::Ending(ending) => {
                    let outcome = ready!(ending.as_mut().poll(context));
                    self.stage = Stage::Over;
                    return Poll::Ready(outcome.map(Piece::End));
                }
                Stage::Over => return Poll::Ready(Err(WireError::Overlong)),
            }
        }
    }

    /// What follows the end is read like the outcome of any call.
    fn end(&mut self) {
        let Stage::Reading(incoming) = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        let (rest, limit) = (std::mem::take(&mut self.buffer).freeze(), self.limit);
        self.stage = Stage::Ending(Box::pin(async move {
            read_outcome(&mut Cursor::new(rest).chain(incoming), limit).await
        }));
    }
}

impl Writer {
    /// Items go this way.
    pub fn new(outgoing: Box<dyn Outgoing>) -> Self {
        let sending = Sending { outgoing, ended: false };
        Self { sending, filling: Vec::new(), writing: Vec::new(), written: 0 }
    }

    /// Resolves when nobody wants the items any more.
    pub fn unwanted(&self) -> BoxFuture<'static, ()> {
        self.sending.outgoing.unwanted()
    }

    /// Sends what the producer makes, until it has ended. Some of it may still be here then; see
    /// [`finish`](Self::finish). Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the stream fails.
    pub async fn pump(&mut self, producer: &mut Producer) -> Result<Finish, WireError> {
        std::future::poll_fn(|context| self.poll_pump(context, producer)).await
    }

    /// Has what the producer has made already go before the end.
    pub fn take_made(&mut self, producer: &mut Producer) {
        producer.take_made(&mut self.filling);
    }

    /// Sends the rest, and how it ended.
    ///
    /// # Errors
    /// When the stream fails.
    pub async fn finish(mut self, outcome: Outcome, limit: u64) -> Result<(), WireError> {
        record::put_end(&mut self.filling);
        let outgoing = &mut *self.sending.outgoing;
        for rest in [self.writing.get(self.written..).unwrap_or_default(), &self.filling] {
            outgoing.write_all(rest).await.map_err(|it| WireError::Interrupted(it.to_string()))?;
        }
        write_outcome(outgoing, outcome, limit).await?;
        self.sending.ended = true;
        Ok(())
    }

    fn poll_pump(
        &mut self,
        context: &mut Context<'_>,
        producer: &mut Producer,
    ) -> Poll<Result<Finish, WireError>> {
        loop {
            // A producer and a reader that are always ready must not keep others from this thread.
            let turn = ready!(coop::poll_proceed(context));
            let free = match self.poll_write(context) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(WireError::Interrupted(error.to_string())));
                }
                Poll::Pending => false,
            };
            if self.filling.len() >= BATCH {
                return Poll::Pending;
            }
            match producer.poll_fill(context, &mut self.filling, BATCH) {
                Poll::Ready(Filled::More) => turn.made_progress(),
                Poll::Ready(Filled::End(finish)) => {
                    turn.made_progress();
                    return Poll::Ready(Ok(finish));
                }
                Poll::Pending => {
                    if free {
                        // A failure shows at the next write.
                        let _ = Pin::new(&mut *self.sending.outgoing).poll_flush(context);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ready when nothing is left to write.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            let rest = self.writing.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                self.written = 0;
                self.writing.clear();
                if self.filling.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                // The room that one large item took is given back.
                self.writing.shrink_to(BATCH * 2);
                std::mem::swap(&mut self.writing, &mut self.filling);
                continue;
            }
            match ready!(Pin::new(&mut *self.sending.outgoing).poll_write(context, rest)) {
                Ok(0) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Ok(written) => self.written += written,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// The worker's half: reads what comes before the items of an input.
///
/// # Errors
/// When the stream fails or says something else.
pub async fn read_input_header(incoming: &mut dyn Incoming) -> Result<InputHeader, WireError> {
    let frame = wire::read_frame(incoming, "an input").await?;
    wire::decode(&frame, "an input")
}

/// Sends what comes before the items of a call. When that fails, reading says why.
async fn send(mut sending: Sending, request: CallRequest) -> Sending {
    let CallRequest { task, attempt, function, turn, remaining, key, arguments } = request;
    let arguments = arguments.into_bytes();
    let length = arguments.len() as u64;
    let header = RequestHeader { task, attempt, function, turn, remaining, length, key, resumes: false };
    let mut buffer = Vec::new();
    if wire::put_compact(&mut buffer, &header).is_ok() {
        let outgoing = &mut sending.outgoing;
        if outgoing.write_all(&buffer).await.is_ok() && outgoing.write_all(&arguments).await.is_ok() {
            let _ = outgoing.shutdown().await;
        }
    }
    sending
}

impl From<Finish> for Outcome {
    fn from(finish: Finish) -> Self {
        match finish {
            Finish::Complete => Self::Returned(Bytes::new().into()),
            Finish::Failed(error) => Self::Failed(error),
            Finish::Panicked(panic) => Self::Panicked(panic),
            Finish::Unencodable(reason) => Self::Unencodable(reason),
            Finish::Undecodable(reason) => Self::Undecodable(reason),
        }
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        if let Stage::Reading(incoming) = &mut self.stage {
            incoming.stop();
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.ended {
            self.outgoing.reset();
        }
    }
}

macro_rules! named {
    ($($type:ident)+) => {
        $(impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($type))
            }
        })+
    };
}

named!(Inflow Items Writer);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that come in one by one.
    struct Bytewise(std::vec::IntoIter<u8>);

    impl tokio::io::AsyncRead for Bytewise {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.0.by_ref().take(1).for_each(|it| buffer.put_slice(&[it]));
            Poll::Ready(Ok(()))
        }
    }

    impl Incoming for Bytewise {
        fn stop(&mut self) {}
    }

    fn read(bytes: Vec<u8>) -> (Vec<Piece>, Option<WireError>) {
        let mut items = Items::new(Box::new(Bytewise(bytes.into_iter())), 100);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut pieces = Vec::new();
        loop {
            match items.poll_next(&mut context) {
                Poll::Ready(Ok(end @ Piece::End(_))) => {
                    pieces.push(end);
                    return (pieces, None);
                }
                Poll::Ready(Ok(piece)) => pieces.push(piece),
                Poll::Ready(Err(error)) => return (pieces, Some(error)),
                Poll::Pending => panic!("memory is always ready"),
            }
        }
    }

    fn items(count: u8) -> Vec<u8> {
        let mut buffer = Vec::new();
        (0..count).for_each(|it| record::put(&mut buffer, &[it; 3]).expect("small"));
        buffer
    }

    #[test]
    fn what_came_before_is_there_whatever_comes_then() {
        let three: Vec<_> = (0..3).map(|it| Piece::Item(vec![it; 3].into())).collect();
        let limit = ITEM_LIMIT as u64;
        for (then, error) in [
            (&[][..], WireError::Truncated("its items")),
            (&[0, 0, 0, 3, 7], WireError::Truncated("its items")),
            (&[0xff, 0xff, 0xff, 0xfe], WireError::Body { what: "items", length: 0xffff_fffe, limit }),
            (&[0xff; 4], WireError::Truncated("an outcome")),
            (&[0xff; 8], WireError::Frame { length: u32::MAX.into() }),
        ] {
            let bytes = [items(3), then.to_vec()].concat();
            assert_eq!(read(bytes), (three.clone(), Some(error)), "{then:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_after_items_is_a_typed_error_and_never_a_panic(
            garbage in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let (pieces, _) = read([items(2), garbage.clone()].concat());
            prop_assert!(pieces.len() >= 2);
            let _ = read(garbage.clone());
            let _ = wire::decode::<InputHeader>(&garbage, "an input");
        }
    }
}
