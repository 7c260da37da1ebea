//! Calls that take streams.

use std::fmt;
use std::ops::Shr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use skyward_runtime::registry::BoxSource;

use super::operators::Destination;
use super::stream_work::sealed as stream_sealed;
use super::{Call, Dispatch, Items, Route, StreamCall, sealed};
use crate::error::CallError;

/// A call with [`Streaming`](crate::Streaming) arguments: what a `#[skyward::function]` that takes some
/// gives when it is called, around the [`Call`] or [`StreamCall`] that it otherwise were.
///
/// Its streams can be read once, so it cannot be cloned, sent to every node (`*` does not compile) or
/// gathered, and it is tried again only as long as nothing of them has been asked for. Its items go to the
/// node as they are made, from the moment that a node has the call.
#[must_use = "a call does nothing until it is sent: `call >> &compute`"]
pub struct Fed<C> {
    call: C,
    inputs: Vec<BoxSource>,
}

/// Makes one; what the expansion of `#[skyward::function]` ends in.
pub fn fed<C>(call: C, inputs: Vec<BoxSource>) -> Fed<C> {
    Fed { call, inputs }
}

macro_rules! settings {
    ($call:ident) => {
        impl<T, E> Fed<$call<T, E>> {
            /// Gives up after this long.
            #[doc = concat!("See [`", stringify!($call), "::timeout`].")]
            pub fn timeout(mut self, after: Duration) -> Self {
                self.call = self.call.timeout(after);
                self
            }

            /// Never runs the call a second time, not even when its node is lost before anything of its
            /// streams has been asked for.
            pub fn once(mut self) -> Self {
                self.call = self.call.once();
                self
            }

            /// The function's path, such as `my_crate::mean`.
            pub const fn name(&self) -> &'static str {
                self.call.name()
            }
        }
    };
}

settings!(Call);
settings!(StreamCall);

impl<T, E> Fed<StreamCall<T, E>> {
    /// Gives up when the reader has waited for an item for this long. See [`StreamCall::idle`].
    pub fn idle(mut self, after: Duration) -> Self {
        self.call = self.call.idle(after);
        self
    }
}

impl<T, E> Fed<Call<T, E>> {
    pub(super) fn at_most(mut self, most: Option<Duration>) -> Self {
        self.call = self.call.at_most(most);
        self
    }
}

impl<T: Send + 'static, E: Send + 'static> Fed<Call<T, E>> {
    /// Runs the call in this process; see [`Call::local`].
    pub fn local(self) -> Dispatch<Self> {
        Dispatch::new(self, Route::Here)
    }
}

impl<T: Send + 'static, E: Send + 'static> Fed<StreamCall<T, E>> {
    /// Runs the call in this process; see [`StreamCall::local`].
    pub fn local(self) -> Items<T, E> {
        stream_sealed::Start::start(self, &Route::Here)
    }
}

impl<T: Send + 'static, E: Send + 'static> sealed::Start for Fed<Call<T, E>> {
    type Output = Result<T, CallError<E>>;
    type Future = OnlyItem<T, E>;

    fn start(self, route: &Route) -> Self::Future {
        let decoding = self.call.decoding();
        let flow = self.call.order().map(|it| route.flow(it, None, self.inputs));
        OnlyItem { items: Items::new(flow, decoding), value: None }
    }
}

impl<T: Send + 'static, E: Send + 'static> stream_sealed::Start for Fed<StreamCall<T, E>> {
    type Stream = Items<T, E>;

    fn start(self, route: &Route) -> Self::Stream {
        self.call.flow(route, self.inputs)
    }
}

impl<To: Destination, T: Send + 'static, E: Send + 'static> Shr<To> for Fed<StreamCall<T, E>> {
    type Output = Items<T, E>;

    fn shr(self, to: To) -> Self::Output {
        stream_sealed::Start::start(self, &to.to_route())
    }
}

/// The value of a call that takes streams, which travels as the one item of a stream.
pub struct OnlyItem<T, E> {
    items: Items<T, E>,
    value: Option<T>,
}

/// The items are `Unpin`, and the value is never pinned.
impl<T, E> Unpin for OnlyItem<T, E> {}

impl<T, E> Future for OnlyItem<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match ready!(this.items.poll_next_unpin(context)) {
                // The end follows, which frees the slot.
                Some(Ok(value)) => this.value = Some(value),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    let none = || CallError::Undecodable("there is no value".to_owned());
                    return Poll::Ready(this.value.take().ok_or_else(none));
                }
            }
        }
    }
}

impl<C: fmt::Debug> fmt::Debug for Fed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} with {} streams", self.call, self.inputs.len())
    }
}
