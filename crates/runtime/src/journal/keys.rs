//! The keys of a pool as files: a folder for each pool, whole or not there, readable by its owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::model::{PoolId, Secret};

/// Writes the keys of a pool, each under its name. What is there is replaced.
pub(super) fn save(folder: &Path, pool: &PoolId, keys: &[(&str, Secret<Vec<u8>>)]) -> io::Result<()> {
    let place = place(folder, pool)?;
    let draft = place.with_extension("draft");
    remove_folder(&draft)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&draft)?;
    for (name, key) in keys {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(draft.join(name))?;
        file.write_all(key.reveal())?;
        file.sync_all()?;
    }
    File::open(&draft)?.sync_all()?;
    remove_folder(&place)?;
    fs::rename(&draft, &place)?;
    // The name is to last as well as what it names.
    place.parent().map_or(Ok(()), |it| File::open(it)?.sync_all())
}

/// One key of a pool.
pub(super) fn read(folder: &Path, pool: &PoolId, name: &str) -> io::Result<Secret<Vec<u8>>> {
    fs::read(place(folder, pool)?.join(name)).map(Secret::new)
}

/// Removes the keys of a pool. None there is as good.
pub(super) fn remove(folder: &Path, pool: &PoolId) -> io::Result<()> {
    let place = place(folder, pool)?;
    remove_folder(&place.with_extension("draft"))?;
    remove_folder(&place)?;
    // Fails as long as there are others.
    let _ = fs::remove_dir(folder.join(KEYS));
    Ok(())
}

/// The pools that have keys here, in order.
pub(super) fn pools_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join(KEYS)).into_iter().flatten().flatten();
    let mut pools: Vec<String> = entries.filter_map(|it| it.file_name().into_string().ok()).collect();
    pools.retain(|it| !it.ends_with(".draft"));
    pools.sort_unstable();
    pools
}

fn place(folder: &Path, pool: &PoolId) -> io::Result<PathBuf> {
    // It becomes a step of a path, and must not lead elsewhere.
    let plain = pool.as_str().chars().all(|it| it.is_ascii_alphanumeric()) && !pool.as_str().is_empty();
    if plain { Ok(folder.join(KEYS).join(pool.as_str())) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The folder of all keys.
const KEYS: &str = "keys";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_their_owner_can_read_keys_and_they_can_be_removed_twice() {
        let home = tempfile::tempdir().expect("made");
        let pool = PoolId::new("p1");
        for text in ["one", "two"] {
            let keys = [("a", Secret::new(text.into())), ("b", Secret::new(b"x".to_vec()))];
            save(home.path(), &pool, &keys).expect("saved");
        }
        assert_eq!(read(home.path(), &pool, "a").expect("read").reveal(), b"two");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&home.path().join("keys/p1")), 0o700);
        assert_eq!(mode(&home.path().join("keys/p1/a")), 0o600);
        assert_eq!(pools_in(home.path()), ["p1"]);
        for _ in 0..2 {
            remove(home.path(), &pool).expect("removed");
        }
        assert!(!home.path().join("keys").exists());
        assert!(read(home.path(), &PoolId::new("../p1"), "a").is_err());
    }
}
