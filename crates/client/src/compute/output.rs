//! What runs on a pool's nodes writes, as a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use skyward_runtime::model::Line;
use skyward_runtime::output::Reader;

/// The lines that functions on a pool's nodes write, from [`Compute::output`](crate::Compute::output); it
/// ends with the pool. Lines of one node come in the order in which they were written to one stream.
///
/// Nothing waits for a slow reader: the newest lines are kept, up to 8192 of them or 4 MiB, here and on each
/// node, and a line of [`OutputStream::Missed`](crate::OutputStream::Missed) stands where others are missing.
pub struct Output(BoxStream<'static, Line>);

impl Output {
    pub(crate) fn new(reader: Reader) -> Self {
        Self(stream::unfold(reader, |it| async { it.next().await.map(|line| (line, it)) }).boxed())
    }

    /// The next line; `None` when the pool has ended. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Line> {
        self.0.next().await
    }
}

impl Stream for Output {
    type Item = Line;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Line>> {
        self.0.poll_next_unpin(context)
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output")
    }
}
