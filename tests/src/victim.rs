//! The program that ends in the way that it is told (`bin/victim.rs`), started and watched by tests.

#![expect(clippy::panic, reason = "a test that cannot go on fails where it stands")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Ground, until};

/// A running victim, which has said that it has come as far as the test needs.
#[derive(Debug)]
pub struct Victim {
    child: Child,
    ground: Ground,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// What it has said on standard error and was read.
    said: String,
}

impl Victim {
    /// Starts one. `program` is where it is, `ending` how it is to end, `lease` the seconds of its lease.
    ///
    /// # Panics
    /// When it does not come as far as it should.
    pub fn start(program: &str, ending: &str, lease: Option<u64>) -> Self {
        let ground = Ground::new(&format!("ending-{ending}"));
        let mut command = Command::new(program);
        command.arg(ending).arg(ground.path()).args(lease.map(|it| it.to_string()));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut victim = Self { child, ground, stdout, stderr, said: String::new() };
        victim.expect_line("started");
        victim
    }

    /// Where its machines are.
    pub const fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Waits for its next line.
    ///
    /// # Panics
    /// When that is another one, or none comes because it has ended.
    pub fn expect_line(&mut self, expected: &str) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("readable");
        assert_eq!(line.trim(), expected, "{}", self.stderr());
    }

    /// Waits until it has said these words on its standard error.
    ///
    /// # Panics
    /// When it ends without.
    pub fn until_said(&mut self, words: &str) {
        while !self.said.to_lowercase().contains(words) {
            let length = self.stderr.read_line(&mut self.said).expect("readable");
            assert!(length > 0, "it ended without saying {words:?}: {}", self.said);
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        send(self.child.id(), signal).expect("signalled");
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("waitable").is_none()
    }

    /// Its exit code and what it said on standard error.
    ///
    /// # Panics
    /// When it does not end before the deadline.
    pub fn end(mut self, deadline: Duration) -> (Option<i32>, String, Ground) {
        let status = until(deadline, || self.child.try_wait().expect("waitable"));
        let Some(status) = status else {
            let _ = self.child.kill();
            panic!("still running after {deadline:?}: {}", self.stderr());
        };
        let said = self.stderr();
        (status.code(), said, self.ground)
    }

    fn stderr(&mut self) -> String {
        let _ = self.stderr.read_to_string(&mut self.said);
        std::mem::take(&mut self.said)
    }
}

/// Sends a signal to a process by its number.
///
/// # Errors
/// What the system says.
///
/// # Panics
/// When the number is no process's.
pub fn send(process: u32, signal: Signal) -> rustix::io::Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal)
}
