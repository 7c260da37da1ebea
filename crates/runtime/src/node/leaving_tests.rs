//! Nodes that leave: told to, or to be taken, or not well, as tables.

use super::*;

#[test]
fn a_ready_node_drains_before_it_ends_and_any_other_ends_at_once() {
    let over =
        |reason: &str| vec![enter(NodePhase::Gone), Effect::End { reason: reason.into(), retry: true }];
    let within = Duration::from_secs(9);
    let leave = Leave { within, preempted: false };
    let drain = || vec![enter(NodePhase::Draining), Effect::Drain(leave), wake(Timer::Deadline, within)];
    for last in [Heard::Drained, Heard::Woke(Timer::Deadline), Heard::LinkClosed { reason: String::new() }] {
        check(
            &mut ready(),
            vec![
                (0, Heard::Drain(leave), drain()),
                (0, Heard::Drain(leave), vec![]),
                (1, last, over("drained")),
                (0, Heard::Stop, vec![]),
            ],
        );
    }
    check(&mut reaching(), vec![(0, Heard::Drain(leave), over("stopped"))]);
    check(&mut State::Bootstrapping, vec![(0, Heard::Stop, over("stopped"))]);
    check(&mut ready(), vec![(0, Heard::Stop, over("stopped"))]);
}

#[test]
fn a_notice_is_told_and_a_node_that_drains_for_it_is_lost_to_its_cloud() {
    let within = Duration::from_secs(120);
    let reason = || "the market".to_owned();
    let told = || {
        vec![
            Effect::Announce(Said::Noticed(within, reason())),
            Effect::ReportNoticed { within, reason: reason() },
        ]
    };
    let leaving = || Heard::Described(Ok(InstanceState::Leaving { within, reason: reason() }));
    let leave = Leave { within, preempted: true };
    let sooner = Leave { within: Duration::from_secs(3), preempted: false };
    check(
        &mut ready(),
        vec![
            (0, Heard::Noticed { within, reason: reason() }, told()),
            (1, leaving(), told()),
            (
                0,
                Heard::Drain(leave),
                vec![enter(NodePhase::Draining), Effect::Drain(leave), wake(Timer::Deadline, within)],
            ),
            (0, Heard::Noticed { within, reason: reason() }, vec![]),
            (0, Heard::Drain(sooner), vec![wake(Timer::Deadline, sooner.within)]),
            (3, Heard::Woke(Timer::Deadline), taken(Loss::Preempted, "its machine is taken")),
        ],
    );
    let why = "the machine is taken before it could be reached: the market";
    check(&mut reaching(), vec![(0, leaving(), taken(Loss::Preempted, why))]);
}

#[test]
fn a_notice_while_the_link_is_dialled_again_counts_and_the_node_drains_once_it_is_linked() {
    let timing = Timing::default();
    let within = Duration::from_secs(12);
    let leave = Leave { within, preempted: true };
    let leaving = || Heard::Described(Ok(InstanceState::Leaving { within, reason: "reclaimed".into() }));
    let told = vec![
        Effect::Announce(Said::Noticed(within, "reclaimed".into())),
        Effect::ReportNoticed { within, reason: "reclaimed".into() },
    ];
    let noticed = || {
        vec![
            (0, leaving(), told.clone()),
            (0, leaving(), vec![]),
            (0, Heard::Drain(leave), vec![wake(Timer::Deadline, within.min(timing.grace))]),
        ]
    };
    let rest = Leave { within: Duration::from_secs(7), preempted: true };
    let mut linked = noticed();
    linked.extend([
        (0, Heard::Linked(Err(again("refused"))), vec![wake(Timer::Retry, timing.redial.delay(0))]),
        (
            5,
            Heard::Linked(Ok(())),
            vec![
                Effect::Announce(Said::LinkRestored),
                enter(NodePhase::Draining),
                Effect::Drain(rest),
                wake(Timer::Deadline, rest.within),
            ],
        ),
        (0, Heard::Drained, taken(Loss::Preempted, "its machine is taken")),
    ]);
    check(&mut redialling(0, 0, "silent"), linked);
    for over in [Heard::WorkerEnded(true), Heard::Woke(Timer::Deadline)] {
        let mut steps = noticed();
        steps.push((1, over, taken(Loss::Preempted, "its machine is taken")));
        check(&mut redialling(0, 0, "silent"), steps);
    }
}

#[test]
fn a_node_that_is_not_well_ends_at_once_before_it_had_calls_and_drains_afterwards() {
    let timing = Timing::default();
    let reason = || "its probe failed: too hot".to_owned();
    let unhealthy = |was_ready| Heard::Unhealthy { was_ready, reason: reason() };
    let lost = || {
        vec![
            Effect::Announce(Said::Lost(reason(), Some(Loss::Unhealthy))),
            enter(NodePhase::Gone),
            Effect::End { reason: reason(), retry: true },
        ]
    };
    let mut never = State::Ready { worker: WORKER, restarts: 0 };
    assert_eq!(never.hear(unhealthy(false), Instant::now(), &timing), lost());

    let (mut state, now) = (State::Ready { worker: WORKER, restarts: 0 }, Instant::now());
    let leave = Leave { within: timing.drain, preempted: true };
    let drains = vec![
        Effect::ReportNoticed { within: leave.within, reason: reason() },
        enter(NodePhase::Draining),
        Effect::Drain(leave),
        wake(Timer::Deadline, leave.within),
    ];
    assert_eq!(state.hear(unhealthy(true), now, &timing), drains);
    // The pool has it leave its rank, which changes nothing here.
    assert_eq!(state.hear(Heard::Drain(leave), now, &timing), []);
    assert_eq!(state.hear(unhealthy(true), now, &timing), []);
    assert_eq!(state.hear(Heard::Drained, now, &timing), lost());
}
