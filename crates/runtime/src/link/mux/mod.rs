//! Streams over a connection of bytes: what a link is where only SSH gets through. They behave as those
//! of QUIC do: each with its own window, an end that differs from being given up, a reader that can say
//! stop, priorities, a reason when the connection closes, and a heartbeat
//! ([decision 11](../../../../../docs/decisions/0011-our-own-streams-over-ssh.md)).
//!
//! ```text
//! Tunnel --bytes--> TLS 1.3, both sides certified --first bytes: main | large, and the link's token-->
//!     main:  all streams of the link, one driver, one heartbeat
//!     large: one stream alone, so that much data neither pays for sharing nor holds up the others
//! ```

mod driver;
pub(crate) mod frame;
mod half;
pub(crate) mod hearing;
mod shared;
pub(crate) mod state;
mod stream;
mod tunnel;
mod visitor;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, Semaphore, mpsc};

pub(super) use shared::Together;
pub(super) use tunnel::Road;
pub use tunnel::{Duplex, Tunnel};
pub(super) use visitor::{Links, Visit, visit};

use self::driver::drive;
use self::shared::{ARRIVALS, Shared};
use super::error::{Cause, LinkError};
use super::room::Rooms;
use super::transport::{Stream, Transport};
use crate::model::Carrier;
use crate::timing::Timing;

/// From how many bytes a stream is carried by a connection of its own. To open one takes a round trip
/// or two and a handshake, some 2 ms on loopback, in which this much moves anyway.
const LARGE: u64 = 4 << 20;

/// How many streams have a connection of their own at once; more share the main one. SSH servers limit
/// the channels of a session, some to ten.
const LARGE_AT_ONCE: usize = 8;

/// What a link's connections begin with, inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Purpose {
    Main = 1,
    Large = 2,
}

/// The name of one link between its connections: nobody else guesses it, and a link that is over takes
/// no more of them.
type Token = [u8; 16];

/// The length of what a connection begins with: its purpose and its link's token.
const PREFACE: usize = 1 + size_of::<Token>();

/// A link's streams over connections of bytes.
#[derive(Debug)]
pub(super) struct Mux {
    main: Arc<Shared>,
    arrivals: Mutex<mpsc::Receiver<Stream>>,
    /// How the client opens further connections; the worker opens none.
    road: Option<(Road, Token, Arc<Semaphore>)>,
    timing: Timing,
}

impl Mux {
    /// The client's side: opens the main connection. Dropping the future gives it up.
    pub(super) async fn connect(road: Road, timing: &Timing, together: &Together) -> Result<Self, LinkError> {
        let mut token = Token::default();
        getrandom::fill(&mut token)
            .map_err(|it| LinkError::Socket { reason: format!("the system has no random numbers: {it}") })?;
        let bytes = road.open(Purpose::Main, &token).await?;
        let (arrived, arrivals) = mpsc::channel(ARRIVALS);
        let main = Shared::new(true, arrived);
        tokio::spawn(drive(Arc::clone(&main), bytes, timing.clone()));
        together.add(&main);
        let road = Some((road, token, Arc::new(Semaphore::new(LARGE_AT_ONCE))));
        Ok(Self { main, arrivals: Mutex::new(arrivals), road, timing: timing.clone() })
    }

    /// A stream on a connection of its own; `None` when there cannot be one more now.
    async fn open_alone(&self) -> Result<Option<Stream>, LinkError> {
        let Some((road, token, turns)) = &self.road else { return Ok(None) };
        let Ok(turn) = Arc::clone(turns).try_acquire_owned() else { return Ok(None) };
        let opened = tokio::time::timeout(self.timing.dial, road.open(Purpose::Large, token)).await;
        let bytes = match opened {
            Ok(Ok(bytes)) => bytes,
            failed => {
                let failed = failed.map(|it| it.map(drop));
                // The main connection carries it as well; when that is broken too it says so itself.
                tracing::debug!(?failed, "a large stream shares the main connection");
                return Ok(None);
            }
        };
        let child = self.main.child(true)?;
        let stream = child.open().await?;
        let timing = self.timing.clone();
        tokio::spawn(async move {
            drive(child, bytes, timing).await;
            drop(turn);
        });
        Ok(Some(stream))
    }
}

#[async_trait]
impl Transport for Mux {
    async fn open(&self) -> Result<Stream, LinkError> {
        self.main.open().await
    }

    async fn open_for(&self, bytes: u64) -> Result<Stream, LinkError> {
        if bytes >= LARGE
            && let Some(stream) = self.open_alone().await?
        {
            return Ok(stream);
        }
        self.open().await
    }

    fn carrier(&self) -> Carrier {
        Carrier::Ssh
    }

    fn rooms(&self) -> Option<&Arc<Rooms>> {
        Some(&self.main.rooms)
    }

    async fn accept(&self) -> Result<Stream, LinkError> {
        let mut arrivals = self.arrivals.lock().await;
        tokio::select! {
            biased;
            over = self.main.closed() => Err(over),
            // The sender is in `main`, so there is always one more to wait for.
            Some(stream) = arrivals.recv() => Ok(stream),
        }
    }

    async fn closed(&self) -> LinkError {
        self.main.closed().await
    }

    fn over(&self) -> Option<LinkError> {
        self.main.over()
    }

    fn close(&self, cause: Cause, reason: &str) {
        self.main.close(cause, reason);
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        self.main.close(Cause::Done, "the link is no longer needed");
    }
}
