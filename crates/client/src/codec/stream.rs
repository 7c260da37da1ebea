//! How items become bytes, one by one: on a node those that a function gives, at the caller those that it
//! takes. Used by the expansion of `#[skyward::function]`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use skyward_runtime::registry::{BoxSource, Ending, Outlet, Put, Source};

use super::{ADVICE, Codec, Outcome};

/// A function that gives a stream of `R`, or one value.
struct Given<S, R, T, E> {
    items: Pin<Box<S>>,
    outcome: Outcome<R, T, E>,
}

/// A stream that a function takes.
struct Taken<S, T> {
    items: Pin<Box<S>>,
    codec: Codec<T>,
}

impl<R: 'static, T: 'static, E: 'static> Outcome<R, T, E> {
    /// The items of a function that gives a stream. An error of its own is the end.
    pub fn source(self, items: impl Stream<Item = R> + Send + 'static) -> BoxSource {
        Box::new(Given { items: Box::pin(items), outcome: self })
    }

    /// Has a plain function give its items, for as long as they are wanted.
    pub fn drain(&self, items: impl IntoIterator<Item = R>, outlet: &mut dyn Outlet) -> Ending {
        let mut buffer = Vec::new();
        for item in items {
            buffer.clear();
            match self.put(item, &mut buffer) {
                Put::Item if outlet.give(&buffer) => {}
                // Nobody reads how it ended.
                Put::Item => return Ending::Complete,
                Put::End(ending) => return ending,
            }
        }
        Ending::Complete
    }

    fn put(&self, item: R, buffer: &mut Vec<u8>) -> Put {
        let at = buffer.len();
        match (self.split)(item) {
            Ok(value) => match (self.value.encode)(&value, buffer) {
                Ok(()) => Put::Item,
                Err(reason) => Put::End(Ending::Unencodable(format!("an item: {reason}; {ADVICE}"))),
            },
            Err(error) => Put::End(match (self.error.encode)(&error, buffer) {
                Ok(()) => Ending::Failed(Bytes::from(buffer.split_off(at))),
                Err(reason) => Ending::Unencodable(format!("the error: {reason}; {ADVICE}")),
            }),
        }
    }
}

impl<S: Stream<Item = R> + Send, R: 'static, T: 'static, E: 'static> Source for Given<S, R, T, E> {
    fn poll_put(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<Put> {
        let item = ready!(self.items.as_mut().poll_next(context));
        Poll::Ready(item.map_or(Put::End(Ending::Complete), |it| self.outcome.put(it, buffer)))
    }
}

/// A stream that a call takes, on its caller's side.
pub(crate) fn taken<T: 'static>(items: impl Stream<Item = T> + Send + 'static, codec: Codec<T>) -> BoxSource {
    Box::new(Taken { items: Box::pin(items), codec })
}

impl<S: Stream<Item = T> + Send, T> Source for Taken<S, T> {
    fn poll_put(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<Put> {
        let item = ready!(self.items.as_mut().poll_next(context));
        Poll::Ready(match item.map(|it| (self.codec.encode)(&it, buffer)) {
            Some(Ok(())) => Put::Item,
            Some(Err(reason)) => Put::End(Ending::Unencodable(format!(
                "an item of a stream that it takes: {reason}; {ADVICE}"
            ))),
            None => Put::End(Ending::Complete),
        })
    }
}
