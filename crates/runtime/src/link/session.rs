//! A link as the worker has it: the streams that the client opens.

use super::error::{Cause, LinkError};
use super::hello::Hello;
use super::room::Room;
use super::transport::{Stream, Transport};
use super::wire::{self, Kind, WireError};

/// A link with a client that was welcomed. Dropping it closes the link.
#[derive(Debug)]
pub struct Session {
    hello: Hello,
    carrier: Box<dyn Transport>,
}

impl Session {
    pub(super) fn new(hello: Hello, carrier: Box<dyn Transport>) -> Self {
        Self { hello, carrier }
    }

    /// What the client said.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The next stream that the client opens. What it is for is read by [`Session::kind`], apart,
    /// so that one slow stream does not hold up the next.
    ///
    /// # Errors
    /// When the link is over.
    pub async fn accept(&self) -> Result<Stream, LinkError> {
        self.carrier.accept().await
    }

    /// Reads what an accepted stream is for.
    ///
    /// # Errors
    /// When the stream fails, or is of no kind that may be opened now.
    pub async fn kind(stream: &mut Stream) -> Result<Kind, WireError> {
        match wire::read_kind(&mut *stream.incoming).await? {
            Kind::Hello => Err(WireError::Kind(Kind::Hello as u8)),
            kind @ (Kind::Control
            | Kind::Call
            | Kind::File
            | Kind::Output
            | Kind::Stream
            | Kind::Input
            | Kind::Lane
            | Kind::Outcome
            | Kind::Probe
            | Kind::Shared
            | Kind::Spread
            | Kind::Chunks) => Ok(kind),
        }
    }

    /// Room for a stream of items that the client sends: as long as it is here, nothing else waits for its reader.
    pub fn room(&self) -> Room {
        Room::of(self.carrier.rooms())
    }

    /// Resolves when the link is over, with why.
    pub async fn closed(&self) -> LinkError {
        self.carrier.closed().await
    }

    /// Closes the link at once and tells the client why.
    pub fn close(&self, cause: Cause, reason: &str) {
        self.carrier.close(cause, reason);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.carrier.close(Cause::Done, "the worker is done with this link");
    }
}
