//! The ledger: machines and tasks, folded into a bill. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{
    Bill, EventKind, FunctionCost, InstanceId, MachineCost, NodePhase, Rank, Rented, TaskId, Usd,
};

/// What a pool has cost so far, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    machines: BTreeMap<InstanceId, Account>,
    /// Which machine is which rank.
    ranks: BTreeMap<Rank, InstanceId>,
    running: BTreeMap<TaskId, Try>,
    functions: BTreeMap<String, (u64, Usd)>,
}

/// One machine's account.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    rented: Rented,
    number: usize,
    since: Duration,
    ready: Option<Duration>,
    ended: Option<Duration>,
    /// How many tasks run on it.
    tasks: u32,
    /// Until when `busy` and `each` are counted.
    counted: Duration,
    /// How long tasks have run on it.
    busy: Duration,
    /// The time of one task that ran all the while, when those side by side share it: in parts of a
    /// nanosecond, of which there are [`PARTS`].
    each: u128,
}

/// A try of a task that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Try {
    instance: InstanceId,
    function: String,
    /// `each` of its machine when it began.
    began: u128,
}

impl Ledger {
    /// Takes in what happened. What a task has cost is put into the fact that it ended.
    pub fn take_in(&mut self, kind: &mut EventKind, after: Duration) {
        match kind {
            EventKind::Provisioned { machines, took, .. } => {
                let since = after.saturating_sub(*took);
                machines.iter().for_each(|it| self.rented(it, since));
            }
            EventKind::Node { rank, phase: NodePhase::Ready, .. } => {
                if let Some(account) = self.of_rank(*rank) {
                    account.ready.get_or_insert(after);
                }
            }
            EventKind::Terminated { instance } => self.gone(instance, after),
            EventKind::Stopped { .. } => {
                let all: Vec<InstanceId> = self.machines.keys().cloned().collect();
                all.iter().for_each(|it| self.gone(it, after));
            }
            EventKind::TaskStarted { task, rank, function, .. } => {
                self.task_starts(*task, *rank, function, after);
            }
            EventKind::TaskFinished { task, cost, .. } => *cost = self.task_ends(*task, after),
            EventKind::TaskRetried { task, .. }
            | EventKind::TaskLost { task, .. }
            | EventKind::TaskCancelled { task, .. } => {
                self.task_ends(*task, after);
            }
            _ => {}
        }
    }

    /// What a task that runs has cost in this try.
    pub fn so_far(&self, task: TaskId, at: Duration) -> Usd {
        let running = self.running.get(&task);
        running.and_then(|it| Some(self.machines.get(&it.instance)?.share(it, at))).unwrap_or_default()
    }

    /// What everything has cost at a moment.
    pub fn bill(&self, at: Duration) -> Bill {
        let mut bill = Bill::default();
        let mut accounts: Vec<&Account> = self.machines.values().collect();
        accounts.sort_unstable_by_key(|it| it.number);
        for account in accounts {
            let (machine, tasks, boot) = account.bill(at);
            bill.total += machine.cost;
            bill.tasks += tasks;
            bill.boot += boot;
            bill.machines.push(machine);
        }
        bill.idle = bill.total.less(bill.tasks + bill.boot);
        let cost = |(function, (calls, cost)): (&String, &(u64, Usd))| FunctionCost {
            function: function.clone(),
            calls: *calls,
            cost: *cost,
        };
        bill.functions = self.functions.iter().map(cost).collect();
        bill
    }

    fn of_rank(&mut self, rank: Rank) -> Option<&mut Account> {
        self.machines.get_mut(self.ranks.get(&rank)?)
    }

    fn rented(&mut self, rented: &Rented, since: Duration) {
        let number = self.machines.len();
        if let Some(rank) = rented.rank {
            self.ranks.insert(rank, rented.instance.clone());
        }
        self.machines.entry(rented.instance.clone()).or_insert_with(|| Account {
            rented: rented.clone(),
            number,
            since,
            ready: None,
            ended: None,
            tasks: 0,
            counted: since,
            busy: Duration::ZERO,
            each: 0,
        });
    }

    fn gone(&mut self, instance: &InstanceId, at: Duration) {
        if let Some(account) = self.machines.get_mut(instance) {
            account.count(at);
            account.ended.get_or_insert(at);
        }
    }

    fn task_starts(&mut self, task: TaskId, rank: Rank, function: &str, at: Duration) {
        let Some(instance) = self.ranks.get(&rank).cloned() else { return };
        let Some(account) = self.machines.get_mut(&instance) else { return };
        account.count(at);
        account.tasks += 1;
        let began = account.each;
        self.running.insert(task, Try { instance, function: function.to_owned(), began });
    }

    fn task_ends(&mut self, task: TaskId, at: Duration) -> Usd {
        let Some(running) = self.running.remove(&task) else { return Usd::ZERO };
        let Some(account) = self.machines.get_mut(&running.instance) else { return Usd::ZERO };
        account.count(at);
        let cost = account.share(&running, at);
        account.tasks = account.tasks.saturating_sub(1);
        let Try { function, .. } = running;
        let told = self.functions.entry(function).or_default();
        told.0 += 1;
        told.1 += cost;
        cost
    }
}

impl Account {
    /// Counts the time until now, during which nothing began or ended.
    fn count(&mut self, at: Duration) {
        let passed = self.passed(at);
        self.counted = self.counted.max(at);
        if self.tasks > 0 {
            self.busy += passed;
            self.each += passed.as_nanos() * PARTS / u128::from(self.tasks);
        }
    }

    fn passed(&self, at: Duration) -> Duration {
        self.ended.unwrap_or(at).min(at).saturating_sub(self.counted)
    }

    /// What a try on it has cost.
    fn share(&self, running: &Try, at: Duration) -> Usd {
        let since = self.passed(at).as_nanos() * PARTS / u128::from(self.tasks.max(1));
        let parts = (self.each + since).saturating_sub(running.began);
        part(self.rented.tariff.hourly, parts / PARTS)
    }

    /// The machine's line, what was spent while tasks ran, and what before it took any.
    fn bill(&self, at: Duration) -> (MachineCost, Usd, Usd) {
        let until = self.ended.unwrap_or(at);
        let used = until.saturating_sub(self.since);
        let (hourly, billing) = (self.rented.tariff.hourly, self.rented.tariff.billing);
        let busy = self.busy + if self.tasks > 0 { self.passed(at) } else { Duration::ZERO };
        let boot = self.ready.unwrap_or(until).min(until).saturating_sub(self.since);
        let Rented { instance, rank, tariff, converted } = self.rented.clone();
        let line = MachineCost {
            instance,
            rank,
            tariff,
            converted,
            used,
            billed: billing.billed(used),
            cost: self.rented.tariff.cost(used),
            open: self.ended.is_none(),
        };
        (line, part(hourly, busy.as_nanos()), part(hourly, boot.as_nanos()))
    }
}

/// A part of an hour's price, rounded down, so that parts never add up to more than the whole.
fn part(hourly: Usd, nanos: u128) -> Usd {
    let whole = u128::try_from(hourly.nanos()).unwrap_or_default().saturating_mul(nanos) / HOUR;
    Usd::from_nanos(i64::try_from(whole).unwrap_or(i64::MAX))
}

/// Nanoseconds of an hour.
const HOUR: u128 = 3_600_000_000_000;

/// Parts of a nanosecond: enough that the shares of a thousand tasks side by side are exact to one.
const PARTS: u128 = 1 << 32;

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
