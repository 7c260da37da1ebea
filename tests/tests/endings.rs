//! However a program ends, its machines are given back.

use std::time::Duration;

use rustix::process::Signal;
use skyward_tests::{Ground, Victim, send, until};

/// How long giving everything back may take here.
const DEADLINE: Duration = Duration::from_secs(40);

fn start(ending: &str, lease: Option<u64>) -> Victim {
    Victim::start(env!("CARGO_BIN_EXE_victim"), ending, lease)
}

/// Runs a victim to its own end.
fn ended(ending: &str) -> (Option<i32>, String, Ground) {
    start(ending, None).end(DEADLINE)
}

#[test]
fn a_return_without_stop_gives_everything_back() {
    let (code, said, ground) = ended("return");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(ground.left(), Vec::<String>::new());
}

#[test]
fn a_stop_gives_everything_back() {
    let (code, said, ground) = ended("stop");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(ground.left(), Vec::<String>::new());
}

#[test]
fn an_error_out_of_main_gives_everything_back_and_is_reported() {
    let (code, said, ground) = ended("error");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("an error on purpose"), "{said}");
    assert_eq!(ground.left(), Vec::<String>::new());
}

#[test]
fn a_panic_in_main_gives_everything_back_and_stays_a_panic() {
    let (code, said, ground) = ended("panic");
    assert_eq!(code, Some(101), "{said}");
    assert!(said.contains("a panic on purpose"), "{said}");
    assert_eq!(ground.left(), Vec::<String>::new());
}

#[test]
fn a_dropped_compute_gives_everything_back_while_the_program_goes_on() {
    let mut victim = start("drop", None);
    victim.expect_line("dropped");
    victim.ground().expect_empty_within(Duration::ZERO);
    victim.signal(Signal::KILL);
}

#[test]
fn ctrl_c_gives_everything_back_and_says_so() {
    let victim = start("wait", None);
    victim.signal(Signal::INT);
    let (code, said, ground) = victim.end(DEADLINE);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.to_lowercase().contains("giving every machine back"), "{said}");
    assert_eq!(ground.left(), Vec::<String>::new());
}

#[test]
fn sigterm_gives_everything_back_and_says_so() {
    let victim = start("wait", None);
    victim.signal(Signal::TERM);
    let (code, said, ground) = victim.end(DEADLINE);
    assert_eq!(code, Some(143), "{said}");
    assert!(said.to_lowercase().contains("giving every machine back"), "{said}");
    assert_eq!(ground.left(), Vec::<String>::new());
}

/// The processes that each of a victim's two machines has when it has come as far as this.
fn come_as_far(victim: &Victim, phase: &str) {
    let there = until(DEADLINE, || {
        let steps = victim.ground().commands().iter().filter(|it| it.contains("sleep 60")).count();
        let machines = victim.ground().processes("machine").len();
        (machines == 2 && (phase == "booting" || steps >= 2)).then_some(())
    });
    assert!(there.is_some(), "the machines never came to be {phase}");
}

#[test]
fn ctrl_c_while_machines_boot_or_bootstrap_gives_everything_back() {
    for phase in ["booting", "bootstrapping"] {
        let victim = start(phase, None);
        come_as_far(&victim, phase);
        victim.signal(Signal::INT);
        let (code, said, ground) = victim.end(DEADLINE);
        assert_eq!(code, Some(130), "{phase}: {said}");
        assert_eq!(ground.left(), Vec::<String>::new(), "{phase}");
    }
}

#[test]
fn after_sigkill_while_machines_boot_or_bootstrap_leases_end_them() {
    for phase in ["booting", "bootstrapping"] {
        let victim = start(phase, Some(2));
        come_as_far(&victim, phase);
        victim.signal(Signal::KILL);
        let (_, _, ground) = victim.end(DEADLINE);
        ground.expect_empty_within(DEADLINE);
    }
}

#[test]
fn after_sigkill_while_everything_is_given_back_leases_end_the_rest() {
    let victim = start("wait", Some(2));
    let machines = victim.ground().processes("machine");
    // A machine that is frozen takes its time to be given back, so that there is a moment to be killed in.
    for machine in &machines {
        send(*machine, Signal::STOP).expect("stopped");
    }
    victim.signal(Signal::INT);
    std::thread::park_timeout(Duration::from_millis(200));
    victim.signal(Signal::KILL);
    let (_, _, ground) = victim.end(DEADLINE);
    for machine in machines {
        // It may have been killed already.
        let _ = send(machine, Signal::CONT);
    }
    ground.expect_empty_within(DEADLINE);
}

#[test]
fn a_second_ctrl_c_ends_the_program_at_once_and_leases_end_the_machines() {
    let victim = start("wait", Some(2));
    // A machine that is frozen takes its time to be given back, so that there is a moment to lose
    // patience in.
    for machine in victim.ground().processes("machine") {
        send(machine, Signal::STOP).expect("stopped");
    }
    victim.signal(Signal::INT);
    std::thread::park_timeout(Duration::from_millis(100));
    victim.signal(Signal::INT);
    let (code, said, ground) = victim.end(DEADLINE);
    assert_eq!(code, Some(130), "{said}");
    for machine in ground.processes("machine") {
        // It may have been killed already.
        let _ = send(machine, Signal::CONT);
    }
    ground.expect_empty_within(DEADLINE);
}

#[test]
fn after_sigkill_of_the_client_every_machine_ends_itself_when_its_lease_lapses() {
    let victim = start("wait", Some(3));
    victim.signal(Signal::KILL);
    let (code, _, ground) = victim.end(DEADLINE);
    assert_eq!(code, None);
    assert_eq!(ground.processes("machine").len(), 2, "machines outlive their client until the lease lapses");
    ground.expect_empty_within(DEADLINE);
}

#[test]
fn machines_live_on_beyond_their_lease_while_their_client_renews_it() {
    let victim = start("wait", Some(1));
    std::thread::park_timeout(Duration::from_secs(3));
    assert_eq!(victim.ground().processes("machine").len(), 2);
    assert_eq!(victim.ground().processes("worker").len(), 2);
    victim.signal(Signal::TERM);
    let (_, _, ground) = victim.end(DEADLINE);
    assert_eq!(ground.left(), Vec::<String>::new());
}
