//! What waits to be written on a lane. Whoever has a frame puts it here; what is there when the writer comes
//! round leaves in one write. Both halves of a lane use it.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::transport::Outgoing;

/// Memory that a burst has taken is kept for the next one up to here.
const KEPT: usize = 256 * 1024;

/// The frames that wait, and the stream they leave by.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Away while the writer writes, and until the lane is open.
    stream: Option<Box<dyn Outgoing>>,
}

impl Outbox {
    /// Puts in a frame. When nothing else waits and `at_once` is wished, it is written here and now, which
    /// spares it the way over another task; a busy lane gathers frames instead.
    pub fn put<T>(&self, at_once: bool, frame: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut waiting = self.waiting();
        let was_empty = waiting.bytes.is_empty();
        let put = frame(&mut waiting.bytes);
        let left = !(at_once && was_empty && waiting.write_now());
        drop(waiting);
        if left && was_empty {
            self.filled.notify_one();
        }
        put
    }

    /// Gives the outbox the stream that frames leave by.
    pub fn open(&self, stream: Box<dyn Outgoing>) {
        self.waiting().stream = Some(stream);
        self.filled.notify_one();
    }

    /// Writes what is put in, until the stream fails. Returns why it did.
    pub async fn write(&self) -> std::io::Error {
        loop {
            self.filled.notified().await;
            // Who is about to put in more gets the chance to.
            tokio::task::yield_now().await;
            let Some((mut bytes, mut stream)) = self.waiting().take() else { continue };
            let written = async {
                stream.write_all(&bytes).await?;
                stream.flush().await
            };
            if let Err(error) = written.await {
                return error;
            }
            bytes.clear();
            let mut waiting = self.waiting();
            waiting.stream = Some(stream);
            if waiting.bytes.is_empty() {
                if bytes.capacity() <= KEPT {
                    waiting.bytes = bytes;
                }
            } else {
                drop(waiting);
                self.filled.notify_one();
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self) -> Option<(Vec<u8>, Box<dyn Outgoing>)> {
        if self.bytes.is_empty() {
            return None;
        }
        let stream = self.stream.take()?;
        Some((std::mem::take(&mut self.bytes), stream))
    }

    /// Writes what can be written without waiting. Returns whether that was everything. A failure is found
    /// again by the writer, who says so.
    fn write_now(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut context = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut **stream).poll_write(&mut context, &self.bytes);
        let Poll::Ready(Ok(written)) = written else { return false };
        self.bytes.drain(..written.min(self.bytes.len()));
        self.bytes.is_empty()
            && matches!(Pin::new(&mut **stream).poll_flush(&mut context), Poll::Ready(Ok(())))
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbox")
    }
}
