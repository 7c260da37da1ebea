//! The process that outlives this program when that is killed: it waits until the pool's containers have ended by
//! their leases, and removes them and their network.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use skyward_runtime::model::PoolId;
use skyward_runtime::provider::ProviderError;
use skyward_runtime::ssh::quote;
use tokio::process::{Child, Command};

use super::engine::{Engine, local};

/// The guard of one pool. It begins when this is dropped, or this program ends.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
}

impl Guard {
    /// Starts one. `network` is to be removed, too.
    pub(super) fn start(
        engine: &Engine,
        pool: &PoolId,
        prefix: &str,
        network: Option<&str>,
    ) -> Result<Self, ProviderError> {
        let words = Self::words(engine, pool, prefix, network);
        relieve(&words);
        let mut command = Command::new("sh");
        command.args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own, so that Ctrl-C does not end it.
        let child = command.process_group(0).spawn().map_err(|error| {
            local("failed to start the shell (`sh`) that removes containers when this program is killed")
                .because(error)
        })?;
        Ok(Self { child })
    }

    /// Whether anybody's guard of this pool is there.
    pub(super) fn is_there(pool: &PoolId) -> bool {
        let ends = format!("-{pool}-\0");
        processes().any(|it| {
            std::fs::read(it.join("cmdline")).is_ok_and(|it| {
                let line = String::from_utf8_lossy(&it);
                line.contains(&format!("\0{NAME}\0")) && line.ends_with(&ends)
            })
        })
    }

    /// What its shell is told.
    fn words(engine: &Engine, pool: &PoolId, prefix: &str, network: Option<&str>) -> Vec<String> {
        let line = |words: &[String]| {
            let words = std::iter::once(&engine.binary).chain(words).map(|it| quote(it));
            words.collect::<Vec<_>>().join(" ")
        };
        let runtime = engine.runtime;
        let network = network.map(|it| line(&runtime.remove_network(it))).unwrap_or_default();
        let mut words = vec!["-c".to_owned(), include_str!("sh/guard.sh").to_owned(), NAME.to_owned()];
        words.extend([line(&runtime.names(pool, false)), line(&runtime.names(pool, true))]);
        words.extend([line(&runtime.remove()), network, prefix.to_owned()]);
        words
    }

    /// Ends it, because there is nothing left to be removed.
    pub(super) async fn end(mut self) {
        // It may have ended meanwhile; it is waited for in either case.
        let _ = self.child.kill().await;
    }
}

/// Ends the guards of this pool that earlier owners left, who are gone: from here on it is this program's to say what
/// is left over.
fn relieve(words: &[String]) {
    let words: Vec<_> = std::iter::once("sh").chain(words.iter().map(String::as_str)).collect();
    let line = format!("{}\0", words.join("\0"));
    for process in processes() {
        let is_one = || std::fs::read(process.join("cmdline")).is_ok_and(|it| it == line.as_bytes());
        let number = process.file_name().and_then(|it| it.to_str()?.parse().ok()).and_then(Pid::from_raw);
        // The guard of another of this program's providers is its own child.
        if let Some(pid) = number.filter(|_| is_one())
            && parent(&process) != Some(std::process::id())
        {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// The folder of each process of this computer, where it has such.
fn processes() -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|it| it.path())
}

/// The parent of a process, from its folder in `/proc`.
fn parent(process: &Path) -> Option<u32> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    status.lines().find_map(|it| it.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// What its shell is called.
const NAME: &str = "skyward-guard";

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
