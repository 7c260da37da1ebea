//! What is taken over of a pool that another program left, and what the pool does with it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::journal::{DeedKind, Inputs, KnownNode, PastMachine};
use crate::model::{
    End, Epoch, HostKey, Incarnation, InstanceType, Market, Offer, PoolId, Price, SshEndpoint,
};
use crate::pool::messages::{Heard, Limits, Shortfall, Timer};
use crate::pool::plan::Plan;
use crate::provider::{ProviderErrorKind, Request};
use crate::usd;

/// When somebody attaches: an hour after the machines were rented.
const NOW: Duration = Duration::from_secs(4600);

fn candidate(region: &str) -> Candidate {
    let price = Price::on_demand(usd!(1));
    let offer = Offer { id: region.into(), ..Offer::of("c", InstanceType::named("small"), price) };
    let tariff = offer.price.tariff(Market::OnDemand).expect("a price");
    Candidate {
        spec: 0,
        offer,
        tariff,
        otherwise: None,
        nodes: 2,
        least: 2,
        scales: None,
        lease: None,
        mixed: false,
        lost: None,
    }
}

fn deed(number: i64, region: &str) -> Deed {
    let candidate = candidate(region);
    let request = Request {
        pool: PoolId::new("p"),
        offer: candidate.offer.clone(),
        market: Market::OnDemand,
        disk_gb: None,
        volumes: Vec::new(),
        ssh_key: String::new(),
        lease: Duration::from_secs(60),
    };
    Deed {
        number,
        kind: DeedKind::Provision,
        provider: "c".into(),
        settings: "{}".into(),
        account: None,
        request,
        terms: serde_json::to_string(&candidate).expect("text"),
        begun: Duration::from_secs(1000),
        ended: true,
    }
}

fn machine(instance: &str, deed: i64, node: Option<(u32, u32)>) -> Machine {
    let node = node.map(|(rank, attempt)| KnownNode {
        rank: Rank(rank),
        attempt: Attempt(attempt),
        incarnation: Incarnation::new(instance),
        ssh: SshEndpoint {
            host: "h".into(),
            port: 22,
            user: "u".into(),
            host_key: HostKey::PinOnFirstUse,
            login: Box::default(),
        },
        address: IpAddr::from([127, 0, 0, 1]),
        private: None,
        end: End::Outside,
        port: 1,
        tcp: 2,
        pid: 3,
    });
    Machine { instance: InstanceId::new(instance), provider: "c".into(), deed, node }
}

fn pool(machines: Vec<Machine>) -> KnownPool {
    KnownPool {
        id: PoolId::new("p"),
        name: Some("train".into()),
        program: String::new(),
        specs: String::new(),
        inputs: Inputs::default(),
        recipe: String::new(),
        size: None,
        epoch: Epoch(1),
        ttl: Duration::from_secs(60),
        begun: Duration::ZERO,
        seen: Duration::ZERO,
        deeds: vec![deed(1, "old"), deed(2, "new")],
        machines,
        past: Vec::new(),
        whole: true,
    }
}

/// A pool that is told of these machines and has asked for offers, which are none.
fn adopting(machines: Vec<Machine>) -> (State, Vec<Effect>) {
    let adoption = Adoption::of(&pool(machines), NOW).expect("a node");
    let (mut state, now, timing) = (State::new(), Instant::now(), Timing::short());
    let mut effects = Vec::new();
    let born = Heard::Born { limits: Limits::default() };
    for heard in [Heard::Adopted(Box::new(adoption)), born, Heard::Offered(Plan::default())] {
        effects = state.hear(heard, now, &timing);
    }
    (state, effects)
}

fn hear(state: &mut State, heard: Heard) -> Vec<Effect> {
    state.hear(heard, Instant::now(), &Timing::short())
}

#[test]
fn of_two_machines_of_one_rank_the_later_life_counts_and_what_was_no_node_is_spare() {
    let machines = vec![machine("a", 1, Some((0, 0))), machine("b", 2, Some((0, 1))), machine("c", 2, None)];
    let adoption = Adoption::of(&pool(machines), NOW).expect("a node");
    assert_eq!(adoption.machines.iter().map(|it| it.instance.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(adoption.spare.len(), 2);
    assert_eq!(adoption.candidate, candidate("new"));
    assert_eq!(Adoption::of(&pool(vec![machine("a", 1, None)]), NOW), None);
}

#[test]
fn what_is_there_is_linked_again_and_what_is_missing_is_rented() {
    let (mut state, effects) = adopting(vec![machine("b", 2, Some((1, 3))), machine("c", 2, None)]);
    assert!(
        effects
            .iter()
            .any(|it| matches!(it, Effect::Prepare { candidate: it, .. } if **it == candidate("new")))
    );
    let effects = hear(&mut state, Heard::Prepared(Ok(())));
    let instance = InstanceId::new("b");
    assert!(effects.contains(&Effect::Spawn { rank: Rank(1), attempt: Attempt(3), instance }), "{effects:?}");
    assert!(effects.contains(&Effect::Release { instances: vec![InstanceId::new("c")] }), "{effects:?}");
    assert!(effects.iter().any(|it| matches!(it, Effect::Provision { count: 1, .. })), "{effects:?}");
}

#[test]
fn a_pool_that_scales_goes_on_with_what_it_had_and_not_with_what_it_began_with() {
    for (ranks, to) in [(vec![0], 1), (vec![0, 2, 3], 3)] {
        let machines = ranks.iter().map(|rank| machine(&format!("{rank}"), 2, Some((*rank, 1)))).collect();
        let mut adoption = Adoption::of(&pool(machines), NOW).expect("a node");
        adoption.candidate = Candidate { scales: Some((1, 4)), least: 1, ..candidate("new") };
        let mut state = State::new();
        for heard in [
            Heard::Adopted(Box::new(adoption)),
            Heard::Born { limits: Limits::default() },
            Heard::Offered(Plan::default()),
        ] {
            hear(&mut state, heard);
        }
        let effects = hear(&mut state, Heard::Prepared(Ok(())));
        let scaled = EventKind::Scaled { from: 2, to, why: ScaledBecause::Attached };
        let beyond = ranks.iter().filter(|it| **it > 1).map(|it| Effect::QueueWanted { rank: Rank(*it) });
        let mut expected = beyond.chain([Effect::QueueLost { rank: Rank(1) }, Effect::Announce(scaled)]);
        assert!(expected.all(|it| effects.contains(&it)), "{effects:?}");
        assert!(!effects.iter().any(|it| matches!(it, Effect::Provision { .. })), "{effects:?}");
    }
}

/// A pool of two whose owner asked for another number, and has nodes of these ranks, until it was taken over.
fn resized(size: Option<u32>, ranks: &[u32]) -> (State, Vec<Effect>) {
    let machines = ranks.iter().map(|rank| machine(&format!("{rank}"), 2, Some((*rank, 1)))).collect();
    let adoption = Adoption::of(&KnownPool { size, ..pool(machines) }, NOW).expect("a node");
    let mut state = State::new();
    let mut effects = Vec::new();
    for heard in [
        Heard::Adopted(Box::new(adoption)),
        Heard::Born { limits: Limits::default() },
        Heard::Offered(Plan { candidates: vec![candidate("other")], ..Plan::default() }),
        Heard::Prepared(Ok(())),
    ] {
        effects.extend(hear(&mut state, heard));
    }
    (state, effects)
}

#[test]
fn a_pool_that_keeps_its_number_goes_on_with_the_one_that_was_asked_for() {
    for (size, ranks, nodes, rented) in [
        (None, &[0][..], 2, Some(1)),
        (None, &[0, 1, 2], 3, None),
        (Some(1), &[0], 1, None),
        (Some(2), &[0, 4], 2, None),
        (Some(3), &[0, 4], 3, Some(1)),
        (Some(5), &[0], 5, Some(4)),
    ] {
        let (mut state, mut effects) = resized(size, ranks);
        let chosen = effects.iter().find_map(|it| match it {
            Effect::Announce(EventKind::Chosen { nodes, .. }) => Some(*nodes),
            _ => None,
        });
        assert_eq!(chosen, Some(size.unwrap_or(2)), "{size:?} {ranks:?}");
        for rank in ranks {
            effects.extend(hear(&mut state, Heard::NodeReady { rank: Rank(*rank), attempt: Attempt(1) }));
        }
        let asked = effects.iter().find_map(|it| match it {
            Effect::Provision { count, .. } => Some(*count),
            _ => None,
        });
        assert_eq!((state.lives.count(), asked), (nodes, rented), "{size:?} {ranks:?}: {effects:?}");
        let leaves = |it: &Effect| matches!(it, Effect::QueueLeaves { .. } | Effect::DropNode { .. });
        assert!(!effects.iter().any(leaves), "{size:?} {ranks:?}: {effects:?}");
    }
}

#[test]
fn nodes_beyond_what_was_asked_for_leave_once_all_of_them_are_linked() {
    let (mut state, effects) = resized(Some(1), &[0, 1, 2]);
    assert_eq!(
        (state.lives.count(), effects.iter().any(|it| matches!(it, Effect::Provision { .. }))),
        (3, false)
    );
    let mut effects = Vec::new();
    for rank in [2, 0, 1] {
        assert_eq!(effects.iter().filter(|it| matches!(it, Effect::DrainNode { .. })).count(), 0);
        effects = hear(&mut state, Heard::NodeReady { rank: Rank(rank), attempt: Attempt(1) });
    }
    for rank in [1, 2] {
        let leaves = Effect::QueueLeaves { rank: Rank(rank), attempt: Attempt(1), by_choice: true };
        assert!(effects.contains(&leaves), "{effects:?}");
    }
    let why = ScaledBecause::Asked;
    assert!(effects.contains(&Effect::Announce(EventKind::Scaled { from: 3, to: 1, why })), "{effects:?}");
    assert_eq!(state.lives.count(), 1);
}

#[test]
fn what_is_tried_instead_of_what_was_adopted_has_as_many_nodes() {
    let (mut state, _) = resized(Some(4), &[0]);
    let candidates = |scales| {
        let mut state = State::new();
        let adoption =
            Adoption::of(&KnownPool { size: Some(4), ..pool(vec![machine("a", 2, Some((0, 1)))]) }, NOW);
        hear(&mut state, Heard::Adopted(Box::new(adoption.expect("a node"))));
        state.with_adopted(vec![Candidate { scales, ..candidate("other") }])
    };
    assert_eq!(candidates(None).iter().map(|it| it.nodes).collect::<Vec<_>>(), [4, 4]);
    assert_eq!(candidates(Some((1, 8))).iter().map(|it| it.nodes).collect::<Vec<_>>(), [4, 2]);
    // A lost one is wanted again.
    hear(&mut state, Heard::NodeReady { rank: Rank(0), attempt: Attempt(1) });
    assert_eq!(state.lives.count(), 4);
}

#[test]
fn it_is_ready_when_each_node_that_was_taken_over_is_linked_or_lost() {
    let both = || vec![machine("a", 2, Some((0, 0))), machine("b", 2, Some((1, 0)))];
    let started = |effects: &[Effect]| effects.iter().any(|it| matches!(it, Effect::Started { .. }));
    let (mut state, _) = adopting(both());
    hear(&mut state, Heard::Prepared(Ok(())));
    let ready = |rank| Heard::NodeReady { rank: Rank(rank), attempt: Attempt(0) };
    assert!(!started(&hear(&mut state, ready(1))));
    assert!(started(&hear(&mut state, ready(0))));
}

#[test]
fn a_pool_that_cannot_be_taken_over_stays_as_it_is() {
    let failed = Heard::Prepared(Err(StartError::Internal("no answer".into())));
    for heard in [failed, Heard::Stop] {
        let adoption = Adoption::of(&pool(vec![machine("a", 2, Some((0, 0)))]), NOW).expect("a node");
        let mut state = State::new();
        hear(&mut state, Heard::Adopted(Box::new(adoption)));
        hear(&mut state, Heard::Born { limits: Limits::default() });
        if heard != Heard::Stop {
            hear(&mut state, Heard::Offered(Plan::default()));
        }
        let effects = hear(&mut state, heard);
        let left = effects.iter().find_map(|it| match it {
            Effect::Ended { failure: Some(_), left } => Some(left.len()),
            _ => None,
        });
        assert_eq!(left, Some(1), "{effects:?}");
        let undoes =
            |it: &Effect| matches!(it, Effect::Terminate { .. } | Effect::Teardown | Effect::Release { .. });
        assert!(!effects.iter().any(undoes), "{effects:?}");
    }
}

#[test]
fn a_pool_that_is_left_gives_nothing_back() {
    let (mut state, _) = adopting(vec![machine("a", 2, Some((0, 0))), machine("b", 2, Some((1, 0)))]);
    hear(&mut state, Heard::Prepared(Ok(())));
    assert_eq!(hear(&mut state, Heard::Detach), []);
    for rank in 0..2 {
        hear(&mut state, Heard::NodeReady { rank: Rank(rank), attempt: Attempt(0) });
    }
    let effects = hear(&mut state, Heard::Detach);
    assert_eq!(effects.first(), Some(&Effect::Detach));
    assert!(matches!(effects.last(), Some(Effect::Ended { failure: None, .. })));
    assert_eq!(hear(&mut state, Heard::Stop), []);
}

/// A request for machines that came to nothing.
fn sold_out(request: u32) -> Heard {
    let shortfall = Shortfall {
        reason: "sold out".into(),
        kind: ProviderErrorKind::NoCapacity,
        after: None,
        unsure: false,
    };
    Heard::Provisioned { request: Attempt(request), instances: Vec::new(), shortfall: Some(shortfall) }
}

#[test]
fn what_lives_of_it_is_not_given_back_for_a_machine_that_cannot_be_had() {
    let (mut state, _) = adopting(vec![machine("b", 2, Some((1, 0)))]);
    let mut effects = hear(&mut state, Heard::Prepared(Ok(())));
    for request in 1..20 {
        effects.extend(hear(&mut state, sold_out(request)));
        effects.extend(hear(&mut state, Heard::Woke(Timer::Provision)));
    }
    effects.extend(hear(&mut state, Heard::NodeReady { rank: Rank(1), attempt: Attempt(0) }));
    let undoes = |it: &Effect| {
        matches!(
            it,
            Effect::Release { .. }
                | Effect::Terminate { .. }
                | Effect::DropNode { .. }
                | Effect::Ended { .. }
        )
    };
    assert!(!effects.iter().any(undoes), "{effects:?}");
    assert!(effects.iter().any(|it| matches!(it, Effect::Started { .. })), "{effects:?}");
}

#[test]
fn a_pool_is_left_when_its_cloud_has_answered_and_not_before() {
    let (mut state, _) = adopting(vec![machine("b", 2, Some((1, 0)))]);
    hear(&mut state, Heard::Prepared(Ok(())));
    hear(&mut state, Heard::NodeReady { rank: Rank(1), attempt: Attempt(0) });
    assert!(!hear(&mut state, Heard::Detach).contains(&Effect::Detach));
    assert!(hear(&mut state, sold_out(1)).contains(&Effect::Detach));
}

#[test]
fn what_an_owner_before_has_spent_counts_and_a_pool_that_may_not_cost_more_is_given_back() {
    // Two machines at a dollar an hour for an hour, and one for half of one.
    let gone = PastMachine { instance: InstanceId::new("z"), deed: 1, gone: Duration::from_secs(2800) };
    let machines = vec![machine("a", 2, Some((0, 0))), machine("b", 2, Some((1, 0)))];
    let known = KnownPool { past: vec![gone], ..pool(machines) };
    assert_eq!(spent(&known, NOW), usd!(2.50));
    // A clock that was set back hides nothing of what is written down.
    let seen = KnownPool { seen: NOW, ..known.clone() };
    assert_eq!(spent(&seen, Duration::ZERO), usd!(2.50));
    let age = |now| Adoption::of(&seen, now).map(|it| it.age);
    assert_eq!(age(Duration::ZERO), age(NOW));
    for (cap, attaches) in [(usd!(2), false), (usd!(2.51), false), (usd!(4), true)] {
        let adoption = Adoption::of(&known, NOW).expect("a node");
        let (mut state, now) = (State::new(), Instant::now());
        // It has to leave enough to give the machines back.
        let timing = Timing { shutdown: Duration::from_secs(120), ..Timing::short() };
        let mut effects = Vec::new();
        for heard in [
            Heard::Adopted(Box::new(adoption)),
            Heard::Born { limits: Limits { total: Some(cap), ..Limits::default() } },
            Heard::Offered(Plan::default()),
            Heard::Prepared(Ok(())),
        ] {
            effects.extend(state.hear(heard, now, &timing));
        }
        // Those that are told to end do.
        for rank in if attaches { 0..0 } else { 0..2 } {
            let gone = Heard::NodeGone {
                rank: Rank(rank),
                attempt: Attempt(0),
                reason: "told to".into(),
                retry: false,
            };
            effects.extend(state.hear(gone, now, &timing));
        }
        let refused = StartError::Spent { spent: usd!(2.50), cap };
        let says =
            |it: &Effect| *it == Effect::Announce(EventKind::StartFailed { reason: refused.to_string() });
        assert_eq!(effects.iter().any(says), !attaches, "{cap}: {effects:?}");
        let both = ["a", "b"].map(InstanceId::new).to_vec();
        assert_eq!(effects.contains(&Effect::Terminate { instances: both }), !attaches, "{cap}: {effects:?}");
        let inherited = effects.iter().find_map(|it| match it {
            Effect::Announce(EventKind::Attached { machines, .. }) => Some(machines.len()),
            _ => None,
        });
        assert_eq!(inherited, Some(3), "{effects:?}");
    }
}

#[test]
fn nothing_is_rented_before_what_nobody_heard_of_was_looked_for_and_nodes_do_not_wait_for_that() {
    let known = pool(vec![machine("b", 2, Some((1, 3)))]);
    let unheard = Deed { ended: false, ..known.deeds[1].clone() };
    let known = KnownPool { deeds: vec![known.deeds[0].clone(), unheard], ..known };
    let adoption = Adoption::of(&known, NOW).expect("a node");
    let mut state = State::new();
    for heard in [
        Heard::Adopted(Box::new(adoption)),
        Heard::Born { limits: Limits::default() },
        Heard::Offered(Plan::default()),
    ] {
        hear(&mut state, heard);
    }
    let rents = |effects: &[Effect]| effects.iter().any(|it| matches!(it, Effect::Provision { .. }));
    let effects = hear(&mut state, Heard::Prepared(Ok(())));
    assert!(!rents(&effects) && effects.iter().any(|it| matches!(it, Effect::Spawn { .. })), "{effects:?}");
    assert!(!rents(&hear(&mut state, Heard::NodeReady { rank: Rank(1), attempt: Attempt(3) })));
    assert!(rents(&hear(&mut state, Heard::Looked)));
}
