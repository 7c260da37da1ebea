//! One of the two streams that a task's process writes to, read as lines.

use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skyward_runtime::model::OutputStream;
use tokio::net::unix::pipe::Receiver;

use super::tail::Tail;
use crate::output::Lines;

/// A stream and what has been read of it. It is read all the time, so that a task never waits for a
/// reader.
#[derive(Debug)]
pub(super) struct Tap {
    receiver: Receiver,
    lines: Mutex<Lines>,
    stream: OutputStream,
    tail: Arc<Tail>,
}

impl Tap {
    /// Reads this stream; its lines go to `tail`.
    pub(super) fn new(pipe: PipeReader, stream: OutputStream, tail: Arc<Tail>) -> io::Result<Arc<Self>> {
        let receiver = Receiver::from_owned_fd(OwnedFd::from(pipe))?;
        Ok(Arc::new(Self { receiver, lines: Mutex::default(), stream, tail }))
    }

    /// Reads until the stream ends.
    pub(super) async fn pump(self: Arc<Self>) {
        while self.receiver.readable().await.is_ok() {
            let mut lines = self.lines();
            let mut buffer = [0; PIECE];
            match self.receiver.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => self.take(&mut lines, buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Reads what has been written until now, and takes what there is of a line as one. Called when a task
    /// has ended, so that its last words are known before its outcome is.
    pub(super) fn settle(&self) {
        let mut lines = self.lines();
        let mut buffer = [0; PIECE];
        // Bounded, because something that the task has left behind may write without end.
        for _ in 0..MOST / PIECE {
            // Not by `try_read`, which only asks the system when it has been told of new bytes.
            match rustix::io::read(&self.receiver, &mut buffer) {
                Ok(count @ 1..) => self.take(&mut lines, buffer.get(..count).unwrap_or_default()),
                Ok(0) | Err(_) => break,
            }
        }
        lines.finish(|line| self.tail.push(self.stream, line));
    }

    fn take(&self, lines: &mut Lines, bytes: &[u8]) {
        lines.take(bytes, |line| self.tail.push(self.stream, line));
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that are read at once.
const PIECE: usize = 8 << 10;

/// Bytes that are read when a task has ended: more than a pipe holds.
const MOST: usize = 1 << 20;
