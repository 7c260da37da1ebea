//! What the queue decides about nodes that are leaving.

use super::*;

#[test]
fn what_runs_on_a_node_that_leaves_goes_on_beside_the_next_of_its_rank() {
    let any = Target::Any;
    let mut state = pool(1, 1);
    check(
        &mut state,
        vec![
            (submitted(1, any), vec![grant(1, 0)]),
            (submitted(2, any), vec![]),
            (submitted(3, Target::Rank(Rank(0))), vec![]),
            (Heard::NodeLeaves { rank: Rank(0), by_choice: false }, vec![]),
            // The next has all its slots, and is told nothing of the first.
            (
                Heard::NodeReady { rank: Rank(0), slots: 2, worker: worker(0, 1) },
                vec![grant(3, 0), grant(2, 0)],
            ),
            (submitted(4, any), vec![]),
            (answered(1), vec![]),
            (answered(2), vec![grant(4, 0)]),
            (answered(3), vec![]),
            (answered(4), vec![]),
        ],
    );
    assert_eq!(state.held(), 0);
}

#[test]
fn a_node_that_leaves_and_takes_its_calls_along_has_them_tried_elsewhere() {
    let reason = || "the link broke".to_owned();
    let broken = |id, life| Heard::Broken {
        id: TaskId(id),
        attempt: Attempt(0),
        worker: worker(0, life),
        reason: reason(),
    };
    let mut state = pool(1, 2);
    check(
        &mut state,
        vec![
            (submitted(1, Target::Any), vec![grant(1, 0)]),
            (submitted(2, Target::Any), vec![grant(2, 0)]),
            (Heard::NodePaused { rank: Rank(0) }, vec![]),
            (broken(1, 0), vec![]),
            // Whose link broke before does not wait for another any more.
            (
                Heard::NodeLeaves { rank: Rank(0), by_choice: false },
                vec![Retry { id: TaskId(1), attempt: Attempt(1), reason: "its node is leaving".into() }],
            ),
            (
                Heard::NodeReady { rank: Rank(0), slots: 1, worker: worker(0, 1) },
                vec![Grant { id: TaskId(1), attempt: Attempt(1), rank: Rank(0) }],
            ),
            (broken(2, 0), vec![Retry { id: TaskId(2), attempt: Attempt(1), reason: reason() }]),
        ],
    );
    assert_eq!(state.held(), 2);
}

#[test]
fn the_next_node_of_a_rank_is_not_blamed_for_what_the_one_before_lost() {
    let lost = |attempt| Heard::Lost { id: TaskId(1), attempt: Attempt(attempt), reason: "taken".to_owned() };
    let mut state = pool(1, 1);
    let mut hear = |heard| {
        let mut effects = Vec::new();
        state.take_in(heard, &mut effects);
        effects
    };
    hear(submitted(1, Target::Any));
    // As many workers as may end with a task, and more: none of them had this one.
    for attempt in 0..3 {
        let rank = Rank(0);
        hear(Heard::NodeLeaves { rank, by_choice: false });
        hear(Heard::NodeReady { rank, slots: 1, worker: worker(0, attempt + 1) });
        hear(Heard::NodePaused { rank });
        let told = hear(lost(attempt));
        assert!(matches!(told.as_slice(), [Retry { .. }]), "{attempt}: {told:?}");
        hear(Heard::WorkerDied { rank });
        hear(Heard::NodeReady { rank, slots: 1, worker: worker(0, attempt + 11) });
    }
}

#[test]
fn what_is_lost_because_its_pool_gives_a_node_up_costs_no_try() {
    let lost =
        |attempt| Heard::Lost { id: TaskId(1), attempt: Attempt(attempt), reason: "given up".to_owned() };
    let once = Retries { infrastructure: 1, ..Retries::default() };
    for (by_choice, expected) in [(true, 5), (false, 0)] {
        let mut state = pool(1, 1);
        let mut hear = |heard| {
            let mut effects = Vec::new();
            state.take_in(heard, &mut effects);
            effects
        };
        let Heard::Submitted { id, target, group, load, .. } = submitted(1, Target::Any) else {
            unreachable!()
        };
        hear(Heard::Submitted { id, target, group, load, retries: once });
        // The first loss is a real one, which uses up the only try.
        hear(Heard::NodeLeaves { rank: Rank(0), by_choice: false });
        hear(Heard::NodeReady { rank: Rank(0), slots: 1, worker: worker(0, 9) });
        hear(lost(0));
        let tries = (1..6).take_while(|attempt| {
            let rank = Rank(0);
            hear(Heard::NodeLeaves { rank, by_choice });
            hear(Heard::NodeReady { rank, slots: 1, worker: worker(0, attempt + 1) });
            matches!(hear(lost(*attempt)).first(), Some(Retry { .. }))
        });
        assert_eq!(tries.count(), expected, "by choice: {by_choice}");
    }
}

/// As after an attach to a pool of which the lowest and the highest ranks were left.
#[test]
fn a_call_for_a_rank_between_those_that_are_wanted_is_refused_and_not_kept_waiting() {
    let mut state = pool(1, 1);
    let call = |id, rank| submitted(id, Target::Rank(Rank(rank)));
    let refused = |id, rank, nodes| Effect::Refuse {
        id: TaskId(id),
        why: Undone::NoSuchNode { rank: Rank(rank), nodes },
    };
    check(
        &mut state,
        vec![
            (Heard::Grows { grows: true }, vec![]),
            (call(1, 2), vec![refused(1, 2, 1)]),
            (Heard::NodeWanted { rank: Rank(3) }, vec![]),
            (call(2, 2), vec![refused(2, 2, 4)]),
            (call(3, 3), vec![]),
            // It grows: the lowest that there are not come first.
            (Heard::NodeWanted { rank: Rank(1) }, vec![]),
            (call(4, 1), vec![]),
            (call(5, 2), vec![refused(5, 2, 4)]),
        ],
    );
}
