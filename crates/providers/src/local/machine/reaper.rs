//! Takes leave of every process that ends on the machine: those that it started, and those that it
//! adopted because their parents are gone.

use std::collections::BTreeMap;
use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use rustix::process::{WaitOptions, WaitStatus, wait};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::super::launch::lock;

/// Waits for all processes of the machine at once. Nothing else here may wait for a process.
#[derive(Clone, Default)]
pub(super) struct Reaper {
    waiting: Arc<Mutex<BTreeMap<u32, oneshot::Sender<WaitStatus>>>>,
}

impl Reaper {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Starts a process and tells how it ends.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<(Child, oneshot::Receiver<WaitStatus>)> {
        // The lock keeps the end of a quick process back until somebody waits for it.
        let mut waiting = lock(&self.waiting);
        let child = command.spawn()?;
        let (ended, end) = oneshot::channel();
        waiting.insert(child.id(), ended);
        Ok((child, end))
    }

    /// Reaps for ever.
    pub(super) async fn run(&self) -> io::Result<()> {
        let mut ended = signal(SignalKind::child())?;
        loop {
            self.reap();
            if ended.recv().await.is_none() {
                return Err(io::Error::other("the system reports no more ends of processes"));
            }
        }
    }

    /// Reaps what has ended by now, telling nobody.
    pub(super) fn reap_all() {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }

    fn reap(&self) {
        let mut waiting = lock(&self.waiting);
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get().unsigned_abs();
            if let Some(ended) = waiting.remove(&pid) {
                // Whoever started it may have hung up.
                let _ = ended.send(status);
            }
        }
    }
}
