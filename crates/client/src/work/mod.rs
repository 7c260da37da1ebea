//! What can be sent to machines, and how it runs there.
//!
//! ```text
//! Call | Broadcast | Group | Gather --sent along a Route--> Dispatch --polled--> running --> its output
//! StreamCall | StreamGroup --sent along a Route--> Items --polled--> one item after the other
//! ```
//!
//! Every operator and every plain method makes a [`Dispatch`] of some [`Work`]; a work's own file says
//! how it runs. Nothing is running that no future holds: dropping the future cancels.

mod broadcast;
mod call;
mod costed;
mod crew;
mod dispatch;
mod fed;
mod flow;
mod gather;
mod group;
mod items;
mod local;
mod operators;
mod results;
mod route;
mod spawned;
mod stream_call;
pub(crate) mod stream_work;
mod streaming;
mod window;

pub use broadcast::{Broadcast, broadcast};
pub use call::Call;
pub use costed::Costed;
#[doc(hidden)]
pub use crew::Crew;
pub use dispatch::Dispatch;
pub use fed::Fed;
#[doc(hidden)]
pub use gather::Starts;
pub use gather::{Gather, gather};
pub use group::{Group, GroupMember, Settled, group};
#[doc(hidden)]
pub use group::{Together, TogetherSettled};
pub use items::{Items, Streams};
pub use operators::Destination;
#[doc(hidden)]
pub use operators::sealed::ToRoute;
pub use results::{Indexed, Results};
pub use spawned::Spawned;
pub use stream_call::{StreamBroadcast, StreamCall};
pub use stream_work::{StreamGroup, StreamWork};
pub use streaming::{Blocking, Streaming};
#[doc(hidden)]
pub use window::{Collected, Runs, Window};

#[doc(hidden)]
pub use call::{Decoded, call};
#[doc(hidden)]
pub use fed::{OnlyItem, fed};
#[doc(hidden)]
pub use route::Route;
#[doc(hidden)]
pub use stream_call::stream_call;
#[doc(hidden)]
pub use streaming::{Taken, give, take};

/// Something that can be sent to machines and gives a future: a [`Call`], a [`Broadcast`], a [`Group`], a
/// [`Settled`] group or a [`Gather`]; what gives a stream is [`StreamWork`]. Skyward's own; nothing else can implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not work that can be sent to machines",
    note = "send a call of a `#[skyward::function]`, `a & b` of them, `broadcast(call)` or `gather(calls)`"
)]
pub trait Work: sealed::Start {}

impl<W: sealed::Start> Work for W {}

/// The half of [`Work`] that is Skyward's own.
#[doc(hidden)]
pub(crate) mod sealed {
    use std::time::Duration;

    use super::Route;

    /// The half of [`super::GroupMember`] that is Skyward's own.
    pub trait Member {
        /// The call with at most this long; `None` changes nothing.
        fn within(self, most: Option<Duration>) -> Self;

        /// The function's path.
        fn path(&self) -> &'static str;
    }

    /// How a work runs. Unpin, so that a [`super::Dispatch`] can be moved and joined freely.
    pub trait Start: Send + 'static {
        /// What it gives.
        type Output: Send + 'static;
        /// It running.
        type Future: Future<Output = Self::Output> + Send + Unpin + 'static;

        /// Makes the future. Nothing runs until it is polled.
        fn start(self, route: &Route) -> Self::Future;
    }
}
