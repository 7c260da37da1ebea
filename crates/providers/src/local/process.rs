//! Processes by number: who lives, who descends from whom, who belongs to a machine. Used by the
//! provider from outside and by the machine from inside.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::config::MARK;

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// When it started, in the kernel's ticks since boot; 0 where the system does not tell.
    pub(super) start: u64,
}

/// One line of the system's table of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    process: Process,
    parent: u32,
    /// It has ended and only waits to be reaped.
    zombie: bool,
}

impl Process {
    /// The process that has this number now.
    pub(super) fn of(pid: u32) -> Option<Self> {
        entry(pid).map(|it| it.process)
    }

    /// Whether it still runs.
    pub(super) fn lives(self) -> bool {
        entry(self.pid).is_some_and(|it| it.process == self && !it.zombie)
    }

    /// Sends a signal, unless the number belongs to another process by now.
    pub(super) fn signal(self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
            && self.lives()
        {
            // It may have ended meanwhile, which is what is wanted.
            let _ = kill_process(pid, signal);
        }
    }

    /// All living processes below it.
    pub(super) fn descendants(self) -> Vec<Self> {
        below(self.pid, &table())
    }
}

/// All living processes that carry the mark of the machine in `directory`, apart from this one. Finds
/// what outlived its machine.
pub(super) fn marked(directory: &Path) -> Vec<Process> {
    let mark = [MARK.as_bytes(), b"=", directory.as_os_str().as_encoded_bytes()].concat();
    let own = std::process::id();
    let ours = |pid: u32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environment| environment.split(|it| *it == 0).any(|it| it == mark))
    };
    table()
        .into_iter()
        .filter(|it| !it.zombie && it.process.pid != own && ours(it.process.pid))
        .map(|it| it.process)
        .collect()
}

fn below(root: u32, table: &[Entry]) -> Vec<Process> {
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for entry in table.iter().filter(|it| it.parent == parent && it.process.pid != root) {
            parents.push(entry.process.pid);
            if !entry.zombie {
                found.push(entry.process);
            }
        }
    }
    found
}

#[cfg(target_os = "linux")]
fn table() -> Vec<Entry> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes.flatten().filter_map(|it| entry(it.file_name().to_str()?.parse().ok()?)).collect()
}

#[cfg(target_os = "linux")]
fn entry(pid: u32) -> Option<Entry> {
    parse(pid, &String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).ok()?))
}

#[cfg(not(target_os = "linux"))]
fn table() -> Vec<Entry> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn entry(pid: u32) -> Option<Entry> {
    rustix::process::test_kill_process(i32::try_from(pid).ok().and_then(Pid::from_raw)?).ok()?;
    Some(Entry { process: Process { pid, start: 0 }, parent: 0, zombie: false })
}

/// Reads `/proc/PID/stat`: `pid (name) state parent …`, where the name may contain anything.
#[cfg(any(target_os = "linux", test))]
fn parse(pid: u32, stat: &str) -> Option<Entry> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // The start time is field 22; the state is field 3, the parent field 4.
    let start = fields.nth(17)?.parse().ok()?;
    Some(Entry { process: Process { pid, start }, parent, zombie: matches!(state, "Z" | "X") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = "7 (a) b) Z 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 100 200";
        let expected = Entry { process: Process { pid: 7, start: 12345 }, parent: 3, zombie: true };
        assert_eq!(parse(7, line), Some(expected));
        assert_eq!(parse(7, "7 (short) S 3"), None);
    }

    #[test]
    fn descendants_are_found_through_the_dead() {
        let entry = |pid, parent, zombie| Entry { process: Process { pid, start: 1 }, parent, zombie };
        let table = [entry(1, 0, false), entry(2, 1, true), entry(3, 2, false), entry(4, 9, false)];
        assert_eq!(below(1, &table), [Process { pid: 3, start: 1 }]);
    }

    #[test]
    fn this_process_lives_and_is_not_a_later_one() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.lives());
        assert!(!Process { start: own.start + 1, ..own }.lives());
    }
}
