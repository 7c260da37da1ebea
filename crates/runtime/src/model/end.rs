//! How a machine ends itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The way to end a machine from inside, chosen by its provider so that it really stops the bill.
/// It is data for the worker and never carries an account's credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The machine is a process: it is told to end by SIGTERM, and the worker ends at once when the
    /// process is gone, as a program does on a machine that lost power.
    Process {
        /// The process that is the machine.
        pid: u32,
        /// The machine's directory, removed by whoever ends last.
        directory: PathBuf,
    },
    /// The machine is shut down with this shell command, run as the worker's user.
    Command {
        /// For example `sudo shutdown -h now`.
        shell: String,
    },
    /// Nothing that runs on the machine stops its bill: only its owner's account can give it back. The
    /// worker ends what it runs, and itself.
    Outside,
}
