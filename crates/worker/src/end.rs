//! The end of the machine: asked for when the lease has lapsed, noticed when it comes from elsewhere.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use skyward_runtime::model::End;
use tokio::process::Command;

use crate::home::home;
use crate::processes;

/// How long a machine that is a process may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a machine that is a process is looked at where the system cannot tell of its end.
const LOOK: Duration = Duration::from_secs(1);

/// How often the command that ends the machine is tried. It may fail for a while, for example when the
/// machine is only just booting; one that never works must not run for ever.
const TRIES: u32 = 20;

/// The pause between two tries, and how long one may take to stop the machine.
const PAUSE: Duration = Duration::from_secs(30);

/// Ends the machine. Returns when that was asked for and did not happen in time.
pub(crate) async fn end(end: &End) {
    match end {
        End::Process { pid, .. } => {
            for signal in [Signal::TERM, Signal::KILL] {
                tracing::warn!(pid, ?signal, "ending the machine");
                if let Some(pid) = process(*pid) {
                    let _ = kill_process(pid, signal);
                }
                if tokio::time::timeout(PATIENCE, vanished(end)).await.is_ok() {
                    return;
                }
            }
        }
        End::Command { shell } => {
            for attempt in 1..=TRIES {
                let ended =
                    Command::new("sh").arg("-c").arg(shell).envs(home().map(|it| ("HOME", it))).status();
                match tokio::time::timeout(PAUSE, ended).await {
                    Ok(status) => tracing::warn!(attempt, ?status, "asked the machine to end"),
                    Err(_) => tracing::warn!(attempt, "the command that ends the machine hangs"),
                }
                tokio::time::sleep(PAUSE).await;
            }
            tracing::error!(TRIES, "the machine does not end; it must be ended by its owner");
        }
        End::Outside => tracing::error!("the machine cannot end its own bill; its owner must give it back"),
    }
}

/// Resolves when the machine is a process and has ended. A machine of another kind takes us with it.
pub(crate) async fn vanished(end: &End) {
    match end {
        End::Process { pid, .. } => match process(*pid) {
            Some(pid) => gone(pid).await,
            None => std::future::pending().await,
        },
        End::Command { .. } | End::Outside => std::future::pending().await,
    }
}

/// Clears up after a machine that is a process: what our functions started, and its directory.
pub(crate) fn clear(end: &End) {
    processes::kill_session();
    if let End::Process { directory, .. } = end {
        remove(directory);
    }
}

/// A process that may be a machine: not everything (0, and what is negative), and not `init`.
fn process(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|it| *it > 1).and_then(Pid::from_raw)
}

#[cfg(target_os = "linux")]
async fn gone(pid: Pid) {
    use std::os::fd::OwnedFd;

    use rustix::process::{PidfdFlags, pidfd_open};
    use tokio::io::unix::AsyncFd;

    #[expect(
        deprecated,
        reason = "unsound for what is no real file descriptor alone; its successor is unsafe"
    )]
    let watch = |process: OwnedFd| AsyncFd::new(process);
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(process) => match watch(process) {
            Ok(process) => {
                // It becomes readable when the process has ended.
                let _ = process.readable().await;
            }
            Err(_) => looked_gone(pid).await,
        },
        Err(Errno::SRCH) => {}
        Err(_) => looked_gone(pid).await,
    }
}

#[cfg(not(target_os = "linux"))]
async fn gone(pid: Pid) {
    looked_gone(pid).await;
}

async fn looked_gone(pid: Pid) {
    while test_kill_process(pid) != Err(Errno::SRCH) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Processes that were just killed may still be writing, so it is tried a few times.
fn remove(directory: &Path) {
    for _ in 0..5 {
        match std::fs::remove_dir_all(directory) {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "cannot remove the machine's directory");
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_machine_is_everything_or_init() {
        for (pid, expected) in [(0, false), (1, false), (2, true), (u32::MAX, false)] {
            assert_eq!(process(pid).is_some(), expected, "{pid}");
        }
    }

    #[tokio::test]
    async fn a_machine_that_is_a_process_is_told_to_end_and_its_end_is_noticed() {
        let mut machine = Command::new("sleep").arg("600").spawn().expect("started");
        let pid = machine.id().expect("running");
        let its_end = End::Process { pid, directory: "/nonexistent".into() };
        let waited = tokio::spawn(async move { machine.wait().await });
        end(&its_end).await;
        vanished(&its_end).await;
        assert!(!waited.await.expect("joined").expect("waited").success());
    }

    #[tokio::test]
    async fn the_directory_of_a_vanished_machine_is_removed() {
        let home = tempfile::tempdir().expect("made");
        let directory = home.path().join("machine");
        std::fs::create_dir_all(directory.join("a/b")).expect("made");
        remove(&directory);
        assert!(!directory.exists());
        remove(&directory);
    }
}
