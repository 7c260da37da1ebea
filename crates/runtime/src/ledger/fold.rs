//! The ledger: machines and tasks, folded into a bill. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{
    Bill, Earlier, EventKind, FunctionCost, InstanceId, MachineCost, NodePhase, Rank, Rented, TaskId, Usd,
};

/// What a pool has cost so far, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// How old the pool was when its present owner began to count.
    before: Duration,
    /// In the order in which they were rented.
    accounts: Vec<Account>,
    /// Where in that list each machine is.
    machines: BTreeMap<InstanceId, usize>,
    /// Which of them is which rank.
    ranks: BTreeMap<Rank, usize>,
    running: BTreeMap<TaskId, Try>,
    /// Where in the list of costs each function is.
    names: BTreeMap<String, usize>,
    functions: Vec<(u64, Usd)>,
}

/// One machine's account.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    rented: Rented,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Try {
    account: usize,
    function: usize,
    /// `each` of its machine when it began.
    began: u128,
}

impl Ledger {
    /// Takes in what happened. What a task has cost is put into the fact that it ended.
    pub fn take_in(&mut self, kind: &mut EventKind, after: Duration) {
        let at = after;
        let after = self.before + after;
        match kind {
            EventKind::Attached { age, machines, .. } => {
                // Counted from when the pool was begun.
                self.before = age.saturating_sub(at);
                machines.iter().for_each(|it| self.inherited(it));
            }
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
                self.accounts.iter_mut().for_each(|it| it.gone(after));
            }
            EventKind::TaskStarted { task, rank, function, .. } => {
                self.task_starts(*task, *rank, function, at);
            }
            EventKind::TaskFinished { task, cost, .. } => *cost = self.task_ends(*task, at),
            EventKind::TaskRetried { task, .. }
            | EventKind::TaskLost { task, .. }
            | EventKind::TaskCancelled { task, .. } => {
                self.task_ends(*task, at);
            }
            _ => {}
        }
    }

    /// What a task that runs has cost in this try.
    pub fn so_far(&self, task: TaskId, at: Duration) -> Usd {
        let at = self.before + at;
        let running = self.running.get(&task);
        running.and_then(|it| Some(self.accounts.get(it.account)?.share(it, at))).unwrap_or_default()
    }

    /// What everything has cost at a moment.
    pub fn bill(&self, at: Duration) -> Bill {
        let (mut bill, at) = (Bill::default(), self.before + at);
        for account in &self.accounts {
            let (machine, tasks, boot) = account.bill(at);
            bill.total += machine.cost;
            bill.tasks += tasks;
            bill.boot += boot;
            bill.machines.push(machine);
        }
        bill.idle = bill.total.less(bill.tasks + bill.boot);
        let cost = |(function, at): (&String, &usize)| {
            let (calls, cost) = *self.functions.get(*at)?;
            // Of those that have only begun there is nothing to tell.
            (calls > 0).then(|| FunctionCost { function: function.clone(), calls, cost })
        };
        bill.functions = self.names.iter().filter_map(cost).collect();
        bill
    }

    fn of_rank(&mut self, rank: Rank) -> Option<&mut Account> {
        self.accounts.get_mut(*self.ranks.get(&rank)?)
    }

    fn rented(&mut self, rented: &Rented, since: Duration) {
        let next = self.accounts.len();
        let number = *self.machines.entry(rented.instance.clone()).or_insert(next);
        if let Some(rank) = rented.rank {
            self.ranks.insert(rank, number);
        }
        if number == next {
            self.accounts.push(Account::new(rented.clone(), since));
        }
    }

    /// What an owner before has rented. What ran there then nobody knows here.
    fn inherited(&mut self, machine: &Earlier) {
        self.rented(&machine.rented, machine.since);
        let number = self.machines.get(&machine.rented.instance);
        if let Some(account) = number.and_then(|it| self.accounts.get_mut(*it)) {
            account.ready.get_or_insert(machine.since);
            if let Some(until) = machine.until {
                account.gone(until);
            }
        }
    }

    fn gone(&mut self, instance: &InstanceId, at: Duration) {
        let number = self.machines.get(instance);
        if let Some(account) = number.and_then(|it| self.accounts.get_mut(*it)) {
            account.gone(at);
        }
    }

    /// A task begins on a rank's machine.
    pub(crate) fn task_starts(&mut self, task: TaskId, rank: Rank, function: &str, at: Duration) {
        let at = self.before + at;
        // One that was given back has no fact of its own: it ends where the next begins, and is no call.
        if let Some(before) = self.running.remove(&task)
            && let Some(account) = self.accounts.get_mut(before.account)
        {
            account.count(at);
            account.tasks = account.tasks.saturating_sub(1);
        }
        let Some(number) = self.ranks.get(&rank).copied() else { return };
        let Some(account) = self.accounts.get_mut(number) else { return };
        account.count(at);
        account.tasks += 1;
        let began = account.each;
        let function = self.function(function);
        self.running.insert(task, Try { account: number, function, began });
    }

    /// A task ends; what it has cost.
    pub(crate) fn task_ends(&mut self, task: TaskId, at: Duration) -> Usd {
        let Some(running) = self.running.remove(&task) else { return Usd::ZERO };
        let Some(account) = self.accounts.get_mut(running.account) else { return Usd::ZERO };
        let at = self.before + at;
        account.count(at);
        let cost = account.share(&running, at);
        account.tasks = account.tasks.saturating_sub(1);
        if let Some(told) = self.functions.get_mut(running.function) {
            told.0 += 1;
            told.1 += cost;
        }
        cost
    }

    /// Where a function's costs are.
    fn function(&mut self, name: &str) -> usize {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        let at = self.functions.len();
        self.functions.push((0, Usd::ZERO));
        self.names.insert(name.to_owned(), at);
        at
    }
}

impl Account {
    const fn new(rented: Rented, since: Duration) -> Self {
        Self {
            rented,
            since,
            ready: None,
            ended: None,
            tasks: 0,
            counted: since,
            busy: Duration::ZERO,
            each: 0,
        }
    }

    fn gone(&mut self, at: Duration) {
        self.count(at);
        self.ended.get_or_insert(at);
    }

    /// Counts the time until now, during which nothing began or ended.
    fn count(&mut self, at: Duration) {
        let passed = self.passed(at);
        self.counted = self.counted.max(at);
        if self.tasks > 0 {
            self.busy += passed;
            self.each += shared(passed, self.tasks);
        }
    }

    fn passed(&self, at: Duration) -> Duration {
        self.ended.unwrap_or(at).min(at).saturating_sub(self.counted)
    }

    /// What a try on it has cost.
    fn share(&self, running: &Try, at: Duration) -> Usd {
        let since = shared(self.passed(at), self.tasks);
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

/// The part of a time that one of so many tasks has. Most times are short, and a division of small numbers
/// takes a tenth of the other.
fn shared(time: Duration, tasks: u32) -> u128 {
    let parts = time.as_nanos() * PARTS;
    match u64::try_from(parts) {
        Ok(parts) => u128::from(parts / u64::from(tasks.max(1))),
        Err(_) => parts / u128::from(tasks.max(1)),
    }
}

/// A part of an hour's price, rounded down, so that parts never add up to more than the whole.
fn part(hourly: Usd, nanos: u128) -> Usd {
    let whole = u128::try_from(hourly.nanos()).unwrap_or_default().saturating_mul(nanos);
    // As above.
    let part = match u64::try_from(whole) {
        Ok(whole) => u128::from(whole / HOUR),
        Err(_) => whole / u128::from(HOUR),
    };
    Usd::from_nanos(i64::try_from(part).unwrap_or(i64::MAX))
}

/// Nanoseconds of an hour.
const HOUR: u64 = 3_600_000_000_000;

/// Parts of a nanosecond: enough that the shares of a thousand tasks side by side are exact to one.
const PARTS: u128 = 1 << 32;

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
