//! One opened file: made when it is missing, refused when it is not ours.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::{Fault, of_folder};
use super::schema::{FILE, NAMES, SCHEMA, VERSION};
use super::{CatalogError, place};

/// The catalog's file, open for reading and writing.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Which file it was: the one of this name may be another by now.
    identity: Option<(u64, u64)>,
}

impl Opened {
    /// Opens the file in this folder. The caller holds the folder's lock.
    pub(super) fn open(folder: &Path, busy: Duration) -> Result<Self, Fault> {
        let path = folder.join(FILE);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(busy)?;
        // Readers then go on while somebody writes. A file system without shared memory answers with
        // the mode that it stays in.
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |it| it.get(0))?;
        if !mode.eq_ignore_ascii_case("wal") {
            let reason = format!("its file system has no shared memory (journal mode {mode})");
            return Err(Fault::Final(CatalogError::NoLocking { folder: folder.to_owned(), reason }));
        }
        // A power cut may lose the last offers, which can be read again, but not spoil the file.
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        let version: i32 = connection.pragma_query_value(None, "user_version", |it| it.get(0))?;
        match (version, missing(&connection)?) {
            (VERSION, None) => {}
            (0, Some(Missing::Everything)) => {
                let transaction = connection.transaction()?;
                transaction.execute_batch(SCHEMA)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
                transaction.commit()?;
            }
            _ => return Err(Fault::Damaged(foreign(folder))),
        }
        Ok(Self { connection, identity: identity(folder) })
    }

    /// Why the file is not ours, when something else than what we made is in it.
    pub(super) fn foreign(&self, folder: &Path) -> Option<String> {
        matches!(missing(&self.connection), Ok(Some(_))).then(|| foreign(folder))
    }

    /// Whether the file of this name is still the one that is open here.
    pub(super) fn is_current(&self, folder: &Path) -> bool {
        self.identity.is_some() && self.identity == identity(folder)
    }
}

/// How the tables differ from ours.
enum Missing {
    /// There are none, of anybody.
    Everything,
    /// There are others.
    Some,
}

fn missing(connection: &Connection) -> rusqlite::Result<Option<Missing>> {
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")?;
    let names: Vec<String> = statement.query_map([], |it| it.get(0))?.collect::<Result<_, _>>()?;
    Ok(match names.as_slice() {
        [] => Some(Missing::Everything),
        names if names == NAMES => None,
        _ => Some(Missing::Some),
    })
}

fn foreign(folder: &Path) -> String {
    format!("{} holds something else", folder.join(FILE).display())
}

/// Moves the damaged file aside, unless somebody else has done so since `seen` was opened. The caller
/// holds the folder's lock.
pub(super) fn set_aside(folder: &Path, seen: Option<&Opened>) -> Result<(), CatalogError> {
    if seen.is_some_and(|it| !it.is_current(folder)) {
        return Ok(());
    }
    let path = folder.join(FILE);
    let beside = |end: &str| PathBuf::from(format!("{}{end}", path.display()));
    let moved = [
        fs::rename(&path, beside(".damaged")),
        fs::remove_file(beside("-wal")),
        fs::remove_file(beside("-shm")),
    ];
    for error in moved.into_iter().filter_map(Result::err) {
        if error.kind() != std::io::ErrorKind::NotFound {
            return Err(of_folder(folder, &error));
        }
    }
    Ok(())
}

/// Takes the folder's lock and opens the file; makes it anew, and says why, when it is damaged.
pub(super) fn open_or_rebuild(
    folder: &Path,
    busy: Duration,
    damaged: Option<(&Opened, String)>,
) -> Result<(Opened, Option<String>), CatalogError> {
    let _claim = place::claim(folder, busy)?;
    let mut why = None;
    if let Some((seen, damage)) = damaged {
        set_aside(folder, Some(seen))?;
        why = Some(damage);
    }
    match Opened::open(folder, busy) {
        Ok(opened) => Ok((opened, why)),
        Err(fault) => {
            let Some(damage) = fault.damage() else { return Err(fault.told(folder, "open")) };
            set_aside(folder, None)?;
            let opened = Opened::open(folder, busy).map_err(|it| it.told(folder, "open"))?;
            Ok((opened, Some(damage)))
        }
    }
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    let told = |it: Metadata| (it.dev(), it.ino());
    fs::metadata(folder.join(FILE)).ok().map(told)
}

/// How much of the file SQLite may keep in memory. Less reads a large catalog from the system again and
/// again; the system's own cache makes that bearable.
const CACHE_KIB: i64 = 32 * 1024;
