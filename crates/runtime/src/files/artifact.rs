//! A file on a node as a value that a function returns, to be fetched by its caller.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{FileError, FileTrouble};
use super::parcel::CHUNK;
use super::place::Boundary;
use crate::inside;
use crate::model::{Incarnation, Rank};

/// A file that a function leaves on its node and returns to its caller, without the bytes: which node,
/// which path, how large, and the hash by which the caller knows that it fetched just that file.
///
/// It holds as long as the node lives and the file stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    rank: Rank,
    node: Incarnation,
    path: PathBuf,
    bytes: u64,
    #[serde(with = "serde_bytes")]
    sha256: [u8; 32],
}

impl Artifact {
    /// Describes a file below the worker's directory, which is where functions start, so a relative
    /// path means what it means to `std::fs`. Reads it once and blocks meanwhile: an async function
    /// hands a file of gigabytes to `tokio::task::spawn_blocking`.
    ///
    /// Outside of a worker, as in `.local()` calls, it describes a file below the current directory;
    /// nothing can fetch that.
    ///
    /// # Errors
    /// When there is no such file below that directory, or it cannot be read.
    pub fn file(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let told = path.as_ref();
        let directory = match inside::directory() {
            Some(directory) => directory.to_owned(),
            None => std::env::current_dir().map_err(|it| FileError::of(told, &it))?,
        };
        // Functions may well know the whole path.
        let inner = directory.canonicalize().ok().and_then(|it| told.strip_prefix(it).ok());
        let inner = inner.or_else(|| told.strip_prefix(&directory).ok()).unwrap_or(told);
        let found =
            Boundary::new(&directory)?.existing(inner).map_err(|it| FileError::new(told, it.trouble))?;
        let (bytes, sha256) = read(&found, told)?;
        let (rank, node) = match inside::instance_info() {
            Some(it) => (it.rank, it.name),
            None => (Rank(0), Incarnation::new("this computer")),
        };
        Ok(Self { rank, node, path: inner.to_owned(), bytes, sha256 })
    }

    /// The rank of the node that has it.
    pub const fn rank(&self) -> Rank {
        self.rank
    }

    /// The life of the node that has it.
    pub const fn node(&self) -> &Incarnation {
        &self.node
    }

    /// Where it is, below the worker's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How large it is.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its SHA-256 in hexadecimal digits.
    pub fn sha256(&self) -> String {
        hex::encode(self.sha256)
    }

    pub(super) const fn hash(&self) -> [u8; 32] {
        self.sha256
    }
}

fn read(found: &Path, told: &Path) -> Result<(u64, [u8; 32]), FileError> {
    let failed = |it: std::io::Error| FileError::of(told, &it);
    let mut file = File::open(found).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(FileError::new(told, FileTrouble::IsFolder));
    }
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0_u64, vec![0; CHUNK]);
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        let Some(chunk) = buffer.get(..read).filter(|it| !it.is_empty()) else { break };
        hash.update(chunk);
        bytes = bytes.saturating_add(read as u64);
    }
    Ok((bytes, hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_a_file_below_the_directory_and_knows_what_it_holds() {
        let here = std::env::current_dir().unwrap();
        for path in [PathBuf::from("Cargo.toml"), here.join("Cargo.toml")] {
            let artifact = Artifact::file(path).unwrap();
            let content = std::fs::read("Cargo.toml").unwrap();
            assert_eq!((artifact.path(), artifact.bytes()), (Path::new("Cargo.toml"), content.len() as u64));
            assert_eq!(artifact.sha256(), hex::encode(Sha256::digest(&content)));
        }
        for (path, trouble) in [
            ("../Cargo.toml", FileTrouble::Outside),
            ("/etc/hosts", FileTrouble::Outside),
            ("nowhere", FileTrouble::Missing),
            ("src", FileTrouble::IsFolder),
        ] {
            assert_eq!(Artifact::file(path), Err(FileError::new(path, trouble)));
        }
    }
}
