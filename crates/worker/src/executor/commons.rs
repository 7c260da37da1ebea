//! Values that calls share, as files for the processes of a node's tasks: each is written once, and read by a
//! process the first time that one of its tasks asks for it. Only their owner can read them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use skyward_runtime::inside;
use skyward_runtime::payload::CommonKey;

/// The folder that they lie in.
#[derive(Clone, Debug)]
pub(super) struct Commons(PathBuf);

impl Commons {
    /// Below this folder. What an earlier worker has left there goes.
    pub(super) fn new(home: &Path) -> Self {
        let folder = home.join(FOLDER);
        // There is none, most of the time.
        let _ = fs::remove_dir_all(&folder);
        Self(folder)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// Writes one, so that a reader sees all of it or nothing.
    pub(super) async fn keep(&self, key: &CommonKey, bytes: &bytes::Bytes) -> io::Result<()> {
        let (folder, name, bytes) = (self.0.clone(), inside::common_name(key), bytes.clone());
        let write = move || {
            // Two links may bring the same one at once; its name says what is in it.
            if folder.join(&name).exists() {
                return Ok(());
            }
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let draft = DRAFTS.fetch_add(1, Ordering::Relaxed);
            let draft = folder.join(format!("{name}.{draft}.part"));
            let written = File::create(&draft).and_then(|mut it| it.write_all(&bytes));
            match written.and_then(|()| fs::rename(&draft, folder.join(name))) {
                Ok(()) => Ok(()),
                Err(error) => {
                    let _ = fs::remove_file(&draft);
                    Err(error)
                }
            }
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }

    /// Removes one. Processes that have read it forget it before their next task.
    pub(super) fn forget(&self, key: &CommonKey) {
        let _ = fs::remove_file(self.0.join(inside::common_name(key)));
    }
}

/// How many have been begun.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// Where it is below the home of the worker.
const FOLDER: &str = ".skyward/shared";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn what_two_links_bring_is_written_once_and_whole() {
        let home = tempfile::tempdir().expect("a folder");
        let commons = Commons::new(home.path());
        let (key, bytes) = ([7; 40], bytes::Bytes::from(vec![1; 1 << 20]));
        let (one, two) = tokio::join!(commons.keep(&key, &bytes), commons.keep(&key, &bytes));
        assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
        let file = commons.folder().join(inside::common_name(&key));
        let written = || fs::metadata(&file).map(|it| it.ino()).expect("it is there");
        let before = written();
        commons.keep(&key, &bytes).await.expect("it is there already");
        assert_eq!((written(), fs::read(&file).expect("read")), (before, bytes.to_vec()));
        assert_eq!(fs::read_dir(commons.folder()).expect("read").count(), 1, "no draft is left");
        commons.forget(&key);
        assert!(!file.exists());
    }
}
