//! What all parts of the worker share.

use std::sync::{Arc, Mutex};

use skyward_runtime::program::WorkerStart;
use skyward_runtime::registry::Registry;
use tokio::sync::Semaphore;

use crate::executor::Executor;
use crate::keep::Keep;
use crate::lease::Lease;
use crate::mesh::Mesh;
use crate::notice::Fate;
use crate::output::Output;
use crate::paces::Paces;
use crate::seat::Seat;
use crate::shares::Shares;
use crate::slots::Slots;

/// The worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) start: WorkerStart,
    pub(crate) registry: &'static Registry,
    pub(crate) slots: Slots,
    pub(crate) paces: Paces,
    pub(crate) executor: Executor,
    pub(crate) output: Arc<Output>,
    pub(crate) lease: Lease,
    pub(crate) seat: Seat,
    pub(crate) keep: Keep,
    pub(crate) fate: Fate,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) shares: Mutex<Shares>,
    /// Who may probe: one at a time.
    pub(crate) probes: Arc<Semaphore>,
}
