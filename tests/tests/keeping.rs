//! Machines that did not become nodes, kept for a person to look at: how one gets there, and how they end.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stderr, reason = "it says when it skips what this computer has no program for")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use skyward_tests::{Ground, until};

/// How long anything here may take beyond what is kept on purpose.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program whose pool fails, with a home of its own.
struct Broken {
    child: Child,
    ground: Ground,
    home: Ground,
    stdout: BufReader<std::process::ChildStdout>,
    began: Instant,
}

impl Broken {
    fn start(way: &str, keep: Duration) -> Self {
        let ground = Ground::new(&format!("keeping-{way}"));
        let home = Ground::new(&format!("keeping-{way}-home"));
        std::fs::create_dir_all(home.path()).expect("made");
        let mut command = Command::new(env!("CARGO_BIN_EXE_broken"));
        command.arg(way).arg(ground.path()).arg(keep.as_millis().to_string()).env("HOME", home.path());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, ground, home, stdout, began: Instant::now() }
    }

    /// What it says on its standard output until this line.
    fn until_line(&mut self, last: &str) -> String {
        let mut said = String::new();
        while !said.lines().any(|it| it == last) {
            let length = self.stdout.read_line(&mut said).expect("readable");
            assert!(length > 0, "it ended: {said} {}", self.stderr());
        }
        said
    }

    fn stderr(&mut self) -> String {
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        said
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("signalled");
    }

    fn exit_code(&mut self) -> Option<i32> {
        let status = until(DEADLINE, || self.child.try_wait().expect("waitable"));
        status.expect("it ended in time").code()
    }

    /// The files in which keys are written down.
    fn key_files(&self) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.home.path().join(".skyward/kept"));
        entries.into_iter().flatten().flatten().map(|it| it.path()).collect()
    }

    fn expect_one_machine(&self) {
        assert_eq!(self.ground.processes("machine").len(), 1, "{:?}", self.ground.commands());
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that an error holds.
fn command_in(told: &str) -> String {
    let line = told.lines().find_map(|it| it.split_once("look at it with: "));
    line.unwrap_or_else(|| panic!("no ssh command in: {told}")).1.to_owned()
}

/// Runs it as a person would, with more words behind it and something typed; `None` where there is no ssh.
fn pasted(command: &str, more: &str, typed: &str) -> Option<Output> {
    let there = Command::new("sh").args(["-c", "command -v ssh"]).output().expect("a shell");
    if !there.status.success() {
        eprintln!("skipped: this computer has no ssh");
        return None;
    }
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec timeout 15 {command} {more}"));
    let mut child =
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell");
    child.stdin.take().expect("piped").write_all(typed.as_bytes()).expect("typed");
    Some(child.wait_with_output().expect("ended"))
}

#[test]
fn a_failed_machine_can_be_looked_at_with_the_command_that_was_told_and_outlives_its_client() {
    let keep = Duration::from_secs(6);
    let mut broken = Broken::start("leave", keep);
    assert_eq!(broken.exit_code(), Some(1));
    let told = broken.stderr();
    for words in ["did not become ready", "exit code 7", "kept for you to look at", "lives for 6s", " UTC"] {
        assert!(told.contains(words), "{words:?} is not in: {told}");
    }
    broken.expect_one_machine();
    let command = command_in(&told);
    if let Some(seen) = pasted(&command, "'cat \"$HOME/clue\"'", "") {
        assert_eq!(String::from_utf8_lossy(&seen.stdout), "left-behind\n", "{seen:?}");
    }
    // A shell, as a person has it.
    if let Some(seen) = pasted(&command, "", "cat \"$HOME/clue\"\nexit 3\n") {
        assert!(seen.stdout == b"left-behind\n" && seen.status.code() == Some(3), "{seen:?}");
    }
    // Its client is gone and its lease of two seconds with it: it lives on until its time is over.
    until(keep.saturating_sub(broken.began.elapsed() + Duration::from_millis(1500)), || None::<()>);
    broken.expect_one_machine();
    broken.ground.expect_empty_within(DEADLINE);
}

#[test]
fn a_program_stays_with_what_it_keeps_where_no_lease_ends_that() {
    let mut broken = Broken::start("outside", Duration::from_secs(3));
    assert_eq!(broken.exit_code(), Some(1));
    assert_eq!(broken.ground.left(), Vec::<String>::new(), "all of it was given back before it ended");
    let told = broken.stderr();
    for words in ["kept for you to look at", "no lease ends machines of this cloud"] {
        assert!(told.contains(words), "{words:?} is not in: {told}");
    }
}

#[test]
fn a_kept_machine_ends_when_its_time_is_over_while_its_client_lives_and_its_key_goes_with_it() {
    let mut broken = Broken::start("wait", Duration::from_secs(3));
    let told = broken.until_line("failed");
    broken.expect_one_machine();
    let keys = broken.key_files();
    assert!(!keys.is_empty() && command_in(&told).contains(&keys[0].display().to_string()[..20]), "{keys:?}");
    broken.ground.expect_empty_within(DEADLINE);
    assert!(until(DEADLINE, || broken.key_files().is_empty().then_some(())).is_some());
    assert!(broken.child.try_wait().expect("waitable").is_none(), "the client goes on");
    broken.signal(Signal::TERM);
    assert_eq!(broken.exit_code(), Some(143));
}

#[test]
fn ctrl_c_ends_a_kept_machine_at_once() {
    let mut broken = Broken::start("wait", Duration::from_secs(600));
    broken.until_line("failed");
    broken.expect_one_machine();
    broken.signal(Signal::INT);
    assert_eq!(broken.exit_code(), Some(130));
    assert_eq!(broken.ground.left(), Vec::<String>::new());
    assert_eq!(broken.key_files(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn after_sigkill_of_the_client_a_kept_machine_ends_when_its_time_is_over() {
    let mut broken = Broken::start("wait", Duration::from_secs(5));
    broken.until_line("failed");
    broken.signal(Signal::KILL);
    broken.exit_code();
    broken.expect_one_machine();
    broken.ground.expect_empty_within(DEADLINE);
}

#[test]
fn a_pool_that_started_gives_kept_machines_back_when_it_is_stopped() {
    let mut broken = Broken::start("some", Duration::from_secs(600));
    broken.until_line("started");
    // The other one may still be failing.
    let kept = until(DEADLINE, || (!broken.key_files().is_empty()).then_some(()));
    let _ = std::fs::remove_dir(format!("{}-mark", broken.ground.path().display()));
    assert!(kept.is_some(), "nothing is kept");
    assert_eq!(broken.ground.processes("machine").len(), 2);
    drop(broken.child.stdin.take());
    assert_eq!(broken.exit_code(), Some(0));
    assert_eq!(broken.ground.left(), Vec::<String>::new());
    assert_eq!(broken.key_files(), Vec::<std::path::PathBuf>::new());
}
