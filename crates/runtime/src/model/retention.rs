//! How much a worker keeps of what its client has not taken yet.

use serde::{Deserialize, Serialize};

/// How much of outcomes a worker keeps while they cannot be delivered, or have not been taken. When both
/// are full it takes no new work until some of it was taken; nothing that it has is dropped.
///
/// ```
/// use skyward_runtime::model::{Retention, Worker};
/// let retention = Retention { memory: 16 << 20, ..Retention::default() };
/// let worker = Worker { retention, ..Worker::default() };
/// assert_eq!(worker.retention.disk, 4 << 30);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// In memory, in bytes. Default 64 MiB. What is more goes to a file of the worker's own directory.
    /// Less makes outcomes that end during a broken link wait for the disk; more takes memory from tasks.
    pub memory: u64,
    /// In that file, in bytes. Default 4 GiB; 0: no file. The file has no name, so that nothing is left of
    /// it however the worker ends.
    pub disk: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { memory: 64 << 20, disk: 4 << 30 }
    }
}
