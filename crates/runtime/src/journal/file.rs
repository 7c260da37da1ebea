//! The opened file: made when it is missing, left alone when it is not ours.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::{of_file, of_folder};
use super::schema::{FILE, STEPS, VERSION};
use super::{JournalError, network};

/// Opens the file in this folder, both made where they are missing, readable by this user alone.
pub(super) fn open(folder: &Path, busy: Duration) -> Result<Connection, JournalError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| of_folder(folder, &error))?;
    if let Some(kind) = network::kind(folder) {
        return Err(JournalError::Elsewhere { folder: folder.to_owned(), kind });
    }
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

/// Makes the tables, or makes those of an older version new, unless another program has just done so.
fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    let version = |it: &Connection| it.pragma_query_value(None, "user_version", |it| it.get::<_, i32>(0));
    if version(connection)? == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = usize::try_from(version(&transaction)?).unwrap_or(0);
    STEPS.iter().skip(done).try_for_each(|step| transaction.execute_batch(step))?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}

#[test]
fn a_file_of_an_older_version_is_made_new_and_keeps_what_it_has() {
    let home = tempfile::tempdir().expect("made");
    let read = |text: &str| {
        let journal = open(home.path(), Duration::from_secs(1)).expect("opened");
        journal.query_row(text, [], |row| row.get::<_, Option<String>>(0)).expect("read")
    };
    let old = Connection::open(home.path().join(FILE)).expect("made");
    for (version, step) in (1..).zip(STEPS.iter().take(1)) {
        old.execute_batch(step).expect("made");
        old.pragma_update(None, "user_version", version).expect("set");
    }
    let rows = "INSERT INTO pools VALUES ('p', 'n', 'x', 'y', 1, 0, 1, 1);
                INSERT INTO deeds (pool, kind, provider, settings, request, terms, begun_ms)
                VALUES ('p', 'prepare', 'c', '{}', '{}', '', 1)";
    old.execute_batch(rows).expect("written");
    drop(old);
    for _ in 0..2 {
        assert_eq!(read("SELECT provider FROM deeds").as_deref(), Some("c"));
        assert_eq!(read("SELECT account FROM deeds"), None);
    }
}
