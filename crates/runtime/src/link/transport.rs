//! The seam between a link and what carries it: QUIC, or our own streams over one SSH channel. Nothing
//! above it can tell which.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::error::{Cause, LinkError};
use super::room::Rooms;
use crate::model::Carrier;

/// An authenticated connection that carries streams.
#[async_trait]
pub trait Transport: std::fmt::Debug + Send + Sync + 'static {
    /// Opens a stream. The other side learns of it with the first byte.
    async fn open(&self) -> Result<Stream, LinkError>;

    /// Opens a stream for this many bytes or more. A transport on which much data holds up other streams
    /// may carry it on a connection of its own; the stream behaves the same.
    async fn open_for(&self, bytes: u64) -> Result<Stream, LinkError> {
        let _ = bytes;
        self.open().await
    }

    /// What it runs over.
    fn carrier(&self) -> Carrier;

    /// Its streams of items, where it has a bound for what all streams have under way.
    fn rooms(&self) -> Option<&Arc<Rooms>> {
        None
    }

    /// The next stream that the other side opens.
    async fn accept(&self) -> Result<Stream, LinkError>;

    /// Resolves when the connection is over, with why. Both sides' streams fail then.
    async fn closed(&self) -> LinkError;

    /// Why the connection is over, when it is.
    fn over(&self) -> Option<LinkError>;

    /// How long there and back takes, as far as it is known.
    fn round_trip(&self) -> Option<Duration> {
        None
    }

    /// Ends the connection at once and tells the other side why.
    fn close(&self, cause: Cause, reason: &str);
}

/// One stream: what we send and what we receive.
pub struct Stream {
    /// Our half. `shutdown` ends it in good order.
    pub outgoing: Box<dyn Outgoing>,
    /// Their half.
    pub incoming: Box<dyn Incoming>,
}

/// The half of a stream that we write.
#[async_trait]
pub trait Outgoing: AsyncWrite + Send + Unpin {
    /// Gives the stream up: what was not delivered yet is dropped, and the reader fails.
    fn reset(&mut self);

    /// Streams with a higher number are sent first. The default is 0.
    fn prioritise(&mut self, priority: i32);

    /// Writes all of these bytes. A carrier that need not copy them does not.
    async fn write_bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        self.write_all(&bytes).await
    }

    /// Resolves when the reader gave the stream up, or the connection is over.
    fn unwanted(&self) -> BoxFuture<'static, ()>;
}

/// The half of a stream that we read.
pub trait Incoming: AsyncRead + Send + Unpin {
    /// Tells the writer that nothing more is wanted.
    fn stop(&mut self);
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}
