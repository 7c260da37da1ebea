//! Whether a folder can hold the catalog: a file system that really locks files.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::CatalogError;
use super::error::of_folder;

/// Makes the folder and takes its lock, which keeps others out while the file is made or made anew.
/// It is given back when the answer is dropped, or the process ends.
pub(super) fn claim(folder: &Path, busy: Duration) -> Result<File, CatalogError> {
    fs::create_dir_all(folder).map_err(|error| of_folder(folder, &error))?;
    if let Some(name) = network_file_system(folder) {
        let reason = format!("it is on {name}, which is shared between machines");
        return Err(CatalogError::NoLocking { folder: folder.to_owned(), reason });
    }
    let options = File::options().create(true).truncate(false).read(true).write(true).open(folder.join(LOCK));
    let file = options.map_err(|error| of_folder(folder, &error))?;
    wait(folder, busy, || file.try_lock())?;
    Ok(file)
}

/// Asks for a lock until it is there, or the time is over.
fn wait(
    folder: &Path,
    busy: Duration,
    mut ask: impl FnMut() -> Result<(), TryLockError>,
) -> Result<(), CatalogError> {
    let folder = folder.to_owned();
    let end = Instant::now() + busy;
    loop {
        match ask() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(CatalogError::Busy { folder, doing: "open" }),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => {
                let reason = format!("its file system does not lock files ({error})");
                return Err(CatalogError::NoLocking { folder, reason });
            }
        }
    }
}

/// The name of the network file system that the folder is on. Their locks work on some servers and on
/// others only seem to, and SQLite's shared memory works on none.
#[cfg(target_os = "linux")]
fn network_file_system(folder: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(folder).ok()?.f_type;
    // The type of the field differs between targets; the numbers have 32 bits.
    named(u32::try_from(kind & 0xffff_ffff).ok()?)
}

#[cfg(target_os = "linux")]
fn named(kind: u32) -> Option<&'static str> {
    match kind {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("an SMB share"),
        0x0102_1997 => Some("a 9p share"),
        0x00c3_6400 => Some("Ceph"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        0x4750_4653 => Some("GPFS"),
        _ => None,
    }
}

/// Elsewhere the locks themselves tell.
#[cfg(not(target_os = "linux"))]
const fn network_file_system(_: &Path) -> Option<&'static str> {
    None
}

/// The name of the file that is locked.
const LOCK: &str = "offers.lock";

/// Between two tries for a lock that is held for some milliseconds.
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_refuses_a_lock_is_refused_with_what_to_do() {
        let folder = Path::new("/share/cache");
        for errno in [rustix::io::Errno::NOLCK, rustix::io::Errno::OPNOTSUPP, rustix::io::Errno::NOSYS] {
            let error =
                wait(folder, Duration::ZERO, || Err(TryLockError::Error(errno.into()))).expect_err("refused");
            assert!(matches!(error, CatalogError::NoLocking { .. }), "{error}");
            let text = error.to_string();
            assert!(
                text.starts_with("failed to open the catalog of offers in /share/cache: its file system"),
                "{text}"
            );
            assert!(text.ends_with("set XDG_CACHE_HOME to a folder on a local disk"), "{text}");
        }
    }

    #[test]
    fn a_lock_that_another_holds_is_waited_for_and_then_given_up() {
        let folder = Path::new("/cache");
        let mut asked = 0;
        wait(folder, Duration::from_secs(60), || {
            asked += 1;
            if asked < 3 { Err(TryLockError::WouldBlock) } else { Ok(()) }
        })
        .expect("it is given the third time");
        let error = wait(folder, Duration::ZERO, || Err(TryLockError::WouldBlock)).expect_err("never given");
        assert!(matches!(error, CatalogError::Busy { .. }), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn shares_between_machines_are_told_from_disks() {
        assert_eq!(named(0x6969), Some("NFS"));
        assert_eq!(named(0xfe53_4d42), Some("an SMB share"));
        for local in [0xef53, 0x0102_1994, 0x794c_7630, 0x5846_5342, 0x9123_683e] {
            assert_eq!(named(local), None, "{local:x}");
        }
        assert_eq!(network_file_system(&std::env::temp_dir()), None);
    }

    #[test]
    fn the_lock_is_free_again_when_its_holder_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = claim(folder.path(), Duration::ZERO).expect("it is free");
        assert!(matches!(claim(folder.path(), Duration::ZERO), Err(CatalogError::Busy { .. })));
        drop(held);
        claim(folder.path(), Duration::ZERO).expect("it is free again");
    }
}
