//! A node's health, as tables.

use super::*;

const TERMS: Terms = Terms {
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(15),
    failures: 3,
    initial_delay: Duration::from_secs(7),
};

const FRESH: Heard = Heard::Linked { fresh: true };
const AGAIN: Heard = Heard::Linked { fresh: false };

const fn wait(number: u64) -> Effect {
    Effect::Wait { number, after: TERMS.interval }
}

const fn first(number: u64) -> Effect {
    Effect::Wait { number, after: TERMS.initial_delay }
}

const fn due(number: u64) -> Heard {
    Heard::Due { number }
}

const fn passes(number: u64) -> Heard {
    Heard::Answered { number, said: Ok(()) }
}

fn fails(number: u64) -> Heard {
    Heard::Answered { number, said: Err("too hot".to_owned()) }
}

fn failed(failed: u32) -> Effect {
    Effect::Failed { failed, reason: "too hot".to_owned() }
}

fn bad(was_ready: bool, reason: &str) -> Effect {
    Effect::Bad { was_ready, reason: reason.to_owned() }
}

const THRICE: &str = "its probe failed 3 times in a row, the last time: too hot";

fn probe(number: u64) -> (Heard, Vec<Effect>) {
    (due(number), vec![Effect::Probe { number }])
}

/// A node whose probe has passed once.
fn well() -> Vec<(Heard, Vec<Effect>)> {
    vec![(FRESH, vec![first(1)]), probe(1), (passes(1), vec![Effect::Ready { first: true }, wait(2)])]
}

fn check(terms: Terms, steps: Vec<(Heard, Vec<Effect>)>) {
    let mut health = Health::new(terms);
    for (at, (heard, expected)) in steps.into_iter().enumerate() {
        let told = format!("step {at}: {heard:?}");
        assert_eq!(health.hear(heard), expected, "{told}");
    }
}

#[test]
fn a_node_is_ready_when_its_probe_has_passed_and_is_probed_from_then_on() {
    let mut steps = well();
    steps.extend([probe(2), (passes(2), vec![wait(3)]), probe(3), (passes(3), vec![wait(4)])]);
    check(TERMS, steps);
}

#[test]
fn a_node_that_is_never_well_is_bad_after_so_many_probes() {
    check(
        TERMS,
        vec![
            (FRESH, vec![first(1)]),
            probe(1),
            (fails(1), vec![failed(1), wait(2)]),
            probe(2),
            (fails(2), vec![failed(2), wait(3)]),
            probe(3),
            (fails(3), vec![failed(3), bad(false, THRICE)]),
            // It is over.
            (passes(3), vec![]),
            (due(4), vec![]),
            (AGAIN, vec![]),
        ],
    );
}

#[test]
fn a_probe_that_fails_once_in_a_while_is_forgiven() {
    let mut steps = well();
    for round in 0..10 {
        let number = 2 + round * 3;
        steps.extend([
            probe(number),
            (fails(number), vec![failed(1), wait(number + 1)]),
            probe(number + 1),
            (fails(number + 1), vec![failed(2), wait(number + 2)]),
            probe(number + 2),
            (passes(number + 2), vec![wait(number + 3)]),
        ]);
    }
    check(TERMS, steps);
}

#[test]
fn a_node_that_was_well_is_bad_after_as_many() {
    let mut steps = well();
    steps.extend([
        probe(2),
        (fails(2), vec![failed(1), wait(3)]),
        probe(3),
        (fails(3), vec![failed(2), wait(4)]),
        probe(4),
        (fails(4), vec![failed(3), bad(true, THRICE)]),
    ]);
    check(TERMS, steps);
    let mut once = well();
    once.extend([probe(2), (fails(2), vec![failed(1), bad(true, "its probe failed: too hot")])]);
    check(Terms { failures: 1, ..TERMS }, once);
}

#[test]
fn a_link_that_breaks_is_no_failure_and_the_same_worker_need_not_prove_itself_again() {
    let mut steps = well();
    steps.extend([
        probe(2),
        (fails(2), vec![failed(1), wait(3)]),
        probe(3),
        (Heard::Unlinked, vec![]),
        // Late words of the probe that went with the link.
        (fails(3), vec![]),
        (AGAIN, vec![Effect::Ready { first: false }, wait(4)]),
        (fails(3), vec![]),
        (due(3), vec![]),
        probe(4),
        // And later ones, which say nothing of the link that there is now.
        (Heard::Lost { number: 3 }, vec![]),
        (fails(4), vec![failed(1), wait(5)]),
        probe(5),
        // The probe may know before the node does.
        (Heard::Lost { number: 5 }, vec![]),
        (Heard::Unlinked, vec![]),
        (AGAIN, vec![Effect::Ready { first: false }, wait(6)]),
    ]);
    check(TERMS, steps);
}

#[test]
fn a_worker_that_was_started_again_has_to_pass_before_it_gets_calls() {
    let mut steps = well();
    steps.extend([
        (Heard::Unlinked, vec![]),
        (FRESH, vec![first(3)]),
        (due(2), vec![]),
        probe(3),
        (passes(3), vec![Effect::Ready { first: true }, wait(4)]),
    ]);
    check(TERMS, steps);
}

#[test]
fn a_link_that_breaks_before_the_first_pass_does_not_give_more_tries() {
    check(
        TERMS,
        vec![
            (FRESH, vec![first(1)]),
            probe(1),
            (fails(1), vec![failed(1), wait(2)]),
            probe(2),
            (fails(2), vec![failed(2), wait(3)]),
            (Heard::Unlinked, vec![]),
            (AGAIN, vec![first(4)]),
            probe(4),
            (fails(4), vec![failed(3), bad(false, THRICE)]),
        ],
    );
}
