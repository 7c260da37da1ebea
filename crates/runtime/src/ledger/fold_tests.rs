//! What a pool costs, fact by fact.

use super::*;
use crate::model::usd;
use crate::model::{Attempt, Billing, BillingUnit, Conversion, Leftover, Market, Tariff};

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn instance(number: u32) -> InstanceId {
    InstanceId::new(format!("i{number}"))
}

/// A machine at a cent for ten seconds.
fn rented(number: u32, unit: BillingUnit) -> Rented {
    let billing = Billing { unit, minimum: Duration::ZERO };
    let tariff = Tariff { market: Market::Spot, hourly: usd!(3.60), billing };
    Rented { instance: instance(number), rank: Some(Rank(number)), tariff, converted: None }
}

fn provisioned(machines: Vec<Rented>, took: u64) -> EventKind {
    EventKind::Provisioned { wanted: 1, machines, took: at(took) }
}

fn ready(rank: u32) -> EventKind {
    EventKind::Node { rank: Rank(rank), attempt: Attempt(0), phase: NodePhase::Ready }
}

fn starts(task: u64, rank: u32, function: &str) -> EventKind {
    let (task, rank, function) = (TaskId(task), Rank(rank), function.to_owned());
    EventKind::TaskStarted { task, attempt: Attempt(0), rank, function }
}

fn finishes(task: u64) -> EventKind {
    let (task, rank) = (TaskId(task), Rank(0));
    EventKind::TaskFinished { task, attempt: Attempt(0), rank, ok: true, cost: Usd::ZERO }
}

fn fold(facts: Vec<(u64, EventKind)>) -> (Ledger, Vec<Usd>) {
    let (mut ledger, mut costs) = (Ledger::default(), Vec::new());
    for (after, mut kind) in facts {
        ledger.take_in(&mut kind, at(after));
        if let EventKind::TaskFinished { cost, .. } = kind {
            costs.push(cost);
        }
    }
    (ledger, costs)
}

#[test]
fn a_machine_is_paid_from_when_it_was_asked_for_until_it_is_gone_and_split_by_what_it_did() {
    let (ledger, costs) = fold(vec![
        (20, provisioned(vec![rented(0, BillingUnit::Second)], 10)),
        (40, ready(0)),
        (50, starts(1, 0, "train")),
        (60, finishes(1)),
        (70, EventKind::Terminated { instance: instance(0) }),
        (99, EventKind::Terminated { instance: instance(0) }),
    ]);
    let bill = ledger.bill(at(500));
    assert_eq!(costs, [usd!(0.01)]);
    assert_eq!(
        (bill.total, bill.boot, bill.tasks, bill.idle),
        (usd!(0.06), usd!(0.03), usd!(0.01), usd!(0.02))
    );
    assert_eq!(bill.functions, [FunctionCost { function: "train".into(), calls: 1, cost: usd!(0.01) }]);
    assert_eq!(bill.to_string(), "$0.06: $0.01 for tasks, $0.02 idle, $0.03 until ready; 1 machines");
}

#[test]
fn what_an_owner_before_rented_is_in_the_bill_from_when_it_was_rented() {
    let earlier = |number, since, until: Option<u64>| Earlier {
        rented: rented(number, BillingUnit::Second),
        since: at(since),
        until: until.map(at),
    };
    let machines = vec![earlier(1, 100, Some(110)), earlier(0, 100, None)];
    let (ledger, costs) = fold(vec![
        (1, EventKind::Attached { nodes: 1, age: at(1001), machines }),
        (5, ready(0)),
        (10, starts(1, 0, "train")),
        (20, finishes(1)),
        (30, EventKind::Terminated { instance: instance(0) }),
    ]);
    let bill = ledger.bill(at(500));
    assert_eq!(costs, [usd!(0.01)]);
    // Ten seconds of the one, from the hundredth to the 1,030th of the other.
    assert_eq!((bill.total, bill.tasks, bill.boot), (usd!(0.94), usd!(0.01), Usd::ZERO));
}

#[test]
fn tasks_side_by_side_share_the_time_of_their_node() {
    let (ledger, costs) = fold(vec![
        (0, provisioned(vec![rented(0, BillingUnit::Second)], 0)),
        (0, ready(0)),
        (0, starts(1, 0, "a")),
        (10, starts(2, 0, "b")),
        (30, finishes(1)),
        (40, finishes(2)),
    ]);
    assert_eq!(costs, [usd!(0.02), usd!(0.02)]);
    assert_eq!(ledger.bill(at(40)).tasks, usd!(0.04));
}

#[test]
fn a_try_that_was_lost_has_its_cost_and_ends_with_its_machine() {
    let (ledger, _) = fold(vec![
        (0, provisioned(vec![rented(0, BillingUnit::Second)], 0)),
        (0, ready(0)),
        (0, starts(1, 0, "a")),
        (10, EventKind::Terminated { instance: instance(0) }),
        (20, EventKind::TaskRetried { task: TaskId(1), attempt: Attempt(1), reason: "lost".into() }),
        (20, provisioned(vec![Rented { rank: Some(Rank(0)), ..rented(1, BillingUnit::Second) }], 0)),
        (20, ready(0)),
        (20, starts(1, 0, "a")),
    ]);
    assert_eq!(ledger.so_far(TaskId(1), at(50)), usd!(0.03));
    let bill = ledger.bill(at(50));
    assert_eq!((bill.total, bill.tasks), (usd!(0.04), usd!(0.04)));
    assert_eq!(bill.functions[0].cost, usd!(0.01));
}

#[test]
fn a_try_that_was_given_back_ends_where_the_next_begins_and_is_no_call() {
    let (ledger, costs) = fold(vec![
        (0, provisioned(vec![rented(0, BillingUnit::Second), rented(1, BillingUnit::Second)], 0)),
        (0, ready(0)),
        (0, ready(1)),
        (0, starts(1, 0, "a")),
        (10, starts(1, 1, "a")),
        (20, finishes(1)),
    ]);
    let bill = ledger.bill(at(40));
    assert_eq!(costs, [usd!(0.01)]);
    assert_eq!((bill.total, bill.tasks, bill.idle), (usd!(0.08), usd!(0.02), usd!(0.06)));
    assert_eq!(bill.functions, [FunctionCost { function: "a".into(), calls: 1, cost: usd!(0.01) }]);
}

#[test]
fn the_rest_of_a_begun_hour_is_idle_and_the_parts_add_up() {
    let left: Vec<Leftover> = Vec::new();
    let (ledger, costs) = fold(vec![
        (0, provisioned(vec![rented(0, BillingUnit::Hour)], 0)),
        (10, ready(0)),
        (10, starts(1, 0, "a")),
        (17, finishes(1)),
        (20, EventKind::Stopped { left, took: at(1), bill: Box::default() }),
    ]);
    let bill = ledger.bill(at(9999));
    assert_eq!(costs, [usd!(0.007)]);
    assert_eq!((bill.total, bill.tasks, bill.boot), (usd!(3.60), usd!(0.007), usd!(0.01)));
    assert_eq!(bill.idle, bill.total - bill.tasks - bill.boot);
    assert_eq!(
        (bill.machines[0].used, bill.machines[0].billed, bill.machines[0].open),
        (at(20), at(3600), false)
    );
}

#[test]
fn a_price_in_another_currency_is_shown_as_converted() {
    let converted = Some(Conversion::new("EUR", usd!(1.08)));
    let (ledger, _) =
        fold(vec![(0, provisioned(vec![Rented { converted, ..rented(0, BillingUnit::Second) }], 0))]);
    let told = ledger.bill(at(10)).to_string();
    assert_eq!(told, "$0.01: $0.00 for tasks, $0.00 idle, $0.01 until ready; 1 machines, from EUR at $1.08");
}
