//! What the client, a node that gets something and a node that gives it on say to each other.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::manifest::Manifest;
use super::state::Fault;
use crate::link::{BODY_LIMIT, WireError, read_message};
use crate::model::Incarnation;
use crate::payload::CommonKey;

/// Where another node listens, and who it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// The life of the worker that its certificate must name.
    pub name: Incarnation,
    /// The address at which nodes reach it.
    pub address: IpAddr,
    /// Its UDP port.
    pub port: u16,
}

/// The client has something that a node needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its name.
    #[serde(with = "serde_bytes")]
    pub key: CommonKey,
    /// Its chunks.
    pub manifest: Manifest,
}

/// What the node answers, again and again until it has everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Said {
    /// It has all of it.
    Have,
    /// It lacks the chunks from this one on.
    Next {
        from: u32,
        /// What was wrong with the node that it was told to ask, and in words.
        failed: Option<(Fault, String)>,
    },
    /// It has the chunks before this one, and goes on getting the rest from the node that it was told to ask.
    At { from: u32 },
    /// It cannot keep it, in words.
    NoRoom(String),
}

/// Where the node will have the rest from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Turn {
    /// From the client: the chunks follow.
    Mine,
    /// From this node.
    Ask(Door),
    /// From where it has it now.
    Stay,
}

/// The node's half: what it is offered.
///
/// # Errors
/// When the stream fails, or says something else.
pub async fn read_offer<R: AsyncRead + Unpin + ?Sized>(from: &mut R) -> Result<Offer, WireError> {
    const WHAT: &str = "an offer";
    let Offer { key, manifest } = read_message(from, WHAT).await?;
    let undecodable =
        |it: super::manifest::Absurd| WireError::Undecodable { what: WHAT, reason: it.to_string() };
    let manifest = manifest.checked(BODY_LIMIT).map_err(undecodable)?;
    Ok(Offer { key, manifest })
}

/// What one node asks another for: a key, and the first of the chunks that it lacks.
pub(super) fn asked(key: &CommonKey, from: u32) -> Vec<u8> {
    [&key[..], &from.to_be_bytes()].concat()
}

/// Reads what [`asked`] wrote.
pub(super) async fn read_asked<R: AsyncRead + Unpin + ?Sized>(
    reader: &mut R,
) -> std::io::Result<(CommonKey, u32)> {
    let mut key: CommonKey = [0; 40];
    reader.read_exact(&mut key).await?;
    Ok((key, reader.read_u32().await?))
}
