//! The program as a pipe: it joins its standard streams to a port of the machine's own loopback, for a
//! client whose SSH server runs commands but forwards no connections.
//!
//! ```text
//! client --PipeStart on stdin--> pipe --connects--> PipeUp on stdout --> bytes both ways --> either end: exit
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::frame::{read_order, write_answer};

/// What a pipe is told on its standard input, as one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeStart {
    /// The TCP port on the machine's loopback.
    pub port: u16,
}

/// What it answers on its standard output, as one frame; the connection's bytes follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PipeUp {
    /// It is connected.
    Connected,
    /// It could not connect.
    Failed(String),
}

/// How long connecting may take; on loopback it is at once or never.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the port's side may go on when the client's has ended. Whoever is frozen there does not keep
/// the pipe.
const LINGER: Duration = Duration::from_secs(10);

/// How much is moved at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Is a pipe until either side ends it. The program calls it when `Role::current()` is `Role::Pipe`.
pub fn pipe() -> ! {
    // Whoever waits for the answer reads that it ended.
    std::process::exit(i32::from(run().is_err()))
}

fn run() -> io::Result<()> {
    // Not the standard library's handle, which would read ahead of the order.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let PipeStart { port } = read_order(&mut input).map_err(io::Error::other)?;
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let connected = TcpStream::connect_timeout(&address, CONNECT).and_then(|it| {
        it.set_nodelay(true)?;
        Ok((it.try_clone()?, it))
    });
    let (mut source, mut sink) = match connected {
        Ok(both) => both,
        Err(error) => {
            let reason = format!("port {port} of the machine's loopback: {error}");
            return write_answer(&PipeUp::Failed(reason), output).map_err(io::Error::other);
        }
    };
    write_answer(&PipeUp::Connected, &mut output).map_err(io::Error::other)?;
    std::thread::spawn(move || {
        // An error is an end as well.
        let _ = move_all(&mut input, &mut sink);
        let _ = sink.shutdown(Shutdown::Write);
        std::thread::sleep(LINGER);
        std::process::exit(0);
    });
    move_all(&mut source, &mut output)
}

/// Moves bytes as they come, until the end.
fn move_all(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(chunk.get(..length).unwrap_or_default())?;
    }
}
