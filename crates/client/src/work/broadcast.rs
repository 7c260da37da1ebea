//! One call on every node.

use futures_util::future::{BoxFuture, try_join_all};

use skyward_runtime::tasks::OnLost;

use super::call::Decoded;
use super::{Call, Route, sealed};
use crate::error::CallError;

/// A call for every node, as a value. Made by [`broadcast`]; `call * &compute` sends one.
#[derive(Debug)]
#[must_use = "a broadcast does nothing until it is sent: `call * &compute`"]
pub struct Broadcast<T, E> {
    call: Call<T, E>,
    lost: OnLost,
}

/// The call for every node, as work for [`Compute::run`](crate::Compute::run) or
/// [`Compute::spawn`](crate::Compute::spawn).
pub const fn broadcast<T, E>(call: Call<T, E>) -> Broadcast<T, E> {
    Broadcast { call, lost: OnLost::FailFast }
}

impl<T, E> Broadcast<T, E> {
    /// What becomes of the broadcast when a node is lost before it has answered. Default: it fails.
    /// Nodes that become ready only after the broadcast was sent never take part.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # use skyward::OnLost;
    /// # #[skyward::function]
    /// # async fn gradient(round: u32) -> f64 { f64::from(round) }
    /// # async fn run(compute: &Compute) -> skyward::Result<()> {
    /// let those_that_live = (broadcast(gradient(1)).on_lost(OnLost::Ignore) >> compute).await?;
    /// # Ok(()) }
    /// ```
    pub const fn on_lost(mut self, lost: OnLost) -> Self {
        self.lost = lost;
        self
    }
}

impl<T, E> Clone for Broadcast<T, E> {
    fn clone(&self) -> Self {
        Self { call: self.call.clone(), lost: self.lost }
    }
}

impl<T: Send + 'static, E: Send + 'static> sealed::Start for Broadcast<T, E> {
    type Output = Result<Vec<T>, CallError<E>>;
    type Future = BoxFuture<'static, Self::Output>;

    fn start(self, route: &Route) -> Self::Future {
        let route = route.clone();
        Box::pin(async move {
            let (decoding, lost) = (self.call.decoding(), self.lost);
            let runs = route.run_everywhere(self.call.order()?, lost).await;
            let runs = runs.map_err(|it| CallError::new(it, decoding))?;
            let shares = runs.into_iter().map(|(_, run)| Decoded::new(run, decoding));
            let values = try_join_all(shares.map(|share| async move {
                match share.await {
                    Ok(value) => Ok(Some(value)),
                    Err(CallError::Lost(_) | CallError::NoSuchNode { .. }) if lost == OnLost::Ignore => {
                        Ok(None)
                    }
                    Err(error) => Err(error),
                }
            }))
            .await?;
            Ok(values.into_iter().flatten().collect())
        })
    }
}
