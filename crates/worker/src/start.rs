//! How a worker begins: what it is told on standard input, and what it answers on standard output.

use std::io;

use skyward_runtime::link::LinkError;
use skyward_runtime::program::FrameError;
use skyward_runtime::registry::DuplicateFunction;

/// Why a worker could not start. The text travels to the client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Standard input did not hold an order.
    #[error(
        "failed to read what to do from standard input: {0}; a worker is started by a client of the same version"
    )]
    Input(#[source] FrameError),
    /// The registry of functions is ambiguous.
    #[error(transparent)]
    Functions(#[from] DuplicateFunction),
    /// There is no home directory.
    #[error("failed to find the lease's file: HOME is not set")]
    NoHome,
    /// The directory that the worker was started in is not there.
    #[error("failed to find the worker's directory: {0}")]
    Directory(#[source] io::Error),
    /// The machine's lease has lapsed before.
    #[error("the lease of this machine has lapsed, so it takes no work: rent another")]
    Lapsed,
    /// The endpoint could not be opened.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The async runtime or an actor could not be started.
    #[error("failed to start the worker's threads: {0}")]
    Runtime(String),
    /// Nobody reads standard output.
    #[error("failed to tell the client that the worker is up: {0}")]
    Output(#[source] FrameError),
}
