//! Who this process is in its pool, when it is a worker.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::model::{Incarnation, PoolId, Rank};

/// The node that a function runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceInfo {
    /// The pool.
    pub pool: PoolId,
    /// The node's rank.
    pub rank: Rank,
    /// The name of this life of the worker, unlike that of any other.
    pub name: Incarnation,
}

static INFO: OnceLock<InstanceInfo> = OnceLock::new();

impl InstanceInfo {
    /// Declares what this process is: a worker, once, before it takes tasks. Later calls change nothing.
    pub fn declare(pool: PoolId, rank: Rank, name: Incarnation) {
        let _ = INFO.set(Self { pool, rank, name });
    }
}

/// The node that this function runs on; `None` outside of a worker, as in `.local()` calls.
pub fn instance_info() -> Option<&'static InstanceInfo> {
    INFO.get()
}
