//! The queue as tables: what it hears, what it wants done.

use super::Effect::{Grant, Refuse, Retry, Shares};
use super::*;
use crate::model::FunctionId;
use crate::status::Waits;

const ALONE: GroupId = GroupId(0);
const LOAD: Load = Load { function: FunctionId(0), bytes: 0 };

fn pool(nodes: u32, slots: u32) -> State {
    let mut state = State::new(Ahead { known: 2, calls: 2, ..Ahead::default() });
    assert_eq!(state.hear(Heard::Sized { nodes }), []);
    for rank in 0..nodes {
        assert_eq!(hear(&mut state, ready(rank, slots)), []);
    }
    state
}

fn submitted(id: u64, target: Target) -> Heard {
    Heard::Submitted {
        id: TaskId(id),
        target,
        group: GroupId(1000 + id),
        retries: Retries::default(),
        load: LOAD,
    }
}

fn broadcast(first: u64, group: GroupId, lost: OnLost) -> Heard {
    Heard::Broadcast { first: TaskId(first), group, retries: Retries::default(), lost, load: LOAD }
}

fn failed(id: u64, attempt: u32) -> Heard {
    Heard::Failed { id: TaskId(id), attempt: Attempt(attempt), reason: "its own".into() }
}

fn answered(id: u64) -> Heard {
    Heard::Answered { id: TaskId(id), attempt: Attempt(0), took: None }
}

fn lost(id: u64, attempt: u32) -> Heard {
    Heard::Lost { id: TaskId(id), attempt: Attempt(attempt), reason: "gone".into() }
}

fn grant(id: u64, rank: u32) -> Effect {
    Grant { id: TaskId(id), attempt: Attempt(0), rank: Rank(rank) }
}

/// A link to the first worker of the rank.
fn ready(rank: u32, slots: u32) -> Heard {
    Heard::NodeReady { rank: Rank(rank), slots, worker: worker(rank, 0) }
}

fn worker(rank: u32, life: u32) -> Incarnation {
    Incarnation::new(format!("{rank}-{life}"))
}

/// What is decided, but for what every link begins with.
fn hear(state: &mut State, heard: Heard) -> Vec<Effect> {
    let mut effects = state.hear(heard);
    effects.retain(|it| !matches!(it, Effect::Reconcile { .. }));
    effects
}

/// Runs a table of steps and checks the effects of each, all of them.
fn check(state: &mut State, steps: Vec<(Heard, Vec<Effect>)>) {
    for (at, (heard, expected)) in steps.into_iter().enumerate() {
        let told = format!("step {at}: {heard:?}");
        assert_eq!(hear(state, heard), expected, "{told}");
    }
}

#[test]
fn untargeted_tasks_go_round_the_ranks_and_wait_when_all_slots_are_used() {
    let any = Target::Any;
    check(
        &mut pool(2, 1),
        vec![
            (submitted(1, any), vec![grant(1, 0)]),
            (submitted(2, any), vec![grant(2, 1)]),
            (submitted(3, any), vec![]),
            (submitted(4, any), vec![]),
            (answered(2), vec![grant(3, 1)]),
            (answered(1), vec![grant(4, 0)]),
            (answered(3), vec![]),
            (submitted(5, any), vec![grant(5, 1)]),
        ],
    );
}

#[test]
fn a_targeted_task_waits_for_its_busy_rank_and_does_not_spill_to_others() {
    check(
        &mut pool(2, 1),
        vec![
            (submitted(1, Target::Rank(Rank(1))), vec![grant(1, 1)]),
            (submitted(2, Target::Rank(Rank(1))), vec![]),
            (submitted(3, Target::Any), vec![grant(3, 0)]),
            (answered(1), vec![grant(2, 1)]),
        ],
    );
}

#[test]
fn an_absent_rank_fails_at_once() {
    let why = Undone::NoSuchNode { rank: Rank(7), nodes: 2 };
    check(&mut pool(2, 1), vec![(submitted(1, Target::Rank(Rank(7))), vec![Refuse { id: TaskId(1), why }])]);
}

#[test]
fn a_single_call_takes_its_turn_beside_a_large_group() {
    let mut state = pool(1, 1);
    for id in 1..=100 {
        let retries = Retries::default();
        state.hear(Heard::Submitted {
            id: TaskId(id),
            target: Target::Any,
            group: ALONE,
            retries,
            load: LOAD,
        });
    }
    check(
        &mut state,
        vec![
            (submitted(200, Target::Any), vec![]),
            (answered(1), vec![grant(2, 0)]),
            (answered(2), vec![grant(200, 0)]),
            (answered(200), vec![grant(3, 0)]),
        ],
    );
}

#[test]
fn a_lost_task_is_tried_again_as_a_new_attempt_and_old_answers_are_dropped() {
    check(
        &mut pool(2, 1),
        vec![
            (submitted(1, Target::Any), vec![grant(1, 0)]),
            (Heard::NodePaused { rank: Rank(0) }, vec![]),
            (
                lost(1, 0),
                vec![
                    Retry { id: TaskId(1), attempt: Attempt(1), reason: "gone".into() },
                    Grant { id: TaskId(1), attempt: Attempt(1), rank: Rank(1) },
                ],
            ),
            (lost(1, 0), vec![]),
            (answered(1), vec![]),
            (submitted(2, Target::Rank(Rank(1))), vec![]),
            (Heard::Answered { id: TaskId(1), attempt: Attempt(1), took: None }, vec![grant(2, 1)]),
        ],
    );
}

#[test]
fn exhausted_retries_surface_what_happened_and_how_often() {
    let mut state = pool(1, 1);
    state.hear(submitted(1, Target::Any));
    for attempt in 0..3 {
        let effects = state.hear(lost(1, attempt));
        assert_eq!(effects.len(), 2, "retried and granted again: {effects:?}");
    }
    let why = Undone::Lost(Lost { rank: Some(Rank(0)), reason: "gone".into(), attempts: 4 });
    check(&mut state, vec![(lost(1, 3), vec![Refuse { id: TaskId(1), why }]), (lost(1, 3), vec![])]);
}

#[test]
fn a_task_that_ends_workers_is_not_tried_again_after_its_limit() {
    let mut state = pool(1, 1);
    let died = |state: &mut State| {
        assert_eq!(state.hear(Heard::NodePaused { rank: Rank(0) }), []);
        assert_eq!(state.hear(Heard::WorkerDied { rank: Rank(0) }), []);
        hear(state, ready(0, 1))
    };
    state.hear(submitted(1, Target::Any));
    for attempt in 0..2 {
        assert_eq!(state.hear(lost(1, attempt)).len(), 2, "it is tried again");
        died(&mut state);
    }
    // The third loss, whatever caused it, is the last.
    let effects = state.hear(lost(1, 2));
    let [Refuse { why: Undone::Lost(lost), .. }] = &*effects else { panic!("{effects:?}") };
    assert!(lost.reason.starts_with("gone; 2 workers before ended while it ran"), "{}", lost.reason);
    assert_eq!((lost.rank, lost.attempts), (Some(Rank(0)), 3));
}

#[test]
fn a_task_meant_for_a_lost_rank_is_not_tried_elsewhere() {
    let why = Undone::Lost(Lost { rank: Some(Rank(0)), reason: "gone".into(), attempts: 1 });
    let refused = Undone::NoSuchNode { rank: Rank(0), nodes: 2 };
    check(
        &mut pool(2, 1),
        vec![
            (submitted(1, Target::Rank(Rank(0))), vec![grant(1, 0)]),
            (submitted(2, Target::Rank(Rank(0))), vec![]),
            (Heard::NodeLost { rank: Rank(0) }, vec![Refuse { id: TaskId(2), why: refused }]),
            (lost(1, 0), vec![Refuse { id: TaskId(1), why }]),
        ],
    );
}

#[test]
fn when_every_node_is_lost_nothing_waits_for_ever() {
    let none = |id| Refuse { id: TaskId(id), why: Undone::NoNodes };
    check(
        &mut pool(1, 1),
        vec![
            (submitted(1, Target::Any), vec![grant(1, 0)]),
            (submitted(2, Target::Any), vec![]),
            (Heard::NodeLost { rank: Rank(0) }, vec![none(2)]),
            (submitted(3, Target::Any), vec![none(3)]),
        ],
    );
}

#[test]
fn a_broadcast_has_one_task_per_ready_rank_each_with_its_own_id() {
    let shares = |first, ranks: &[u32]| Shares {
        first: TaskId(first),
        ranks: ranks.iter().copied().map(Rank).collect(),
    };
    check(
        &mut pool(3, 2),
        vec![
            (Heard::NodePaused { rank: Rank(1) }, vec![]),
            (broadcast(10, ALONE, OnLost::FailFast), vec![shares(10, &[0, 2]), grant(10, 0), grant(11, 2)]),
            // A second broadcast and a call at the same time have ids of their own: nothing can swap.
            (
                broadcast(20, GroupId(1), OnLost::FailFast),
                vec![shares(20, &[0, 2]), grant(20, 0), grant(21, 2)],
            ),
            (submitted(30, Target::Any), vec![]),
            (answered(20), vec![grant(30, 0)]),
        ],
    );
}

#[test]
fn a_share_of_a_broadcast_is_lost_with_its_node_and_not_tried_again() {
    let mut state = pool(1, 1);
    state.hear(broadcast(1, ALONE, OnLost::FailFast));
    let why = Undone::Lost(Lost { rank: Some(Rank(0)), reason: "gone".into(), attempts: 1 });
    check(&mut state, vec![(lost(1, 0), vec![Refuse { id: TaskId(1), why }])]);
}

#[test]
fn a_share_that_may_be_replaced_waits_for_its_ranks_replacement() {
    check(
        &mut pool(2, 1),
        vec![
            (
                broadcast(1, ALONE, OnLost::Replace),
                vec![Shares { first: TaskId(1), ranks: vec![Rank(0), Rank(1)] }, grant(1, 0), grant(2, 1)],
            ),
            (Heard::NodePaused { rank: Rank(1) }, vec![]),
            (lost(2, 0), vec![Retry { id: TaskId(2), attempt: Attempt(1), reason: "gone".into() }]),
            (ready(1, 1), vec![Grant { id: TaskId(2), attempt: Attempt(1), rank: Rank(1) }]),
        ],
    );
}

#[test]
fn a_tasks_own_failure_is_tried_again_only_as_often_as_asked() {
    let retries = Retries { own: 1, ..Retries::default() };
    let asked = Heard::Submitted { id: TaskId(1), target: Target::Any, group: ALONE, retries, load: LOAD };
    check(
        &mut pool(1, 1),
        vec![
            (asked, vec![grant(1, 0)]),
            (
                failed(1, 0),
                vec![
                    Retry { id: TaskId(1), attempt: Attempt(1), reason: "its own".into() },
                    Grant { id: TaskId(1), attempt: Attempt(1), rank: Rank(0) },
                ],
            ),
            (failed(1, 0), vec![]),
            (failed(1, 1), vec![Effect::Exhausted { id: TaskId(1) }]),
            (submitted(2, Target::Any), vec![grant(2, 0)]),
            (failed(2, 0), vec![Effect::Exhausted { id: TaskId(2) }]),
        ],
    );
}

#[test]
fn a_task_that_may_run_once_is_not_tried_again_when_its_node_is_lost() {
    let retries = Retries { infrastructure: 0, ..Retries::default() };
    let why = Undone::Lost(Lost { rank: Some(Rank(0)), reason: "gone".into(), attempts: 1 });
    check(
        &mut pool(2, 1),
        vec![
            (
                Heard::Submitted { id: TaskId(1), target: Target::Any, group: ALONE, retries, load: LOAD },
                vec![grant(1, 0)],
            ),
            (lost(1, 0), vec![Refuse { id: TaskId(1), why }]),
        ],
    );
}

#[test]
fn a_stream_of_which_something_was_taken_is_not_tried_again() {
    let committed = Heard::Committed { id: TaskId(1) };
    let gone = Lost { rank: Some(Rank(0)), reason: "gone".into(), attempts: 1 };
    check(
        &mut pool(2, 1),
        vec![
            (submitted(1, Target::Any), vec![grant(1, 0)]),
            (committed.clone(), vec![]),
            (lost(1, 0), vec![Refuse { id: TaskId(1), why: Undone::Lost(gone) }]),
            (committed, vec![]),
        ],
    );
}

#[test]
fn a_targeted_task_waits_while_its_rank_is_replaced() {
    check(
        &mut pool(2, 1),
        vec![
            (Heard::NodePaused { rank: Rank(1) }, vec![]),
            (submitted(1, Target::Rank(Rank(1))), vec![]),
            (submitted(2, Target::Any), vec![grant(2, 0)]),
            (ready(1, 1), vec![grant(1, 1)]),
        ],
    );
}

#[test]
fn a_cancelled_task_gives_its_slot_back_wherever_it_was() {
    let cancelled = |id| Heard::Cancelled { id: TaskId(id) };
    check(
        &mut pool(1, 1),
        vec![
            (submitted(1, Target::Any), vec![grant(1, 0)]),
            (submitted(2, Target::Any), vec![]),
            (submitted(3, Target::Rank(Rank(0))), vec![]),
            (submitted(4, Target::Any), vec![]),
            (cancelled(2), vec![]),
            (cancelled(3), vec![]),
            (cancelled(1), vec![grant(4, 0)]),
            (cancelled(1), vec![]),
        ],
    );
}

#[test]
fn a_stopped_pool_refuses_what_waits_and_what_comes() {
    let stopped = |id| Refuse { id: TaskId(id), why: Undone::Stopped };
    check(
        &mut pool(1, 1),
        vec![
            (submitted(1, Target::Any), vec![grant(1, 0)]),
            (submitted(2, Target::Any), vec![]),
            (Heard::Stopped, vec![stopped(2)]),
            (submitted(3, Target::Any), vec![stopped(3)]),
            (lost(1, 0), vec![stopped(1)]),
            (broadcast(4, ALONE, OnLost::FailFast), vec![Shares { first: TaskId(4), ranks: vec![] }]),
        ],
    );
}

#[test]
fn a_rank_that_is_ready_again_counts_what_still_runs_on_it() {
    check(
        &mut pool(1, 1),
        vec![
            (submitted(1, Target::Any), vec![grant(1, 0)]),
            (Heard::NodePaused { rank: Rank(0) }, vec![]),
            (ready(0, 1), vec![]),
            (submitted(2, Target::Any), vec![]),
            // The worker may not have heard that its outcome was there before the link broke.
            (answered(1), vec![release(1), grant(2, 0)]),
        ],
    );
}

#[test]
fn what_calls_wait_for_is_counted() {
    let mut state = pool(2, 1);
    for (id, target) in [(1, Target::Any), (2, Target::Any), (3, Target::Any), (4, Target::Rank(Rank(1)))] {
        state.hear(submitted(id, target));
    }
    let waits =
        |for_slot, for_node| Waits { for_slot, for_node, for_rank: [(Rank(1), 1)].into(), running: 2 };
    assert_eq!(state.waits(), waits(1, 0));
    state.hear(Heard::NodePaused { rank: Rank(0) });
    state.hear(Heard::NodePaused { rank: Rank(1) });
    assert_eq!(state.waits(), waits(0, 1));
}

/// A pool that has seen calls of this function end fast.
fn knowing(nodes: u32, slots: u32) -> State {
    let mut state = pool(nodes, slots);
    let took = Some(Duration::from_micros(5));
    for id in [901, 902] {
        state.hear(submitted(id, Target::Any));
        state.hear(Heard::Answered { id: TaskId(id), attempt: Attempt(0), took });
    }
    state
}

#[test]
fn calls_of_a_fast_function_are_sent_ahead_once_every_slot_is_taken_and_only_so_many() {
    let any = Target::Any;
    check(
        &mut knowing(2, 1),
        vec![
            (submitted(1, any), vec![grant(1, 0)]),
            (submitted(2, any), vec![grant(2, 1)]),
            (submitted(3, any), vec![grant(3, 0)]),
            (submitted(4, any), vec![grant(4, 1)]),
            (submitted(5, any), vec![grant(5, 0)]),
            (submitted(6, any), vec![grant(6, 1)]),
            (submitted(7, any), vec![]),
            (answered(2), vec![grant(7, 1)]),
        ],
    );
}

#[test]
fn a_call_of_an_unknown_function_waits_for_a_slot_and_those_behind_it_wait_too() {
    let unknown = Load { function: FunctionId(9), bytes: 0 };
    let other = Heard::Submitted {
        id: TaskId(2),
        target: Target::Any,
        group: ALONE,
        retries: Retries::default(),
        load: unknown,
    };
    check(
        &mut knowing(1, 1),
        vec![
            (submitted(1, Target::Any), vec![grant(1, 0)]),
            (other, vec![]),
            (submitted(3, Target::Any), vec![]),
            (answered(1), vec![grant(2, 0), grant(3, 0)]),
        ],
    );
}

#[test]
fn what_waits_on_a_stuck_node_is_recalled_for_an_idle_one_and_costs_no_try() {
    let recall = |id| Effect::Recall { id: TaskId(id), attempt: Attempt(0), rank: Rank(0) };
    let given_back = |id| Heard::GivenBack { id: TaskId(id), attempt: Attempt(0) };
    let once = Retries { infrastructure: 0, ..Retries::default() };
    let mut state = knowing(2, 1);
    check(&mut state, vec![(Heard::NodePaused { rank: Rank(1) }, vec![]), (Heard::Looked, vec![])]);
    for id in [1, 2, 3] {
        let call =
            Heard::Submitted { id: TaskId(id), target: Target::Any, group: ALONE, retries: once, load: LOAD };
        check(&mut state, vec![(call, vec![grant(id, 0)])]);
    }
    check(
        &mut state,
        vec![
            (Heard::Looked, vec![]),
            (ready(1, 1), vec![]),
            (Heard::Looked, vec![recall(3)]),
            (Heard::Looked, vec![]),
            (given_back(3), vec![Grant { id: TaskId(3), attempt: Attempt(1), rank: Rank(1) }]),
            (given_back(3), vec![]),
            (Heard::Looked, vec![]),
            (Heard::Answered { id: TaskId(3), attempt: Attempt(1), took: None }, vec![]),
            (Heard::Looked, vec![recall(2)]),
            // It had begun: it goes on where it is.
            (answered(2), vec![]),
            (answered(1), vec![]),
        ],
    );
    assert_eq!(state.held(), 0);
}

fn release(id: u64) -> Effect {
    Effect::Release { id: TaskId(id), attempt: Attempt(0), rank: Rank(0) }
}

#[path = "leaving_tests.rs"]
mod leaving;
#[path = "recall_tests.rs"]
mod recalling;
#[path = "reconcile_tests.rs"]
mod reconcile;
