//! One function that gives a stream, with its arguments, as a value.

use std::fmt;
use std::ops::{Mul, Shr};
use std::time::Duration;

use futures_util::future::BoxFuture;
use skyward_runtime::registry::{BoxSource, Function};

use super::operators::Destination;
use super::stream_work::sealed as stream_sealed;
use super::{Call, Dispatch, Items, Route, Streams, call, sealed};
use crate::Never;
use crate::codec::{Decoding, Encoded};
use crate::compute::Compute;
use crate::error::CallError;

/// What a `#[skyward::function]` that returns `impl Stream` (or, a plain one, `impl Iterator`) gives when
/// it is called. Like a [`Call`] it is a value, and nothing has run: `call >> &compute` gives the
/// [`Items`], `call * &compute` those of every node.
///
/// A call is tried again after its node was lost only as long as no item was there; after that, what came
/// before is given out and then [`CallError::Lost`], because another try would repeat items.
///
/// ```
/// use futures_util::Stream;
///
/// #[skyward::function]
/// fn squares(below: u64) -> impl Stream<Item = u64> {
///     futures_util::stream::iter((0..below).map(|n| n * n))
/// }
///
/// /// A plain function runs on a thread of its own, which waits while the reader is behind.
/// #[skyward::function]
/// fn countdown(from: u32) -> impl Iterator<Item = u32> {
///     (0..=from).rev()
/// }
///
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     let mut items = squares(4).local();
///     let mut got = Vec::new();
///     while let Some(item) = items.next().await {
///         got.push(item?);
///     }
///     assert_eq!(got, [0, 1, 4, 9]);
///     assert_eq!(countdown(2).local().collect().await?, [2, 1, 0]);
///     Ok(())
/// }
/// ```
#[must_use = "a call does nothing until it is sent: `call >> &compute`"]
pub struct StreamCall<T, E = Never> {
    call: Call<T, E>,
    idle: Option<Duration>,
}

/// Makes one; what the expansion of `#[skyward::function]` ends in.
pub fn stream_call<T, E>(
    function: &'static Function,
    arguments: Result<Encoded, String>,
    decoding: Decoding<T, E>,
) -> StreamCall<T, E> {
    StreamCall { call: call(function, arguments, decoding), idle: None }
}

impl<T, E> StreamCall<T, E> {
    /// Gives up after this long, counted from when the stream is first polled, waiting in the queue and
    /// the last item included: what was made until then is given out, and then
    /// [`CallError::TimedOut`]. Without it a stream may go on for as long as items come; see
    /// [`idle`](Self::idle).
    pub fn timeout(mut self, after: Duration) -> Self {
        self.call = self.call.timeout(after);
        self
    }

    /// Gives up when the reader has waited for an item for this long, counted for the first one from when
    /// a node has the call; time in which nobody waits does not count. Default:
    /// [`Timing::call`](crate::Timing::call) (300 s), and none for a call with a
    /// [`timeout`](Self::timeout).
    pub const fn idle(mut self, after: Duration) -> Self {
        self.idle = Some(after);
        self
    }

    /// Tries the call again, up to this often, when the function itself fails before its first item.
    /// Default 0; see [`Call::retries`].
    pub fn retries(mut self, tries: u32) -> Self {
        self.call = self.call.retries(tries);
        self
    }

    /// Never runs the call a second time, not even when its node is lost before the first item.
    pub fn once(mut self) -> Self {
        self.call = self.call.once();
        self
    }

    /// The function's path, such as `my_crate::squares`.
    pub const fn name(&self) -> &'static str {
        self.call.name()
    }
}

impl<T: Send + 'static, E: Send + 'static> StreamCall<T, E> {
    /// Runs the call in this process, its items encoded and decoded as if they had travelled. The function
    /// makes no item before it is read. Otherwise as [`Call::local`].
    pub fn local(self) -> Items<T, E> {
        stream_sealed::Start::start(self, &Route::Here)
    }

    pub(super) fn flow(self, route: &Route, inputs: Vec<BoxSource>) -> Items<T, E> {
        let (decoding, idle) = (self.call.decoding(), self.idle);
        Items::new(self.call.order().map(|it| route.flow(it, idle, inputs)), decoding)
    }
}

impl<T: Send + 'static, E: Send + 'static> stream_sealed::Start for StreamCall<T, E> {
    type Stream = Items<T, E>;

    fn start(self, route: &Route) -> Self::Stream {
        self.flow(route, Vec::new())
    }
}

impl<To: Destination, T: Send + 'static, E: Send + 'static> Shr<To> for StreamCall<T, E> {
    type Output = Items<T, E>;

    fn shr(self, to: To) -> Self::Output {
        stream_sealed::Start::start(self, &to.to_route())
    }
}

impl<T: Send + 'static, E: Send + 'static> Mul<&Compute> for StreamCall<T, E> {
    type Output = Dispatch<StreamBroadcast<T, E>>;

    fn mul(self, compute: &Compute) -> Self::Output {
        compute.broadcast_stream(self)
    }
}

impl<T, E> Clone for StreamCall<T, E> {
    fn clone(&self) -> Self {
        Self { call: self.call.clone(), idle: self.idle }
    }
}

impl<T, E> fmt::Debug for StreamCall<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream{:?}", self.call)
    }
}

/// A call of a function of streams for every node, as a value: `call * &compute` sends one. Which nodes
/// there are is known only when it was asked for, so it is a future; its output is the [`Streams`].
#[derive(Debug)]
#[must_use = "a broadcast does nothing until it is sent: `call * &compute`"]
pub struct StreamBroadcast<T, E>(StreamCall<T, E>);

impl<T, E> StreamBroadcast<T, E> {
    pub(crate) const fn new(call: StreamCall<T, E>) -> Self {
        Self(call)
    }
}

impl<T: Send + 'static, E: Send + 'static> sealed::Start for StreamBroadcast<T, E> {
    type Output = Result<Streams<T, E>, CallError<E>>;
    type Future = BoxFuture<'static, Self::Output>;

    fn start(self, route: &Route) -> Self::Future {
        let (route, StreamCall { call, idle }) = (route.clone(), self.0);
        Box::pin(async move {
            let decoding = call.decoding();
            let flows = route.flow_everywhere(call.order()?, idle).await;
            let flows = flows.map_err(|it| CallError::new(it, decoding))?;
            let items = flows.into_iter().map(|(rank, flow)| (rank.0, Items::new(Ok(flow), decoding)));
            Ok(Streams::new(items.collect()))
        })
    }
}
