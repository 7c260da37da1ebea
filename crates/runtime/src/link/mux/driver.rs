//! Moves the bytes of one multiplexed connection, in both directions, and listens for its heartbeat:
//! neither TCP nor SSH says that the other side has frozen.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::io::poll_read_buf;

use super::frame::Frame;
use super::hearing::News;
use super::shared::Shared;
use crate::link::error::{Cause, LinkError, Side};
use crate::link::wire::WireError;
use crate::timing::Timing;

/// How many bytes are taken from the streams before they are written. What is taken can no longer be
/// overtaken by what is more urgent; less costs system calls.
const TAKEN: usize = 64 * 1024;

/// How many frames are written at once.
const SLICES: usize = 16;

/// How much room there is for what arrives: two frames.
const ROOM: usize = 32 * 1024;

/// How long the last words may take, once the connection is closed from our side.
const FAREWELL: Duration = Duration::from_secs(1);

/// One connection's driver.
struct Driver<S> {
    shared: Arc<Shared>,
    bytes: S,
    arrived: BytesMut,
    taken: VecDeque<Bytes>,
    is_unflushed: bool,
    has_spoken: bool,
    heartbeat: Interval,
    silence: Duration,
}

/// Drives a connection until it is over. Must be spawned.
pub(super) async fn drive<S>(shared: Arc<Shared>, bytes: S, timing: Timing)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let pause = timing.keep_alive().max(Duration::from_millis(1));
    let mut heartbeat = interval_at(Instant::now() + pause, pause);
    // After a pause of the whole process one heartbeat is enough.
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut driver = Driver {
        shared,
        bytes,
        arrived: BytesMut::with_capacity(ROOM),
        taken: VecDeque::new(),
        is_unflushed: false,
        has_spoken: false,
        heartbeat,
        silence: timing.idle(),
    };
    let ended = poll_fn(|cx| driver.poll(cx)).await;
    driver.shared.finish(ended, None);
    let _ = tokio::time::timeout(FAREWELL, driver.take_leave()).await;
    driver.shared.is_gone();
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    /// Resolves when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        self.shared.driver().register(cx.waker());
        loop {
            if let Some(over) = self.shared.over() {
                return Poll::Ready(over);
            }
            let moved = self.receive(cx).and_then(|received| Ok(self.send(cx)? || received));
            match moved {
                Ok(true) => continue,
                Ok(false) => {}
                Err(over) => return Poll::Ready(over),
            }
            if self.shared.is_for_one && self.shared.state().is_unused() {
                self.shared.close(Cause::Done, "the transfer is over");
                continue;
            }
            // Looked at after what has arrived: a process that was frozen itself blames nobody.
            if self.heartbeat.poll_tick(cx).is_pending() {
                return Poll::Pending;
            }
            if self.shared.silence() > self.silence {
                return Poll::Ready(LinkError::Silent);
            }
            if !std::mem::take(&mut self.has_spoken) {
                self.shared.state().ping();
            }
        }
    }

    /// Takes in what is there; whether there was anything.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkError> {
        if self.arrived.capacity() - self.arrived.len() < ROOM / 2 {
            self.arrived.reserve(ROOM);
        }
        match poll_read_buf(Pin::new(&mut self.bytes), cx, &mut self.arrived) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0)) => {
                return Err(LinkError::Broken {
                    reason: "the other side ended it without a word".to_owned(),
                });
            }
            Poll::Ready(Ok(_)) => self.shared.hear(),
            Poll::Ready(Err(error)) => return Err(broken(&error)),
        }
        while let Some(frame) = Frame::take(&mut self.arrived).map_err(|it| self.violated(it))? {
            // The lock is let go of before anything is said about an error.
            let news = self.shared.state().take_in(frame);
            match news.map_err(|it| self.violated(it))? {
                News::Nothing => {}
                News::Opened(stream) => self.shared.arrived(stream).map_err(|it| self.violated(it))?,
                News::Closed(cause, reason) => {
                    return Err(LinkError::Closed { by: Side::Peer, cause, reason });
                }
            }
        }
        Ok(true)
    }

    /// Sends what there is; whether any of it went out.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkError> {
        self.take();
        if self.taken.is_empty() {
            if self.is_unflushed
                && let Poll::Ready(flushed) = Pin::new(&mut self.bytes).poll_flush(cx)
            {
                flushed.map_err(|it| broken(&it))?;
                self.is_unflushed = false;
            }
            return Ok(false);
        }
        let written = {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, frame) in slices.iter_mut().zip(&self.taken) {
                *slice = IoSlice::new(frame);
            }
            let filled = slices.get(..self.taken.len().min(SLICES)).unwrap_or_default();
            Pin::new(&mut self.bytes).poll_write_vectored(cx, filled)
        };
        match written {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(broken(&io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => {
                self.forget(written);
                (self.has_spoken, self.is_unflushed) = (true, true);
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(broken(&error)),
        }
    }

    /// Takes frames from the streams, the most urgent first.
    fn take(&mut self) {
        let mut waiting: usize = self.taken.iter().map(Bytes::len).sum();
        if waiting >= TAKEN {
            return;
        }
        let mut state = self.shared.state();
        while waiting < TAKEN
            && let Some(frame) = state.next()
        {
            waiting += frame.len();
            self.taken.push_back(frame);
        }
    }

    /// Drops what has been written.
    fn forget(&mut self, mut written: usize) {
        while let Some(frame) = self.taken.front_mut() {
            if written < frame.len() {
                frame.advance(written);
                return;
            }
            written -= frame.len();
            self.taken.pop_front();
        }
    }

    /// Says the last words, if there are any.
    async fn take_leave(&mut self) -> io::Result<()> {
        self.take();
        for frame in std::mem::take(&mut self.taken) {
            self.bytes.write_all(&frame).await?;
        }
        self.bytes.flush().await?;
        self.bytes.shutdown().await
    }

    /// The other side broke the protocol, and is told so.
    fn violated(&self, error: WireError) -> LinkError {
        let told = Frame::Close(Cause::Protocol, error.to_string());
        let over = LinkError::Garbled(error);
        self.shared.finish(over.clone(), Some(told));
        over
    }
}

/// What an error of the bytes below means.
pub(super) fn broken(error: &io::Error) -> LinkError {
    let tls = error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(_)) => LinkError::Untrusted {
            reason: format!("the other side does not accept our certificate: {error}"),
        },
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            LinkError::Untrusted { reason: error.to_string() }
        }
        _ => LinkError::Broken { reason: error.to_string() },
    }
}
