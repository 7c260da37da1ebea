//! Why a pool did not start.

use super::plan::Plan;
use crate::journal::JournalError;
use crate::model::{Attempt, InvalidRequest, KeptMachine, Rank, Usd};

/// Why a pool did not start. By the time that a caller sees it, everything has been given back,
/// apart from what [`StartError::Kept`] names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The request has no spec.
    #[error("the pool has no spec: say where its machines come from with `.spec(Spec::on(…))`")]
    NoSpec,
    /// The request asks for what nothing can give.
    #[error("{0}")]
    Invalid(InvalidRequest),
    /// The image cannot be made on these machines.
    #[error("the image cannot be used: {0}")]
    Image(String),
    /// No provider has anything that fits.
    #[error("no provider offers a machine that fits: {}", reasons(plan))]
    NoOffers {
        /// What each spec's provider said, how many of its offers each filter removed, and which came
        /// nearest.
        plan: Box<Plan>,
    },
    /// Everything that fits was tried, and nothing could give the machines.
    #[error("nothing that fits could be rented: {}", tried.join("; "))]
    Exhausted {
        /// Each offer that was tried, and why it was given up.
        tried: Vec<String>,
    },
    /// The machines cannot be paid from what the pool may cost.
    #[error(
        "max_total_cost is {cap}: starting the machines and giving them back may cost {projected}; raise it, or shorten `Timing::boot` and `Timing::shutdown`"
    )]
    Budget {
        /// What it may come to.
        projected: Usd,
        /// What is allowed.
        cap: Usd,
    },
    /// What the pool's owners before have spent leaves nothing to attach with.
    #[error(
        "max_total_cost is {cap}, and the pool that another program began has cost {spent}: what is left was for giving it back"
    )]
    Spent {
        /// What it has cost.
        spent: Usd,
        /// What is allowed.
        cap: Usd,
    },
    /// The provider could not be set up.
    #[error("failed to prepare {provider}: {reason}")]
    Prepare {
        /// Which.
        provider: String,
        /// Why.
        reason: String,
    },
    /// There were not enough machines.
    #[error("{provider} gave {got} of {wanted} machines (attempt {attempts}): {reason}")]
    Provision {
        /// Which.
        provider: String,
        /// How many there were.
        got: u32,
        /// How many were wanted.
        wanted: u32,
        /// How often they were asked for.
        attempts: Attempt,
        /// What was missing at last.
        reason: String,
    },
    /// A node did not become ready.
    #[error("node {rank} did not become ready: {reason}")]
    Node {
        /// Its rank.
        rank: Rank,
        /// Why.
        reason: String,
    },
    /// It did not start, and machines that failed are kept, as was asked for. They end by themselves; a
    /// Ctrl-C while the program still runs ends them at once.
    #[error("{failure}; kept for you to look at:{}", listed(machines))]
    Kept {
        /// Why it did not start.
        failure: Box<Self>,
        /// What is kept.
        machines: Vec<KeptMachine>,
    },
    /// It cannot be written down, or is another program's.
    #[error("{0}")]
    Journal(JournalError),
    /// A pool of this name lives that this program cannot go on with.
    #[error(
        "pool {pool} lives, and {what} than this program's: run the program that began it, give it back with `sky reap --pool {pool} --yes`, or give this pool another name"
    )]
    Differs {
        /// Its name.
        pool: String,
        /// What about it is another.
        what: &'static str,
    },
    /// There is nothing of this name to attach to.
    #[error("failed to attach to pool {pool}: {reason}")]
    NotThere {
        /// Its name.
        pool: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// It was stopped before it was ready.
    #[error("the pool was stopped while it was starting")]
    Stopped,
    /// Something on this computer failed.
    #[error("{0}")]
    Internal(String),
}

fn reasons(plan: &Plan) -> String {
    let specs = plan.specs.iter().map(ToString::to_string);
    specs.chain(plan.trouble.clone()).collect::<Vec<_>>().join("; ")
}

fn listed(machines: &[KeptMachine]) -> String {
    machines.iter().map(|it| format!("\n  {it}")).collect()
}
