//! Ranks that are lost, replaced and given up, as tables.

use super::*;
use crate::tasks::Demand;

#[test]
fn a_machine_that_fails_while_starting_is_replaced_as_often_as_machines_are_asked_for() {
    let mut state = after(vec![born(), offered(1), Heard::Prepared(Ok(())), given(&[0], None)]);
    let gone = |attempt| Heard::NodeGone {
        rank: Rank(0),
        attempt: Attempt(attempt),
        reason: "died".into(),
        retry: true,
    };
    let born_again = |attempt, number| Effect::Spawn {
        rank: Rank(0),
        attempt: Attempt(attempt),
        instance: instance(number),
    };
    let failure = StartError::Node { rank: Rank(0), reason: "died".into() };
    let mut last = vec![release(2), failed(&failure)];
    last.extend(stopping(&[]));
    last.push(terminate(&[0, 1, 2]));
    check(
        &mut state,
        vec![
            (gone(0), vec![release(0), ask(2, 1)]),
            (
                answer(2, &[1], None),
                vec![provisioned_as(&[(1, Some(0))], 1), announce(PoolPhase::Starting), born_again(1, 1)],
            ),
            (gone(0), vec![]),
            (gone(1), vec![release(1), ask(3, 1)]),
            (
                answer(3, &[2], None),
                vec![provisioned_as(&[(2, Some(0))], 1), announce(PoolPhase::Starting), born_again(2, 2)],
            ),
            (gone(2), last),
        ],
    );
}

#[test]
fn a_node_lost_later_is_replaced_under_its_rank_and_its_machine_is_given_back_at_once() {
    let again = Effect::Spawn { rank: Rank(1), attempt: Attempt(1), instance: instance(2) };
    check(
        &mut ready(2),
        vec![
            (
                Heard::NodePaused { rank: Rank(1), attempt: Attempt(0) },
                vec![Effect::QueuePaused { rank: Rank(1) }],
            ),
            (node_ready(1), vec![Effect::QueueReady { rank: Rank(1) }]),
            (node_gone(1, "frozen"), vec![release(1), Effect::QueueGone { rank: Rank(1) }, ask(2, 1)]),
            // What the old life says late is dropped.
            (node_gone(1, "frozen"), vec![]),
            (node_ready(1), vec![]),
            (answer(2, &[2], None), vec![provisioned_as(&[(2, Some(1))], 1), again]),
            (
                Heard::NodeReady { rank: Rank(1), attempt: Attempt(1) },
                vec![Effect::QueueReady { rank: Rank(1) }],
            ),
            (Heard::Stop, stopping_lives(&[(0, 0), (1, 1)])),
        ],
    );
}

#[test]
fn a_node_lost_while_another_is_replaced_is_asked_for_next() {
    check(
        &mut ready(3),
        vec![
            (node_gone(1, "frozen"), vec![release(1), Effect::QueueGone { rank: Rank(1) }, ask(2, 1)]),
            (node_gone(2, "frozen"), vec![release(2), Effect::QueueGone { rank: Rank(2) }]),
            (
                answer(2, &[3], None),
                vec![
                    provisioned_as(&[(3, Some(1))], 2),
                    Effect::Spawn { rank: Rank(1), attempt: Attempt(1), instance: instance(3) },
                    ask(3, 1),
                ],
            ),
        ],
    );
}

#[test]
fn a_rank_that_cannot_be_replaced_is_given_up_for_a_while_and_the_pool_goes_on() {
    let full = |request| answer(request, &[], Some(("full", true)));
    let rest = || Effect::Wake(Timer::Provision, Timing::default().provision_retry.first);
    check(
        &mut ready(2),
        vec![
            (node_gone(1, "frozen"), vec![release(1), Effect::QueueGone { rank: Rank(1) }, ask(2, 1)]),
            (full(2), vec![refused("full", 1), rest()]),
            (Heard::Woke(Timer::Provision), vec![ask(3, 1)]),
            (full(3), vec![refused("full", 2), rest()]),
            (Heard::Woke(Timer::Provision), vec![ask(4, 1)]),
            (
                full(4),
                [
                    vec![refused("full", 3), Effect::QueueLost { rank: Rank(1) }],
                    fewer(2, "one gave 1 of 2 machines (attempt 3): full", 30).to_vec(),
                ]
                .concat(),
            ),
            (Heard::Stop, stopping(&[0])),
        ],
    );
}

#[test]
fn a_pool_with_a_least_number_begins_with_that_many_and_the_others_join() {
    let nodes = Nodes { min: Some(2), ..Nodes::from(3) };
    let offered = plan(vec![candidate("one", nodes)]);
    let queue = |rank| Effect::QueueReady { rank: Rank(rank) };
    check(
        &mut after(vec![born(), offered, Heard::Prepared(Ok(())), given(&[0, 1, 2], None)]),
        vec![
            (node_ready(2), vec![queue(2)]),
            (node_ready(0), vec![queue(0), announce(PoolPhase::Ready), Effect::Started { nodes: 3 }]),
            (node_ready(1), vec![queue(1)]),
        ],
    );
}

/// A pool goes on with one less, as no other machine would do better.
fn without(from: u32, reason: &str) -> Effect {
    let why = ScaledBecause::Refused(format!("{reason}; it grows again after `resize`"));
    Effect::Announce(EventKind::Scaled { from, to: from - 1, why })
}

#[test]
fn a_pool_with_a_least_number_does_not_fail_for_one_node_less() {
    let nodes = Nodes { min: Some(1), ..Nodes::from(2) };
    let offered = plan(vec![candidate("one", nodes)]);
    check(
        &mut after(vec![born(), offered, Heard::Prepared(Ok(())), given(&[0, 1], None)]),
        vec![
            (
                node_failed(0, 0, "step failed"),
                vec![release(0), Effect::QueueLost { rank: Rank(0) }, without(2, "step failed")],
            ),
            (
                node_ready(1),
                vec![
                    Effect::QueueReady { rank: Rank(1) },
                    announce(PoolPhase::Ready),
                    Effect::Started { nodes: 2 },
                ],
            ),
        ],
    );
}

#[test]
fn reports_of_an_older_life_of_a_rank_are_dropped() {
    let old = Attempt(7);
    check(
        &mut ready(1),
        vec![
            (Heard::NodeReady { rank: Rank(0), attempt: old }, vec![]),
            (Heard::NodePaused { rank: Rank(0), attempt: old }, vec![]),
            (node_failed(0, 7, "old"), vec![]),
        ],
    );
}

#[test]
fn a_machine_that_will_be_taken_finishes_while_its_rank_gets_another() {
    let within = Duration::from_secs(120);
    let leave = Leave { within, preempted: true };
    let again = Effect::Spawn { rank: Rank(0), attempt: Attempt(1), instance: instance(2) };
    let noticed = || {
        let reason = "sold".to_owned();
        Heard::NodeNoticed { rank: Rank(0), attempt: Attempt(0), within, reason }
    };
    let left = |number| {
        vec![
            Effect::QueueLeaves { rank: Rank(0), attempt: Attempt(number), by_choice: false },
            Effect::DrainNode { rank: Rank(0), attempt: Attempt(number), leave },
        ]
    };
    let mut first = left(0);
    first.push(ask(2, 1));
    check(
        &mut ready(2),
        vec![
            (noticed(), first),
            (noticed(), vec![]),
            (Heard::NodePaused { rank: Rank(0), attempt: Attempt(0) }, vec![]),
            (answer(2, &[2], None), vec![provisioned_as(&[(2, Some(0))], 1), again]),
            (
                Heard::NodeReady { rank: Rank(0), attempt: Attempt(1) },
                vec![Effect::QueueReady { rank: Rank(0) }],
            ),
            // It is over, and the rank's new node is not.
            (node_gone(0, "its machine is taken"), vec![release(0)]),
            (node_gone(0, "its machine is taken"), vec![]),
        ],
    );
    let mut ends = ready(2);
    ends.hear(noticed(), now(), &Timing::default());
    let stop = ends.hear(Heard::Stop, now(), &Timing::default());
    assert_eq!(stop, [], "the request for another machine is heard to its end");
    let stop = ends.hear(answer(2, &[2], None), now(), &Timing::default());
    assert_eq!(stop, stopping_lives(&[(0, 0), (1, 0)]));
}

/// What is said and set before the third machine of a rank.
fn pause(rank: u32) -> [Effect; 2] {
    let pause = Timing::default().provision_retry.delay(0);
    let paused = EventKind::ReplacementPaused { rank: Rank(rank), machines: 2, pause };
    [Effect::Announce(paused), Effect::Wake(Timer::Provision, pause)]
}

/// Why a rank is given up, the last of whose machines was lost to this.
fn do_not_last(reason: &str) -> String {
    format!(
        "3 machines in a row did not last for 600s, the last one because: {reason}; another market, region or type may \
         last longer"
    )
}

#[test]
fn a_rank_whose_machines_vanish_soon_after_they_are_ready_pauses_and_is_given_up_for_a_while() {
    let rank = Rank(1);
    let vanished =
        |attempt| Heard::NodeGone { rank, attempt: Attempt(attempt), reason: "frozen".into(), retry: true };
    let lost = |machine| vec![release(machine), Effect::QueueGone { rank }];
    let again = |request: u32, attempt| {
        let attempt = Attempt(attempt);
        let spawn = Effect::Spawn { rank, attempt, instance: instance(request) };
        vec![
            (answer(request, &[request], None), vec![provisioned_as(&[(request, Some(1))], 1), spawn]),
            (Heard::NodeReady { rank, attempt }, vec![Effect::QueueReady { rank }]),
        ]
    };
    let with = |mut effects: Vec<Effect>, last: &[Effect]| {
        effects.extend_from_slice(last);
        effects
    };
    let mut steps = vec![(vanished(0), with(lost(1), &[ask(2, 1)]))];
    steps.extend(again(2, 1));
    steps.push((vanished(1), with(lost(2), &pause(1))));
    steps.push((Heard::Woke(Timer::Provision), vec![ask(3, 1)]));
    steps.extend(again(3, 2));
    let given_up = [vec![Effect::QueueLost { rank }], fewer(2, &do_not_last("frozen"), 30).to_vec()].concat();
    steps.push((vanished(2), with(lost(3), &given_up)));
    let mut state = ready(2);
    check(&mut state, steps);
    let mut later = state.clone();
    // Its owner may have it tried again at once.
    let asked = state.hear(Heard::Resized { nodes: 2, demand: Demand::default() }, now(), &Timing::default());
    assert!(asked.contains(&ask(4, 1)), "{asked:?}");
    // It is tried again anyway, but not before.
    let wake = |state: &mut State, seconds| {
        state.hear(Heard::Woke(Timer::Scale), now() + Duration::from_secs(seconds), &Timing::default())
    };
    assert_eq!(wake(&mut later, 29), []);
    let asked = wake(&mut later, 30);
    assert!(asked.contains(&ask(4, 1)), "{asked:?}");

    // Machines that lasted for a while are replaced as often as they vanish.
    let (mut state, mut now) = (ready(2), now());
    for attempt in 0..8 {
        now += Duration::from_secs(3600);
        let told = state.hear(vanished(attempt), now, &Timing::default());
        assert!(matches!(told.last(), Some(Effect::Provision { .. })), "{told:?}");
        state.hear(answer(attempt + 2, &[attempt + 2], None), now, &Timing::default());
        state.hear(Heard::NodeReady { rank, attempt: Attempt(attempt + 1) }, now, &Timing::default());
    }
}

#[test]
fn a_rank_whose_machines_are_taken_soon_after_they_are_ready_pauses_and_is_given_up_for_a_while() {
    let timing = Timing::default();
    let within = Duration::from_secs(120);
    let noticed = |attempt| Heard::NodeNoticed {
        rank: Rank(0),
        attempt: Attempt(attempt),
        within,
        reason: "sold".to_owned(),
    };
    let left = |attempt| {
        let (rank, attempt) = (Rank(0), Attempt(attempt));
        let leave = Leave { within, preempted: true };
        vec![
            Effect::QueueLeaves { rank, attempt, by_choice: false },
            Effect::DrainNode { rank, attempt, leave },
        ]
    };
    let with = |mut effects: Vec<Effect>, last| {
        effects.push(last);
        effects
    };
    let again = |request: u32, attempt| {
        let number = request;
        let (rank, attempt) = (Rank(0), Attempt(attempt));
        let spawn = Effect::Spawn { rank, attempt, instance: instance(number) };
        vec![
            (answer(request, &[number], None), vec![provisioned_as(&[(number, Some(0))], 1), spawn]),
            (Heard::NodeReady { rank, attempt }, vec![Effect::QueueReady { rank }]),
        ]
    };
    let mut steps = vec![(noticed(0), with(left(0), ask(2, 1)))];
    steps.extend(again(2, 1));
    let [paused, rest] = pause(0);
    steps.push((noticed(1), with(with(left(1), paused), rest)));
    steps.push((Heard::Woke(Timer::Provision), vec![ask(3, 1)]));
    steps.extend(again(3, 2));
    let given_up = with(left(2), Effect::QueueLost { rank: Rank(0) });
    let told = fewer(2, &do_not_last("sold"), 30);
    steps.push((noticed(2), [given_up, told.to_vec()].concat()));
    // What is leaving is still given back.
    steps.push((node_gone(0, "its machine is taken"), vec![release(0)]));
    check(&mut ready(2), steps);

    // Machines that lasted for a while are replaced as often as they are taken.
    let mut state = ready(1);
    let mut now = now();
    for attempt in 0..8 {
        now += Duration::from_secs(3600);
        let told = state.hear(noticed(attempt), now, &timing);
        assert!(matches!(told.last(), Some(Effect::Provision { .. })), "{told:?}");
        state.hear(answer(attempt + 2, &[attempt + 2], None), now, &timing);
        state.hear(Heard::NodeReady { rank: Rank(0), attempt: Attempt(attempt + 1) }, now, &timing);
    }
}
