//! What the queue decides when links break, workers keep too much, and calls have keys.

use super::*;

fn broken(id: u64, attempt: u32, worker: Incarnation) -> Heard {
    Heard::Broken { id: TaskId(id), attempt: Attempt(attempt), worker, reason: "the link broke".into() }
}

fn resume(id: u64, rank: u32) -> Effect {
    Effect::Resume { id: TaskId(id), attempt: Attempt(0), rank: Rank(rank) }
}

fn again(id: u64) -> Effect {
    Retry { id: TaskId(id), attempt: Attempt(1), reason: "its worker is another one now".into() }
}

#[test]
fn a_call_whose_link_broke_keeps_its_slot_and_is_asked_for_over_the_next_link() {
    let any = Target::Any;
    let mut state = pool(1, 2);
    check(
        &mut state,
        vec![
            (submitted(1, any), vec![grant(1, 0)]),
            (submitted(2, any), vec![grant(2, 0)]),
            (Heard::NodePaused { rank: Rank(0) }, vec![]),
            (broken(1, 0, worker(0, 0)), vec![]),
            (submitted(3, any), vec![]),
        ],
    );
    let waits = vec![(TaskId(1), Attempt(0)), (TaskId(2), Attempt(0))];
    let linked = state.hear(ready(0, 2));
    assert_eq!(linked, [Effect::Reconcile { rank: Rank(0), waits }, resume(1, 0)]);
    check(
        &mut state,
        vec![
            // Who notices late is asked for at once.
            (broken(2, 0, worker(0, 0)), vec![resume(2, 0)]),
            (answered(1), vec![release(1), grant(3, 0)]),
            (answered(2), vec![release(2)]),
            (answered(3), vec![]),
        ],
    );
    assert_eq!(state.held(), 0);
}

#[test]
fn a_call_is_tried_elsewhere_when_its_worker_is_gone_and_not_before() {
    let any = Target::Any;
    for (ends, reason) in [
        (Heard::NodeGone { rank: Rank(0) }, "its node is gone"),
        (Heard::WorkerDied { rank: Rank(0) }, "its worker has ended"),
    ] {
        let retry = Retry { id: TaskId(1), attempt: Attempt(1), reason: reason.into() };
        check(
            &mut pool(1, 1),
            vec![
                (submitted(1, any), vec![grant(1, 0)]),
                (Heard::NodePaused { rank: Rank(0) }, vec![]),
                (broken(1, 0, worker(0, 0)), vec![]),
                (ends, vec![retry]),
                // Whatever comes of the old worker is of an old try.
                (broken(1, 0, worker(0, 0)), vec![]),
            ],
        );
    }
    let mut state = pool(1, 1);
    check(&mut state, vec![(submitted(1, any), vec![grant(1, 0)]), (submitted(2, any), vec![])]);
    check(
        &mut state,
        vec![(Heard::NodePaused { rank: Rank(0) }, vec![]), (broken(1, 0, worker(0, 0)), vec![])],
    );
    let other = Heard::NodeReady { rank: Rank(0), slots: 1, worker: worker(0, 1) };
    let second = Grant { id: TaskId(2), attempt: Attempt(0), rank: Rank(0) };
    assert_eq!(hear(&mut state, other), [again(1), second]);
}

#[test]
fn what_ends_while_its_link_is_an_old_one_is_released_over_the_new_one() {
    let any = Target::Any;
    let mut state = pool(1, 2);
    check(
        &mut state,
        vec![
            (submitted(1, any), vec![grant(1, 0)]),
            (submitted(2, any), vec![grant(2, 0)]),
            (Heard::NodePaused { rank: Rank(0) }, vec![]),
            // Nobody waits for it when the worker is asked, so it is not among what is waited for.
            (Heard::Cancelled { id: TaskId(1) }, vec![]),
            (ready(0, 2), vec![]),
            // It has not noticed yet that its link broke.
            (Heard::Cancelled { id: TaskId(2) }, vec![release(2)]),
        ],
    );
}

#[test]
fn a_node_that_takes_nothing_is_left_alone_until_the_next_look_and_no_try_is_counted() {
    let any = Target::Any;
    let full = Heard::Full { id: TaskId(1), attempt: Attempt(0) };
    let second = |attempt| Grant { id: TaskId(1), attempt: Attempt(attempt), rank: Rank(0) };
    let mut state = pool(1, 1);
    check(&mut state, vec![(submitted(1, any), vec![grant(1, 0)]), (full, vec![])]);
    for attempt in 1..9 {
        let full = Heard::Full { id: TaskId(1), attempt: Attempt(attempt) };
        check(&mut state, vec![(Heard::Looked, vec![second(attempt)]), (full, vec![])]);
    }
}

#[test]
fn a_call_waits_for_the_node_that_has_its_key_and_goes_elsewhere_when_that_is_gone() {
    let key = Key::new("k").expect("fits");
    let (keyed, until) = (|id| Heard::Keyed { id: TaskId(id), key: key.clone() }, Instant::now());
    let held =
        Heard::Held { rank: Rank(1), worker: worker(1, 0), keys: vec![(key.clone(), Left::Nothing)], until };
    let in_use = Undone::Key(KeyError::InUse { key: key.clone() });
    check(
        &mut pool(2, 1),
        vec![
            (held, vec![]),
            (submitted(9, Target::Rank(Rank(1))), vec![grant(9, 1)]),
            (keyed(1), vec![]),
            // Rank 0 is free, and does not have it.
            (submitted(1, Target::Any), vec![]),
            (keyed(2), vec![Refuse { id: TaskId(2), why: in_use }]),
            (Heard::NodeGone { rank: Rank(1) }, vec![grant(1, 0)]),
            (answered(1), vec![]),
            (keyed(3), vec![]),
        ],
    );
}

#[test]
fn an_outcome_that_stays_is_waited_for_after_a_redial_and_goes_when_its_worker_needs_the_room() {
    let any = Target::Any;
    let stays = |id| Heard::Stays { id: TaskId(id), attempt: Attempt(0) };
    let keyed = |id| Heard::Keyed { id: TaskId(id), key: Key::new("k").expect("fits") };
    let mut state = pool(1, 2);
    check(
        &mut state,
        vec![
            (keyed(1), vec![]),
            (submitted(1, any), vec![grant(1, 0)]),
            (stays(1), vec![]),
            (answered(1), vec![]),
            // It is over: nothing stays of it.
            (stays(1), vec![]),
            (Heard::NodePaused { rank: Rank(0) }, vec![]),
        ],
    );
    let waits = vec![(TaskId(1), Attempt(0))];
    assert_eq!(state.hear(ready(0, 2)), [Effect::Reconcile { rank: Rank(0), waits }]);
    let full = Heard::Full { id: TaskId(2), attempt: Attempt(0) };
    check(&mut state, vec![(submitted(2, any), vec![grant(2, 0)]), (full, vec![release(1)])]);
    // Nothing stays at a worker that has ended.
    let mut state = pool(1, 2);
    check(
        &mut state,
        vec![
            (keyed(1), vec![]),
            (submitted(1, any), vec![grant(1, 0)]),
            (stays(1), vec![]),
            (answered(1), vec![]),
        ],
    );
    let other = Heard::NodeReady { rank: Rank(0), slots: 2, worker: worker(0, 1) };
    assert_eq!(state.hear(other), [Effect::Reconcile { rank: Rank(0), waits: vec![] }]);
}

#[test]
fn the_queue_knows_whether_each_worker_has_said_what_it_keeps() {
    let (mut state, until) = (State::new(Ahead::default()), Instant::now());
    assert!(state.is_reconciled());
    state.hear(ready(0, 1));
    assert!(!state.is_reconciled());
    state.hear(Heard::Held { rank: Rank(0), worker: worker(0, 7), keys: vec![], until });
    assert!(!state.is_reconciled());
    state.hear(Heard::Held { rank: Rank(0), worker: worker(0, 0), keys: vec![], until });
    assert!(state.is_reconciled());
    state.hear(ready(1, 1));
    state.hear(Heard::NodeGone { rank: Rank(1) });
    assert!(state.is_reconciled());
}

#[test]
fn a_node_with_what_another_owner_left_is_used_and_its_slots_are_taken_until_it_has_ended() {
    let (now, key) = (Instant::now(), |name: &str| Key::new(name).expect("fits"));
    let until = now + Duration::from_secs(9);
    let said = |keys| Heard::Held { rank: Rank(0), worker: worker(0, 0), keys, until };
    let keyed = |id, name: &str| Heard::Keyed { id: TaskId(id), key: key(name) };
    let any = Target::Any;
    let mut state = State::new(Ahead::default());
    state.hear(Heard::Sized { nodes: 1 });
    state.hear(ready(0, 2));
    assert!(!state.is_idle(Rank(0), now), "nobody knows what it has");
    let left = |running, kept| vec![(key(running), Left::Running), (key(kept), Left::Kept)];
    let ends = (key("b"), Left::Kept);
    check(
        &mut state,
        vec![
            (said(left("a", "kept")), vec![]),
            (said(vec![(key("b"), Left::Running)]), vec![]),
            (said(vec![]), vec![]),
            // Both slots are taken, so it waits; who asks for what runs there needs no other.
            (submitted(1, any), vec![]),
            (keyed(2, "a"), vec![]),
            (submitted(2, any), vec![grant(2, 0)]),
            (keyed(3, "kept"), vec![]),
            (submitted(3, any), vec![grant(3, 0)]),
            (answered(3), vec![]),
        ],
    );
    assert_eq!((state.demand(now).queued, state.demand(now).running), (1, 2));
    check(
        &mut state,
        vec![(said(vec![ends]), vec![grant(1, 0)]), (answered(1), vec![]), (answered(2), vec![])],
    );
    // Nobody asks for what is kept.
    assert_eq!((state.demand(now).running, state.is_idle(Rank(0), now)), (0, false));
    assert!(state.demand(now).idle.is_empty());
    assert!(state.is_idle(Rank(0), until));
    assert_eq!(state.demand(until).idle, [Rank(0)].into());
    // Over another link it says again what it has.
    state.hear(ready(0, 2));
    assert!(!state.is_idle(Rank(0), until));
    check(&mut state, vec![(said(vec![]), vec![])]);
    assert!(state.is_idle(Rank(0), now));
}

#[test]
fn who_stops_waiting_for_what_another_owner_left_leaves_it_to_the_next_who_asks() {
    let (until, key) = (Instant::now(), Key::new("k").expect("fits"));
    let keyed = |id| Heard::Keyed { id: TaskId(id), key: key.clone() };
    let said = |keys| Heard::Held { rank: Rank(1), worker: worker(1, 0), keys, until };
    let mut state = pool(2, 1);
    check(
        &mut state,
        vec![
            (said(vec![(key.clone(), Left::Running)]), vec![]),
            (Heard::NodePaused { rank: Rank(1) }, vec![]),
            (keyed(1), vec![]),
            (submitted(1, Target::Any), vec![]),
            (Heard::Cancelled { id: TaskId(1) }, vec![]),
            (keyed(2), vec![]),
            // Rank 0 is free, and would run it beside the first.
            (submitted(2, Target::Any), vec![]),
        ],
    );
    assert_eq!(state.hear(ready(1, 1)), [Effect::Reconcile { rank: Rank(1), waits: vec![] }, grant(2, 1)]);
}

#[test]
fn a_task_whose_home_has_nothing_of_it_any_more_goes_anywhere() {
    let (until, key) = (Instant::now(), |name: &str| Key::new(name).expect("fits"));
    let running = |name| (key(name), Left::Running);
    let said = |keys| Heard::Held { rank: Rank(1), worker: worker(1, 0), keys, until };
    let submitted = Heard::Submitted {
        id: TaskId(1),
        target: Target::Any,
        group: GroupId(1001),
        retries: Retries { own: 1, ..Retries::default() },
        load: LOAD,
    };
    let again = Retry { id: TaskId(1), attempt: Attempt(1), reason: "its own".into() };
    check(
        &mut pool(2, 1),
        vec![
            (said(vec![running("k"), running("other")]), vec![]),
            (Heard::Keyed { id: TaskId(1), key: key("k") }, vec![]),
            (submitted, vec![grant(1, 1)]),
            // What it waited for has failed, and something else has the only slot there, for as long as it takes.
            (failed(1, 0), vec![again, Grant { id: TaskId(1), attempt: Attempt(1), rank: Rank(0) }]),
        ],
    );
}

#[test]
fn a_task_that_comes_back_goes_where_something_was_found_under_its_key_meanwhile() {
    let (until, key) = (Instant::now(), Key::new("k").expect("fits"));
    let found = |rank| Heard::Held {
        rank: Rank(rank),
        worker: worker(rank, 0),
        keys: vec![(key.clone(), Left::Kept)],
        until,
    };
    let back = |attempt| Heard::GivenBack { id: TaskId(1), attempt: Attempt(attempt) };
    let granted =
        |attempt, rank| Effect::Grant { id: TaskId(1), attempt: Attempt(attempt), rank: Rank(rank) };
    let mut state = pool(3, 1);
    check(
        &mut state,
        vec![
            (Heard::Keyed { id: TaskId(1), key: key.clone() }, vec![]),
            (submitted(1, Target::Any), vec![grant(1, 0)]),
            (found(2), vec![]),
            // Its turn would be at rank 1.
            (back(0), vec![granted(1, 2)]),
        ],
    );
    // What is said of its own try is of no use once that has come back.
    let mut state = pool(3, 1);
    check(
        &mut state,
        vec![
            (Heard::Keyed { id: TaskId(1), key: key.clone() }, vec![]),
            (submitted(1, Target::Any), vec![grant(1, 0)]),
            (found(0), vec![]),
            (back(0), vec![granted(1, 1)]),
            (back(1), vec![granted(2, 2)]),
        ],
    );
}

#[test]
fn of_the_outcomes_that_stay_the_oldest_is_forgotten_with_its_key() {
    use crate::tasks::holding::MOST;
    let mut state = pool(1, 1);
    let most = u64::try_from(MOST).expect("fits");
    let key = |id: u64| Key::new("k").expect("fits").at(usize::try_from(id).expect("fits"));
    for id in 0..most + 10 {
        state.hear(Heard::Keyed { id: TaskId(id), key: key(id) });
        assert_eq!(state.hear(submitted(id, Target::Any)), [grant(id, 0)]);
        let over = id.checked_sub(most).map(release);
        assert_eq!(state.hear(Heard::Stays { id: TaskId(id), attempt: Attempt(0) }), Vec::from_iter(over));
        state.hear(answered(id));
    }
    assert_eq!(state.keys.homes(), MOST);
}
