//! `>>` sends work to a pool or a node, `*` sends a call to every node.

use std::ops::{Mul, Shr};

use super::{Broadcast, Call, Dispatch, Fed, Gather, Group, Route, Settled, Work};
use crate::compute::{Compute, Node};

/// Where work can be sent: `&Compute`, or a [`Node`] of it. Skyward's own; nothing else can implement
/// it.
#[diagnostic::on_unimplemented(
    message = "work cannot be sent to `{Self}`",
    label = "not `&Compute` and not a node of it",
    note = "send it to a pool with `work >> &compute`, or to one node with `work >> compute.node(2)`"
)]
pub trait Destination: sealed::ToRoute {}

#[doc(hidden)]
pub(super) mod sealed {
    use super::Route;

    /// The half of [`super::Destination`] that is Skyward's own.
    pub trait ToRoute {
        /// The way there.
        fn to_route(&self) -> Route;
    }
}

macro_rules! destination {
    ($type:ty) => {
        impl Destination for $type {}

        impl sealed::ToRoute for $type {
            fn to_route(&self) -> Route {
                self.route()
            }
        }
    };
}

destination!(&Compute);
destination!(Node);
destination!(&Node);

macro_rules! sent {
    ([$($generic:ident),+] $work:ty) => {
        impl<To: Destination, $($generic),+> Shr<To> for $work
        where
            $work: Work,
        {
            type Output = Dispatch<$work>;

            fn shr(self, to: To) -> Self::Output {
                Dispatch::new(self, to.to_route())
            }
        }
    };
}

sent!([T, E] Call<T, E>);
sent!([T, E] Broadcast<T, E>);
sent!([T, E] Gather<T, E>);
sent!([T, E] Fed<Call<T, E>>);
sent!([C] Group<C>);
sent!([C] Settled<C>);

impl<T: Send + 'static, E: Send + 'static> Mul<&Compute> for Call<T, E> {
    type Output = Dispatch<Broadcast<T, E>>;

    fn mul(self, compute: &Compute) -> Self::Output {
        compute.broadcast(self)
    }
}
