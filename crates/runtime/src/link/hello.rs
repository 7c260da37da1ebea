//! The first stream of a connection: who is there, and whether that is welcome.

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::error::LinkError;
use super::transport::{Stream, Transport};
use super::wire::{self, Kind, WireError};
use crate::model::{Epoch, Incarnation, PoolId};

/// The version of everything that travels on a link.
pub const PROTOCOL: u16 = 7;

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version it speaks: [`PROTOCOL`].
    pub protocol: u16,
    /// The hash of its registry of functions.
    #[serde(with = "serde_bytes")]
    pub registry: [u8; 32],
    /// The content hash of the program it deployed, when it did.
    pub program: Option<String>,
    /// Its pool.
    pub pool: PoolId,
    /// The life of the worker that it means.
    pub incarnation: Incarnation,
    /// Its ownership of the pool.
    pub epoch: Epoch,
}

/// Why a worker does not take a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Another version of Skyward.
    #[error(
        "it speaks version {worker} of the protocol and this program speaks {client}: build both with the same version of skyward"
    )]
    Protocol {
        /// What the worker speaks.
        worker: u16,
        /// What the client speaks.
        client: u16,
    },
    /// Another build of the program.
    #[error(
        "the worker runs another build of this program: its functions are {worker} and ours are {client}; stop the pool and start it again, so that this program deploys itself"
    )]
    Registry {
        /// The first digits of the worker's registry hash.
        worker: String,
        /// The first digits of the client's.
        client: String,
    },
    /// Another pool.
    #[error("it belongs to pool {worker}: the address now leads to a machine of another pool")]
    Pool {
        /// The worker's pool.
        worker: PoolId,
    },
    /// Another life of the worker.
    #[error("it is {worker}, another life of the worker: start a worker anew and dial that one")]
    Incarnation {
        /// Who the worker is.
        worker: Incarnation,
    },
    /// The pool has a newer owner.
    #[error(
        "the pool has a newer owner (epoch {owner}): another process has attached to it, so this one must let go"
    )]
    Epoch {
        /// The newest owner that the worker has seen.
        owner: Epoch,
    },
    /// The worker's lease has lapsed, for good.
    #[error(
        "its lease has lapsed and its machine ends itself: rent another, with a longer lease if this one was slept through"
    )]
    Lapsed,
}

/// What a worker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Welcome,
    Refused(Refusal),
}

/// The part of a hello that every version can read.
#[derive(Deserialize)]
struct Version {
    protocol: u16,
}

impl Refusal {
    /// A refusal for differing registries.
    pub fn registry(worker: [u8; 32], client: [u8; 32]) -> Self {
        let short = |hash: [u8; 32]| hex::encode(hash).chars().take(12).collect();
        Self::Registry { worker: short(worker), client: short(client) }
    }
}

/// The client's half: says hello and waits for the answer.
pub(super) async fn greet(carrier: &dyn Transport, hello: &Hello) -> Result<(), LinkError> {
    let mut buffer = vec![Kind::Hello as u8];
    wire::put_named(&mut buffer, hello).map_err(LinkError::Garbled)?;
    let mut stream = carrier.open().await?;
    let spoken = stream.outgoing.write_all(&buffer).await;
    let answered = match spoken {
        Ok(()) => wire::read_frame(&mut *stream.incoming, "the answer to the hello").await,
        Err(error) => Err(WireError::Interrupted(error.to_string())),
    };
    let frame = match answered {
        Ok(frame) => frame,
        Err(error) => return Err(carrier.over().unwrap_or(LinkError::Garbled(error))),
    };
    match wire::decode(&frame, "the answer to the hello").map_err(LinkError::Garbled)? {
        Answer::Welcome => Ok(()),
        Answer::Refused(refusal) => Err(LinkError::Refused(refusal)),
    }
}

/// The worker's half: reads the hello. A version that is not ours is a refusal, whatever else it says.
pub(super) async fn listen(stream: &mut Stream) -> Result<Result<Hello, Refusal>, WireError> {
    match wire::read_kind(&mut *stream.incoming).await? {
        Kind::Hello => {}
        other @ (Kind::Control
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
        | Kind::Chunks) => {
            return Err(WireError::Kind(other as u8));
        }
    }
    let frame = wire::read_frame(&mut *stream.incoming, "the hello").await?;
    understand(&frame)
}

/// The worker's answer.
pub(super) async fn answer(stream: &mut Stream, answer: &Answer) -> Result<(), WireError> {
    let mut buffer = Vec::new();
    wire::put_named(&mut buffer, answer)?;
    let written = async {
        stream.outgoing.write_all(&buffer).await?;
        stream.outgoing.shutdown().await
    };
    written.await.map_err(|it| WireError::Interrupted(it.to_string()))
}

pub(crate) fn understand(frame: &[u8]) -> Result<Result<Hello, Refusal>, WireError> {
    let Version { protocol } = wire::decode(frame, "a hello")?;
    if protocol != PROTOCOL {
        return Ok(Err(Refusal::Protocol { worker: PROTOCOL, client: protocol }));
    }
    wire::decode(frame, "a hello").map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            protocol: PROTOCOL,
            registry: [7; 32],
            program: Some("ab".to_owned()),
            pool: PoolId::new("p"),
            incarnation: Incarnation::new("w-1"),
            epoch: Epoch(3),
        }
    }

    #[test]
    fn a_hello_is_understood() {
        let frame = rmp_serde::to_vec_named(&hello()).expect("encoded");
        assert_eq!(understand(&frame), Ok(Ok(hello())));
    }

    #[test]
    fn another_version_is_refused_by_its_number_whatever_else_it_says() {
        #[derive(Serialize)]
        struct Future {
            protocol: u16,
            anything: &'static str,
        }
        let frame = rmp_serde::to_vec_named(&Future { protocol: 9, anything: "else" }).expect("encoded");
        assert_eq!(understand(&frame), Ok(Err(Refusal::Protocol { worker: PROTOCOL, client: 9 })));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let text = LinkError::Refused(Refusal::registry([1; 32], [2; 32])).to_string();
        assert!(text.contains("another build of this program"), "{text}");
        assert!(text.contains("010101010101"), "{text}");
    }
}
