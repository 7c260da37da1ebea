//! What travels on a file's stream, for both sides.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::FileError;
use crate::link::{Incoming, Outgoing, WireError};

/// What a client asks of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// A parcel follows, to be unpacked here.
    Put { to: String },
    /// Send what is here.
    Get { from: String },
}

/// The worker's answer to a parcel.
pub(crate) type Answer = Result<Transferred, FileError>;

/// How much has travelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Transferred {
    /// How many files.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

/// One thing in a parcel. Paths are below the place that the parcel is for, with `/` between their
/// parts; the first item's is empty. Parents come before what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Item {
    /// A folder.
    Folder { path: String },
    /// A symbolic link to something below the same place.
    Link { path: String, target: String },
    /// A file. Its chunks follow, and their hash.
    File { path: String, executable: bool },
    /// There is no more.
    End,
    /// The sender cannot go on.
    Fault(FileError),
}

/// What follows a file's chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sum {
    /// It was read to its end.
    Sha256(#[serde(with = "serde_bytes")] [u8; 32]),
    /// It could not be.
    Fault(FileError),
}

/// How much of a file is in memory at once. Less would cost more turns between threads; more brings
/// nothing.
pub(super) const CHUNK: usize = 256 << 10;

/// Writes a chunk; an empty one ends the file.
pub(super) async fn write_chunk(outgoing: &mut dyn Outgoing, chunk: &[u8]) -> Result<(), WireError> {
    let length = u32::try_from(chunk.len()).map_err(|it| WireError::Unencodable(it.to_string()))?;
    let interrupted = |it: std::io::Error| WireError::Interrupted(it.to_string());
    outgoing.write_u32(length).await.map_err(interrupted)?;
    outgoing.write_all(chunk).await.map_err(interrupted)
}

/// Reads a chunk into the buffer, in place of what was there; an empty one ends the file.
pub(super) async fn read_chunk(incoming: &mut dyn Incoming, buffer: &mut Vec<u8>) -> Result<(), WireError> {
    let stopped = |it: std::io::Error| match it.kind() {
        std::io::ErrorKind::UnexpectedEof => WireError::Truncated("a file"),
        _ => WireError::Interrupted(it.to_string()),
    };
    let length = incoming.read_u32().await.map_err(stopped)?;
    let wanted = usize::try_from(length).unwrap_or(usize::MAX);
    if wanted > CHUNK {
        return Err(WireError::Frame { length: length.into() });
    }
    buffer.resize(wanted, 0);
    incoming.read_exact(buffer).await.map_err(stopped)?;
    Ok(())
}

impl Transferred {
    /// One more file.
    pub(super) const fn count(&mut self, bytes: u64) {
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl std::ops::Add for Transferred {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { files: self.files.saturating_add(other.files), bytes: self.bytes.saturating_add(other.bytes) }
    }
}
