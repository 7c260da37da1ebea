//! What is written to this process's own standard output and error once it serves: by tasks that run in it,
//! and by what they start. Both are pipes then, each with a thread that does nothing but read, so that no
//! task ever waits for a reader.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::sync::Arc;

use skyward_runtime::model::OutputStream;

use super::{Lines, Output};

/// The worker's log: what standard error is when the worker starts.
pub(crate) fn log_file() -> io::Result<File> {
    Ok(File::from(rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3)?))
}

/// Lets go of the SSH command's streams, so that the command ends, and reads what is written from now on.
/// What comes by standard error goes to the log as well.
pub(crate) fn take_over(output: &Arc<Output>) -> io::Result<()> {
    let log = log_file()?;
    let ((stdout, its_stdout), (stderr, its_stderr)) = (io::pipe()?, io::pipe()?);
    read(stdout, None, OutputStream::Stdout, Arc::clone(output))?;
    read(stderr, Some(log), OutputStream::Stderr, Arc::clone(output))?;
    rustix::stdio::dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(its_stdout)?;
    rustix::stdio::dup2_stderr(its_stderr)?;
    Ok(())
}

fn read(pipe: PipeReader, log: Option<File>, stream: OutputStream, output: Arc<Output>) -> io::Result<()> {
    let named = std::thread::Builder::new().name(format!("skyward-{stream:?}").to_lowercase());
    named.spawn(move || pump(pipe, log, stream, &output)).map(drop)
}

fn pump(mut pipe: PipeReader, mut log: Option<File>, stream: OutputStream, output: &Output) {
    let (mut lines, mut buffer) = (Lines::default(), [0; PIECE]);
    loop {
        let read = match pipe.read(&mut buffer) {
            Ok(count @ 1..) => buffer.get(..count).unwrap_or_default(),
            Ok(0) => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if let Some(log) = &mut log {
            // A full disk is no reason to stop reading.
            let _ = log.write_all(read);
        }
        lines.take(read, |line| output.push(None, stream, line));
    }
}

/// Bytes that are read at once.
const PIECE: usize = 8 << 10;
