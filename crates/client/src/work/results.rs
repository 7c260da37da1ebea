//! The results of a gather as they are there.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{Stream, StreamExt};
use skyward_runtime::link::Cork;

use super::crew::Crew;
use super::gather::Starts;
use super::window::Window;
use crate::Never;
use crate::engine::InPlace;
use crate::error::CallError;

/// A stream of the results of a [`Gather`](crate::Gather), as they are there, or in order if the gather
/// asked for it. An error is one item; the others go on.
///
/// It is lazy: calls are sent while it is polled, and a reader who stops reading stops more from being
/// sent. Dropping it cancels what is on its way.
#[must_use = "nothing is sent until this is read: `while let Some(result) = results.next().await`"]
pub struct Results<T, E = Never>(InPlace<Window<Starts<T, E>, Crew<T, E>>>)
where
    T: Send + 'static,
    E: Send + 'static;

/// The results of a gather with the places of their calls in it, from 0.
#[must_use = "nothing is sent until this is read: `while let Some((at, result)) = results.next().await`"]
pub struct Indexed<T, E = Never>(Results<T, E>)
where
    T: Send + 'static,
    E: Send + 'static;

impl<T: Send + 'static, E: Send + 'static> Results<T, E> {
    pub(super) const fn new(window: Window<Starts<T, E>, Crew<T, E>>) -> Self {
        Self(InPlace::new(window))
    }

    /// Gives each result with the place of its call in the gather.
    pub const fn indexed(self) -> Indexed<T, E> {
        Indexed(self)
    }

    /// The next result; `None` when there was one for every call. Nothing is lost when the future is
    /// dropped.
    pub async fn next(&mut self) -> Option<Result<T, CallError<E>>> {
        StreamExt::next(self).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<<Indexed<T, E> as Stream>::Item>> {
        // What is sent to fill the places of those that are given out leaves together.
        let _cork = Cork::hold();
        self.0.with(|it| it.poll_next_unpin(context)).unwrap_or(Poll::Ready(None))
    }
}

impl<T: Send + 'static, E: Send + 'static> Indexed<T, E> {
    /// The next place and result; `None` when there was one for every call. Nothing is lost when the
    /// future is dropped.
    pub async fn next(&mut self) -> Option<(usize, Result<T, CallError<E>>)> {
        StreamExt::next(self).await
    }
}

impl<T: Send + 'static, E: Send + 'static> Stream for Results<T, E> {
    type Item = Result<T, CallError<E>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(context).map(|it| it.map(|(_, result)| result))
    }
}

impl<T: Send + 'static, E: Send + 'static> Stream for Indexed<T, E> {
    type Item = (usize, Result<T, CallError<E>>);

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll(context)
    }
}

impl<T: Send + 'static, E: Send + 'static> fmt::Debug for Results<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Results")
    }
}

impl<T: Send + 'static, E: Send + 'static> fmt::Debug for Indexed<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Indexed")
    }
}
