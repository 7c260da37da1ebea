//! Who owns a pool: a file that one process at a time has locked, and that says who that is. The system frees
//! the lock when the process ends, however it ends.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::JournalError;
use super::error::of_folder;
use crate::model::PoolId;

/// A pool's lock, held. Dropping it frees the pool.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Its computer.
    pub host: String,
    /// Its program's file.
    pub program: String,
    /// Since when, by that computer's clock.
    pub since: SystemTime,
}

impl Lock {
    /// Takes the lock of a pool: by its name, or by its id when it has none. One that others have is asked for
    /// again for so long, as who only looks has it for a moment.
    pub(super) fn take(
        folder: &Path,
        (pool, name): (&PoolId, Option<&str>),
        patience: Duration,
    ) -> Result<Self, JournalError> {
        let (path, end) = (place(folder, pool, name), Instant::now() + patience);
        let failed = |error: io::Error| of_folder(folder, &error);
        let parent = folder.join(LOCKS);
        loop {
            DirBuilder::new().recursive(true).mode(0o700).create(&parent).map_err(failed)?;
            let file = match options().create(true).open(&path) {
                // Its last holder has just removed the folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.map_err(failed)?,
            };
            match file.try_lock() {
                Ok(()) if is_current(&file, &path) => {
                    let mut lock = Self { file, path };
                    lock.sign().map_err(failed)?;
                    return Ok(lock);
                }
                // Its last holder has removed the file meanwhile.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let pool = name.unwrap_or(pool.as_str()).to_owned();
                    return Err(JournalError::Held { pool, holder: read(file) });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    /// Who holds the lock of a pool, if anybody does.
    pub(super) fn holder(folder: &Path, pool: &PoolId, name: Option<&str>) -> Option<Holder> {
        let file = options().open(place(folder, pool, name)).ok()?;
        matches!(file.try_lock(), Err(TryLockError::WouldBlock)).then(|| read(file))
    }

    /// Removes the files of those who were killed.
    pub(super) fn sweep(folder: &Path) {
        for path in fs::read_dir(folder.join(LOCKS)).into_iter().flatten().flatten().map(|it| it.path()) {
            if let Ok(file) = options().open(&path)
                && file.try_lock().is_ok()
                && is_current(&file, &path)
            {
                drop(Self { file, path });
            }
        }
    }

    /// Whether it keeps others out: somebody may have removed its file.
    pub(super) fn is_current(&self) -> bool {
        is_current(&self.file, &self.path)
    }

    fn sign(&mut self) -> io::Result<()> {
        let holder = Holder {
            pid: std::process::id(),
            host: host(),
            program: std::env::current_exe().map_or_else(|_| String::new(), |it| it.display().to_string()),
            since: SystemTime::now(),
        };
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&serde_json::to_vec(&holder).map_err(io::Error::other)?)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked, and only if it is: who lost it leaves the next holder's alone.
        if !self.is_current() {
            return;
        }
        let _ = fs::remove_file(&self.path);
        if let Some(locks) = self.path.parent() {
            // Fails as long as there are others.
            let _ = fs::remove_dir(locks);
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = self.since.elapsed().unwrap_or_default().as_secs();
        write!(f, "process {} on {} ({}), for {age} s", self.pid, self.host, self.program)
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).truncate(false).mode(0o600);
    options
}

fn place(folder: &Path, pool: &PoolId, name: Option<&str>) -> PathBuf {
    let file = name.map_or_else(|| format!("id-{pool}"), |it| format!("name-{it}"));
    folder.join(LOCKS).join(file)
}

/// Whether the file of this name is still the one that is open here.
fn is_current(file: &File, path: &Path) -> bool {
    let told = |it: fs::Metadata| (it.dev(), it.ino());
    file.metadata().ok().map(told) == fs::metadata(path).ok().map(told)
}

/// What its holder has written. It may be writing just now.
fn read(mut file: File) -> Holder {
    let mut text = Vec::new();
    let _ = (&mut file).take(LONGEST).read_to_end(&mut text);
    let nobody = || Holder {
        pid: 0,
        host: "this computer".into(),
        program: "unknown".into(),
        since: SystemTime::now(),
    };
    serde_json::from_slice(&text).unwrap_or_else(|_| nobody())
}

/// What this computer calls itself.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "this computer".to_owned() } else { name.to_owned() }
}

/// The folder of all locks.
const LOCKS: &str = "locks";

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Bytes of what a holder writes, at most.
const LONGEST: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_who_is_named_and_it_is_free_when_that_one_is_gone() {
        let home = tempfile::tempdir().expect("made");
        let pool = PoolId::new("p1");
        let take = |name| Lock::take(home.path(), (&pool, name), Duration::ZERO);
        assert_eq!(Lock::holder(home.path(), &pool, Some("train")), None);
        let held = take(Some("train")).expect("free");
        let refused = take(Some("train")).expect_err("held");
        let told = refused.to_string();
        let own = format!("pool train is in use by process {} on ", std::process::id());
        assert!(told.starts_with(&own), "{told}");
        assert!(Lock::holder(home.path(), &pool, Some("train")).is_some());
        let other = take(None).expect("another");
        drop(held);
        assert_eq!(Lock::holder(home.path(), &pool, Some("train")), None);
        drop(take(Some("train")).expect("free again"));
        let killed = home.path().join(LOCKS).join("id-p2");
        fs::write(&killed, "what a program left that was killed").expect("written");
        Lock::sweep(home.path());
        assert!(!killed.exists() && Lock::holder(home.path(), &pool, None).is_some());
        drop(other);
        assert!(!home.path().join(LOCKS).exists());
    }

    #[test]
    fn who_lost_its_lock_leaves_the_one_of_the_next_holder_alone() {
        let home = tempfile::tempdir().expect("made");
        let pool = PoolId::new("p1");
        let take = || Lock::take(home.path(), (&pool, None), Duration::ZERO);
        let lost = take().expect("free");
        fs::remove_file(home.path().join(LOCKS).join("id-p1")).expect("removed");
        let next = take().expect("free again");
        assert!(!lost.is_current() && next.is_current());
        drop(lost);
        assert!(next.is_current() && Lock::holder(home.path(), &pool, None).is_some());
    }
}
