//! An outage for `--kill`: a local machine's process is killed, as if its computer had lost power.

use std::path::Path;
use std::process::Command;

/// Kills one of the machines whose directories are below this one. A machine's standard error is the
/// log in its directory, which tells its process from those that run on it.
pub(crate) fn kill_a_machine_in(directory: &Path) -> skyward::Result<()> {
    let process = machines(directory).pop().ok_or("there is no machine to kill; --kill needs /proc")?;
    let killed = Command::new("kill").args(["-KILL", &process]).status()?;
    println!("killed a machine (process {process}): {killed}");
    Ok(())
}

fn machines(directory: &Path) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|it| it.ok()?.file_name().into_string().ok())
        .filter(|process| {
            std::fs::read_link(format!("/proc/{process}/fd/2"))
                .is_ok_and(|log| log.starts_with(directory) && log.ends_with("machine.log"))
        })
        .collect()
}
