//! Ending a machine from outside, however it is: alive, frozen, dead already, or not started by us.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::config::Record;
use super::launch::Machine;
use super::place::clear;
use super::process::Process;

/// Ends a machine and removes its directory; tells why if something is left. `machine` is what this
/// program knows of it, the directory's record is what others do.
pub(super) async fn end(machine: Option<&Machine>, directory: &Path) -> Result<(), String> {
    let process = match machine {
        Some(machine) => Some(machine.process),
        None => Record::read(directory).map(|it| it.process),
    };
    if let Some(process) = process {
        process.signal(Signal::TERM);
        if !gone(machine, process, GRACE).await {
            force(process).await;
            if !gone(machine, process, GRACE).await {
                return Err(format!("process {} does not end", process.pid));
            }
        }
    }
    let path = directory.to_owned();
    let cleared = tokio::task::spawn_blocking(move || {
        clear(&path);
        !path.exists()
    });
    match cleared.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{} cannot be removed", directory.display())),
        Err(error) => Err(error.to_string()),
    }
}

/// Kills a machine that does not listen and everything on it. It is stopped first, so that whatever
/// its processes start still hangs below it while they are killed.
async fn force(process: Process) {
    process.signal(Signal::STOP);
    let until = Instant::now() + GRACE;
    loop {
        let descendants = process.descendants();
        if descendants.is_empty() || Instant::now() >= until {
            break;
        }
        for descendant in descendants {
            descendant.signal(Signal::KILL);
        }
        sleep(PAUSE).await;
    }
    process.signal(Signal::KILL);
}

async fn gone(machine: Option<&Machine>, process: Process, deadline: Duration) -> bool {
    if let Some(machine) = machine {
        return machine.gone(deadline).await;
    }
    let until = Instant::now() + deadline;
    while process.lives() {
        if Instant::now() >= until {
            return false;
        }
        sleep(PAUSE).await;
    }
    true
}

/// How long a machine may take to end itself. It takes some 20 ms unless it is frozen or the computer
/// is very busy; longer makes the end of a frozen one late.
const GRACE: Duration = Duration::from_secs(2);

/// How long to wait between looks at processes that are being ended.
const PAUSE: Duration = Duration::from_millis(3);
