//! Why the catalog could not do what it was asked for, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

use crate::model::InvalidRequest;

/// Why the catalog of offers failed. It holds nothing that cannot be read again: removing its folder is
/// always safe while no program uses it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// There is no folder to keep it in.
    #[error(
        "failed to find a folder for the catalog of offers: set XDG_CACHE_HOME or HOME, or name a folder"
    )]
    NoFolder,
    /// The folder or the file cannot be used.
    #[error("failed to open the catalog of offers in {}: {reason}; make the folder writable, or set XDG_CACHE_HOME to one that is", folder.display())]
    Access {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file system cannot keep two programs from writing at once.
    #[error("failed to open the catalog of offers in {}: {reason}, so programs there would spoil each other's data; set XDG_CACHE_HOME to a folder on a local disk", folder.display())]
    NoLocking {
        /// The folder.
        folder: PathBuf,
        /// How that was found out.
        reason: String,
    },
    /// Another process held it for too long.
    #[error("failed to {doing} the catalog of offers in {}: another program kept it busy; try again", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
        /// What was to be done.
        doing: &'static str,
    },
    /// There is no room left. What was there before is there still.
    #[error("failed to {doing} the catalog of offers in {}: the disk is full; free some space, or set XDG_CACHE_HOME to a folder on another disk", folder.display())]
    Full {
        /// The folder.
        folder: PathBuf,
        /// What was to be done.
        doing: &'static str,
    },
    /// A filter that nothing can meet.
    #[error("failed to search the catalog of offers: {0}")]
    Filter(#[from] InvalidRequest),
    /// SQL that is wrong, that would write, or that took too long.
    #[error("failed to run the query: {reason}")]
    Sql {
        /// What is wrong with it, and what may be done.
        reason: String,
    },
    /// It was damaged again right after it had been made anew.
    #[error("failed to {doing} the catalog of offers in {}: {reason}; check the disk, then remove the folder", folder.display())]
    Broken {
        /// The folder.
        folder: PathBuf,
        /// What was to be done.
        doing: &'static str,
        /// What was found.
        reason: String,
    },
}

/// What went wrong in one operation, before it is known what follows.
#[derive(Debug)]
pub(super) enum Fault {
    /// What SQLite said.
    Sqlite(rusqlite::Error),
    /// The file holds what no version of ours wrote.
    Damaged(String),
    /// Nothing is wrong with the file.
    Final(CatalogError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<CatalogError> for Fault {
    fn from(error: CatalogError) -> Self {
        Self::Final(error)
    }
}

impl Fault {
    /// Why the file must be made anew, when it must.
    pub(super) fn damage(&self) -> Option<String> {
        match self {
            Self::Damaged(why) => Some(why.clone()),
            Self::Final(_) => None,
            Self::Sqlite(error) => is_damage(error).then(|| error.to_string()),
        }
    }

    /// What to tell the caller.
    pub(super) fn told(self, folder: &Path, doing: &'static str) -> CatalogError {
        let folder = folder.to_owned();
        let error = match self {
            Self::Final(error) => return error,
            Self::Damaged(reason) => return CatalogError::Broken { folder, doing, reason },
            Self::Sqlite(error) => error,
        };
        let reason = error.to_string();
        let Some(code) = error.sqlite_error() else {
            return CatalogError::Broken { folder, doing, reason };
        };
        if LOCKS_FAILED.contains(&code.extended_code) || code.code == ErrorCode::FileLockingProtocolFailed {
            let reason = format!("its file system does not lock files ({reason})");
            return CatalogError::NoLocking { folder, reason };
        }
        match code.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => CatalogError::Busy { folder, doing },
            ErrorCode::DiskFull => CatalogError::Full { folder, doing },
            // Its shared memory is a file that has found no room.
            ErrorCode::SystemIoFailure | ErrorCode::CannotOpen if is_full(&folder) => {
                CatalogError::Full { folder, doing }
            }
            ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
                CatalogError::Access { folder, reason }
            }
            _ => CatalogError::Broken { folder, doing, reason },
        }
    }
}

/// Whether nothing more fits on the disk that the folder is on.
fn is_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|it| it.f_bavail.saturating_mul(it.f_frsize) < LEAST)
}

/// Bytes without which a catalog cannot be opened: its shared memory has 32 KiB.
const LEAST: u64 = 64 << 10;

/// What a file that is cut off, overwritten or of another program looks like to SQLite. A row that our
/// own reading refuses comes as a failed conversion.
fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => true,
        other => other.sqlite_error().is_some_and(|it| {
            matches!(it.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                || it.extended_code == ffi::SQLITE_IOERR_SHORT_READ
        }),
    }
}

/// What the system said of the folder itself.
pub(super) fn of_folder(folder: &Path, error: &io::Error) -> CatalogError {
    let folder = folder.to_owned();
    if error.kind() == io::ErrorKind::StorageFull {
        return CatalogError::Full { folder, doing: "open" };
    }
    CatalogError::Access { folder, reason: error.to_string() }
}

/// SQLite's words for a lock that the file system did not give.
const LOCKS_FAILED: [i32; 6] = [
    ffi::SQLITE_IOERR_LOCK,
    ffi::SQLITE_IOERR_RDLOCK,
    ffi::SQLITE_IOERR_UNLOCK,
    ffi::SQLITE_IOERR_CHECKRESERVEDLOCK,
    ffi::SQLITE_IOERR_SHMLOCK,
    ffi::SQLITE_IOERR_SHMMAP,
];

#[test]
fn what_sqlite_says_becomes_what_to_do() {
    let told = |extended: i32| {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(extended), None);
        Fault::from(error).told(Path::new("/c"), "write").to_string()
    };
    for (code, said) in [
        (ffi::SQLITE_FULL, "the disk is full; free some space"),
        (
            ffi::SQLITE_BUSY,
            "failed to write the catalog of offers in /c: another program kept it busy; try again",
        ),
        (ffi::SQLITE_IOERR_LOCK, "set XDG_CACHE_HOME to a folder on a local disk"),
        (ffi::SQLITE_PROTOCOL, "set XDG_CACHE_HOME to a folder on a local disk"),
        (ffi::SQLITE_IOERR_SHMMAP, "does not lock files"),
        (ffi::SQLITE_CANTOPEN, "make the folder writable"),
        (ffi::SQLITE_READONLY, "make the folder writable"),
        (ffi::SQLITE_IOERR_READ, "check the disk"),
    ] {
        assert!(told(code).contains(said), "{code}: {}", told(code));
    }
}
