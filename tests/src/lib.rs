//! What the tests share: where a test's machines live, and what is left of them.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails where it stands")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

mod elsewhere;
pub mod hosts;
mod pool;
pub mod smoke;
pub mod testbed;
mod victim;

pub use elsewhere::Elsewhere;
pub use pool::{apart, at_home_in, below, builder, desk, end, patient, until_said};
pub use victim::{Victim, send};

/// A directory of a test's own, for its local machines.
#[derive(Debug)]
pub struct Ground {
    directory: PathBuf,
}

impl Ground {
    /// A fresh one. It does not exist yet: the provider makes it.
    ///
    /// # Panics
    /// When the system has no random numbers.
    pub fn new(test: &str) -> Self {
        let name = skyward_runtime::random::text(8).expect("random numbers");
        Self { directory: std::env::temp_dir().join(format!("skyward-test-{test}-{name}")) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// What is there still: files, and processes whose home is on it.
    pub fn left(&self) -> Vec<String> {
        let mut left = processes_at_home_in(&self.directory);
        if self.directory.exists() {
            left.push(format!("directory {}", self.directory.display()));
        }
        left
    }

    /// The files in folders of this name, on any of its machines.
    pub fn files_in(&self, folder: &str) -> Vec<PathBuf> {
        let (mut folders, mut files) = (vec![self.directory.clone()], Vec::new());
        while let Some(next) = folders.pop() {
            let is_it = next.ends_with(folder);
            for entry in next.read_dir().into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(_) if is_it => files.push(entry.path()),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        files
    }

    /// Waits until nothing is left.
    ///
    /// # Panics
    /// When something is left at the deadline, with what it is.
    pub fn expect_empty_within(&self, deadline: Duration) {
        let left = until(deadline, || Some(self.left()).filter(Vec::is_empty));
        assert!(left.is_some(), "left after {deadline:?}: {:#?}", self.left());
    }

    /// The command lines of all processes that live here.
    pub fn commands(&self) -> Vec<String> {
        processes_at_home_in(&self.directory)
    }

    /// A machine and every process on it.
    pub fn on_machine(&self, machine: u32) -> Vec<u32> {
        let log = std::fs::read_link(format!("/proc/{machine}/fd/2")).unwrap_or_default();
        let Some(home) = log.parent().filter(|it| it.starts_with(&self.directory)) else { return Vec::new() };
        processes().into_iter().filter(|it| *it == machine || is_home(*it, home)).collect()
    }

    /// The processes whose home is here, by what they are: `machine` or `worker`.
    pub fn processes(&self, role: &str) -> Vec<u32> {
        let all = processes().into_iter();
        let wanted = format!("SKYWARD_ROLE={role}:");
        all.filter(|it| lives_in(*it, &self.directory) && environment(*it).contains(&wanted)).collect()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // A failing test must not leave its machines to the next one's counts; their leases end them.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Runs a program to its end, and ends it when it takes longer.
///
/// # Panics
/// When it cannot be started or does not end in time, with what it said.
pub fn output_within(deadline: Duration, command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ended_within(deadline, command.spawn().expect("a program that starts"))
}

/// Waits for the end of a program whose streams are piped, and ends it when it takes longer.
///
/// # Panics
/// When it does not end in time, with what it said.
pub fn ended_within(deadline: Duration, program: Child) -> Output {
    let pid = program.id();
    // Its pipes have to be read while it runs, or it could wait for ever to be heard.
    let ended = std::thread::spawn(move || program.wait_with_output());
    let in_time = until(deadline, || ended.is_finished().then_some(())).is_some();
    if !in_time {
        // It is a child that nobody has waited for, so the number is still its own.
        let _ = send(pid, Signal::KILL);
    }
    let output = ended.join().expect("no panic").expect("readable");
    assert!(in_time, "still running after {deadline:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Asks again and again until there is an answer or the deadline has come.
pub fn until<T>(deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn processes_at_home_in(directory: &Path) -> Vec<String> {
    let all = processes().into_iter();
    all.filter(|it| lives_in(*it, directory))
        .map(|it| format!("process {it}: {}", command_line(it)))
        .collect()
}

fn processes() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// A process on a machine has the machine's directory as its home, or is in it; the machine itself logs
/// there.
fn lives_in(process: u32, directory: &Path) -> bool {
    if process == std::process::id() {
        return false;
    }
    let home = format!("HOME={}/", directory.display());
    let at = |what| std::fs::read_link(format!("/proc/{process}/{what}"));
    environment(process).contains(&home)
        || ["cwd", "fd/2"].into_iter().filter_map(|it| at(it).ok()).any(|it| it.starts_with(directory))
}

fn is_home(process: u32, home: &Path) -> bool {
    environment(process).lines().any(|it| it == format!("HOME={}", home.display()))
}

fn environment(process: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', "\n")
}

fn command_line(process: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}
