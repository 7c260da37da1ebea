//! Keeps a fast client from filling the machine's memory. The SSH library tells a client to go on as
//! soon as bytes have arrived, wherever they wait then; so the connection is not read while too much
//! waits for the machine's processes. It is read on, up to a harder limit, while output waits for the
//! client: what lets the output go on may be next in the connection.
//!
//! ```text
//! connection --Braked--> SSH library --arrived--> queue of a channel --taken--> process
//! ```

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use russh::ChannelId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The brake of one connection.
#[derive(Default)]
pub(super) struct Brake {
    waiting: AtomicI64,
    starved: AtomicUsize,
    reader: AtomicWaker,
}

/// What waits on one channel. When it is dropped nothing of it waits any more.
pub(super) struct Load {
    brake: Arc<Brake>,
    waiting: AtomicI64,
}

/// The loads of a connection's channels.
pub(super) struct Loads {
    brake: Arc<Brake>,
    channels: BTreeMap<ChannelId, Weak<Load>>,
}

/// A connection with a brake.
pub(super) struct Braked<S> {
    inner: S,
    brake: Arc<Brake>,
}

impl Brake {
    fn holds(&self) -> bool {
        let most = if self.starved.load(Ordering::SeqCst) > 0 { HARD } else { SOFT };
        self.waiting.load(Ordering::SeqCst) > most
    }

    fn add(&self, bytes: i64) {
        self.waiting.fetch_add(bytes, Ordering::SeqCst);
        if bytes < 0 {
            self.reader.wake();
        }
    }
}

impl Load {
    /// Bytes have been taken.
    pub(super) fn taken(&self, bytes: usize) {
        self.add(-count(bytes));
    }

    /// Waits for output to be on its way.
    pub(super) async fn send<T>(&self, output: impl Future<Output = T>) -> T {
        let _starved = Starved::new(&self.brake);
        output.await
    }

    fn add(&self, bytes: i64) {
        self.waiting.fetch_add(bytes, Ordering::SeqCst);
        self.brake.add(bytes);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.brake.add(-self.waiting.load(Ordering::SeqCst));
    }
}

impl Loads {
    pub(super) fn new(brake: Arc<Brake>) -> Self {
        Self { brake, channels: BTreeMap::new() }
    }

    /// The load of a channel that is about to be used.
    pub(super) fn channel(&mut self, id: ChannelId) -> Arc<Load> {
        let load = Arc::new(Load { brake: Arc::clone(&self.brake), waiting: AtomicI64::new(0) });
        self.channels.insert(id, Arc::downgrade(&load));
        load
    }

    /// Bytes have arrived for a channel. When nobody takes them any more they are dropped and do not
    /// count.
    pub(super) fn arrived(&self, id: ChannelId, bytes: usize) {
        if let Some(load) = self.channels.get(&id).and_then(Weak::upgrade) {
            load.add(count(bytes));
        }
    }

    /// A channel is closed.
    pub(super) fn closed(&mut self, id: ChannelId) {
        self.channels.remove(&id);
    }
}

impl<S> Braked<S> {
    pub(super) fn new(inner: S, brake: Arc<Brake>) -> Self {
        Self { inner, brake }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Braked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.brake.holds() {
            self.brake.reader.register(cx.waker());
            // It may have been released since the first look, with nobody to wake.
            if self.brake.holds() {
                return Poll::Pending;
            }
        }
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Braked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Counts an output that waits, while it waits.
struct Starved<'a>(&'a Brake);

impl<'a> Starved<'a> {
    fn new(brake: &'a Brake) -> Self {
        brake.starved.fetch_add(1, Ordering::SeqCst);
        brake.reader.wake();
        Self(brake)
    }
}

impl Drop for Starved<'_> {
    fn drop(&mut self) {
        self.0.starved.fetch_sub(1, Ordering::SeqCst);
    }
}

fn count(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How many bytes may wait for the processes of one connection. Less stops an upload for every pause of
/// the disk, more is memory.
const SOFT: i64 = 8 * 1024 * 1024;

/// How many may wait while output waits too. It must exceed what a client sends before it hears that
/// it may go on, or both sides wait for ever.
const HARD: i64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_brake_holds_for_what_waits_and_lets_go_when_it_is_taken_dropped_or_output_starves() {
        let brake = Arc::new(Brake::default());
        let load = Load { brake: Arc::clone(&brake), waiting: AtomicI64::new(0) };
        load.add(SOFT + 1);
        assert!(brake.holds());
        load.taken(1);
        assert!(!brake.holds());
        load.add(1);
        load.send(async { assert!(!brake.holds()) }).await;
        assert!(brake.holds());
        load.add(HARD);
        load.send(async { assert!(brake.holds()) }).await;
        drop(load);
        assert!(!brake.holds());
    }
}
