//! What can be sent to machines, and how it runs there.
//!
//! ```text
//! Call | Broadcast | Group | Gather --sent along a Route--> Dispatch --polled--> running --> its output
//! ```
//!
//! Every operator and every plain method makes a [`Dispatch`] of some [`Work`]; a work's own file says
//! how it runs. Nothing is running that no future holds: dropping the future cancels.

mod broadcast;
mod call;
mod dispatch;
mod gather;
mod group;
mod local;
mod operators;
mod results;
mod route;
mod spawned;
mod window;

pub use broadcast::{Broadcast, broadcast};
pub use call::Call;
pub use dispatch::Dispatch;
#[doc(hidden)]
pub use gather::Starts;
pub use gather::{Gather, gather};
pub use group::{Group, Settled, group};
#[doc(hidden)]
pub use group::{Together, TogetherSettled};
pub use operators::Destination;
#[doc(hidden)]
pub use operators::sealed::ToRoute;
pub use results::{Indexed, Results};
pub use spawned::Spawned;
#[doc(hidden)]
pub use window::{Collected, Window};

#[doc(hidden)]
pub use call::{Decoded, call};
#[doc(hidden)]
pub use route::Route;

/// Something that can be sent to machines: a [`Call`], a [`Broadcast`], a [`Group`], a [`Settled`] group
/// or a [`Gather`]. Skyward's own; nothing else can implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not work that can be sent to machines",
    note = "send a call of a `#[skyward::function]`, `a & b` of them, `broadcast(call)` or `gather(calls)`"
)]
pub trait Work: sealed::Start {}

impl<W: sealed::Start> Work for W {}

/// The half of [`Work`] that is Skyward's own.
#[doc(hidden)]
pub(crate) mod sealed {
    use super::Route;

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
