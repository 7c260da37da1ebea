//! What a pool has cost, and what for.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Conversion, InstanceId, Rank, Tariff, Usd};

/// What a pool has cost: exact, and with what its clouds count as a whole (begun minutes or hours, the
/// least time) counted as a whole. A machine is counted from when it was asked for until its provider
/// said that it is gone, so it is never less than what the cloud will ask.
///
/// `total` is always the sum of `tasks`, `idle` and `boot`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// All of it.
    pub total: Usd,
    /// While tasks ran.
    pub tasks: Usd,
    /// While none ran, and what was paid for and not used: the rest of begun units.
    pub idle: Usd,
    /// Until the machines took tasks.
    pub boot: Usd,
    /// Each machine, in the order in which they were rented.
    pub machines: Vec<MachineCost>,
    /// Each function, by name: what its calls cost. Calls that ran side by side on a node share its time.
    pub functions: Vec<FunctionCost>,
}

/// What one machine has cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineCost {
    /// The provider's id.
    pub instance: InstanceId,
    /// The rank that it was, if it was one.
    pub rank: Option<Rank>,
    /// What is paid for it.
    pub tariff: Tariff,
    /// Where the price was in another currency: what its dollars were made of.
    pub converted: Option<Conversion>,
    /// How long it was there.
    pub used: Duration,
    /// How long it is paid for.
    pub billed: Duration,
    /// What that costs.
    pub cost: Usd,
    /// Whether it is still there.
    pub open: bool,
}

/// What the calls of one function have cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCost {
    /// Its name.
    pub function: String,
    /// How many tries of its calls have ended.
    pub calls: u64,
    /// What they cost together.
    pub cost: Usd,
}

/// A machine that was rented, as the ledger needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rented {
    /// The provider's id.
    pub instance: InstanceId,
    /// The rank that it becomes; `None` when nobody wants it any more.
    pub rank: Option<Rank>,
    /// What is paid for it.
    pub tariff: Tariff,
    /// Where the price was in another currency: what its dollars were made of.
    pub converted: Option<Conversion>,
}

/// A machine that an earlier owner of a pool rented, as the ledger needs it. Times are since the pool was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// The machine.
    pub rented: Rented,
    /// When it was asked for.
    pub since: Duration,
    /// When it was gone, if it is.
    pub until: Option<Duration>,
}

/// One line for the end of a pool.
impl fmt::Display for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, tasks, idle, boot, machines, .. } = self;
        write!(
            f,
            "{total}: {tasks} for tasks, {idle} idle, {boot} until ready; {} machines",
            machines.len()
        )?;
        let mut said: Vec<&Conversion> = Vec::new();
        for conversion in machines.iter().filter_map(|it| it.converted.as_ref()) {
            if !said.contains(&conversion) {
                write!(f, ", {conversion}")?;
                said.push(conversion);
            }
        }
        Ok(())
    }
}
