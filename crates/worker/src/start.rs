//! How a worker begins: what it is told on standard input, what it answers on standard output, and how
//! it lets go of both.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};

use skyward_runtime::link::LinkError;
use skyward_runtime::program::{WorkerStart, WorkerUp};
use skyward_runtime::registry::DuplicateFunction;

/// The largest frame that is read: certificates and a few numbers take a few KiB.
const FRAME_LIMIT: u32 = 1 << 20;

/// Why a worker could not start. The text travels to the client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Standard input did not hold a [`WorkerStart`].
    #[error(
        "failed to read what to do from standard input: {0}; a worker is started by a client of the same version"
    )]
    Input(String),
    /// The registry of functions is ambiguous.
    #[error(transparent)]
    Functions(#[from] DuplicateFunction),
    /// There is no home directory.
    #[error("failed to find the lease's file: HOME is not set")]
    NoHome,
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
    Output(String),
}

/// Reads the one frame on standard input: a length of four bytes, big endian, and MessagePack.
pub(crate) fn read(input: &mut impl Read) -> Result<WorkerStart, StartError> {
    let mut length = [0; 4];
    input.read_exact(&mut length).map_err(|it| StartError::Input(it.to_string()))?;
    let length = u32::from_be_bytes(length);
    if length > FRAME_LIMIT {
        return Err(StartError::Input(format!(
            "a frame of {length} bytes is over the limit of {FRAME_LIMIT}"
        )));
    }
    let mut frame = Vec::new();
    let read = input.take(length.into()).read_to_end(&mut frame);
    read.map_err(|it| StartError::Input(it.to_string()))?;
    rmp_serde::from_slice(&frame).map_err(|it| StartError::Input(it.to_string()))
}

/// Writes the one frame on standard output.
pub(crate) fn answer(up: &WorkerUp) -> Result<(), StartError> {
    let output = |it: &dyn std::fmt::Display| StartError::Output(it.to_string());
    let frame = rmp_serde::to_vec_named(up).map_err(|it| output(&it))?;
    let length = u32::try_from(frame.len()).map_err(|it| output(&it))?;
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(&length.to_be_bytes())
        .and_then(|()| stdout.write_all(&frame))
        .and_then(|()| stdout.flush());
    written.map_err(|it| output(&it))
}

/// Lets go of the SSH command's streams, so that the command ends and nothing that a function prints
/// reaches the client.
pub(crate) fn detach() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_on_standard_input_is_an_error_that_says_so() {
        for bytes in [
            &[][..],
            &[0, 0],
            &[0, 0, 0, 0],
            &[0, 0, 0, 2, 1],
            &[0, 0, 0, 1, 0xc1],
            &[255, 255, 255, 255, 1, 2, 3],
        ] {
            let refused = read(&mut &*bytes).expect_err("garbage");
            assert!(matches!(refused, StartError::Input(_)), "{bytes:?}: {refused}");
        }
    }
}
