//! Why the journal could not do what it was asked for, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::lock::Holder;
use super::successor::Successor;
use crate::model::Epoch;

/// Why the journal failed. Nothing was asked of a cloud that is not in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// There is no folder to keep it in.
    #[error("failed to find a folder for the journal: set XDG_STATE_HOME or HOME to an absolute folder")]
    NoFolder,
    /// The folder or a file in it cannot be used.
    #[error("failed to write the journal in {}: {reason}; make the folder writable, or set XDG_STATE_HOME to one that is", folder.display())]
    Access {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is no room left. What was there before is there still.
    #[error("failed to write the journal in {}: the disk is full; free some space, or set XDG_STATE_HOME to a folder on another disk", folder.display())]
    Full {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder is on another computer, whose locks and shared memory this one does not have.
    #[error("failed to use the journal in {}: it is on a network file system ({kind}), where two computers would spoil it; set XDG_STATE_HOME to a folder on a disk of this computer", folder.display())]
    Elsewhere {
        /// The folder.
        folder: PathBuf,
        /// What the file system is called.
        kind: &'static str,
    },
    /// Others than this user can change it, and with it what clouds are asked for in this user's name.
    #[error("failed to use the journal in {}: {reason}, and what others write there decides where your keys are sent; make it yours alone (`chown`, `chmod go-w`), or use another folder", folder.display())]
    Exposed {
        /// The folder.
        folder: PathBuf,
        /// Why they can.
        reason: String,
    },
    /// Another process held it for too long.
    #[error("failed to use the journal in {}: another program kept it busy; try again", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// A newer version of Skyward made it.
    #[error("failed to use the journal in {}: it has version {version} and this program knows {}; use the newer version of skyward, or set XDG_STATE_HOME to another folder", folder.display(), super::schema::VERSION)]
    TooNew {
        /// The folder.
        folder: PathBuf,
        /// Its version.
        version: i32,
    },
    /// What is in the file cannot be read.
    #[error("failed to read the journal in {}: {reason}; {}look at what your clouds list, then move the file away", folder.display(), named(pools))]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What was found.
        reason: String,
        /// The pools whose keys are still there.
        pools: Vec<String>,
    },
    /// Another program has the pool.
    #[error("pool {pool} is in use by {holder}: wait for it, end it, or give this pool another name")]
    Held {
        /// Its name, or its id.
        pool: String,
        /// Who has it.
        holder: Holder,
    },
    /// The pool has a newer owner, or was given back by somebody else: this program may not change it any more.
    #[error("pool {pool} {by}")]
    Superseded {
        /// Its name, or its id.
        pool: String,
        /// Which owner this program was.
        epoch: Epoch,
        /// Who has it instead.
        by: Successor,
    },
    /// A key of the pool cannot be read.
    #[error(
        "failed to read the keys of pool {pool}: {reason}; it cannot be attached to, so give it back with `sky reap --pool {pool} --yes`"
    )]
    Keys {
        /// The pool.
        pool: String,
        /// Why.
        reason: String,
    },
}

fn named(pools: &[String]) -> String {
    if pools.is_empty() {
        return String::new();
    }
    format!("it knew at least the pools {}; ", pools.join(", "))
}

/// What the system said of a file or a folder.
pub(super) fn of_folder(folder: &Path, error: &io::Error) -> JournalError {
    let folder = folder.to_owned();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JournalError::Full { folder },
        _ => JournalError::Access { folder, reason: error.to_string() },
    }
}

/// What SQLite said.
pub(super) fn of_file(folder: &Path, error: &rusqlite::Error) -> JournalError {
    let (owned, reason) = (folder.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => JournalError::Busy { folder: owned },
        Some(ErrorCode::DiskFull) => JournalError::Full { folder: owned },
        // Its shared memory is a file that has found no room.
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if is_full(folder) => {
            JournalError::Full { folder: owned }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => {
            JournalError::Damaged { folder: owned, reason, pools: super::keys::pools_in(folder) }
        }
        Some(_) => JournalError::Access { folder: owned, reason },
    }
}

/// Whether nothing more fits on the disk that the folder is on.
fn is_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|it| it.f_bavail.saturating_mul(it.f_frsize) < LEAST)
}

/// Bytes without which a journal cannot be opened: its shared memory has 32 KiB. More calls a failing disk full.
const LEAST: u64 = 64 << 10;

#[test]
fn what_sqlite_says_becomes_what_to_do() {
    use rusqlite::ffi;
    let told = |extended: i32| {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(extended), None);
        of_file(Path::new("/s"), &error).to_string()
    };
    for (code, said) in [
        (ffi::SQLITE_FULL, "the disk is full; free some space"),
        (ffi::SQLITE_BUSY, "another program kept it busy; try again"),
        (ffi::SQLITE_CANTOPEN, "make the folder writable"),
        (ffi::SQLITE_READONLY, "make the folder writable"),
        (ffi::SQLITE_CORRUPT, "look at what your clouds list"),
    ] {
        assert!(told(code).contains(said), "{code}: {}", told(code));
    }
}
