//! The TCP stream under a session. The SSH library does not read while it writes, so two peers that
//! send much at once would each wait for the other to read, for ever. This stream reads ahead whenever
//! a write has to wait; the channels' windows bound how much that can be. Nor does the library look at its
//! keep-alives while it writes, so a peer that stands still in an upload is noticed here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream that keeps reading while it cannot write.
pub(super) struct Transport<S> {
    inner: S,
    ahead: BytesMut,
    /// How long the peer may take nothing at all.
    patience: Duration,
    /// Since it last took something, while there is more for it.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    pub(super) fn new(inner: S, patience: Duration) -> Self {
        Self { inner, ahead: BytesMut::new(), patience, stalled: None }
    }

    /// A write has to wait: for how long may be over.
    fn stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| {
            let words = format!("the machine took nothing of what was sent to it for {patience:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, words))
        })
    }

    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        while self.ahead.len() < READ_AHEAD {
            let mut chunk = [0; 16 * 1024];
            let mut buffer = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.ahead.extend_from_slice(buffer.filled());
                }
                // An end or an error is met again by the next ordinary read.
                Poll::Ready(_) | Poll::Pending => return,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buffer);
        }
        let length = self.ahead.len().min(buffer.remaining());
        if let Some(part) = self.ahead.get(..length) {
            buffer.put_slice(part);
        }
        self.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if written.is_pending() {
            self.read_ahead(cx);
            return self.stall(cx);
        }
        self.stalled = None;
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// How much is read ahead at most. It must exceed what a peer may send unasked, which is the window of
/// one busy channel or two; less brings the dead end back, more costs memory when a peer misbehaves.
const READ_AHEAD: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_more_ends_the_stream_and_a_slow_one_does_not() {
        let patience = Duration::from_millis(800);
        let (ours, mut theirs) = duplex(1024);
        let mut ours = Transport::new(ours, patience);
        let taking = async {
            let mut chunk = [0; 512];
            for _ in 0..4 {
                tokio::time::sleep(patience / 4).await;
                theirs.read_exact(&mut chunk).await.unwrap();
            }
        };
        let (sent, ()) = tokio::join!(ours.write_all(&[7; 3 * 1024]), taking);
        sent.unwrap();
        let error = ours.write_all(&[7; 3 * 1024]).await.unwrap_err();
        assert!(error.to_string().contains("took nothing"), "{error}");
    }

    #[tokio::test]
    async fn two_peers_that_only_write_at_first_do_not_wait_for_each_other() {
        let (ours, mut theirs) = duplex(1024);
        let mut ours = Transport::new(ours, Duration::from_secs(60));
        let message = vec![7; 1024 * 1024];
        let both = async {
            let (sent, received) = tokio::join!(
                async {
                    ours.write_all(&message).await.unwrap();
                    let mut back = vec![0; message.len()];
                    ours.read_exact(&mut back).await.unwrap();
                    back
                },
                async {
                    theirs.write_all(&message).await.unwrap();
                    let mut back = vec![0; message.len()];
                    theirs.read_exact(&mut back).await.unwrap();
                    back
                }
            );
            assert!(sent == message && received == message);
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), both).await.unwrap();
    }
}
