//! What the Supervisor hears.

use ractor_cluster::RactorMessage;
use tokio::sync::oneshot;

use crate::model::PoolId;
use crate::pool::{Pool, PoolRequest, StartError};

/// Messages of the Supervisor.
#[derive(Debug, RactorMessage)]
pub(super) enum SupervisorMessage {
    /// Open a pool.
    Open {
        /// What it shall be.
        request: Box<PoolRequest>,
        /// Where the handle goes; the pool is still starting then.
        reply: oneshot::Sender<Result<Pool, StartError>>,
    },
    /// A pool has ended.
    Ended {
        /// Which.
        pool: PoolId,
    },
    /// Stop all pools and open no more.
    StopAll {
        /// Told when the last one has ended.
        done: oneshot::Sender<()>,
    },
}
