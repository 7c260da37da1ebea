//! The opened file: made when it is missing, left alone when it is not ours.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::JournalError;
use super::error::{of_file, of_folder};
use super::schema::{FILE, SCHEMA, VERSION};

/// Opens the file in this folder, both made where they are missing, readable by this user alone.
pub(super) fn open(folder: &Path, busy: Duration) -> Result<Connection, JournalError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| of_folder(folder, &error))?;
    let path = folder.join(FILE);
    // SQLite would make it readable by others.
    private(&path).map_err(|error| of_folder(folder, &error))?;
    let failed = |error: rusqlite::Error| of_file(folder, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
    connection.busy_timeout(busy).map_err(failed)?;
    let version: i32 = connection.pragma_query_value(None, "user_version", |it| it.get(0)).map_err(failed)?;
    if version > VERSION {
        return Err(JournalError::TooNew { folder: folder.to_owned(), version });
    }
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |it| it.get(0)).map_err(failed)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let reason = format!("its file system has no shared memory (journal mode {mode})");
        return Err(JournalError::Access { folder: folder.to_owned(), reason });
    }
    // An intent that a power cut takes away is a machine that nobody knows of.
    connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    make(&mut connection).map_err(failed)?;
    Ok(connection)
}

/// Makes the tables, unless another program has just done so.
fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    let version = |it: &Connection| it.pragma_query_value(None, "user_version", |it| it.get::<_, i32>(0));
    if version(connection)? == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if version(&transaction)? == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()
}

fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}
