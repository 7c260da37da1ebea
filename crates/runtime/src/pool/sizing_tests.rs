//! How a pool grows and shrinks, as tables.

use super::*;
use crate::model::Usd;
use crate::tasks::Demand;

const BAND: Nodes = Nodes { desired: 2, min: Some(1), max: Some(4) };

fn demand(queued: u32, running: u32, idle: &[u32]) -> Heard {
    let idle = idle.iter().copied().map(Rank).collect();
    Heard::Demanded(Demand { queued, running, idle, ..Demand::default() })
}

fn scaled(from: u32, to: u32, why: ScaledBecause) -> Effect {
    Effect::Announce(EventKind::Scaled { from, to, why })
}

fn wanted(rank: u32) -> Effect {
    Effect::QueueWanted { rank: Rank(rank) }
}

fn wake(seconds: u64) -> Effect {
    Effect::Wake(Timer::Scale, Duration::from_secs(seconds))
}

fn close(rank: u32) -> Effect {
    Effect::QueueClose { rank: Rank(rank), attempt: Attempt(0) }
}

fn closed(rank: u32, closed: bool) -> Heard {
    Heard::NodeClosed { rank: Rank(rank), attempt: Attempt(0), closed }
}

/// A node that has nothing, or may finish it, and its rank go.
fn parted(rank: u32) -> Vec<Effect> {
    let (rank, attempt) = (Rank(rank), Attempt(0));
    let leave = Leave { within: Timing::default().retire, preempted: false };
    vec![
        Effect::QueueLeaves { rank, attempt, by_choice: true },
        Effect::DrainNode { rank, attempt, leave },
        Effect::QueueLost { rank },
    ]
}

fn begun(nodes: Nodes) -> State {
    after(vec![born(), plan(vec![candidate("one", nodes)]), Heard::Prepared(Ok(()))])
}

/// A pool of two ready nodes that may have one to four.
fn pool() -> State {
    let mut state = begun(BAND);
    for heard in [answer(1, &[0, 1], None), node_ready(0), node_ready(1)] {
        state.hear(heard, now(), &Timing::default());
    }
    state
}

fn hear_at(state: &mut State, heard: Heard, seconds: u64) -> Vec<Effect> {
    state.hear(heard, now() + Duration::from_secs(seconds), &Timing::default())
}

#[test]
fn queued_calls_are_rented_for_at_once_up_to_the_most() {
    check(
        &mut pool(),
        vec![
            (demand(1, 2, &[]), vec![scaled(2, 3, ScaledBecause::Queued(1)), wanted(2), ask(2, 1), wake(30)]),
            // While that is under way, more are wanted, and asked for next.
            (demand(9, 2, &[]), vec![scaled(3, 4, ScaledBecause::Queued(9)), wanted(3)]),
            (demand(12, 2, &[]), vec![]),
            (answer(2, &[2], None), vec![provisioned_as(&[(2, Some(2))], 2), spawn(2), ask(3, 1)]),
            (answer(3, &[3], None), vec![provisioned_as(&[(3, Some(3))], 1), spawn(3)]),
        ],
    );
}

#[test]
fn an_idle_pool_closes_nodes_first_and_parts_with_those_that_are_closed() {
    let mut state = pool();
    assert_eq!(hear_at(&mut state, demand(0, 0, &[0, 1]), 0), [wake(30)]);
    assert_eq!(hear_at(&mut state, Heard::Woke(Timer::Scale), 30), [wake(30)]);
    let why = ScaledBecause::Idle(Duration::from_secs(60));
    assert_eq!(hear_at(&mut state, Heard::Woke(Timer::Scale), 60), [close(1)]);
    // A call has come to it meanwhile: nothing has changed, and nothing is said.
    assert_eq!(hear_at(&mut state, closed(1, false), 60), []);
    assert_eq!(hear_at(&mut state, demand(0, 1, &[0]), 61), []);
    assert_eq!(hear_at(&mut state, demand(0, 0, &[0, 1]), 62), [wake(30)]);
    let again = hear_at(&mut state, Heard::Woke(Timer::Scale), 122);
    assert!(again.contains(&close(1)), "{again:?}");
    let mut gone = parted(1);
    gone.push(scaled(2, 1, why));
    assert_eq!(hear_at(&mut state, closed(1, true), 122), gone);
    assert_eq!(hear_at(&mut state, node_gone(1, "drained"), 123), [release(1)]);
    // The rank comes again as another life.
    let grown = hear_at(&mut state, demand(1, 1, &[]), 124);
    assert_eq!(grown, [scaled(1, 2, ScaledBecause::Queued(1)), wanted(1), ask(2, 1), wake(30)]);
    let begun = hear_at(&mut state, answer(2, &[5], None), 125);
    let later = |it: &Effect| matches!(it, Effect::Spawn { rank: Rank(1), attempt: Attempt(2), .. });
    assert!(begun.iter().any(later), "{begun:?}");
}

#[test]
fn a_pool_that_begins_with_none_is_ready_at_once_and_wakes_for_a_call() {
    let none = Nodes { desired: 0, min: None, max: Some(2) };
    let mut state = after(vec![born()]);
    let chosen = state.hear(plan(vec![candidate("one", none)]), now(), &Timing::default());
    assert!(chosen.contains(&Effect::QueueGrows { grows: true }), "{chosen:?}");
    check(
        &mut state,
        vec![
            (
                Heard::Prepared(Ok(())),
                vec![
                    announce(PoolPhase::Provisioning),
                    announce(PoolPhase::Ready),
                    Effect::Started { nodes: 0 },
                ],
            ),
            (
                demand(5, 0, &[]),
                vec![scaled(0, 2, ScaledBecause::Queued(5)), wanted(0), wanted(1), ask(1, 2), wake(30)],
            ),
        ],
    );
}

#[test]
fn a_pool_of_none_that_gets_no_machines_refuses_what_waits_and_tries_again_later() {
    let none = Nodes { desired: 0, min: None, max: Some(1) };
    let mut state = begun(none);
    state.hear(demand(1, 0, &[]), now(), &Timing::default());
    let given_up = state.hear(answer(1, &[], Some(("never", false))), now(), &Timing::default());
    let reason = "never".to_owned();
    assert!(given_up.contains(&Effect::QueueLost { rank: Rank(0) }), "{given_up:?}");
    assert!(given_up.contains(&Effect::QueueGrows { grows: false }), "{given_up:?}");
    let told = |it: &Effect| matches!(it, Effect::Announce(EventKind::Scaled { from: 1, to: 0, why: ScaledBecause::Refused(why) }) if why.contains(&reason));
    assert!(given_up.iter().any(told), "{given_up:?}");
    assert_eq!(hear_at(&mut state, demand(0, 0, &[]), 1), []);
    let asked = hear_at(&mut state, demand(1, 0, &[]), 29);
    assert_eq!(asked, [], "it is not asked for again yet");
    let later = hear_at(&mut state, Heard::Woke(Timer::Scale), 30);
    assert!(later.contains(&Effect::QueueGrows { grows: true }), "{later:?}");
    let asks = |it: &Effect| matches!(it, Effect::Prepare { .. });
    assert!(later.iter().any(asks), "{later:?}");
}

#[test]
fn growth_stays_within_what_all_nodes_may_cost_an_hour() {
    let limits = Limits { hourly: Some(usd!(3)), slots: 1, ..Limits::default() };
    let mut state =
        after(vec![Heard::Born { limits }, plan(vec![candidate("one", BAND)]), Heard::Prepared(Ok(()))]);
    for heard in [answer(1, &[0, 1], None), node_ready(0), node_ready(1)] {
        state.hear(heard, now(), &Timing::default());
    }
    let grown = state.hear(demand(9, 2, &[]), now(), &Timing::default());
    assert_eq!(grown, [scaled(2, 3, ScaledBecause::Queued(9)), wanted(2), ask(2, 1), wake(30)]);
}

#[test]
fn a_replacement_waits_for_what_it_replaces_where_both_would_cost_too_much_an_hour() {
    let limits = Limits { hourly: Some(usd!(2)), slots: 1, ..Limits::default() };
    let fixed = plan(vec![candidate("one", Nodes::from(2))]);
    let mut state = after(vec![Heard::Born { limits }, fixed, Heard::Prepared(Ok(()))]);
    for heard in [answer(1, &[0, 1], None), node_ready(0), node_ready(1)] {
        state.hear(heard, now(), &Timing::default());
    }
    check(
        &mut state,
        vec![
            (node_gone(1, "gone"), vec![release(1), Effect::QueueGone { rank: Rank(1) }]),
            (released(1), vec![Effect::Announce(EventKind::Terminated { instance: instance(1) }), ask(2, 1)]),
        ],
    );
}

#[test]
fn what_waits_for_a_rank_keeps_it() {
    let limits = Limits { slots: 4, ..Limits::default() };
    let mut state =
        after(vec![Heard::Born { limits }, plan(vec![candidate("one", BAND)]), Heard::Prepared(Ok(()))]);
    for heard in [answer(1, &[0, 1], None), node_ready(0), node_ready(1), demand(9, 8, &[])] {
        state.hear(heard, now(), &Timing::default());
    }
    // Hardly used, but for a call that is meant for the rank that starts.
    let load =
        Demand { running: 1, idle: [Rank(0), Rank(1)].into(), pinned: [Rank(3)].into(), ..Demand::default() };
    hear_at(&mut state, Heard::Demanded(load), 1);
    let quiet = hear_at(&mut state, Heard::Woke(Timer::Scale), 200);
    let lost = |rank| quiet.contains(&Effect::QueueLost { rank: Rank(rank) });
    assert!(lost(2) && !lost(3), "{quiet:?}");
}

#[test]
fn what_could_not_be_given_back_is_given_back_again_until_it_is() {
    let timing = Timing::default();
    let failed = || Heard::Released { instances: vec![instance(1)], result: Err("busy".to_owned()) };
    let told = || Effect::Announce(EventKind::TerminateFailed { reason: "busy".to_owned() });
    let again = |tries| Effect::Wake(Timer::Release, timing.release_retry.delay(tries));
    let mut state = ready(2);
    state.hear(node_gone(1, "gone"), now(), &timing);
    check(
        &mut state,
        vec![
            (failed(), vec![told(), again(0)]),
            (Heard::Woke(Timer::Release), vec![release(1)]),
            (failed(), vec![told(), again(1)]),
            (Heard::Woke(Timer::Release), vec![release(1)]),
            (released(1), vec![Effect::Announce(EventKind::Terminated { instance: instance(1) })]),
            (Heard::Woke(Timer::Release), vec![]),
        ],
    );
}

#[test]
fn of_what_is_wanted_as_many_are_rented_as_the_pool_can_pay() {
    let limits = Limits { total: Some(usd!(1)), slots: 1, ..Limits::default() };
    let wide = Nodes { desired: 1, min: Some(1), max: Some(100) };
    let fixed = plan(vec![candidate("one", wide)]);
    let mut state = after(vec![Heard::Born { limits }, fixed, Heard::Prepared(Ok(()))]);
    for heard in [answer(1, &[0], None), node_ready(0)] {
        state.hear(heard, now(), &Timing::default());
    }
    let grown = state.hear(demand(99, 1, &[]), now(), &Timing::default());
    let asked = grown.iter().find_map(|it| match it {
        Effect::Provision { count, .. } => Some(*count),
        _ => None,
    });
    assert!(asked.is_some_and(|it| it > 0 && it < 99), "{asked:?}");
    let told = |it: &Effect| matches!(it, Effect::Announce(EventKind::BudgetRefused { .. }));
    assert!(grown.iter().any(told), "{grown:?}");
}

#[test]
fn a_pool_whose_machines_cannot_be_mended_waits_for_its_owner() {
    let mut state = pool();
    state.hear(demand(1, 2, &[]), now(), &Timing::default());
    state.hear(answer(2, &[2], None), now(), &Timing::default());
    let gone = Heard::NodeGone {
        rank: Rank(2),
        attempt: Attempt(0),
        reason: "no such package".to_owned(),
        retry: false,
    };
    let refused = state.hear(gone, now(), &Timing::default());
    let told = |it: &Effect| {
        matches!(it, Effect::Announce(EventKind::Scaled { why: ScaledBecause::Refused(why), .. })
            if why.contains("it grows again after `resize`"))
    };
    assert!(refused.iter().any(told), "{refused:?}");
    assert_eq!(hear_at(&mut state, demand(9, 2, &[]), 1_000_000), []);
    let resized = Heard::Resized { nodes: 3, demand: Demand::default() };
    let grown = hear_at(&mut state, resized, 1_000_001);
    assert!(grown.contains(&Effect::QueueGrows { grows: true }) && grown.contains(&ask(3, 1)), "{grown:?}");
}

#[test]
fn a_resize_that_cannot_be_paid_is_refused_with_what_can() {
    let refused = |limits: Limits, nodes: u32| {
        let fixed = plan(vec![candidate("one", Nodes::from(2))]);
        let mut state = after(vec![Heard::Born { limits }, fixed, Heard::Prepared(Ok(()))]);
        for heard in [answer(1, &[0, 1], None), node_ready(0), node_ready(1)] {
            state.hear(heard, now(), &Timing::default());
        }
        state.resizable(nodes, now(), &Timing::default()).err().map(|it| it.to_string())
    };
    let hourly = || Limits { hourly: Some(usd!(3)), slots: 1, ..Limits::default() };
    assert_eq!(refused(hourly(), 3), None);
    let dear = "nodes is 4: `max_hourly_cost` has room for 3";
    assert_eq!(refused(hourly(), 4).as_deref(), Some(dear));
    let total = |cap| Limits { total: Some(cap), slots: 1, ..Limits::default() };
    assert_eq!(refused(total(usd!(100)), 8), None);
    let most = refused(total(usd!(1)), 99).expect("too dear");
    assert!(most.starts_with("nodes is 99: what is left of `max_total_cost` pays for "), "{most}");
    // What pays for two and gives them back, and for no third.
    let caps = (1..=100).rev().map(|cents| Usd::from_nanos(cents * 10_000_000));
    let one = caps.filter_map(|it| refused(total(it), 3)).next().expect("too dear");
    assert!(one.starts_with("nodes is 3: it would cost $"), "{one}");
    assert_eq!(refused(total(usd!(1)), 1), None, "fewer can always be had");
}

#[test]
fn a_resize_lets_the_idle_go_first_then_the_highest_and_never_the_head() {
    let mut state = ready(4);
    let idle =
        |ranks: &[u32]| Demand { idle: ranks.iter().copied().map(Rank).collect(), ..Demand::default() };
    let resized = |nodes, ranks: &[u32]| Heard::Resized { nodes, demand: idle(ranks) };
    let mut first = parted(1);
    first.extend(parted(3).into_iter().chain([scaled(4, 2, ScaledBecause::Asked)]));
    let mut last = parted(2);
    last.push(scaled(2, 1, ScaledBecause::Asked));
    check(
        &mut state,
        vec![
            (resized(2, &[0, 1]), first),
            (resized(1, &[0]), last),
            (resized(1, &[0]), vec![]),
            (resized(2, &[]), vec![scaled(1, 2, ScaledBecause::Asked), wanted(1), ask(2, 1)]),
            // What came too late for an older wish is given back.
            (resized(1, &[0]), vec![Effect::QueueLost { rank: Rank(1) }, scaled(2, 1, ScaledBecause::Asked)]),
            (answer(2, &[7], None), vec![provisioned_as(&[(7, None)], 0), release(7)]),
        ],
    );
}
