//! A pool's life as tables: what it hears, what it wants done.

use std::sync::OnceLock;
use std::time::Duration;

use super::*;
use crate::model::usd;
use crate::model::{Billing, InstanceType, Market, Nodes, Offer, Price, Rented, ScaledBecause, Tariff};
use crate::pool::messages::Shortfall;
use crate::pool::plan::Plan;
use crate::provider::ProviderErrorKind;

#[path = "insisting_tests.rs"]
mod insisting;
#[path = "keeping_tests.rs"]
mod keeping;
#[path = "renting_tests.rs"]
mod renting;
#[path = "replacement_tests.rs"]
mod replacement;
#[path = "sizing_tests.rs"]
mod sizing;
#[path = "superseded_tests.rs"]
mod superseded;

const START: Duration = Duration::ZERO;

/// One moment for a whole test, so that nothing takes any time.
fn now() -> Instant {
    static NOW: OnceLock<Instant> = OnceLock::new();
    *NOW.get_or_init(Instant::now)
}

fn tariff() -> Tariff {
    Tariff { market: Market::OnDemand, hourly: usd!(1), billing: Billing::default() }
}

fn offer(provider: &str) -> Offer {
    Offer::of(provider, InstanceType::named("small"), Price::on_demand(usd!(1)))
}

fn candidate(provider: &str, nodes: Nodes) -> Candidate {
    Candidate {
        spec: 0,
        offer: offer(provider),
        tariff: tariff(),
        otherwise: None,
        nodes: nodes.desired,
        least: nodes.least(),
        scales: nodes.scales(),
        lease: None,
        mixed: false,
        lost: None,
    }
}

fn plan(candidates: Vec<Candidate>) -> Heard {
    Heard::Offered(Plan { candidates, ..Plan::default() })
}

/// What a pool does with a candidate before it rents.
fn preparing(candidate: &Candidate) -> Vec<Effect> {
    let Candidate { offer, tariff, nodes, .. } = candidate.clone();
    vec![
        Effect::Announce(EventKind::Chosen {
            provider: offer.provider.clone(),
            offer: Box::new(offer),
            tariff,
            nodes,
        }),
        Effect::QueueSized { nodes },
        announce(PoolPhase::Preparing),
        Effect::Prepare { candidate: Box::new(candidate.clone()), lease: Timing::default().lease },
    ]
}

fn instance(number: u32) -> InstanceId {
    InstanceId::new(format!("i{number}"))
}

fn born() -> Heard {
    Heard::Born { limits: Limits::default() }
}

fn offered(nodes: u32) -> Heard {
    plan(vec![candidate("one", Nodes::from(nodes))])
}

fn ask(request: u32, count: u32) -> Effect {
    Effect::Provision { request: Attempt(request), count }
}

fn given(numbers: &[u32], shortfall: Option<(&str, bool)>) -> Heard {
    answer(1, numbers, shortfall)
}

/// The answer to a later request for machines.
fn answer(request: u32, numbers: &[u32], shortfall: Option<(&str, bool)>) -> Heard {
    Heard::Provisioned {
        request: Attempt(request),
        instances: numbers.iter().copied().map(instance).collect(),
        shortfall: shortfall.map(|(reason, retry)| Shortfall {
            reason: reason.into(),
            kind: if retry { ProviderErrorKind::NoCapacity } else { ProviderErrorKind::InvalidRequest },
            after: None,
            unsure: false,
        }),
    }
}

fn node_ready(rank: u32) -> Heard {
    Heard::NodeReady { rank: Rank(rank), attempt: Attempt(0) }
}

fn node_gone(rank: u32, reason: &str) -> Heard {
    Heard::NodeGone { rank: Rank(rank), attempt: Attempt(0), reason: reason.into(), retry: true }
}

/// A node has ended in a way that no other machine can mend.
fn node_failed(rank: u32, attempt: u32, reason: &str) -> Heard {
    Heard::NodeGone { rank: Rank(rank), attempt: Attempt(attempt), reason: reason.into(), retry: false }
}

fn release(number: u32) -> Effect {
    Effect::Release { instances: vec![instance(number)] }
}

/// A machine is certainly gone.
fn released(number: u32) -> Heard {
    Heard::Released { instances: vec![instance(number)], result: Ok(()) }
}

fn spawn(rank: u32) -> Effect {
    Effect::Spawn { rank: Rank(rank), attempt: Attempt(0), instance: instance(rank) }
}

fn drain(rank: u32) -> Effect {
    drain_life(rank, 0)
}

fn drain_life(rank: u32, attempt: u32) -> Effect {
    super::drain((Rank(rank), Attempt(attempt)), &Timing::default())
}

fn provisioned(numbers: &[u32], wanted: u32) -> Effect {
    let machines: Vec<(u32, Option<u32>)> = numbers.iter().map(|it| (*it, Some(*it))).collect();
    provisioned_as(&machines, wanted)
}

/// Machines, and the ranks that they become.
fn provisioned_as(machines: &[(u32, Option<u32>)], wanted: u32) -> Effect {
    let rented = |(number, rank): &(u32, Option<u32>)| Rented {
        instance: instance(*number),
        rank: rank.map(Rank),
        tariff: tariff(),
        converted: None,
    };
    let machines = machines.iter().map(rented).collect();
    Effect::Announce(EventKind::Provisioned { machines, wanted, took: START })
}

fn refused(reason: &str, attempt: u32) -> Effect {
    Effect::Announce(EventKind::ProvisionFailed { reason: reason.into(), attempt: Attempt(attempt) })
}

fn stopping(nodes: &[u32]) -> Vec<Effect> {
    let mut effects = vec![
        announce(PoolPhase::Stopping),
        Effect::Wake(Timer::Shutdown, Timing::default().shutdown),
        Effect::QueueStop,
    ];
    effects.extend(nodes.iter().copied().map(drain));
    effects
}

/// The same for lives that are not the first of their ranks.
fn stopping_lives(lives: &[(u32, u32)]) -> Vec<Effect> {
    let mut effects = stopping(&[]);
    effects.extend(lives.iter().map(|(rank, attempt)| drain_life(*rank, *attempt)));
    effects
}

fn failed(why: &StartError) -> Effect {
    Effect::Announce(EventKind::StartFailed { reason: why.to_string() })
}

fn terminate(numbers: &[u32]) -> Effect {
    Effect::Terminate { instances: numbers.iter().copied().map(instance).collect() }
}

fn terminated(number: u32) -> Effect {
    Effect::Announce(EventKind::Terminated { instance: instance(number) })
}

fn over(failure: Option<StartError>, left: Vec<Leftover>) -> Vec<Effect> {
    vec![
        Effect::Announce(EventKind::Stopped { left: left.clone(), took: START, bill: Box::default() }),
        Effect::Ended { failure, left },
    ]
}

/// A pool of a fixed number of nodes goes on with one less, and looks for another after this many seconds.
fn fewer(from: u32, reason: &str, again: u64) -> [Effect; 2] {
    let why = ScaledBecause::Refused(format!("{reason}; it is tried again later, or at once after `resize`"));
    let told = Effect::Announce(EventKind::Scaled { from, to: from - 1, why });
    [told, Effect::Wake(Timer::Scale, Duration::from_secs(again))]
}

/// Runs a table of steps and checks the effects of each, all of them.
fn check(state: &mut State, steps: Vec<(Heard, Vec<Effect>)>) {
    let (timing, now) = (Timing::default(), now());
    for (at, (heard, expected)) in steps.into_iter().enumerate() {
        let told = format!("step {at}: {heard:?}");
        assert_eq!(state.hear(heard, now, &timing), expected, "{told}");
    }
}

/// A pool that has heard these things, whose effects were checked elsewhere.
fn after(heard: Vec<Heard>) -> State {
    let mut state = State::new();
    for it in heard {
        state.hear(it, now(), &Timing::default());
    }
    state
}

fn ready(nodes: u32) -> State {
    let mut heard = vec![born(), offered(nodes), Heard::Prepared(Ok(()))];
    heard.push(given(&(0..nodes).collect::<Vec<_>>(), None));
    heard.extend((0..nodes).map(node_ready));
    after(heard)
}

#[test]
fn a_pool_goes_from_specs_to_ready_and_gives_everything_back() {
    let rank = |rank| Effect::QueueReady { rank: Rank(rank) };
    let mut steps = vec![
        (born(), vec![announce(PoolPhase::Choosing), Effect::AskOffers]),
        (offered(2), preparing(&candidate("one", Nodes::from(2)))),
        (Heard::Prepared(Ok(())), vec![announce(PoolPhase::Provisioning), ask(1, 2)]),
        (
            given(&[0, 1], None),
            vec![provisioned(&[0, 1], 2), announce(PoolPhase::Starting), spawn(0), spawn(1)],
        ),
        (node_ready(1), vec![rank(1)]),
        (node_ready(0), vec![rank(0), announce(PoolPhase::Ready), Effect::Started { nodes: 2 }]),
        (Heard::Stop, stopping(&[0, 1])),
        (node_gone(1, "drained"), vec![]),
        (node_gone(0, "drained"), vec![terminate(&[0, 1])]),
        (Heard::Terminated(Ok(())), vec![terminated(0), terminated(1), Effect::Teardown]),
        (Heard::TornDown(Ok(vec![])), over(None, vec![])),
    ];
    steps.push((Heard::Stop, vec![]));
    check(&mut State::new(), steps);
}

#[test]
fn no_offer_says_what_was_tried_and_asks_nothing_of_any_cloud() {
    let failure = StartError::NoOffers { plan: Box::default() };
    let ended = Effect::Ended { failure: Some(failure.clone()), left: vec![] };
    check(&mut after(vec![born()]), vec![(plan(vec![]), vec![failed(&failure), Effect::QueueStop, ended])]);
}

#[test]
fn partial_launches_begin_at_once_and_only_what_is_missing_is_asked_for_again() {
    let mut state = after(vec![born(), offered(3), Heard::Prepared(Ok(()))]);
    check(
        &mut state,
        vec![
            (
                given(&[0], Some(("full", true))),
                vec![
                    provisioned(&[0], 3),
                    spawn(0),
                    refused("full", 1),
                    Effect::Wake(Timer::Provision, Timing::default().provision_retry.first),
                ],
            ),
            (Heard::Woke(Timer::Provision), vec![ask(2, 2)]),
            (
                answer(2, &[1, 2], None),
                vec![provisioned(&[1, 2], 2), announce(PoolPhase::Starting), spawn(1), spawn(2)],
            ),
        ],
    );
}

#[test]
fn exhausted_attempts_give_back_what_was_rented_and_say_how_much_there_was() {
    let mut state = after(vec![born(), offered(2), Heard::Prepared(Ok(()))]);
    let failure = StartError::Provision {
        provider: "one".into(),
        got: 1,
        wanted: 2,
        attempts: Attempt(3),
        reason: "full".into(),
    };
    let again = || Effect::Wake(Timer::Provision, Timing::default().provision_retry.first);
    let mut last = vec![refused("full", 3), failed(&failure)];
    last.extend(stopping(&[0]));
    check(
        &mut state,
        vec![
            (
                given(&[0], Some(("full", true))),
                vec![provisioned(&[0], 2), spawn(0), refused("full", 1), again()],
            ),
            (Heard::Woke(Timer::Provision), vec![ask(2, 1)]),
            (answer(2, &[], Some(("full", true))), vec![refused("full", 2), again()]),
            (Heard::Woke(Timer::Provision), vec![ask(3, 1)]),
            (answer(3, &[], Some(("full", true))), last),
            (node_gone(0, "stopped"), vec![terminate(&[0])]),
            (Heard::Terminated(Ok(())), vec![terminated(0), Effect::Teardown]),
            (Heard::TornDown(Ok(vec![])), over(Some(failure), vec![])),
        ],
    );
}

#[test]
fn a_refusal_that_cannot_change_is_not_tried_again() {
    let mut state = after(vec![born(), offered(1), Heard::Prepared(Ok(()))]);
    let failure = StartError::Provision {
        provider: "one".into(),
        got: 0,
        wanted: 1,
        attempts: Attempt(1),
        reason: "bad request".into(),
    };
    let mut effects = vec![refused("bad request", 1), failed(&failure)];
    effects.extend(stopping(&[]));
    effects.push(terminate(&[]));
    check(&mut state, vec![(given(&[], Some(("bad request", false))), effects)]);
}

#[test]
fn a_stop_while_machines_are_being_rented_waits_for_the_answer_and_returns_them() {
    let mut state = after(vec![born(), offered(2), Heard::Prepared(Ok(()))]);
    let mut effects = stopping(&[]);
    effects.push(terminate(&[0, 1]));
    check(&mut state, vec![(Heard::Stop, vec![]), (given(&[0, 1], None), effects)]);
}

#[test]
fn a_stop_while_preparing_undoes_what_was_prepared() {
    let mut effects = stopping(&[]);
    effects.push(terminate(&[]));
    check(
        &mut after(vec![born(), offered(2)]),
        vec![
            (Heard::Stop, vec![]),
            (Heard::Prepared(Ok(())), effects),
            (Heard::Terminated(Ok(())), vec![Effect::Teardown]),
            (Heard::TornDown(Ok(vec![])), over(Some(StartError::Stopped), vec![])),
        ],
    );
}

#[test]
fn a_node_that_cannot_become_ready_anywhere_fails_the_start_and_the_others_are_ended() {
    let mut state = after(vec![born(), offered(2), Heard::Prepared(Ok(())), given(&[0, 1], None)]);
    let failure = StartError::Node { rank: Rank(1), reason: "step failed".into() };
    let mut effects = vec![release(1), failed(&failure)];
    effects.extend(stopping(&[0]));
    check(
        &mut state,
        vec![
            (node_failed(1, 0, "step failed"), effects),
            (node_gone(0, "stopped"), vec![terminate(&[0, 1])]),
            (Heard::Terminated(Ok(())), vec![terminated(0), terminated(1), Effect::Teardown]),
            (Heard::TornDown(Ok(vec![])), over(Some(failure), vec![])),
        ],
    );
}

#[test]
fn an_answer_that_comes_again_does_not_pass_for_that_of_the_next_request() {
    let mut state = after(vec![born(), offered(2), Heard::Prepared(Ok(()))]);
    state.hear(given(&[0], Some(("full", true))), Instant::now(), &Timing::default());
    check(
        &mut state,
        vec![
            (given(&[0], Some(("full", true))), vec![]),
            (Heard::Woke(Timer::Provision), vec![ask(2, 1)]),
            (given(&[0], Some(("full", true))), vec![]),
            (answer(2, &[1], None), vec![provisioned(&[1], 1), announce(PoolPhase::Starting), spawn(1)]),
        ],
    );
}

#[test]
fn machines_that_nobody_wants_any_more_are_given_back() {
    let mut state = after(vec![born(), offered(1), Heard::Prepared(Ok(()))]);
    check(
        &mut state,
        vec![(
            given(&[0, 1], None),
            vec![
                provisioned_as(&[(0, Some(0)), (1, None)], 1),
                announce(PoolPhase::Starting),
                spawn(0),
                release(1),
            ],
        )],
    );
}

#[test]
fn a_pool_whose_queue_ends_gives_everything_back_and_says_why() {
    let ended = || Heard::QueueEnded { reason: "a panic".into() };
    let starting = after(vec![born(), offered(1), Heard::Prepared(Ok(())), given(&[0], None)]);
    for mut state in [ready(1), starting] {
        let reason = "Skyward's own queue of calls failed: a panic; see the log, and report this";
        let mut effects = vec![Effect::Announce(EventKind::PoolFailed { reason: reason.into() })];
        effects.extend(stopping(&[0]));
        let failure = Some(StartError::Internal(reason.into()));
        check(
            &mut state,
            vec![
                (ended(), effects),
                (ended(), vec![]),
                (node_gone(0, "stopped"), vec![terminate(&[0])]),
                (Heard::Terminated(Ok(())), vec![terminated(0), Effect::Teardown]),
                (Heard::TornDown(Ok(vec![])), over(failure, vec![])),
            ],
        );
    }
}

#[test]
fn a_machine_that_could_not_be_ended_is_asked_for_by_its_name_after_the_teardown() {
    let failed = |reason: &str| Effect::Announce(EventKind::TerminateFailed { reason: reason.into() });
    // Its cloud's list does not show it: that nothing is on it proves nothing.
    let until_torn_down = || {
        vec![
            (Heard::Stop, stopping(&[0])),
            (node_gone(0, "drained"), vec![terminate(&[0])]),
            (Heard::Terminated(Err("busy".into())), vec![failed("busy"), Effect::Teardown]),
            (Heard::TornDown(Ok(vec![])), vec![terminate(&[0])]),
        ]
    };
    let mut gone = ready(1);
    check(&mut gone, until_torn_down());
    let ended = gone.hear(Heard::Terminated(Ok(())), now(), &Timing::default());
    assert_eq!(ended.last(), Some(&Effect::Ended { failure: None, left: vec![] }));
    let mut there = ready(1);
    check(&mut there, until_torn_down());
    let left = vec![Leftover { what: "one machine i0".into(), reason: "still busy".into() }];
    let ended = there.hear(Heard::Terminated(Err("still busy".into())), now(), &Timing::default());
    assert_eq!(ended.last(), Some(&Effect::Ended { failure: None, left }));
}

#[test]
fn what_cannot_be_given_back_is_named() {
    let left = |reason: &str| vec![Leftover { what: "one machine i0".into(), reason: reason.into() }];
    let mut refusing = ready(1);
    check(
        &mut refusing,
        vec![
            (Heard::Stop, stopping(&[0])),
            (node_gone(0, "drained"), vec![terminate(&[0])]),
            (
                Heard::Terminated(Err("denied".into())),
                vec![
                    Effect::Announce(EventKind::TerminateFailed { reason: "denied".into() }),
                    Effect::Teardown,
                ],
            ),
            (Heard::TornDown(Err("denied".into())), over(None, left("denied"))),
        ],
    );
    let mut silent = ready(1);
    check(
        &mut silent,
        vec![
            (Heard::Stop, stopping(&[0])),
            // The timer of an earlier stop.
            (Heard::Woke(Timer::Shutdown), vec![]),
        ],
    );
    let (timing, later) = (Timing::default(), Instant::now() + Timing::default().shutdown);
    let ended = silent.hear(Heard::Woke(Timer::Shutdown), later, &timing);
    let left = left("not confirmed gone after 360s");
    assert_eq!(ended.last(), Some(&Effect::Ended { failure: None, left }));
    check(&mut silent, vec![(Heard::TornDown(Ok(vec![])), vec![])]);
}
