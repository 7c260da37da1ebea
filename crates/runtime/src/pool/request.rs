//! What a pool is asked to be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::spec::Spec;
use crate::events::Events;
use crate::journal::{KnownPool, Record};
use crate::model::{
    Architecture, Capabilities, Carrier, EventKind, Image, InvalidRequest, Mode, Nodes, Scaling, Secret,
    Selection, Usd, Worker,
};
use crate::node::Probe;
use crate::output::Hub;
use crate::timing::Timing;

/// Everything that a pool needs to know to start.
#[derive(Clone, Debug)]
pub struct PoolRequest {
    /// The alternatives, in order.
    pub specs: Vec<Spec>,
    /// How many nodes, where a spec does not say.
    pub nodes: Nodes,
    /// In which order the offers that fit are tried.
    pub selection: Selection,
    /// The most that all nodes together may cost an hour.
    pub max_hourly_cost: Option<Usd>,
    /// The most that the pool may cost from its first machine to its last.
    pub max_total_cost: Option<Usd>,
    /// What the machines need, where a spec does not say.
    pub image: Image,
    /// How nodes run tasks.
    pub worker: Worker,
    /// What the links run over.
    pub carrier: Carrier,
    /// Whether the nodes are linked to each other; `None`: where their machines can reach each other.
    pub cluster: Option<bool>,
    /// What functions may ask for by name. It reaches workers on their standard input alone.
    pub secrets: BTreeMap<String, Secret<String>>,
    /// How it is known whether a node is well. `None`: one that is linked is.
    pub probe: Option<Probe>,
    /// When it gives nodes back, where it scales.
    pub scaling: Scaling,
    /// Every time-out.
    pub timing: Timing,
    /// How many calls may wait for a slot at once.
    pub queue: usize,
    /// How often a call is tried again when its node or the link to it is lost, where it does not say.
    pub interruptions: u32,
    /// How many workers may end while a call runs there before it is not tried again.
    pub crash_limit: u32,
    /// Where what runs on the nodes writes goes.
    pub output: Hub,
    /// Where facts go; it also names the pool.
    pub events: Events,
    /// The pool's entry in the journal, if it has one.
    pub record: Option<Arc<Record>>,
    /// What the owner before has left, if there was one.
    pub adopted: Option<Arc<KnownPool>>,
    /// Whether outcomes of calls with a key stay at their workers after they were taken, for another owner.
    pub holds: bool,
}

impl PoolRequest {
    /// Writes down again and again that the pool's owner lives, and says so when that cannot be written.
    pub(super) fn heartbeat(&self, record: Arc<Record>) -> AbortHandle {
        let events = self.events.clone();
        record.kept_fresh(self.timing.renew(), move |reason| events.emit(EventKind::Unwritten { reason }))
    }

    /// Checks what is asked for, before anybody is asked for it.
    ///
    /// # Errors
    /// Which field cannot be met, and what it may say.
    pub fn validated(&self) -> Result<(), InvalidRequest> {
        for spec in &self.specs {
            spec.validated(self.nodes)?;
            spec.nodes.unwrap_or(self.nodes).startable()?;
            if let (Some(wanted), Some(here)) = (spec.wanted().architecture, Architecture::here())
                && wanted != here
            {
                let allowed = format!(
                    "must be {here}, or be left out: the machines run this very program, which was built for {here}"
                );
                return Err(InvalidRequest::new("architecture", wanted, allowed));
            }
            runs_here(spec.provider().name(), &spec.provider().capabilities(), std::env::consts::OS)?;
        }
        let apart = self.specs.iter().find(|it| !it.provider().capabilities().peers);
        if let (Some(true), Some(spec)) = (self.cluster, apart) {
            let name = spec.provider().name();
            let allowed = format!(
                "machines of {name} cannot reach each other; leave it out, or say `.cluster(false)`: calls, groups, \
                 gathers and broadcasts are the same where each node stands alone"
            );
            return Err(InvalidRequest::new("cluster", true, allowed));
        }
        self.worker.check()?;
        self.probe.as_ref().map(|it| it.terms.validated()).transpose()?;
        for (field, cap) in
            [("max_hourly_cost", self.max_hourly_cost), ("max_total_cost", self.max_total_cost)]
        {
            if let Some(cap) = cap.filter(|it| *it < Usd::ZERO) {
                return Err(InvalidRequest::new(field, cap, "must not be negative"));
            }
        }
        Ok(())
    }

    /// The providers whose machines cannot end their own bill.
    pub fn unattended(&self) -> Vec<&str> {
        let providers = self.specs.iter().map(|it| it.provider());
        providers.filter(|it| !it.capabilities().ends_itself).map(|it| it.name()).collect()
    }

    /// How long its end may take at the most, from when it is asked for: what a cloud was asked for is heard to its end
    /// before, and machines that nothing else ends are asked for again and again.
    pub fn longest_end(&self) -> Duration {
        let paces = self.specs.iter().map(|it| it.provider().capabilities().pace);
        let most = usize::try_from(Nodes::MOST).unwrap_or(usize::MAX);
        let ending = self.timing.ending(most, paces.max().unwrap_or_default());
        let insist = if self.unattended().is_empty() { Duration::ZERO } else { self.timing.insist };
        self.timing.provision.saturating_add(ending.max(insist))
    }

    /// What the nodes are to each other, where the pool does not say: a cluster if all of its machines can reach each
    /// other, wherever they are rented.
    pub fn mode(&self) -> Mode {
        let providers = || self.specs.iter().map(|it| it.provider());
        let first = providers().next().map(|it| it.name());
        let is_mixed =
            self.specs.iter().any(|it| it.wanted().mixed) && providers().any(|it| Some(it.name()) != first);
        let can = !is_mixed && providers().all(|it| it.capabilities().peers);
        if self.cluster.unwrap_or(can) { Mode::Cluster } else { Mode::Standalone }
    }
}

/// Machines elsewhere run this very program, and they all run Linux.
fn runs_here(provider: &str, machines: &Capabilities, system: &str) -> Result<(), InvalidRequest> {
    if system == "linux" || machines.same_computer {
        return Ok(());
    }
    let allowed = format!(
        "its machines run this very program, which is built for {system}, and they are Linux: start it on Linux, or use \
         `Local`"
    );
    Err(InvalidRequest::new("provider", provider, allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_no_machine_elsewhere_can_run_is_refused_before_anything_is_rented() {
        let (elsewhere, here) =
            (Capabilities::NONE, Capabilities { same_computer: true, ..Capabilities::NONE });
        assert!(
            runs_here("lambda", &elsewhere, "linux").is_ok() && runs_here("local", &here, "macos").is_ok()
        );
        let refused = runs_here("lambda", &elsewhere, "macos").map_err(|it| it.to_string());
        assert_eq!(
            refused.err().as_deref(),
            Some(
                "provider is lambda: its machines run this very program, which is built for macos, and they are Linux: \
                 start it on Linux, or use `Local`"
            )
        );
    }
}
