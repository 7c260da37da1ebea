//! A node's life as tables: what it hears, what it wants done.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::*;
use crate::model::{End, HostKey, Notice};

#[path = "leaving_tests.rs"]
mod leaving;

const WORKER: Listening = Listening { port: 4433, tcp: 4434, pid: 99 };

fn ssh() -> SshEndpoint {
    SshEndpoint {
        host: "127.0.0.1".into(),
        port: 22,
        user: "me".into(),
        host_key: HostKey::Known("ssh-ed25519 AAAA".into()),
        login: Box::default(),
    }
}

fn running() -> Heard {
    let end = End::Process { pid: 7, directory: PathBuf::from("/m") };
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Heard::Described(Ok(InstanceState::Running {
        ssh: ssh(),
        address,
        private: None,
        end,
        notice: Notice::None,
    }))
}

fn gone(reason: &str) -> Heard {
    Heard::Described(Ok(InstanceState::Gone { reason: reason.into(), loss: Loss::Stopped }))
}

fn again(reason: &str) -> Trouble {
    Trouble { reason: reason.into(), retry: true }
}

fn never(reason: &str) -> Trouble {
    Trouble { reason: reason.into(), retry: false }
}

/// The end of a node that could not become one.
fn end(reason: &str, retry: bool) -> Vec<Effect> {
    lost_to(None, reason, retry)
}

/// The end of a node whose machine is lost.
fn taken(loss: Loss, reason: &str) -> Vec<Effect> {
    lost_to(Some(loss), reason, true)
}

fn lost_to(loss: Option<Loss>, reason: &str, retry: bool) -> Vec<Effect> {
    vec![
        Effect::Announce(Said::Lost(reason.into(), loss)),
        enter(NodePhase::Gone),
        Effect::End { reason: reason.into(), retry },
    ]
}

/// Runs a table of steps on a node and checks the effects of each, all of them. A number is how many
/// seconds pass before the step.
fn check(state: &mut State, steps: Vec<(u64, Heard, Vec<Effect>)>) {
    let timing = Timing::default();
    let mut now = Instant::now();
    for (at, (seconds, heard, expected)) in steps.into_iter().enumerate() {
        now += Duration::from_secs(seconds);
        let told = format!("step {at}: {heard:?}");
        assert_eq!(state.hear(heard, now, &timing), expected, "{told}");
    }
}

fn redialling(restarts: u32, tries: u32, reason: &str) -> State {
    let (worker, reason) = (WORKER, reason.to_owned());
    State::Redialling(Redialling { worker, restarts, tries, reason, noticed: false, leave: None })
}

fn ready() -> State {
    State::Ready { worker: WORKER, restarts: 0 }
}

#[test]
fn a_session_that_ends_has_the_machine_looked_at_before_its_silence_shows() {
    let look = || (0, Heard::SessionClosed, vec![Effect::Describe, wake(Timer::Retry, delay())]);
    check(
        &mut ready(),
        vec![
            look(),
            (0, running(), vec![]),
            (0, Heard::Woke(Timer::Retry), vec![Effect::Describe]),
            (0, gone("killed"), taken(Loss::Stopped, "the machine has ended: killed")),
        ],
    );
    check(
        &mut ready(),
        vec![look(), (0, gone("killed"), taken(Loss::Stopped, "the machine has ended: killed"))],
    );
    let mut joining = State::Joining(Joining { worker: Some(WORKER), restarts: 0, tries: 0, adopted: false });
    let words = "the machine ended while its worker joined: killed";
    check(
        &mut joining,
        vec![
            (0, Heard::SessionClosed, vec![Effect::Describe]),
            (0, gone("killed"), taken(Loss::Stopped, words)),
        ],
    );
}

fn delay() -> Duration {
    Timing::default().boot_poll.delay(2)
}

fn reaching() -> State {
    let mut state = State::Unborn;
    let timing = Timing::default();
    state.hear(Heard::Born, Instant::now(), &timing);
    state.hear(running(), Instant::now(), &timing);
    state
}

#[test]
fn a_node_goes_from_a_rented_machine_to_ready() {
    let timing = Timing::default();
    let renew = timing.renew();
    check(
        &mut State::Unborn,
        vec![
            (
                0,
                Heard::Born,
                vec![enter(NodePhase::Launching), wake(Timer::Deadline, timing.boot), Effect::Describe],
            ),
            (
                0,
                Heard::Described(Ok(InstanceState::Pending)),
                vec![wake(Timer::Retry, Duration::from_millis(20))],
            ),
            (0, Heard::Woke(Timer::Retry), vec![Effect::Describe]),
            (
                1,
                running(),
                vec![enter(NodePhase::Reaching), wake(Timer::Deadline, timing.ssh), Effect::Reach(ssh())],
            ),
            (
                1,
                Heard::Reached(Ok(())),
                vec![
                    Effect::Quiet(Timer::Deadline),
                    Effect::Renew,
                    wake(Timer::Renew, renew),
                    enter(NodePhase::Bootstrapping),
                    Effect::Bootstrap,
                ],
            ),
            (20, Heard::Woke(Timer::Renew), vec![Effect::Renew, wake(Timer::Renew, renew)]),
            (1, Heard::Bootstrapped(Ok(())), vec![enter(NodePhase::Joining), Effect::StartWorker]),
            (1, Heard::Started(Ok(WORKER)), vec![wake(Timer::Deadline, timing.join), Effect::Link(WORKER)]),
            (
                1,
                Heard::Linked(Ok(())),
                vec![Effect::Quiet(Timer::Deadline), enter(NodePhase::Ready), Effect::ReportReady],
            ),
            (20, Heard::Woke(Timer::Renew), vec![Effect::Renew, wake(Timer::Renew, renew)]),
        ],
    );
}

#[test]
fn a_machine_that_boots_for_too_long_or_dies_ends_the_node_with_the_reason() {
    let timing = Timing::default();
    let mut late = State::Unborn;
    late.hear(Heard::Born, Instant::now(), &timing);
    let effects = late.hear(Heard::Woke(Timer::Deadline), Instant::now() + timing.boot, &timing);
    assert!(
        matches!(effects.as_slice(), [Effect::Announce(Said::Lost(why, None)), ..] if why.contains("no address after 300s")),
        "{effects:?}"
    );

    let mut dead = State::Unborn;
    dead.hear(Heard::Born, Instant::now(), &timing);
    check(
        &mut dead,
        vec![(0, gone("killed"), taken(Loss::Stopped, "the machine ended while it booted: killed"))],
    );
}

#[test]
fn a_refused_dial_is_tried_again_after_asking_whether_the_machine_lives() {
    check(
        &mut reaching(),
        vec![
            (0, Heard::Reached(Err(again("refused"))), vec![Effect::Describe]),
            (0, running(), vec![wake(Timer::Retry, Duration::from_millis(50))]),
            (0, Heard::Woke(Timer::Retry), vec![Effect::Reach(ssh())]),
            (0, Heard::Reached(Err(again("refused"))), vec![Effect::Describe]),
            (
                0,
                Heard::Described(Err("cloud is down".into())),
                vec![wake(Timer::Retry, Duration::from_millis(100))],
            ),
            (0, Heard::Woke(Timer::Retry), vec![Effect::Reach(ssh())]),
            (0, Heard::Reached(Err(again("refused"))), vec![Effect::Describe]),
            (0, gone("killed"), taken(Loss::Stopped, "the machine ended before it could be reached: killed")),
        ],
    );
}

#[test]
fn a_wrong_host_key_is_not_tried_again() {
    let told = Heard::Reached(Err(never("wrong host key")));
    check(&mut reaching(), vec![(0, told, end("wrong host key", false))]);
}

#[test]
fn a_key_that_is_not_there_yet_is_tried_until_the_deadline_and_no_other_machine_after_it() {
    let refused = || Heard::KeyRefused { reason: "refused".into() };
    let told = "no ssh to me@127.0.0.1:22 after 2 tries in 90s: refused";
    check(
        &mut reaching(),
        vec![
            (0, refused(), vec![Effect::Describe]),
            (0, running(), vec![wake(Timer::Retry, Duration::from_millis(50))]),
            (0, Heard::Woke(Timer::Retry), vec![Effect::Reach(ssh())]),
            (0, refused(), vec![Effect::Describe]),
            (90, Heard::Woke(Timer::Deadline), end(told, false)),
        ],
    );
}

#[test]
fn a_step_that_fails_ends_the_node_and_says_whether_another_machine_may_do_better() {
    let reason = "shell 1: exit code 2";
    let joining = || State::Joining(Joining { worker: None, restarts: 0, tries: 0, adopted: false });
    for (trouble, retry) in [(never(reason), false), (again(reason), true)] {
        let bootstrapped = Heard::Bootstrapped(Err(trouble.clone()));
        check(&mut State::Bootstrapping, vec![(0, bootstrapped, end(reason, retry))]);
        check(&mut joining(), vec![(0, Heard::Started(Err(trouble)), end(reason, retry))]);
    }
}

#[test]
fn a_worker_that_ended_is_restarted_on_its_machine_a_few_times() {
    let timing = Timing::default();
    let next = Listening { port: 5544, tcp: 5545, pid: 100 };
    let broken = |restarts| redialling(restarts, 0, "silent");
    let mut state = broken(0);
    check(
        &mut state,
        vec![
            (0, Heard::WorkerEnded(false), vec![]),
            (
                0,
                Heard::WorkerEnded(true),
                vec![
                    Effect::Quiet(Timer::Deadline),
                    Effect::Quiet(Timer::Retry),
                    Effect::ReportCrashed,
                    Effect::Announce(Said::WorkerRestarted),
                    enter(NodePhase::Joining),
                    Effect::StartWorker,
                ],
            ),
            // The dial of the old worker fails late.
            (0, Heard::Linked(Err(again("nothing answers"))), vec![]),
            (1, Heard::Started(Ok(next)), vec![wake(Timer::Deadline, timing.join), Effect::Link(next)]),
            (
                0,
                Heard::Linked(Ok(())),
                vec![Effect::Quiet(Timer::Deadline), enter(NodePhase::Ready), Effect::ReportReady],
            ),
        ],
    );
    assert_eq!(state, State::Ready { worker: next, restarts: 1 });
    let worn = "its worker ended 4 times; see the task that it ran";
    let effects = [vec![Effect::ReportCrashed], taken(Loss::Crashed, worn)].concat();
    check(&mut broken(RESTARTS), vec![(0, Heard::WorkerEnded(true), effects)]);
}

#[test]
fn a_broken_link_is_dialled_again_within_the_grace_and_the_node_is_ready_again() {
    let timing = Timing::default();
    check(
        &mut ready(),
        vec![
            (
                0,
                Heard::LinkClosed { reason: "timed out".into() },
                vec![
                    Effect::Announce(Said::LinkLost("timed out".into())),
                    Effect::ReportPaused,
                    wake(Timer::Deadline, timing.grace),
                    Effect::Describe,
                    Effect::CheckWorker { pid: WORKER.pid },
                    Effect::Link(WORKER),
                ],
            ),
            (0, running(), vec![]),
            (1, Heard::Linked(Err(again("refused"))), vec![wake(Timer::Retry, Duration::from_millis(50))]),
            (
                0,
                Heard::Woke(Timer::Retry),
                vec![Effect::Describe, Effect::CheckWorker { pid: WORKER.pid }, Effect::Link(WORKER)],
            ),
            (5, Heard::Woke(Timer::Renew), vec![Effect::Renew, wake(Timer::Renew, timing.renew())]),
            (
                0,
                Heard::Linked(Ok(())),
                vec![
                    Effect::Quiet(Timer::Deadline),
                    Effect::Announce(Said::LinkRestored),
                    Effect::ReportReady,
                ],
            ),
        ],
    );
}

#[test]
fn a_link_that_stays_broken_or_whose_machine_is_gone_ends_the_node() {
    let broken = || redialling(0, 3, "timed out");
    check(
        &mut broken(),
        vec![(
            30,
            Heard::Woke(Timer::Deadline),
            taken(Loss::Network, "no link within 30s after it broke: timed out"),
        )],
    );
    check(&mut broken(), vec![(0, gone("killed"), taken(Loss::Stopped, "the machine has ended: killed"))]);
    let refused = "the worker runs another build";
    check(&mut broken(), vec![(0, Heard::Linked(Err(never(refused))), end(refused, false))]);
}

#[test]
fn late_answers_of_steps_that_no_longer_matter_are_dropped() {
    check(
        &mut ready(),
        vec![
            (0, Heard::Reached(Ok(())), vec![]),
            (0, Heard::Bootstrapped(Err(again("late"))), vec![]),
            (0, Heard::Started(Ok(WORKER)), vec![]),
            (0, running(), vec![]),
            (0, Heard::Drained, vec![]),
            (0, Heard::WorkerEnded(true), vec![]),
        ],
    );
}

#[test]
fn a_worker_that_another_owner_started_is_dialled_at_once_and_renewed_as_soon_as_it_is_linked() {
    let timing = Timing::default();
    let begun = || {
        vec![
            enter(NodePhase::Joining),
            wake(Timer::Deadline, timing.grace),
            wake(Timer::Renew, timing.renew()),
            Effect::Describe,
            Effect::Link(WORKER),
        ]
    };
    let linked =
        vec![Effect::Quiet(Timer::Deadline), enter(NodePhase::Ready), Effect::ReportReady, Effect::Renew];
    check(
        &mut State::Unborn,
        vec![
            (0, Heard::Adopted(WORKER), begun()),
            (1, running(), vec![]),
            (1, Heard::Linked(Ok(())), linked),
        ],
    );
    let words = "the machine ended while its worker joined: lapsed";
    check(
        &mut State::Unborn,
        vec![(0, Heard::Adopted(WORKER), begun()), (1, gone("lapsed"), taken(Loss::Stopped, words))],
    );
}
