//! What gives streams when it is sent, and several of them side by side.

use std::ops::{BitAnd, Shr};

use super::operators::Destination;
use super::{Fed, Gather, Results, Route, StreamCall};

/// Something that gives a stream when it is sent to machines: a [`StreamCall`], one that takes streams
/// too, a [`Gather`], or a [`StreamGroup`], which gives several. Skyward's own; nothing else can
/// implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` gives no stream when it is sent to machines",
    note = "send a call of a `#[skyward::function]` that returns `impl Stream`, or `gather(calls)`"
)]
pub trait StreamWork: sealed::Start {}

impl<W: sealed::Start> StreamWork for W {}

#[doc(hidden)]
pub(crate) mod sealed {
    use super::Route;

    /// The half of [`super::StreamWork`] that is Skyward's own.
    pub trait Start: Send + 'static {
        /// What it gives.
        type Stream;

        /// Makes it. Nothing runs until it is polled.
        fn start(self, route: &Route) -> Self::Stream;
    }
}

impl<T: Send + 'static, E: Send + 'static> sealed::Start for Gather<T, E> {
    type Stream = Results<T, E>;

    fn start(self, route: &Route) -> Self::Stream {
        self.stream(route.clone())
    }
}

/// Calls that give streams, side by side: `(a & b) >> &compute` gives a tuple of their items, each to be
/// read by itself, with its own type and its own errors. Each runs from when it is first polled.
#[derive(Clone, Debug)]
#[must_use = "a group does nothing until it is sent: `(a & b) >> &compute`"]
pub struct StreamGroup<C>(C);

impl<C> StreamGroup<C> {
    /// Runs the calls in this process; see [`StreamCall::local`].
    pub fn local(self) -> <Self as sealed::Start>::Stream
    where
        Self: StreamWork,
    {
        sealed::Start::start(self, &Route::Here)
    }
}

impl<T, E, W: StreamWork> BitAnd<W> for StreamCall<T, E> {
    type Output = StreamGroup<(Self, W)>;

    fn bitand(self, other: W) -> Self::Output {
        StreamGroup((self, other))
    }
}

impl<T, E, W: StreamWork> BitAnd<W> for Fed<StreamCall<T, E>> {
    type Output = StreamGroup<(Self, W)>;

    fn bitand(self, other: W) -> Self::Output {
        StreamGroup((self, other))
    }
}

impl<C, To: Destination> Shr<To> for StreamGroup<C>
where
    Self: StreamWork,
{
    type Output = <Self as sealed::Start>::Stream;

    fn shr(self, to: To) -> Self::Output {
        sealed::Start::start(self, &to.to_route())
    }
}

macro_rules! groups {
    ($($W:ident $at:tt),+) => {
        impl<$($W: StreamWork),+> sealed::Start for StreamGroup<($($W,)+)> {
            type Stream = ($($W::Stream,)+);

            fn start(self, route: &Route) -> Self::Stream {
                ($(self.0.$at.start(route),)+)
            }
        }
    };
}

macro_rules! grow {
    ($($W:ident $at:tt),+) => {
        impl<$($W,)+ Next: StreamWork> BitAnd<Next> for StreamGroup<($($W,)+)> {
            type Output = StreamGroup<($($W,)+ Next)>;

            fn bitand(self, other: Next) -> Self::Output {
                StreamGroup(($(self.0.$at,)+ other))
            }
        }
    };
}

groups!(A 0, B 1);
groups!(A 0, B 1, C 2);
groups!(A 0, B 1, C 2, D 3);
groups!(A 0, B 1, C 2, D 3, E 4);
groups!(A 0, B 1, C 2, D 3, E 4, F 5);
groups!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
groups!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

grow!(A 0, B 1);
grow!(A 0, B 1, C 2);
grow!(A 0, B 1, C 2, D 3);
grow!(A 0, B 1, C 2, D 3, E 4);
grow!(A 0, B 1, C 2, D 3, E 4, F 5);
grow!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
