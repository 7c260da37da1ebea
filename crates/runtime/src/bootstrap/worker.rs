//! Starts the program as a worker, detached from the SSH command that starts it. Called by the node
//! once the program is on its machine.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::quote::quote_bytes;
use crate::program::{FrameError, Role, WorkerStart, WorkerUp, entry_arguments};
use crate::ssh::{Piece, Session, SshError, quote};

/// A worker that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The UDP port of its QUIC endpoint.
    pub port: u16,
    /// The TCP port on the machine's loopback, for who comes through SSH.
    pub tcp: u16,
    /// Its process on the machine.
    pub pid: u32,
}

/// Why no worker listens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartWorkerError {
    /// The program never said where it can become a worker.
    #[error(
        "this program never called `skyward::init()`, so it cannot be a worker: use `#[skyward::main]` or \
         `#[skyward::test]`, or call `skyward::init()` as the first line of `main`"
    )]
    NoEntry,
    /// The order is too large or cannot be encoded.
    #[error("failed to write the worker's order: {0}")]
    Order(#[source] FrameError),
    /// The command could not be run.
    #[error("failed to start the worker over SSH: {0}")]
    Ssh(#[source] SshError),
    /// The SSH session broke before the worker answered.
    #[error("the SSH session broke before the worker answered: {0}")]
    Broken(#[source] SshError),
    /// The program ended before it answered.
    #[error("the worker ended before it answered{}", explained(log))]
    Ended {
        /// The end of the worker's log.
        log: String,
    },
    /// The program answered with something else.
    #[error("the worker answered what is no answer: {source}{}", explained(log))]
    Answer {
        /// What is wrong with it.
        source: FrameError,
        /// The end of the worker's log.
        log: String,
    },
    /// The program answered that it cannot.
    #[error("the worker could not start: {0}")]
    Failed(String),
    /// The program did not answer in time.
    #[error("the worker did not answer within {deadline:?} (`Timing::join`){}", explained(log))]
    Deadline {
        /// How long was waited.
        deadline: Duration,
        /// The end of the worker's log.
        log: String,
    },
}

impl StartWorkerError {
    /// Whether another try can help, on the same machine or on another.
    pub const fn retry(&self) -> bool {
        match self {
            Self::Ssh(source) | Self::Broken(source) => source.retry(),
            Self::Deadline { .. } => true,
            // A program that cannot run there says so; one that was killed says nothing.
            Self::Ended { log } => log.is_empty(),
            Self::NoEntry | Self::Order(_) | Self::Answer { .. } | Self::Failed(_) => false,
        }
    }
}

/// Starts the program at this path below the machine's `$HOME`, gives it its order on standard input,
/// and waits until it listens. The worker runs in a session of its own in `$HOME/.skyward/work` with
/// the image's environment, and logs to `$HOME/.skyward/worker.log`; the log of the worker before it is
/// kept as `worker.log.1`. After a failure reading the log may take another sixth of the deadline.
///
/// # Errors
/// When the program does not run or does not answer; the end of its log is part of the error.
pub async fn start_worker(
    session: &Session,
    program_path: &str,
    start: &WorkerStart,
    deadline: Duration,
) -> Result<Listening, StartWorkerError> {
    let arguments = entry_arguments().ok_or(StartWorkerError::NoEntry)?;
    let order = start.encode().map_err(StartWorkerError::Order)?;
    let command = command(program_path, arguments);
    let Ok(answer) = timeout(deadline, answer(session, &command, order)).await else {
        return Err(StartWorkerError::Deadline { deadline, log: log(session, deadline).await });
    };
    match answer? {
        Answer::Up(WorkerUp::Listening { port, tcp, pid }) => Ok(Listening { port, tcp, pid }),
        Answer::Up(WorkerUp::Failed(reason)) => Err(StartWorkerError::Failed(reason)),
        Answer::Ended => Err(StartWorkerError::Ended { log: log(session, deadline).await }),
        Answer::Garbage(source) => {
            Err(StartWorkerError::Answer { source, log: log(session, deadline).await })
        }
    }
}

/// How the wait for an answer came out.
enum Answer {
    Up(WorkerUp),
    Ended,
    Garbage(FrameError),
}

async fn answer(session: &Session, command: &str, order: Vec<u8>) -> Result<Answer, StartWorkerError> {
    let mut running = session.start(command, Bytes::from(order)).await.map_err(StartWorkerError::Ssh)?;
    let (mut received, mut ended) = (Vec::new(), false);
    while let Some(piece) = running.next().await {
        match piece {
            Piece::Stdout(bytes) => received.extend_from_slice(&bytes),
            // Standard error is the shell's own; the worker's goes to its log.
            Piece::Stderr(_) => {}
            // Servers may tell how a command ended before they pass on its last words.
            Piece::Exit(_) => ended = true,
        }
        match WorkerUp::decode(&received) {
            Ok(Some(up)) => return Ok(Answer::Up(up)),
            Ok(None) => {}
            Err(error) => return Ok(Answer::Garbage(error)),
        }
    }
    if ended { Ok(Answer::Ended) } else { Err(StartWorkerError::Broken(running.broken())) }
}

/// The command line that starts a worker; its standard input is the order.
fn command(program_path: &str, arguments: &[OsString]) -> String {
    let lines = include_str!("sh/worker.sh").lines().map(str::trim).filter(|it| !it.starts_with('#'));
    let script = quote(&lines.collect::<Vec<_>>().join(" "));
    let start = quote(&format!("{} \"$0\" \"$@\"", Role::Worker.shell_prefix()));
    format!("exec sh -c {script} skyward {start} {}{}", quote(program_path), words(arguments))
}

/// The command line that makes the program at this path below the machine's `$HOME` a pipe to a worker;
/// `None` when the program cannot become one.
pub fn pipe_command(program_path: &str) -> Option<String> {
    Some(with_streams(Role::Pipe, program_path, entry_arguments()?))
}

/// The command line that makes it what gets files; `None` when it cannot become that.
pub fn fetch_command(program_path: &str) -> Option<String> {
    Some(with_streams(Role::Fetch, program_path, entry_arguments()?))
}

/// The program in a role in which it has the command's streams.
fn with_streams(role: Role, program_path: &str, arguments: &[OsString]) -> String {
    let start = quote(&format!("{} \"$HOME/$0\" \"$@\"", role.shell_prefix()));
    format!("exec sh -c {start} {}{}", quote(program_path), words(arguments))
}

/// Arguments as they stand on a command line.
fn words(arguments: &[OsString]) -> String {
    arguments.iter().map(|it| format!(" {}", quote_bytes(it.as_bytes()))).collect()
}

/// The end of the worker's log. It is not waited for long, because it only explains another failure,
/// and the session may be the very thing that is broken.
async fn log(session: &Session, deadline: Duration) -> String {
    let read = session.run(READ_LOG, Bytes::new(), deadline / 6).await;
    read.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The log and, where it is one of the known ways to fail, what to do.
fn explained(log: &str) -> String {
    if log.is_empty() {
        return " and its log is empty; see whether the machine killed it (memory, a security policy)"
            .to_owned();
    }
    let lines: String = log.lines().map(|it| format!("\n  | {it}")).collect();
    let advice = advice(log).map(|it| format!("\n{it}")).unwrap_or_default();
    format!("; its log ends with:{lines}{advice}")
}

fn advice(log: &str) -> Option<String> {
    let has = |text: &str| log.contains(text);
    if has("GLIBC_") && has("not found") {
        Some(
            "the machine's C library is older than the one that this program was built with: choose a newer \
             system for the machine, or build the program where the C library is as old"
                .to_owned(),
        )
    } else if has("Exec format error") || has("cannot execute binary file") {
        Some(format!(
            "this program is built for {} {}, which the machine is not: choose a machine of that \
             architecture, or build the program for the machine's",
            std::env::consts::ARCH,
            std::env::consts::OS
        ))
    } else if has("error while loading shared libraries") {
        Some("the machine lacks a library that this program uses: add its package with `.apt`".to_owned())
    } else if has("Permission denied") {
        Some(
            "the machine does not let programs run from its home folder (is it mounted `noexec`?)".to_owned(),
        )
    } else if has("not found") || has("No such file") {
        Some(
            "the program, or the loader that it needs, is not on the machine: a system without glibc, such as \
             Alpine, cannot run a program that was built for glibc"
                .to_owned(),
        )
    } else {
        None
    }
}

const READ_LOG: &str = "tail -n 20 \"$HOME/.skyward/worker.log\" | tail -c 4096";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::ffi::OsStringExt as _;
    use std::path::Path;
    use std::process::{Command, Output, Stdio};

    use super::*;
    use crate::bootstrap::shell_tests::write_program;

    /// Runs the command with a `program` that is this shell script, as the SSH server would.
    fn started(home: &Path, program: &str, arguments: &[OsString], order: &[u8]) -> Output {
        let path = home.join("program");
        write_program(&path, program.as_bytes());
        let mut shell = Command::new("sh")
            .args(["-c", &command("program", arguments)])
            .env("HOME", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(order).unwrap();
        shell.wait_with_output().unwrap()
    }

    fn log_of(home: &Path) -> String {
        fs::read_to_string(home.join(".skyward/worker.log")).unwrap()
    }

    #[test]
    fn a_worker_reads_its_order_and_answers_over_the_shell_that_starts_it() {
        let home = tempfile::tempdir().unwrap();
        let program = "#!/bin/sh\necho \"role of me: $([ \"$SKYWARD_ROLE\" = worker:$$ ] && echo yes)\"\n\
                       pwd\nprintf '<%s>' \"$@\"\ncat\necho to the log >&2\n";
        let arguments = ["--exact", "it's a test", "$HOME"].map(OsString::from).to_vec();
        let odd = OsString::from_vec(b"a\xff\nb".to_vec());
        let done = started(home.path(), program, &[&arguments[..], &[odd]].concat(), b"ORDER\0\xfe");
        let work = home.path().join(".skyward/work").canonicalize().unwrap();
        let expected =
            format!("role of me: yes\n{}\n<--exact><it's a test><$HOME>", work.display()).into_bytes();
        let expected = [&expected[..], b"<a\xff\nb>ORDER\0\xfe"].concat();
        assert_eq!(String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&expected));
        assert_eq!(done.stdout, expected);
        assert!(done.status.success());
        assert_eq!(log_of(home.path()), "to the log\n");
    }

    #[test]
    fn a_pipe_is_the_program_with_its_arguments_in_that_role_and_has_the_commands_streams() {
        let home = tempfile::tempdir().unwrap();
        let program = "#!/bin/sh\n[ \"$SKYWARD_ROLE\" = pipe:$$ ] && echo pipe\nprintf '<%s>' \"$@\"\ncat\n";
        write_program(&home.path().join("program"), program.as_bytes());
        let mut shell = Command::new("sh")
            .args(["-c", &with_streams(Role::Pipe, "program", &["it's".into(), "$HOME".into()])])
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(b"bytes").unwrap();
        let said = shell.wait_with_output().unwrap().stdout;
        assert_eq!(String::from_utf8_lossy(&said), "pipe\n<it's><$HOME>bytes");
    }

    #[test]
    fn the_command_is_one_line_that_any_login_shell_hands_on_as_it_is() {
        let line = command(".skyward/programs/00", &["--exact".into()]);
        assert!(!line.contains(['\n', '!', '\\', '#']), "{line}");
    }

    #[test]
    fn a_worker_has_the_images_environment_and_the_last_log_is_kept() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".skyward")).unwrap();
        fs::write(home.path().join(".skyward/env"), "export GREETING='hello there' HOME=/elsewhere\n")
            .unwrap();
        let program = "#!/bin/sh\necho \"$GREETING\"; echo life >&2\n";
        for _ in 0..2 {
            assert_eq!(started(home.path(), program, &[], b"").stdout, b"hello there\n");
        }
        assert_eq!(fs::read_to_string(home.path().join(".skyward/worker.log.1")).unwrap(), "life\n");
    }

    #[test]
    fn the_shell_ends_when_the_worker_lets_go_of_its_output_and_the_worker_lives_on() {
        let home = tempfile::tempdir().unwrap();
        // The worker answers, detaches itself, and then waits for a pipe that we open afterwards.
        let program = "#!/bin/sh\nmkfifo \"$HOME/pipe\"; echo $$; exec >/dev/null </dev/null 2>&1\n\
                       read -r _ <\"$HOME/pipe\"; echo again >\"$HOME/pipe\"\n";
        let done = started(home.path(), program, &[], b"");
        assert!(done.status.success());
        fs::write(home.path().join("pipe"), "go\n").unwrap();
        assert_eq!(fs::read_to_string(home.path().join("pipe")).unwrap(), "again\n");
    }

    #[test]
    fn a_program_that_cannot_run_leaves_the_reason_in_the_log() {
        let home = tempfile::tempdir().unwrap();
        let done = started(home.path(), "\x7fELF not really", &[], b"");
        assert_eq!(done.stdout, b"");
        let log = log_of(home.path());
        assert!(advice(&log).is_some(), "{log}");
        let shown = StartWorkerError::Ended { log }.to_string();
        assert!(shown.contains("built for"), "{shown}");
    }

    #[test]
    fn known_failures_come_with_advice() {
        for (log, advised) in [
            ("./p: /lib/libc.so.6: version `GLIBC_2.34' not found (required by ./p)", "C library is older"),
            ("sh: 1: exec: /x: Exec format error", "built for"),
            ("p: error while loading shared libraries: libssl.so.3: cannot open", ".apt"),
            ("sh: 1: exec: /x: Permission denied", "noexec"),
            ("sh: exec: line 1: /x: not found", "Alpine"),
        ] {
            let advice = advice(log).unwrap_or_default();
            assert!(advice.contains(advised), "{log}: {advice}");
        }
        assert_eq!(advice("thread main panicked"), None);
    }
}
