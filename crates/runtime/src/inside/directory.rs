//! The worker's directory: where functions start, and the only place that files are sent to and
//! fetched from. Told once, because a function may change the process's own.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Declares the worker's directory. Later calls change nothing.
pub fn declare_directory(directory: PathBuf) {
    let _ = DIRECTORY.set(directory);
}

/// The worker's directory; `None` outside of a worker.
pub fn directory() -> Option<&'static Path> {
    DIRECTORY.get().map(PathBuf::as_path)
}
