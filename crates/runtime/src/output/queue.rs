//! Lines that wait to be read, within bounds.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::{Line, OutputStream, Rank};

/// Lines that wait to be read. Whoever writes never waits.
#[derive(Debug, Default)]
pub struct Queue {
    held: Mutex<Held>,
    change: Notify,
}

#[derive(Debug, Default)]
struct Held {
    lines: VecDeque<Line>,
    bytes: usize,
    /// How many lines had to make room, by node. They were older than what is held.
    missed: BTreeMap<Rank, u64>,
    /// How many lines ever came.
    came: u64,
    closed: bool,
}

/// Some lines, and how many had come when they were taken, counted from the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) lines: Vec<Line>,
    pub(super) until: u64,
}

impl Queue {
    /// The most lines that wait. A reader that looks a few times a second keeps up with ten thousand lines
    /// a second.
    pub const LINES: usize = 8192;

    /// The most bytes of them.
    pub const BYTES: usize = 4 << 20;

    /// Adds a line; the oldest make room for it.
    pub fn push(&self, line: Line) {
        let mut held = self.held();
        held.push(line);
        drop(held);
        self.change.notify_waiters();
    }

    /// Says that no more lines come.
    pub fn close(&self) {
        self.held().closed = true;
        self.change.notify_waiters();
    }

    /// The next line; `None` when there are no more and none will come. Nothing is lost when the future is
    /// dropped.
    pub async fn next(&self) -> Option<Line> {
        self.wait(Held::pop).await
    }

    /// These lines were taken, and may not have arrived. For a worker's queue, which does not say of which
    /// node it is: its client knows.
    pub(super) fn lost(&self, lines: u64) {
        let mut held = self.held();
        let missed = held.missed.entry(Rank::default()).or_default();
        *missed = missed.saturating_add(lines);
    }

    /// How many lines ever came.
    pub(super) fn came(&self) -> u64 {
        self.held().came
    }

    /// The next lines that fit into one frame; `None` when there are no more and none will come.
    pub(super) async fn batch(&self) -> Option<Batch> {
        self.wait(Held::batch).await
    }

    async fn wait<T>(&self, take: impl Fn(&mut Held) -> Option<T>) -> Option<T> {
        loop {
            let mut change = pin!(self.change.notified());
            // From here on a change is not overlooked.
            change.as_mut().enable();
            {
                let mut held = self.held();
                let taken = take(&mut held);
                if taken.is_some() || held.closed {
                    return taken;
                }
            }
            change.await;
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn push(&mut self, line: Line) {
        if self.closed {
            return;
        }
        self.came = self.came.wrapping_add(1);
        self.bytes += weight(&line);
        self.lines.push_back(line);
        while self.lines.len() > Queue::LINES || self.bytes > Queue::BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(weight(&oldest));
            let missed = self.missed.entry(oldest.node).or_default();
            *missed = missed.saturating_add(match oldest.stream {
                OutputStream::Missed(lines) => lines,
                OutputStream::Stdout | OutputStream::Stderr | OutputStream::Log => 1,
            });
        }
    }

    fn pop(&mut self) -> Option<Line> {
        if let Some((node, lines)) = self.missed.pop_first() {
            return Some(Line::missed(node, lines));
        }
        let line = self.lines.pop_front()?;
        self.bytes = self.bytes.saturating_sub(weight(&line));
        Some(line)
    }

    fn batch(&mut self) -> Option<Batch> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH {
            let Some(line) = self.pop() else { break };
            bytes += weight(&line);
            lines.push(line);
        }
        (!lines.is_empty()).then(|| Batch { lines, until: self.came - self.lines.len() as u64 })
    }
}

/// What a line costs in memory, and at most on the wire.
fn weight(line: &Line) -> usize {
    line.text.len() + 96
}

/// Bytes of a batch to which no line is added: with the longest line (8 KiB of what is no UTF-8, which
/// becomes three times as long) it fits into a frame.
const BATCH: usize = 24 << 10;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn line(node: u32, text: impl Into<String>) -> Line {
        Line { node: Rank(node), task: None, stream: OutputStream::Stdout, text: text.into() }
    }

    fn read(queue: &Queue) -> Vec<Line> {
        std::iter::from_fn(|| queue.next().now_or_never().flatten()).collect()
    }

    #[test]
    fn lines_come_out_in_order_and_the_end_after_them() {
        let queue = Queue::default();
        ["a", "b"].iter().for_each(|it| queue.push(line(1, *it)));
        assert_eq!(read(&queue), ["a", "b"].map(|it| line(1, it)));
        assert_eq!(queue.next().now_or_never(), None);
        queue.push(line(1, "c"));
        queue.close();
        queue.push(line(1, "too late"));
        assert_eq!(queue.next().now_or_never(), Some(Some(line(1, "c"))));
        assert_eq!(queue.next().now_or_never(), Some(None));
    }

    #[test]
    fn what_has_to_make_room_is_counted_by_node_and_said_where_it_is_missing() {
        let queue = Queue::default();
        queue.push(line(0, "x"));
        queue.push(Line::missed(Rank(1), 40));
        (0..Queue::LINES + 2).for_each(|it| queue.push(line(1, it.to_string())));
        let seen = read(&queue);
        assert_eq!(seen[..2], [Line::missed(Rank(0), 1), Line::missed(Rank(1), 42)]);
        assert_eq!((seen.len(), seen[2].text.as_str()), (Queue::LINES + 2, "2"));
        (0..3).for_each(|_| queue.push(line(1, "x".repeat(Queue::BYTES / 2))));
        assert_eq!(read(&queue).len(), 2);
    }

    #[test]
    fn a_batch_fits_into_a_frame_and_knows_how_far_it_goes() {
        let queue = Queue::default();
        (0..10).for_each(|_| queue.push(line(0, "\u{fffd}".repeat(8 << 10))));
        (0..2000).for_each(|_| queue.push(line(0, "")));
        let mut count = 0;
        while let Some(Some(batch)) = queue.batch().now_or_never() {
            count += batch.lines.len() as u64;
            assert_eq!(batch.until, count);
            let frame = rmp_serde::to_vec_named(&batch.lines).unwrap();
            assert!(frame.len() <= crate::link::FRAME_LIMIT, "{}", frame.len());
        }
        assert_eq!(count, 2010);
    }
}
