//! The items of a stream, as they are there.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::{SelectAll, Stream, StreamExt};

use super::flow::Flowing;
use crate::Never;
use crate::codec::Decoding;
use crate::engine::InPlace;
use crate::error::CallError;

/// The items that a function gives, as they are there: a stream of `Result<T, CallError<E>>`, of which an
/// error, the function's own or one of the ways in which running it can fail, is the last. What came
/// before an error is given out before it.
///
/// It is lazy: nothing is sent until it is polled. A reader who is behind gets many items at once; one who
/// stops reading stops the function, when as much is under way as the link carries for one stream (over
/// QUIC 16 MiB). Dropping it cancels: an async function at its next await, a plain one at its next item.
///
/// It can be polled on any runtime or none.
#[must_use = "nothing is sent until this is read: `while let Some(item) = items.next().await`"]
pub struct Items<T, E = Never> {
    flow: InPlace<Flowing>,
    refused: Option<CallError<E>>,
    decoding: Decoding<T, E>,
}

impl<T, E> Items<T, E> {
    pub(super) fn new(flow: Result<Flowing, CallError<E>>, decoding: Decoding<T, E>) -> Self {
        match flow {
            Ok(flow) => Self { flow: InPlace::new(flow), refused: None, decoding },
            Err(error) => Self { flow: InPlace::none(), refused: Some(error), decoding },
        }
    }

    /// The next item; `None` at the end. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<T, CallError<E>>> {
        StreamExt::next(self).await
    }

    /// All items, or the first error, which drops those before it.
    pub async fn collect(mut self) -> Result<Vec<T>, CallError<E>> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await {
            all.push(item?);
        }
        Ok(all)
    }
}

/// Neither the flow, which is `Unpin`, nor an error is ever pinned.
impl<T, E> Unpin for Items<T, E> {}

impl<T, E> Stream for Items<T, E> {
    type Item = Result<T, CallError<E>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(error) = this.refused.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(polled) = this.flow.with(|it| it.poll_next_unpin(context)) else { return Poll::Ready(None) };
        let error = match ready!(polled) {
            None => {
                this.flow.empty();
                return Poll::Ready(None);
            }
            Some(Ok(bytes)) => match this.decoding.value(&bytes) {
                Ok(item) => return Poll::Ready(Some(Ok(item))),
                Err(reason) => CallError::Undecodable(reason),
            },
            Some(Err(undone)) => CallError::new(undone, this.decoding),
        };
        this.flow.empty();
        Poll::Ready(Some(Err(error)))
    }
}

impl<T, E> fmt::Debug for Items<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Items")
    }
}

/// The items of every node that was ready: what awaiting `call * &compute` gives.
///
/// It is a stream of each item with the rank of its node, as they are there, in which an error of one node
/// is one item and the others go on; or, by `into_iter`, the [`Items`] of each node by itself, in rank
/// order. A function runs from when its node's items are first polled, and holds a slot there until they
/// end or are dropped.
#[must_use = "nothing is sent until this is read: `while let Some((rank, item)) = streams.next().await`"]
pub struct Streams<T, E = Never>(SelectAll<Ranked<T, E>>);

struct Ranked<T, E> {
    rank: u32,
    items: Items<T, E>,
}

impl<T, E> Streams<T, E> {
    pub(super) fn new(all: Vec<(u32, Items<T, E>)>) -> Self {
        Self(all.into_iter().map(|(rank, items)| Ranked { rank, items }).collect())
    }

    /// How many nodes have not ended.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all nodes have ended.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next item of any node, with the node's rank; `None` when all have ended. Nothing is lost when
    /// the future is dropped.
    pub async fn next(&mut self) -> Option<(u32, Result<T, CallError<E>>)> {
        StreamExt::next(self).await
    }
}

impl<T, E> Stream for Ranked<T, E> {
    type Item = (u32, Result<T, CallError<E>>);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let rank = self.rank;
        self.items.poll_next_unpin(context).map(|it| it.map(|item| (rank, item)))
    }
}

impl<T, E> Stream for Streams<T, E> {
    type Item = (u32, Result<T, CallError<E>>);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl<T, E> IntoIterator for Streams<T, E> {
    type Item = Items<T, E>;
    type IntoIter = std::vec::IntoIter<Items<T, E>>;

    fn into_iter(self) -> Self::IntoIter {
        let by_rank: BTreeMap<u32, Items<T, E>> = self.0.into_iter().map(|it| (it.rank, it.items)).collect();
        by_rank.into_values().collect::<Vec<_>>().into_iter()
    }
}

impl<T, E> fmt::Debug for Streams<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Streams({} nodes)", self.len())
    }
}
