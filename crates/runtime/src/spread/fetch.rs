//! A node gets what it is offered: from other nodes as the client tells it, else from the client.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::held::Held;
use super::state::Fault;
use super::wire::{Door, Said, Turn, asked};
use crate::link::{Incoming, WireError, read_message, write_message};

/// Opens a stream to another node on which these bytes were said, or says why there is none.
pub trait Open: Send + Sync {
    /// Opens one.
    fn open<'a>(&'a self, door: &'a Door, said: Vec<u8>) -> BoxFuture<'a, Result<Box<dyn Incoming>, String>>;
}

/// Why a node did not get what it was offered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The client is gone, or broke the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// There is no room for it.
    #[error("failed to keep what the pool shares: {0}; see the room on the disk and the memory")]
    Keep(#[source] std::io::Error),
}

/// Gets all of it, told by the client from whom, on a stream on which the offer was read. `stall` is how long a source
/// may give nothing. Whoever fills it already is waited for. What is there when this fails is gone on with by the next
/// offer.
///
/// # Errors
/// When the client is gone, or the bytes cannot be kept. The last word, that all of it is here, is
/// [`have`](super::Held::have).
pub async fn fetch<R, W>(
    held: &Arc<Held>,
    (client, to_client): (&mut R, &mut W),
    others: &dyn Open,
    stall: Duration,
) -> Result<(), FetchError>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    let _turn = held.filling.lock().await;
    let _filling = Filling::new(held);
    let mut failed = None;
    while !held.is_whole() {
        write_message(to_client, &Said::Next { from: held.chunks(), failed: failed.take() }).await?;
        match read_message(client, "where to get it").await? {
            Turn::Mine => match receive(held, client, stall).await {
                Ok(()) => {}
                Err(Trouble::Keep(error)) => return Err(FetchError::Keep(error)),
                Err(Trouble::Source(_, reason)) => return Err(WireError::Interrupted(reason).into()),
            },
            Turn::Ask(mut door) => {
                failed = loop {
                    match follow(held, &door, (client, to_client), others, stall).await? {
                        Followed::Over(failed) => break failed,
                        Followed::Moved(other) => door = other,
                    }
                }
            }
            Turn::Stay => return Err(unasked()),
        }
    }
    Ok(())
}

impl Held {
    /// Tells the client that all of it is here.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn have<W: AsyncWrite + Unpin + ?Sized>(&self, to_client: &mut W) -> Result<(), WireError> {
        write_message(to_client, &Said::Have).await
    }

    /// Tells the client why it cannot be kept here.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn cannot<W: AsyncWrite + Unpin + ?Sized>(
        &self,
        to_client: &mut W,
        reason: String,
    ) -> Result<(), WireError> {
        write_message(to_client, &Said::NoRoom(reason)).await
    }
}

/// Whether somebody fills it, as those see it who wait for the rest.
struct Filling<'a>(&'a Held);

impl<'a> Filling<'a> {
    fn new(held: &'a Held) -> Self {
        held.begun();
        Self(held)
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.stopped();
    }
}

/// Why what comes does not go on.
enum Trouble {
    Source(Fault, String),
    Keep(std::io::Error),
}

/// How it came out to have something from another node.
enum Followed {
    /// All of it is here, or something was wrong with that node.
    Over(Option<(Fault, String)>),
    /// The client knows one that is faster.
    Moved(Door),
}

/// Takes in what another node gives, and tells the client now and then how far it is, who may name a faster one.
async fn follow<R, W>(
    held: &Held,
    door: &Door,
    (client, to_client): (&mut R, &mut W),
    others: &dyn Open,
    stall: Duration,
) -> Result<Followed, FetchError>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    let mut receiving = pin!(receive_from(held, door, others, stall));
    loop {
        tokio::select! {
            received = &mut receiving => return Ok(Followed::Over(received?)),
            // It has nothing to say now: it does not want it any more, or is gone.
            _ = client.read_u8() => {
                return Err(WireError::Interrupted("the client has given it up".to_owned()).into());
            }
            () = tokio::time::sleep(PACE) => {}
        }
        write_message(to_client, &Said::At { from: held.chunks() }).await?;
        let mut received = None;
        let turn = {
            // It is read to its end, whatever comes meanwhile.
            let mut turn = pin!(read_message(client, "whether there is a faster source"));
            loop {
                tokio::select! {
                    it = &mut receiving, if received.is_none() => received = Some(it?),
                    turn = &mut turn => break turn?,
                }
            }
        };
        match (turn, received) {
            (Turn::Mine, _) => return Err(unasked()),
            (Turn::Ask(door), None | Some(Some(_))) => return Ok(Followed::Moved(door)),
            (Turn::Ask(_) | Turn::Stay, Some(received)) => return Ok(Followed::Over(received)),
            (Turn::Stay, None) => {}
        }
    }
}

fn unasked() -> FetchError {
    WireError::Interrupted("the client answered what was not asked".to_owned()).into()
}

/// Takes in what another node gives. What was wrong with that, if it was not all.
async fn receive_from(
    held: &Held,
    door: &Door,
    others: &dyn Open,
    stall: Duration,
) -> Result<Option<(Fault, String)>, FetchError> {
    let opened = tokio::time::timeout(stall, others.open(door, asked(&held.key, held.chunks()))).await;
    let mut stream = match opened.unwrap_or_else(|_| Err(format!("no answer within {stall:?}"))) {
        Ok(stream) => stream,
        Err(reason) => return Ok(Some((Fault::Unreachable, reason))),
    };
    match receive(held, &mut *stream, stall).await {
        Ok(()) => Ok(None),
        Err(Trouble::Keep(error)) => Err(FetchError::Keep(error)),
        Err(Trouble::Source(fault, reason)) => {
            stream.stop();
            Ok(Some((fault, reason)))
        }
    }
}

/// Takes in all chunks that are not here, in order.
async fn receive<R: AsyncRead + Unpin + ?Sized>(
    held: &Held,
    source: &mut R,
    stall: Duration,
) -> Result<(), Trouble> {
    while !held.is_whole() {
        let number = held.chunks();
        let mut chunk = Vec::new();
        let size = held.manifest.size(number);
        while chunk.len() < size {
            let left = u64::try_from(size - chunk.len()).unwrap_or(u64::MAX);
            let mut rest = (&mut *source).take(left);
            let read = tokio::time::timeout(stall, rest.read_buf(&mut chunk)).await;
            let reason = match read {
                Ok(Ok(0)) => "it ended in the middle".to_owned(),
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("nothing came for {stall:?}"),
            };
            return Err(Trouble::Source(Fault::Stopped, reason));
        }
        if !held.manifest.is(number, &chunk) {
            let reason = format!("chunk {number} is not what the client said");
            return Err(Trouble::Source(Fault::Lied, reason));
        }
        held.add(&chunk).map_err(Trouble::Keep)?;
    }
    Ok(())
}

/// How often a node says how far it is, where it has something from another.
const PACE: Duration = Duration::from_secs(1);
