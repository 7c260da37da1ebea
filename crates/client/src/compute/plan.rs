//! What a pool would rent, asked without renting.

use skyward_runtime::model::Architecture;
use skyward_runtime::pool::{Plan, Terms, plan};
use tokio_util::task::AbortOnDropHandle;

use super::Builder;
use super::owning::or_local;
use crate::engine::Engine;
use crate::error::Error;

impl Builder {
    /// Asks every spec's provider for its offers and says what would be tried, in which order, for how much
    /// an hour, and why everything else would not. Nothing is rented, and nothing is set up; a provider that
    /// does not answer within [`Timing::offers`](crate::Timing) is told in the plan and left out.
    ///
    /// Any program may ask, also one that cannot become a worker, and for machines that could not run it.
    /// Dropping the future ends the asking.
    ///
    /// # Errors
    /// When a spec asks for what nothing can give: an [`InvalidRequest`](crate::InvalidRequest). That
    /// nothing fits is not an error: [`Plan::chosen`](crate::Plan::chosen) is `None` then.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # async fn ask() -> skyward::Result<()> {
    /// let plan = Compute::builder().spec(Spec::on(Local::default()).vcpus(2)).nodes(4).plan().await?;
    /// match plan.chosen() {
    ///     Some(first) => println!("{} an hour for {}", first.hourly(), first.offer),
    ///     None => println!("{plan}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn plan(&self) -> Result<Plan, Error> {
        let specs = or_local(self.specs.clone());
        let terms = Terms {
            selection: self.selection.clone(),
            max_hourly_cost: self.max_hourly_cost,
            architecture: Architecture::here(),
        };
        let (nodes, deadline) = (self.nodes, self.timing.offers);
        let asking = Engine::get()?.handle().spawn(async move { plan(&specs, nodes, terms, deadline).await });
        match AbortOnDropHandle::new(asking).await {
            Ok(planned) => planned.map_err(Error::from),
            Err(error) => Err(Error::from(format!("failed to plan: {error}; see the log, and report this"))),
        }
    }
}
