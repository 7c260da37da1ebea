//! What waits to be written on a lane. Whoever has a frame puts it here; what is there when the writer comes
//! round leaves in one write. Both halves of a lane use it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::cork;
use super::transport::Outgoing;

/// Memory that a burst has taken is kept for the next one up to here.
const KEPT: usize = 256 * 1024;

/// So many bytes leave although more are about to be put in: some eighty small calls, by which the other side has
/// something to do while the rest is put in.
const ENOUGH: usize = 4 * 1024;

/// The frames that wait, and the stream they leave by.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Arc<Notify>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The writer was told of them, and has not come yet. One whose waking a cork holds back was not told: who puts in
    /// more without a cork tells it.
    is_told: bool,
    /// Away while the writer writes, and until the lane is open.
    stream: Option<Box<dyn Outgoing>>,
}

impl Outbox {
    /// Puts in a frame. When nothing else waits and `at_once` is wished, it is written here and now, which
    /// spares it the way over another task; a busy lane gathers frames instead, and behind a
    /// [`Cork`](super::Cork) it gathers all that the poll puts in.
    pub fn put<T>(&self, at_once: bool, frame: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut waiting = self.waiting();
        let was_empty = waiting.bytes.is_empty();
        let put = frame(&mut waiting.bytes);
        if at_once && was_empty && waiting.write_now() {
            return put;
        }
        let tells = !waiting.is_told && (waiting.bytes.len() >= ENOUGH || !cork::holds(&self.filled));
        waiting.is_told |= tells;
        drop(waiting);
        if tells {
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
            self.is_told = false;
            return None;
        }
        let stream = self.stream.take()?;
        self.is_told = false;
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::cork::{Cork, corked};
    use super::*;

    /// Whether the writer of an outbox has been woken since the last time.
    fn is_woken(outbox: &Outbox) -> bool {
        outbox.filled.notified().now_or_never().is_some()
    }

    fn put(outbox: &Outbox, bytes: usize) {
        outbox.put(false, |buffer| buffer.resize(buffer.len() + bytes, 7));
    }

    #[test]
    fn a_writer_is_woken_once_for_what_comes_before_it_is_there() {
        let outbox = Outbox::default();
        put(&outbox, 1);
        assert!(is_woken(&outbox));
        put(&outbox, 1);
        assert!(!is_woken(&outbox));
    }

    #[test]
    fn behind_a_cork_a_writer_is_woken_when_it_is_drawn() {
        let (one, other) = (Outbox::default(), Outbox::default());
        let cork = Cork::hold();
        put(&one, 1);
        put(&other, 1);
        drop(Cork::hold());
        assert!(!is_woken(&one) && !is_woken(&other), "the inner one holds nothing");
        drop(cork);
        assert!(is_woken(&one) && is_woken(&other));
        put(&Outbox::default(), 1);
        drop(Cork::hold());
        assert!(!is_woken(&one));
    }

    #[test]
    fn behind_a_cork_enough_for_a_write_leaves_at_once() {
        let outbox = Outbox::default();
        let _cork = Cork::hold();
        put(&outbox, ENOUGH - 1);
        assert!(!is_woken(&outbox));
        put(&outbox, 1);
        assert!(is_woken(&outbox));
        put(&outbox, ENOUGH);
        assert!(!is_woken(&outbox), "the writer knows of it");
    }

    #[test]
    fn what_others_put_in_does_not_wait_for_a_cork_that_is_held_for_long() {
        let outbox = Outbox::default();
        let cork = Cork::hold();
        put(&outbox, 1);
        std::thread::scope(|it| it.spawn(|| put(&outbox, 1)).join().expect("put"));
        assert!(is_woken(&outbox));
        // The writer knows of it, and has not come yet.
        std::thread::scope(|it| it.spawn(|| put(&outbox, 1)).join().expect("put"));
        assert!(!is_woken(&outbox));
        assert!(outbox.waiting().take().is_none(), "it has no stream yet");
        drop(cork);
        assert!(is_woken(&outbox));
    }

    #[tokio::test]
    async fn what_a_future_puts_in_leaves_when_it_waits() {
        let outbox = Outbox::default();
        let future = corked(async {
            put(&outbox, 1);
            assert!(!is_woken(&outbox));
            tokio::task::yield_now().await;
            assert!(is_woken(&outbox));
        });
        future.await;
    }
}
