//! What the queue decides about nodes whose slots are taken by functions that nobody waits for.

use super::*;

fn recall(id: u64, attempt: u32, rank: u32) -> Effect {
    Effect::Recall { id: TaskId(id), attempt: Attempt(attempt), rank: Rank(rank) }
}

fn given_back(id: u64, attempt: u32) -> Heard {
    Heard::GivenBack { id: TaskId(id), attempt: Attempt(attempt) }
}

fn answered_try(id: u64, attempt: u32) -> Heard {
    Heard::Answered { id: TaskId(id), attempt: Attempt(attempt), took: None }
}

fn second(id: u64, rank: u32) -> Effect {
    Grant { id: TaskId(id), attempt: Attempt(1), rank: Rank(rank) }
}

#[test]
fn a_call_that_got_the_slot_of_a_hung_function_goes_to_an_idle_node() {
    let any = Target::Any;
    let mut state = pool(2, 1);
    check(
        &mut state,
        vec![
            (submitted(1, any), vec![grant(1, 0)]),
            // Its caller is gone; the function is not, and keeps its slot.
            (Heard::Cancelled { id: TaskId(1) }, vec![]),
            (submitted(2, any), vec![grant(2, 1)]),
            (submitted(3, any), vec![grant(3, 0)]),
            (Heard::Looked, vec![]),
            (answered(2), vec![]),
            (Heard::Looked, vec![recall(3, 0, 0)]),
            // Asked for once, whatever comes of it.
            (Heard::Looked, vec![]),
            (given_back(3, 0), vec![second(3, 1)]),
            // Its slot is nobody's until the next look, and is not trusted after that.
            (submitted(4, any), vec![]),
            (Heard::Looked, vec![grant(4, 0)]),
            (answered_try(3, 1), vec![]),
            (Heard::Looked, vec![recall(4, 0, 0)]),
            (given_back(4, 0), vec![second(4, 1)]),
            (answered_try(4, 1), vec![]),
            (Heard::Looked, vec![]),
            (submitted(5, any), vec![grant(5, 1)]),
            (answered(5), vec![]),
            (submitted(6, any), vec![grant(6, 1)]),
            (submitted(7, any), vec![grant(7, 0)]),
            // The function has returned.
            (answered(7), vec![]),
            (submitted(8, any), vec![grant(8, 0)]),
        ],
    );
}

#[test]
fn what_has_begun_where_a_node_has_nothing_else_is_asked_for_now_and_then_and_goes_on() {
    let any = Target::Any;
    let mut state = pool(2, 2);
    check(&mut state, vec![(submitted(1, any), vec![grant(1, 0)]), (Heard::Looked, vec![recall(1, 0, 0)])]);
    let asked = (1..300).filter(|_| hear(&mut state, Heard::Looked) == [recall(1, 0, 0)]).count();
    assert_eq!(asked, 2);
    check(&mut state, vec![(answered(1), vec![])]);
    assert_eq!(state.held(), 0);
}

#[test]
fn a_pool_of_one_node_asks_for_nothing_back() {
    let mut state = pool(1, 2);
    check(&mut state, vec![(submitted(1, Target::Any), vec![grant(1, 0)])]);
    assert!(!state.wants_a_look());
    for _ in 0..300 {
        check(&mut state, vec![(Heard::Looked, vec![])]);
    }
}

#[test]
fn a_node_that_answers_nothing_for_long_is_asked_though_nobody_is_idle() {
    let any = Target::Any;
    let mut state = pool(2, 1);
    check(
        &mut state,
        vec![
            (submitted(1, any), vec![grant(1, 0)]),
            (submitted(2, any), vec![grant(2, 1)]),
            (submitted(3, any), vec![]),
        ],
    );
    let mut looks = 1;
    while looks < 1000 {
        // The other one answers something now and then.
        if looks == 50 {
            check(&mut state, vec![(answered(2), vec![grant(3, 1)]), (submitted(4, any), vec![])]);
        }
        let wanted = hear(&mut state, Heard::Looked);
        if !wanted.is_empty() {
            assert_eq!(wanted, [recall(1, 0, 0)]);
            break;
        }
        looks += 1;
    }
    assert!((51..1000).contains(&looks), "{looks}");
    // It waits behind those that waited before it.
    check(&mut state, vec![(given_back(1, 0), vec![]), (answered(3), vec![grant(4, 1)])]);
}

#[test]
fn a_call_that_never_began_says_nothing_of_its_function_and_its_node() {
    let any = Target::Any;
    let mut state = pool(2, 1);
    for id in [1, 2, 3] {
        check(&mut state, vec![(submitted(id, any), vec![grant(id, if id % 2 == 1 { 0 } else { 1 })])]);
        check(&mut state, vec![(Heard::Expired { id: TaskId(id), attempt: Attempt(0) }, vec![])]);
    }
    // Nobody knows how long it takes, so none is sent ahead.
    check(
        &mut state,
        vec![
            (submitted(4, any), vec![grant(4, 1)]),
            (submitted(5, any), vec![grant(5, 0)]),
            (submitted(6, any), vec![]),
            (Heard::Expired { id: TaskId(4), attempt: Attempt(0) }, vec![grant(6, 1)]),
            (Heard::Expired { id: TaskId(5), attempt: Attempt(0) }, vec![]),
            // It was no answer: the node is still to be looked at.
            (Heard::Looked, vec![recall(6, 0, 1)]),
        ],
    );
}
