//! The rules of scaling, one at a time, and what a pool's load adds up to over time.

use super::*;
use crate::model::Rank;

const SCALING: Scaling = Scaling { idle: Duration::from_secs(60), cooldown: Duration::from_secs(30) };
const LONG: Duration = Duration::from_secs(3600);
const NOW: Duration = Duration::ZERO;

/// Nodes that are all ready, have one slot each, and whose number has not changed for long.
const fn seen(queued: u32, running: u32, nodes: u32) -> Seen {
    Seen {
        queued,
        running,
        slots: 1,
        ready: nodes,
        nodes,
        headless: false,
        idle: NOW,
        quiet: NOW,
        settled: LONG,
    }
}

const fn idle(nodes: u32, idle: Duration) -> Seen {
    Seen { idle, quiet: idle, ..seen(0, 0, nodes) }
}

const fn quiet(running: u32, nodes: u32, quiet: Duration) -> Seen {
    Seen { quiet, ..seen(0, running, nodes) }
}

fn to(seen: Seen, least: u32, most: u32) -> Option<u32> {
    decide(&seen, Bounds { least, most }, &SCALING).map(|(nodes, _)| nodes)
}

#[test]
fn queued_tasks_scale_up() {
    assert_eq!(to(seen(3, 2, 2), 1, 8), Some(5));
}

#[test]
fn queued_tasks_scale_up_by_what_their_slots_hold() {
    for (queued, expected) in [(1, 3), (4, 3), (5, 4), (8, 4), (9, 5)] {
        assert_eq!(to(Seen { slots: 4, ..seen(queued, 8, 2) }, 1, 8), Some(expected), "{queued}");
    }
}

#[test]
fn respects_max() {
    assert_eq!(to(seen(100, 2, 2), 1, 8), Some(8));
    assert_eq!(to(seen(u32::MAX, 2, 2), 1, 8), Some(8));
    assert_eq!(to(seen(100, 8, 8), 1, 8), None);
}

#[test]
fn respects_min() {
    assert_eq!(to(idle(4, LONG), 2, 8), Some(2));
    assert_eq!(to(idle(2, LONG), 2, 8), None);
    assert_eq!(to(quiet(1, 16, LONG), 5, 16), Some(5));
}

#[test]
fn nodes_that_are_on_their_way_are_not_asked_for_again() {
    let booting = |queued, running, ready, nodes| Seen { ready, nodes, ..seen(queued, running, 0) };
    assert_eq!(to(booting(4, 0, 0, 4), 0, 8), None);
    assert_eq!(to(booting(4, 2, 2, 4), 0, 8), Some(6));
    assert_eq!(to(booting(5, 0, 0, 4), 0, 8), Some(5));
    assert_eq!(to(booting(1, 2, 2, 4), 0, 8), None);
    // One is ready, and what it takes is still told as waiting.
    assert_eq!(to(booting(4, 0, 1, 4), 0, 8), None);
    // What a node was given ahead fills no other.
    assert_eq!(to(booting(1, 60, 1, 1), 0, 8), Some(2));
}

#[test]
fn growth_does_not_wait_for_the_cooldown() {
    assert_eq!(to(Seen { settled: NOW, ..seen(3, 1, 1) }, 1, 8), Some(4));
}

#[test]
fn shrinking_waits_for_the_cooldown() {
    let soon = Duration::from_secs(29);
    assert_eq!(to(Seen { settled: soon, ..idle(4, LONG) }, 1, 8), None);
    assert_eq!(to(Seen { settled: SCALING.cooldown, ..idle(4, LONG) }, 1, 8), Some(1));
    assert_eq!(to(Seen { settled: soon, ..quiet(1, 8, LONG) }, 1, 8), None);
    assert_eq!(to(quiet(1, 8, soon), 1, 8), None);
}

#[test]
fn zero_nodes_returns_min() {
    assert_eq!(to(seen(0, 0, 0), 2, 8), Some(2));
    assert_eq!(to(Seen { settled: NOW, ..seen(0, 0, 1) }, 2, 8), Some(2));
}

#[test]
fn idle_zero_nodes_stays_at_zero() {
    assert_eq!(to(idle(0, LONG), 0, 8), None);
}

#[test]
fn idle_nodes_converge_to_zero() {
    assert_eq!(to(idle(8, Duration::from_secs(59)), 0, 8), None);
    assert_eq!(to(idle(8, SCALING.idle), 0, 8), Some(0));
}

#[test]
fn queued_zero_nodes_wakes_up() {
    assert_eq!(to(seen(1, 0, 0), 0, 8), Some(1));
    assert_eq!(to(seen(20, 0, 0), 0, 8), Some(8));
}

#[test]
fn slots_per_node_zero_counts_as_one() {
    assert_eq!(to(Seen { slots: 0, ..seen(2, 1, 1) }, 1, 8), Some(3));
    assert_eq!(to(Seen { slots: 0, ..quiet(1, 8, LONG) }, 1, 8), Some(2));
}

#[test]
fn a_band_of_one_number_never_scales() {
    for it in [seen(9, 4, 4), idle(4, LONG), quiet(1, 4, LONG)] {
        assert_eq!(to(it, 4, 4), None, "{it:?}");
    }
}

#[test]
fn more_than_the_most_shrinks_only_when_it_is_not_used() {
    assert_eq!(to(seen(5, 9, 9), 1, 8), None);
    assert_eq!(to(idle(9, LONG), 1, 8), Some(1));
}

#[test]
fn what_runs_keeps_its_nodes() {
    assert_eq!(to(seen(0, 8, 8), 1, 8), None);
    assert_eq!(to(Seen { idle: LONG, ..quiet(3, 8, NOW) }, 1, 8), None);
}

#[test]
fn hardly_used_nodes_are_given_up_but_one_more_than_run() {
    assert_eq!(to(quiet(3, 16, LONG), 1, 16), Some(4));
    assert_eq!(to(Seen { slots: 4, ..quiet(3, 16, LONG) }, 1, 16), Some(2));
    assert_eq!(to(Seen { slots: 4, ..quiet(9, 16, LONG) }, 1, 16), Some(4));
}

#[test]
fn hardly_used_is_less_than_three_tenths() {
    let demand = |queued, running| Demand { queued, running, ..Demand::default() };
    for (queued, running, slots, ready, expected) in [
        (0, 2, 1, 10, true),
        (0, 3, 1, 10, false),
        (0, 11, 4, 10, true),
        (0, 12, 4, 10, false),
        (1, 0, 1, 10, false),
        (0, 0, 1, 0, false),
        (0, 2, 0, 10, true),
        (0, u32::MAX, u32::MAX, u32::MAX, true),
    ] {
        assert_eq!(is_quiet(&demand(queued, running), slots, ready), expected, "{queued}, {running}");
    }
}

#[test]
fn the_reason_is_told() {
    let why = |it: Seen| decide(&it, Bounds { least: 1, most: 8 }, &SCALING).map(|(_, why)| why.to_string());
    assert_eq!(why(seen(3, 0, 1)).as_deref(), Some("3 calls wait"));
    assert_eq!(why(idle(4, SCALING.idle)).as_deref(), Some("nothing ran for 60s"));
    let unused = "only 1 running, in less than three tenths of the slots";
    assert_eq!(why(quiet(1, 8, LONG)).as_deref(), Some(unused));
    assert_eq!(why(seen(0, 0, 0)).as_deref(), Some("fewer than the least number"));
}

#[test]
fn no_load_takes_a_pool_out_of_its_bounds() {
    for (least, most) in [(0, 0), (0, 8), (2, 8), (8, 8)] {
        for at in 0..9 * 9 * 10 * 8 {
            let (queued, running, nodes, how) = (at % 9, at / 9 % 9, at / 81 % 10, at / 810);
            let time = |bit: u32| if how & bit == 0 { NOW } else { LONG };
            let it = Seen { idle: time(1), quiet: time(2), settled: time(4), ..seen(queued, running, nodes) };
            let Some(to) = to(it, least, most) else { continue };
            assert!((least..=most).contains(&to) && to != nodes, "{it:?}: {to} in {least}..={most}");
        }
    }
}

/// A pool of so many nodes between these numbers, and the moment it begins.
fn scale(least: u32, most: u32) -> (Scale, Instant) {
    let mut scale = Scale::new(SCALING, 1);
    scale.bound(Some(Bounds { least, most }));
    (scale, Instant::now())
}

fn demand(queued: u32, running: u32) -> Demand {
    Demand { queued, running, idle: [Rank(0)].into(), ..Demand::default() }
}

#[test]
fn idleness_is_counted_from_when_the_last_call_ended_and_a_timer_is_set_once() {
    let (mut scale, now) = scale(1, 8);
    let second = Duration::from_secs(1);
    scale.hears(demand(0, 4), 4, now);
    scale.hears(demand(0, 0), 4, now + second);
    scale.hears(demand(0, 0), 4, now + second * 20);
    assert_eq!(scale.alarm(now + second * 20), Some(second * 11));
    assert_eq!(scale.alarm(now + second * 21), None);
    assert_eq!(scale.alarm(now + second * 31), Some(second * 30));
    assert_eq!(scale.decide(4, 4, now + second * 60), None);
    let shrunk = scale.decide(4, 4, now + second * 61).map(|(to, _)| to);
    assert_eq!(shrunk, Some(1));
    scale.hears(demand(1, 0), 4, now + second * 62);
    scale.hears(demand(0, 0), 4, now + second * 63);
    assert_eq!(scale.decide(4, 4, now + second * 64), None);
}

#[test]
fn after_renting_has_failed_a_pool_does_not_grow_for_a_while_and_may_shrink() {
    let (mut scale, now) = scale(0, 8);
    let second = Duration::from_secs(1);
    scale.hears(demand(5, 0), 0, now);
    assert_eq!(scale.decide(0, 0, now).map(|(to, _)| to), Some(5));
    scale.hold(Refusal::None, now);
    assert_eq!((scale.decide(0, 0, now + second * 29), scale.is_held(now + second * 29)), (None, true));
    assert_eq!(scale.alarm(now), Some(second * 30));
    assert_eq!(scale.decide(0, 0, now + second * 30).map(|(to, _)| to), Some(5));
    scale.hold(Refusal::None, now + second * 100);
    scale.hears(demand(0, 0), 5, now + second * 30);
    assert_eq!(scale.decide(5, 5, now + second * 101).map(|(to, _)| to), Some(0));
}

/// For how long a pool does not grow after each of these refusals.
fn held(refusals: &[Refusal]) -> Vec<u64> {
    let (mut scale, now) = scale(0, 8);
    let mut now = now;
    let length = |refusal: &Refusal| {
        scale.hold(*refusal, now);
        let began = now;
        while scale.is_held(now) {
            now += Duration::from_secs(30);
        }
        (now - began).as_secs()
    };
    refusals.iter().map(length).collect()
}

#[test]
fn each_refusal_in_a_row_holds_for_twice_as_long_and_the_dear_ones_for_hours() {
    assert_eq!(held(&[Refusal::None; 7]), [30, 60, 120, 240, 480, 600, 600]);
    let failed = Refusal::Failed { proven: false };
    assert_eq!(held(&[failed; 11]), [30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 14_400, 14_400]);
    assert_eq!(held(&[failed, failed, Refusal::Failed { proven: true }, failed]), [30, 60, 30, 60]);
    // That a cloud had none in between says nothing of machines that do not serve.
    assert_eq!(held(&[failed, Refusal::None, failed]), [30, 30, 60]);
}

#[test]
fn a_refusal_never_shortens_the_one_before_it() {
    let (mut scale, now) = scale(0, 8);
    for _ in 0..5 {
        scale.hold(Refusal::Failed { proven: false }, now);
    }
    scale.hold(Refusal::None, now);
    assert!(scale.is_held(now + Duration::from_secs(479)) && !scale.is_held(now + Duration::from_secs(480)));
    scale.hold(Refusal::Final, now);
    scale.hold(Refusal::None, now);
    assert!(scale.is_final());
}

#[test]
fn a_head_that_is_waited_for_and_is_not_there_is_one_node() {
    let headless = |queued, running, nodes| Seen { headless: true, ..seen(queued, running, nodes) };
    assert_eq!(to(headless(0, 100, 0), 0, 8), Some(1));
    assert_eq!(to(Seen { slots: 4, ..headless(0, 3, 3) }, 0, 8), Some(4));
    assert_eq!(to(headless(5, 0, 2), 0, 8), Some(5));
    assert_eq!(to(headless(0, 9, 8), 0, 8), None);
}

#[test]
fn what_the_owner_asked_for_is_idle_from_when_it_is_ready() {
    let (mut scale, now) = scale(1, 8);
    let minute = Duration::from_secs(60);
    scale.hears(demand(0, 0), 1, now);
    scale.asked();
    scale.sees(false, false, now + minute * 10);
    assert_eq!(scale.decide(1, 6, now + minute * 10), None);
    scale.sees(true, false, now + minute * 15);
    assert_eq!(scale.decide(6, 6, now + minute * 15), None);
    scale.sees(true, false, now + minute * 16);
    assert_eq!(scale.decide(6, 6, now + minute * 16).map(|(to, _)| to), Some(1));
}

#[test]
fn machines_that_could_be_had_end_the_waits_for_clouds_that_had_none() {
    let (mut scale, now) = scale(0, 8);
    for _ in 0..4 {
        scale.hold(Refusal::None, now);
    }
    scale.had();
    let later = now + Duration::from_secs(300);
    scale.hold(Refusal::None, later);
    assert!(!scale.is_held(later + Duration::from_secs(30)));
}

#[test]
fn what_no_machine_can_mend_holds_until_the_owner_asks() {
    let (mut scale, now) = scale(0, 8);
    scale.hears(demand(5, 0), 0, now);
    scale.hold(Refusal::Final, now);
    assert_eq!(scale.decide(0, 0, now + LONG * 24), None);
    scale.forgive();
    assert_eq!(scale.decide(0, 0, now).map(|(to, _)| to), Some(5));
}

#[test]
fn idleness_before_a_pool_was_ready_counts_for_nothing() {
    let (mut scale, now) = scale(0, 8);
    let second = Duration::from_secs(1);
    scale.hears(demand(0, 0), 0, now);
    scale.begin(now + second * 100);
    scale.begin(now + second * 150);
    assert_eq!(scale.decide(4, 4, now + second * 159), None);
    assert_eq!(scale.decide(4, 4, now + second * 160).map(|(to, _)| to), Some(0));
}

#[test]
fn a_pool_without_bounds_keeps_its_number() {
    let (mut scale, now) = (Scale::new(SCALING, 1), Instant::now());
    scale.sized(2);
    scale.hears(demand(9, 0), 2, now);
    assert_eq!((scale.decide(2, 2, now), scale.alarm(now)), (None, None));
    // What an owner before did not come to give back goes, and what is missing comes.
    assert_eq!(scale.decide(3, 3, now), Some((2, ScaledBecause::Asked)));
    assert_eq!(scale.decide(1, 1, now), Some((2, ScaledBecause::Missing)));
}
