//! The handles of one stream of a multiplexed connection.

use async_trait::async_trait;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::StreamId;
use super::shared::Shared;
use super::state::Broken;
use crate::link::transport::{Incoming, Outgoing, Stream};

struct MuxOutgoing {
    shared: Arc<Shared>,
    id: StreamId,
}

struct MuxIncoming {
    shared: Arc<Shared>,
    id: StreamId,
}

/// The handles of a stream that was just opened, by either side.
pub(super) fn stream(shared: &Arc<Shared>, id: StreamId) -> Stream {
    Stream {
        outgoing: Box::new(MuxOutgoing { shared: Arc::clone(shared), id }),
        incoming: Box::new(MuxIncoming { shared: Arc::clone(shared), id }),
    }
}

#[async_trait]
impl Outgoing for MuxOutgoing {
    fn reset(&mut self) {
        self.shared.state().reset(self.id);
        self.shared.wake();
    }

    fn prioritise(&mut self, priority: i32) {
        self.shared.state().prioritise(self.id, priority);
    }

    fn unwanted(&self) -> BoxFuture<'static, ()> {
        let (shared, id) = (Arc::clone(&self.shared), self.id);
        Box::pin(async move { poll_fn(|cx| shared.state().unwanted(id, cx)).await })
    }
}

impl AsyncWrite for MuxOutgoing {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.shared.state().write(self.id, bytes, cx));
        self.shared.wake();
        Poll::Ready(written.map_err(failed))
    }

    /// What is written goes out by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.state().end(self.id);
        self.shared.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for MuxOutgoing {
    fn drop(&mut self) {
        self.shared.state().let_go_sending(self.id);
        self.shared.wake();
    }
}

impl Incoming for MuxIncoming {
    fn stop(&mut self) {
        self.shared.state().stop(self.id);
        self.shared.wake();
    }
}

impl AsyncRead for MuxIncoming {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.state();
        let read = ready!(state.read(self.id, into, cx));
        let owes = state.owes();
        drop(state);
        // Credit is due rarely; the driver is not bothered for every message that is read.
        if owes {
            self.shared.wake();
        }
        Poll::Ready(read.map_err(failed))
    }
}

impl Drop for MuxIncoming {
    fn drop(&mut self) {
        self.shared.state().let_go_receiving(self.id);
        self.shared.wake();
    }
}

fn failed(error: Broken) -> io::Error {
    match error {
        Broken::GivenUp => {
            io::Error::new(io::ErrorKind::ConnectionReset, "the other side gave the stream up")
        }
        Broken::LetGo => io::Error::new(io::ErrorKind::NotConnected, "the stream was given up"),
        Broken::Over(reason) => io::Error::new(io::ErrorKind::ConnectionAborted, reason),
    }
}
