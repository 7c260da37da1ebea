//! The opened file: made when it is missing, left alone when it is not ours.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
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
    is_own(folder)?;
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

/// Whoever can write in the folder can put a journal of theirs in the place of this one, whose settings say where the
/// user's keys are sent.
fn is_own(folder: &Path) -> Result<(), JournalError> {
    let failed = |error: std::io::Error| of_folder(folder, &error);
    let exposed = |reason| Err(JournalError::Exposed { folder: folder.to_owned(), reason });
    let (told, own) = (folder.metadata().map_err(failed)?, rustix::process::geteuid().as_raw());
    let file = folder.join(FILE).metadata().ok();
    let owners = [Some(told.uid()), file.map(|it| it.uid())];
    if let Some(other) = owners.into_iter().flatten().find(|it| ![own, 0].contains(it)) {
        return exposed(format!("it belongs to the user with the number {other}"));
    }
    let mode = told.mode() & 0o7777;
    if mode & ALL_WRITE == 0 { Ok(()) } else { exposed(format!("its mode {mode:o} lets everybody write")) }
}

/// The bit of a mode by which everybody writes. The group may be the user's own, as on many systems it is.
const ALL_WRITE: u32 = 0o002;

/// Makes the file, for this user alone. One that is there is not opened: when it is closed again, the system forgets the
/// locks that SQLite has on it for other pools of this process.
fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    match std::fs::OpenOptions::new().create_new(true).write(true).mode(OWN).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => return made.map(drop),
    }
    // SQLite says no more than that it cannot open it.
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?;
    let mode = path.metadata()?.mode() & 0o777;
    if mode & !OWN == 0 {
        Ok(())
    } else {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(OWN))
    }
}

/// The mode of what only its owner reads and writes.
const OWN: u32 = 0o600;

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

#[test]
fn opening_it_again_keeps_the_locks_of_this_process_and_takes_it_from_others() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().expect("made");
    let file = home.path().join(FILE);
    let writer = open(home.path(), Duration::from_secs(1)).expect("opened");
    writer.execute_batch("BEGIN IMMEDIATE").expect("begun");
    let locks = || {
        let inode = format!(":{} ", file.metadata().expect("there").ino());
        let all = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        all.lines().filter(|it| it.contains(&inode)).count()
    };
    let before = locks();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("set");
    private(&file).expect("private");
    assert_eq!((locks(), file.metadata().expect("there").mode() & 0o777), (before, 0o600));
}

#[test]
fn a_folder_of_others_or_that_everybody_can_write_is_refused() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let home = tempfile::tempdir().expect("made");
    let folder = home.path().join("state");
    drop(open(&folder, Duration::from_secs(1)).expect("opened"));
    let refused = || open(&folder, Duration::from_secs(1)).expect_err("refused").to_string();
    let set = |mode| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).expect("set");
    set(0o777);
    let told = refused();
    assert!(told.contains("its mode 777 lets everybody write") && told.contains("chmod go-w"), "{told}");
    set(0o775);
    drop(open(&folder, Duration::from_secs(1)).expect("opened"));
    // Only root can give a file away.
    if rustix::process::geteuid().is_root() {
        chown(folder.join(FILE), Some(4242), None).expect("given");
        let told = refused();
        assert!(
            told.contains("belongs to the user with the number 4242") && told.contains("chown"),
            "{told}"
        );
    }
}
