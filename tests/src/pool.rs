//! The pools of tests: machines on this computer that nothing in a test wants to lose, and their end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use skyward::prelude::*;
use skyward::{EventKind, Events};

use crate::Ground;

/// What every pool of a test begins with: its journal is apart from that of who runs the test, in a folder beside the
/// programs that were built.
///
/// # Panics
/// When the running program cannot be found.
pub fn apart() -> skyward::Builder {
    let program = std::env::current_exe().expect("the running program");
    Compute::builder().state(program.with_file_name("state"))
}

/// A pool on a ground, patient enough for busy cores.
pub fn builder(ground: &Ground) -> skyward::Builder {
    apart().spec(Spec::on(Local::default().directory(ground.path()))).timing(patient())
}

/// Short times that forgive busy cores: for machines that nothing in a test wants to lose.
pub fn patient() -> Timing {
    let (detect, grace, lease) = (Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(30));
    Timing { detect, grace, lease, ..Timing::short() }
}

/// Gives a pool back and looks whether anything is left.
///
/// # Errors
/// When it cannot be given back.
///
/// # Panics
/// When something is left.
pub async fn end(compute: Compute, ground: &Ground) -> skyward::Result<()> {
    compute.stop().await?;
    assert_eq!(ground.left(), Vec::<String>::new());
    Ok(())
}

/// Waits until the pool has said this.
///
/// # Panics
/// When the pool ends without, or the deadline passes.
pub async fn until_said(events: &mut Events, deadline: Duration, mut what: impl FnMut(&EventKind) -> bool) {
    let said = tokio::time::timeout(deadline, async {
        while let Some(event) = events.next().await {
            if what(&event.kind) {
                return true;
            }
        }
        false
    });
    assert!(said.await.expect("in time"), "the pool ended");
}

/// A directory of a test's own that no machine is in.
///
/// # Errors
/// When it cannot be made.
pub fn desk(test: &str) -> skyward::Result<Ground> {
    let desk = Ground::new(&format!("{test}-desk"));
    std::fs::create_dir_all(desk.path())?;
    Ok(desk)
}

/// Has a program keep whatever it keeps on this computer below `home` in a directory, apart from what it is told elsewhere,
/// and from its journal, which is to outlive it.
///
/// # Panics
/// When the folder cannot be made.
pub fn at_home_in<'a>(program: &'a mut Command, directory: &Path) -> &'a mut Command {
    let home = directory.join("home");
    std::fs::create_dir_all(&home).expect("a folder");
    for variable in ["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"] {
        program.env(variable, &home);
    }
    program.env("XDG_STATE_HOME", directory.join("state"))
}

/// Everything below a directory, sorted; nothing when there is no such directory.
pub fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        found.push(entry.path());
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            found.extend(below(&entry.path()));
        }
    }
    found.sort();
    found
}
