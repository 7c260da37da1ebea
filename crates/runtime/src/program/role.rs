//! Which role this process has been started in.
//!
//! The role is asked for by an environment variable that names the process id it is meant for. A
//! shell writes `$$` and then replaces itself by the program (`exec`), so the id is right for that one
//! process, and programs that it starts, which inherit the variable, are not mistaken for workers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The environment variable: `ROLE:PID`.
pub const ROLE_VARIABLE: &str = "SKYWARD_ROLE";

/// What this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The user's program.
    Client,
    /// The process on a node that runs functions.
    Worker,
    /// A process on a node that joins an SSH command's streams to the worker's port.
    Pipe,
    /// A process that gets files on a machine that has no worker yet.
    Fetch,
    /// A machine of the `Local` provider, or the first process of a container.
    Machine,
    /// The process of a worker's tasks, one at a time.
    Task,
    /// A process that says which program it is, and ends.
    Fingerprint,
}

impl Role {
    /// This process's role.
    pub fn current() -> Self {
        std::env::var(ROLE_VARIABLE).map_or(Self::Client, |asked| Self::parse(&asked, std::process::id()))
    }

    pub(crate) fn parse(asked: &str, own: u32) -> Self {
        match asked.split_once(':') {
            Some((role, pid)) if pid.parse() == Ok(own) => match role {
                "worker" => Self::Worker,
                "pipe" => Self::Pipe,
                "fetch" => Self::Fetch,
                "machine" => Self::Machine,
                "task" => Self::Task,
                "fingerprint" => Self::Fingerprint,
                _ => Self::Client,
            },
            _ => Self::Client,
        }
    }

    /// How a POSIX shell turns itself into this program in this role: a prefix for the command line.
    pub const fn shell_prefix(self) -> &'static str {
        match self {
            Self::Client => "exec",
            Self::Worker => "SKYWARD_ROLE=worker:$$ exec",
            Self::Pipe => "SKYWARD_ROLE=pipe:$$ exec",
            Self::Fetch => "SKYWARD_ROLE=fetch:$$ exec",
            Self::Machine => "SKYWARD_ROLE=machine:$$ exec",
            Self::Task => "SKYWARD_ROLE=task:$$ exec",
            Self::Fingerprint => "SKYWARD_ROLE=fingerprint:$$ exec",
        }
    }
}

static ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();

/// Declares that this program has reached the place where it can become a worker, and with which
/// arguments it gets there. The first call counts: any of a test program's tests leads there.
pub fn declare_entry(arguments: Vec<OsString>) {
    let _ = ARGUMENTS.set(arguments);
}

/// The arguments with which this program becomes a worker; `None` when it never declared any, which
/// means that `skyward::init()` was not called.
pub fn entry_arguments() -> Option<&'static [OsString]> {
    ARGUMENTS.get().map(Vec::as_slice)
}

/// A path at which the running program can be read and started, even when its file was replaced.
///
/// # Errors
/// When the system cannot tell.
pub fn executable() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from(format!("/proc/{}/exe", std::process::id())));
    }
    std::env::current_exe()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_holds_for_the_process_it_names_and_no_other() {
        for (asked, expected) in [
            ("worker:7", Role::Worker),
            ("machine:7", Role::Machine),
            ("pipe:7", Role::Pipe),
            ("task:7", Role::Task),
            ("fetch:7", Role::Fetch),
            ("fingerprint:7", Role::Fingerprint),
            ("task:8", Role::Client),
            ("worker:8", Role::Client),
            ("worker:", Role::Client),
            ("worker", Role::Client),
            ("owner:7", Role::Client),
            ("", Role::Client),
        ] {
            assert_eq!(Role::parse(asked, 7), expected, "{asked:?}");
        }
    }
}
