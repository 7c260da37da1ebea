//! The lease of a machine, watched from inside.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use skyward_runtime::lease::{Guard, LEASE_FILE, awake};
use tokio::time::sleep;

use super::super::config::MachineStart;

/// A lease that was granted when the machine started.
pub(super) struct Lease {
    guard: Guard,
    file: PathBuf,
}

impl Lease {
    pub(super) fn granted(start: &MachineStart) -> Self {
        Self { guard: Guard::new(start.lease, awake()), file: start.directory.join(LEASE_FILE) }
    }

    /// Resolves when nobody renewed it in time, and writes that down.
    pub(super) async fn lapse(mut self) {
        loop {
            sleep(self.guard.pause().max(SHORTEST)).await;
            // The file is missing until the first renewal.
            let content = fs::read(&self.file).ok();
            if !self.guard.look(content.as_deref(), awake()) {
                let _ = fs::write(&self.file, "lapsed");
                return;
            }
        }
    }
}

/// The shortest wait between looks, for leases so short that looking would be all the machine does.
const SHORTEST: Duration = Duration::from_millis(10);
