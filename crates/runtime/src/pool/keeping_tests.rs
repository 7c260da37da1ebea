//! Machines that are kept for a person, as tables.

use std::time::SystemTime;

use super::*;
use crate::model::KeptMachine;

const KEEP: Duration = Duration::from_secs(300);

/// A pool's life at chosen moments, with machines that are kept.
struct Life {
    state: State,
    began: Instant,
    timing: Timing,
}

impl Life {
    /// Two machines that are becoming nodes.
    fn starting() -> Self {
        let mut life = Self {
            state: State::new(),
            began: Instant::now(),
            timing: Timing { keep: KEEP, ..Timing::default() },
        };
        for heard in [born(), offered(2), Heard::Prepared(Ok(())), given(&[0, 1], None)] {
            life.hear(0, heard);
        }
        life
    }

    fn hear(&mut self, second: u64, heard: Heard) -> Vec<Effect> {
        self.state.hear(heard, self.began + Duration::from_secs(second), &self.timing)
    }

    fn check(&mut self, second: u64, heard: Heard, expected: Vec<Effect>) {
        let told = format!("{heard:?} at {second}");
        assert_eq!(self.hear(second, heard), expected, "{told}");
    }
}

fn keep(number: u32) -> Effect {
    Effect::Keep { rank: Rank(number), instance: instance(number) }
}

fn machine(number: u32) -> KeptMachine {
    KeptMachine {
        rank: Rank(number),
        instance: instance(number),
        ssh: "ssh there".into(),
        length: KEEP,
        until: SystemTime::UNIX_EPOCH,
    }
}

fn kept(number: u32) -> Heard {
    Heard::Kept { instance: instance(number), kept: Ok(machine(number)) }
}

fn not_kept(number: u32) -> Heard {
    Heard::Kept { instance: instance(number), kept: Err("no ssh".into()) }
}

fn said_kept(number: u32) -> Vec<Effect> {
    vec![Effect::Announce(EventKind::Kept { machine: machine(number) }), Effect::Wake(Timer::Keep, KEEP)]
}

fn said_not_kept(number: u32) -> Effect {
    let (rank, instance) = (Rank(number), instance(number));
    Effect::Announce(EventKind::NotKept { rank, instance, reason: "no ssh".into() })
}

fn stop_keeping(numbers: &[u32]) -> Vec<Effect> {
    let shutdown = Timing::default().shutdown;
    vec![announce(PoolPhase::Stopping), Effect::Wake(Timer::Shutdown, shutdown), terminate(numbers)]
}

/// A start that failed for node 1, of which nothing but its machine is left, kept from second 1 on.
fn failed_start() -> (Life, StartError) {
    let mut life = Life::starting();
    let cause = StartError::Node { rank: Rank(1), reason: "step failed".into() };
    let mut effects = vec![keep(1), failed(&cause)];
    effects.extend(stopping(&[0]));
    life.check(0, node_failed(1, 0, "step failed"), effects);
    // Neither the nodes nor the answer alone is enough.
    life.check(1, kept(1), said_kept(1));
    life.check(1, node_gone(0, "stopped"), vec![terminate(&[0])]);
    let failure = StartError::Kept { failure: Box::new(cause), machines: vec![machine(1)] };
    life.check(
        1,
        Heard::Terminated(Ok(())),
        vec![terminated(0), announce(PoolPhase::Keeping), Effect::Failed { failure: failure.clone() }],
    );
    (life, failure)
}

#[test]
fn a_failed_start_leaves_what_is_kept_until_its_time_is_over() {
    let (mut life, failure) = failed_start();
    // The deadline of giving back the rest, a wake that is too early, and an answer that comes again.
    life.check(121, Heard::Woke(Timer::Shutdown), vec![]);
    life.check(200, Heard::Woke(Timer::Keep), vec![]);
    life.check(200, kept(1), vec![]);
    life.check(301, Heard::Woke(Timer::Keep), stop_keeping(&[1]));
    life.check(301, Heard::Woke(Timer::Shutdown), vec![]);
    life.check(301, Heard::Terminated(Ok(())), vec![terminated(1), Effect::Teardown]);
    life.check(301, Heard::TornDown(Ok(vec![])), over(Some(failure), vec![]));
}

#[test]
fn a_stop_gives_back_at_once_what_is_kept() {
    let (mut life, failure) = failed_start();
    life.check(10, Heard::Stop, stop_keeping(&[1]));
    life.check(10, Heard::Terminated(Ok(())), vec![terminated(1), Effect::Teardown]);
    life.check(10, Heard::TornDown(Ok(vec![])), over(Some(failure), vec![]));
}

#[test]
fn a_stop_while_the_rest_is_given_back_has_what_is_kept_follow() {
    let mut life = Life::starting();
    life.hear(0, node_failed(1, 0, "step failed"));
    life.hear(0, kept(1));
    life.check(0, node_gone(0, "stopped"), vec![terminate(&[0])]);
    life.check(1, Heard::Stop, vec![]);
    let mut effects = vec![terminated(0)];
    effects.extend(stop_keeping(&[1]));
    life.check(2, Heard::Terminated(Ok(())), effects);
}

#[test]
fn a_stop_does_not_wait_for_a_machine_to_be_kept() {
    let mut life = Life::starting();
    life.hear(0, node_failed(1, 0, "step failed"));
    life.check(0, node_gone(0, "stopped"), vec![]);
    life.check(1, Heard::Stop, vec![terminate(&[0, 1])]);
    life.check(1, kept(1), vec![]);
    life.check(1, Heard::Terminated(Ok(())), vec![terminated(0), terminated(1), Effect::Teardown]);
}

#[test]
fn what_cannot_be_kept_is_given_back_and_that_is_said() {
    let mut life = Life::starting();
    let cause = StartError::Node { rank: Rank(1), reason: "step failed".into() };
    life.hear(0, node_failed(1, 0, "step failed"));
    life.hear(0, node_gone(0, "stopped"));
    life.check(1, not_kept(1), vec![said_not_kept(1), release(1), terminate(&[0, 1])]);
    life.check(1, Heard::Terminated(Ok(())), vec![terminated(0), terminated(1), Effect::Teardown]);
    life.check(
        1,
        Heard::TornDown(Ok(vec![])),
        vec![
            Effect::Announce(EventKind::Stopped {
                left: vec![],
                took: Duration::from_secs(1),
                bill: Box::default(),
            }),
            Effect::Ended { failure: Some(cause), left: vec![] },
        ],
    );
}

#[test]
fn a_pool_goes_on_beside_a_machine_that_is_kept_and_keeps_one_for_each_rank() {
    let mut life = Life::starting();
    life.check(0, node_gone(1, "died"), vec![keep(1), ask(2, 1)]);
    life.check(1, kept(1), said_kept(1));
    life.hear(1, answer(2, &[2], None));
    let again = Heard::NodeGone { rank: Rank(1), attempt: Attempt(1), reason: "died".into(), retry: true };
    life.check(2, again, vec![release(2), ask(3, 1)]);
    // A node that was ready is not kept: what is wrong with it is not its start.
    life.hear(3, node_ready(0));
    let lost = life.hear(3, node_gone(0, "frozen"));
    assert_eq!(lost.first(), Some(&release(0)));
    life.check(301, Heard::Woke(Timer::Keep), vec![release(1)]);
}

#[test]
fn nothing_is_kept_unless_asked_for() {
    let mut state = after(vec![born(), offered(1), Heard::Prepared(Ok(())), given(&[0], None)]);
    check(&mut state, vec![(node_gone(0, "died"), vec![release(0), ask(2, 1)])]);
}
