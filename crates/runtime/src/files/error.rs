//! Why files did not arrive.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::link::{LinkError, WireError};
use crate::model::Rank;

/// Why a file or folder did not arrive: where, which, and what is wrong with it. What had arrived whole
/// before stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileError {
    /// The node with whose files there is trouble; `None` for this computer's, or when it is not about
    /// files at all.
    pub rank: Option<Rank>,
    /// The path, as it was given or found; on a node relative to the worker's directory.
    pub path: PathBuf,
    /// What is wrong.
    pub trouble: FileTrouble,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum FileTrouble {
    /// Nothing is there.
    #[error("there is no such file or folder: correct the path")]
    Missing,
    /// The path leads out of the worker's directory.
    #[error(
        "it is outside of the worker's directory: give a path below it, without `..` and without a leading `/`"
    )]
    Outside,
    /// There is a folder where a file shall be.
    #[error("it is a folder: name the file itself")]
    IsFolder,
    /// There is something else where a folder shall be.
    #[error("it is not a folder: remove it, or name another path")]
    NotAFolder,
    /// It is a socket, a pipe or a device.
    #[error("it is neither file, folder nor symbolic link: leave it out")]
    Special,
    /// It is a symbolic link that would point to something else on the other side.
    #[error("it is a symbolic link to {target:?}, outside of its folder: send what it points to by itself")]
    LeavesFolder {
        /// What it points to.
        target: PathBuf,
    },
    /// Its name is not text.
    #[error("its name is not UTF-8: rename it")]
    Name,
    /// There is no room for it.
    #[error("the disk is full: free some space there")]
    Full,
    /// The system does not let us.
    #[error("{reason}")]
    Failed {
        /// In the system's words.
        reason: String,
    },
    /// What arrived is not what was sent.
    #[error("it was damaged on its way: try again")]
    Corrupt,
    /// The file of an artifact is not the one that it was made of.
    #[error("it was changed after the artifact was made: write each result to a name of its own")]
    Changed,
    /// The pool has no such node now.
    #[error("the pool has no such node now: `compute.explain()` says which it has")]
    NoSuchNode,
    /// The artifact's node is not there any more, and with it its files, or it was not made on a node of
    /// this pool.
    #[error("it is on {node}, which is not in this pool (any more)")]
    Gone {
        /// The life of the worker that made it.
        node: String,
    },
    /// The link to the node broke.
    #[error("the link broke: {reason}; try again")]
    Lost {
        /// What happened.
        reason: String,
    },
}

impl FileError {
    pub(super) fn new(path: impl Into<PathBuf>, trouble: FileTrouble) -> Self {
        Self { rank: None, path: path.into(), trouble }
    }

    /// The error of an operation of the system on this path.
    pub(super) fn of(path: &Path, error: &io::Error) -> Self {
        let trouble = match error.kind() {
            io::ErrorKind::NotFound => FileTrouble::Missing,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FileTrouble::Full,
            io::ErrorKind::IsADirectory => FileTrouble::IsFolder,
            io::ErrorKind::NotADirectory => FileTrouble::NotAFolder,
            _ => FileTrouble::Failed { reason: error.to_string() },
        };
        Self::new(path, trouble)
    }

    /// That there is no such node in the pool.
    pub fn no_such_node(rank: Rank, path: impl Into<PathBuf>) -> Self {
        Self { rank: Some(rank), path: path.into(), trouble: FileTrouble::NoSuchNode }
    }

    /// That the node of an artifact is not in the pool.
    pub fn gone(artifact: &super::Artifact) -> Self {
        let node = artifact.node().to_string();
        Self::new(artifact.path(), FileTrouble::Gone { node })
    }

    /// Whether the same again can help.
    pub const fn retry(&self) -> bool {
        matches!(self.trouble, FileTrouble::Corrupt | FileTrouble::Lost { .. })
    }

    #[must_use]
    pub(super) fn on(mut self, rank: Rank) -> Self {
        self.rank = Some(rank);
        self
    }
}

/// How a side's work on a parcel ends early.
#[derive(Debug)]
pub(super) enum Fault {
    /// Trouble with a file of this side.
    Here(FileError),
    /// Trouble with a file of the other side, as it said.
    There(FileError),
    /// The stream failed, or made no sense.
    Stream(WireError),
}

impl From<FileError> for Fault {
    fn from(error: FileError) -> Self {
        Self::Here(error)
    }
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::Stream(error)
    }
}

pub(super) fn lost(reason: &LinkError) -> FileTrouble {
    FileTrouble::Lost { reason: reason.to_string() }
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(rank) = self.rank {
            write!(f, "node {rank}: ")?;
        }
        write!(f, "{:?}: {}", self.path, self.trouble)
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_told_in_words_that_say_where_and_what_to_do() {
        for (kind, rank, words) in [
            (
                io::ErrorKind::StorageFull,
                Some(Rank(2)),
                "node 2: \"a/b\": the disk is full: free some space there",
            ),
            (io::ErrorKind::QuotaExceeded, None, "\"a/b\": the disk is full: free some space there"),
            (io::ErrorKind::NotFound, None, "\"a/b\": there is no such file or folder: correct the path"),
            (io::ErrorKind::IsADirectory, None, "\"a/b\": it is a folder: name the file itself"),
            (io::ErrorKind::PermissionDenied, None, "\"a/b\": permission denied"),
        ] {
            let error = FileError { rank, ..FileError::of(Path::new("a/b"), &kind.into()) };
            assert_eq!((error.to_string().as_str(), error.retry()), (words, false));
        }
    }
}
