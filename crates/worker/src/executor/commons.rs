//! Values that calls share, as files for the processes of a node's tasks: each is written once, and read by a
//! process the first time that one of its tasks asks for it. Only their owner can read them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

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
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let draft = folder.join(format!("{name}.part"));
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

/// Where it is below the home of the worker.
const FOLDER: &str = ".skyward/shared";
