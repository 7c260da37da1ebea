//! One call on every node.

use futures_util::future::{BoxFuture, try_join_all};

use super::call::Decoded;
use super::{Call, Route, sealed};
use crate::error::CallError;

/// A call for every node, as a value. Made by [`broadcast`]; `call * &compute` sends one.
#[derive(Debug)]
#[must_use = "a broadcast does nothing until it is sent: `call * &compute`"]
pub struct Broadcast<T, E>(Call<T, E>);

/// The call for every node, as work for [`Compute::run`](crate::Compute::run) or
/// [`Compute::spawn`](crate::Compute::spawn).
pub const fn broadcast<T, E>(call: Call<T, E>) -> Broadcast<T, E> {
    Broadcast(call)
}

impl<T, E> Clone for Broadcast<T, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static, E: Send + 'static> sealed::Start for Broadcast<T, E> {
    type Output = Result<Vec<T>, CallError<E>>;
    type Future = BoxFuture<'static, Self::Output>;

    fn start(self, route: &Route) -> Self::Future {
        let route = route.clone();
        Box::pin(async move {
            let decoding = self.0.decoding();
            let runs = route.run_everywhere(self.0.order()?).await;
            let runs = runs.map_err(|it| CallError::new(it, decoding))?;
            try_join_all(runs.into_iter().map(|(_, run)| Decoded::new(run, decoding))).await
        })
    }
}
