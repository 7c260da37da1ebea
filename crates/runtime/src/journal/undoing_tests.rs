//! What is asked for a pool that is given back, and when its entry is forgotten.

use std::time::Duration;

use super::*;
use crate::journal::{DeedKind, Machine};
use crate::model::{Epoch, InstanceType, KeyPrint, Market, Offer, PoolId, Price};
use crate::provider::Request;
use crate::usd;

/// When it is given back, since 1970.
const NOW: Option<Duration> = Some(Duration::from_secs(60));

/// A pool with a machine `a` in one region, and one `b` in another, that was rented last.
fn pool(whole: bool) -> KnownPool {
    let deed = |number: i64, region: &str| Deed {
        number,
        kind: DeedKind::Provision,
        provider: "c".into(),
        settings: "{}".into(),
        account: None,
        request: Request {
            pool: PoolId::new("p"),
            offer: Offer {
                region: Some(region.into()),
                ..Offer::of("c", InstanceType::named("small"), Price::on_demand(usd!(1)))
            },
            market: Market::OnDemand,
            disk_gb: None,
            volumes: Vec::new(),
            ssh_key: String::new(),
            lease: Duration::from_secs(60),
        },
        terms: String::new(),
        begun: Duration::ZERO,
        ended: true,
    };
    let machine = |instance: &str, deed| Machine {
        instance: InstanceId::new(instance),
        provider: "c".into(),
        deed,
        node: None,
    };
    KnownPool {
        id: PoolId::new("p"),
        name: Some("train".into()),
        program: String::new(),
        specs: String::new(),
        inputs: crate::journal::Inputs::default(),
        recipe: String::new(),
        size: None,
        epoch: Epoch(1),
        ttl: Duration::from_secs(600),
        begun: Duration::ZERO,
        seen: Duration::ZERO,
        deeds: vec![deed(1, "north"), deed(2, "south")],
        machines: vec![machine("a", 1), machine("b", 2)],
        past: Vec::new(),
        whole,
    }
}

/// What is next, in words.
fn next(undoing: &Undoing) -> String {
    match undoing.next() {
        Undo::Terminate(deed, machines) => format!("terminate {machines:?} of {}", deed.number),
        Undo::Teardown(deed) => format!("teardown of {}", deed.number),
        Undo::Forget => "forget".to_owned(),
        Undo::Keep(left) => format!("{} left", left.len()),
    }
}

#[test]
fn machines_are_ended_by_their_names_before_what_else_there_is_and_the_last_request_comes_first() {
    let mut undoing = Undoing::of(&pool(true));
    for (deed, machine) in [(2, "b"), (1, "a")] {
        assert_eq!(next(&undoing), format!("terminate [InstanceId(\"{machine}\")] of {deed}"));
        undoing.terminated(Ok(()));
        assert_eq!(next(&undoing), format!("teardown of {deed}"));
        undoing.torn_down(Ok(Vec::new()), NOW);
    }
    assert_eq!(next(&undoing), "forget");
}

#[test]
fn whatever_is_left_keeps_the_entry_and_no_other_request_from_being_undone() {
    let mut undoing = Undoing::of(&pool(true));
    undoing.terminated(Err("busy".into()));
    assert_eq!(next(&undoing), "terminate [InstanceId(\"a\")] of 1");
    undoing.terminated(Ok(()));
    undoing.torn_down(Err("late".into()), NOW);
    assert_eq!(next(&undoing), "2 left");
    let mut undoing = Undoing::of(&pool(true));
    undoing.unasked("no key".into());
    undoing.terminated(Ok(()));
    undoing.torn_down(Ok(vec![Leftover { what: "the network".into(), reason: "in use".into() }]), NOW);
    assert_eq!(next(&undoing), "2 left");
    let mut unread = Undoing::of(&pool(false));
    for _ in 0..2 {
        unread.terminated(Ok(()));
        unread.torn_down(Ok(Vec::new()), NOW);
    }
    assert_eq!(next(&unread), "1 left");
}

#[test]
fn the_same_request_to_two_accounts_is_undone_at_each_for_its_own_machines() {
    let mut known = pool(true);
    let (one, two) = (KeyPrint::new("one"), KeyPrint::new("two"));
    known.deeds[0].account = Some(one.clone());
    known.deeds[1] = Deed { number: 2, account: Some(two.clone()), ..known.deeds[0].clone() };
    let mut undoing = Undoing::of(&known);
    for (account, machine) in [(two, "b"), (one, "a")] {
        let Undo::Terminate(deed, machines) = undoing.next() else { panic!("{:?}", undoing.next()) };
        assert_eq!((deed.account, machines), (Some(account), vec![InstanceId::new(machine)]));
        undoing.unasked("its key is not there".into());
    }
    assert_eq!(next(&undoing), "2 left");
}

#[test]
fn a_request_that_nobody_heard_of_keeps_the_entry_while_it_may_bring_machines() {
    let mut known = pool(true);
    known.deeds[0].ended = false;
    for (now, expected) in [(NOW, "1 left"), (Some(Duration::from_secs(3600)), "forget"), (None, "forget")] {
        let mut undoing = Undoing::of(&known);
        for _ in 0..2 {
            undoing.terminated(Ok(()));
            undoing.torn_down(Ok(Vec::new()), now);
        }
        assert_eq!(next(&undoing), expected, "{now:?}");
    }
}
