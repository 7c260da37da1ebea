//! The way to a worker through its machine's SSH server: a forwarded connection, or the program as a
//! pipe where the server forwards none.

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::link::{Duplex, LinkError, Tunnel};
use crate::program::{PipeStart, PipeUp, decode_answer, encode_order};
use crate::ssh::{Session, SshError};

/// The machine's own loopback, as its SSH server takes it.
const LOOPBACK: &str = "127.0.0.1";

/// A way to one worker's port over one session.
#[derive(Debug)]
pub(super) struct SshTunnel {
    pub(super) session: Session,
    /// The worker's TCP port on the machine's loopback.
    pub(super) port: u16,
    /// The command that makes the program a pipe.
    pub(super) pipe: String,
}

impl SshTunnel {
    async fn pipe(&self) -> Result<Box<dyn Duplex>, LinkError> {
        let mut stream = self.session.pipe(&self.pipe).await.map_err(|it| no_tunnel(&it))?;
        let order = encode_order(&PipeStart { port: self.port }).map_err(|it| passing(&it))?;
        stream.write_all(&order).await.map_err(|it| passing(&it))?;
        let mut received = Vec::new();
        // The pipe says nothing after its answer before we speak.
        let up = loop {
            if stream.read_buf(&mut received).await.map_err(|it| passing(&it))? == 0 {
                return Err(passing(&"the program ended before it was a pipe to the worker"));
            }
            if let Some(up) = decode_answer(&received).map_err(|it| passing(&it))? {
                break up;
            }
        };
        match up {
            PipeUp::Connected => Ok(Box::new(stream)),
            PipeUp::Failed(reason) => Err(passing(&reason)),
        }
    }
}

#[async_trait]
impl Tunnel for SshTunnel {
    async fn open(&self) -> Result<Box<dyn Duplex>, LinkError> {
        match self.session.forward(LOOPBACK, self.port).await {
            Ok(stream) => Ok(Box::new(stream)),
            // Asked each time: it costs a round trip, and who allows it again is used again.
            Err(SshError::ForwardRefused { .. }) => self.pipe().await,
            Err(error) => Err(no_tunnel(&error)),
        }
    }
}

fn no_tunnel(error: &SshError) -> LinkError {
    // A port that nobody listens on may be one of a worker that is being looked after.
    let retry = error.retry() || matches!(error, SshError::Channel { .. });
    LinkError::NoTunnel { reason: error.to_string(), retry }
}

fn passing(reason: &impl std::fmt::Display) -> LinkError {
    LinkError::NoTunnel { reason: reason.to_string(), retry: true }
}
