//! What every node of a pool is given: the pool's keys, plan and ways to reach things.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use super::probe::Probe;
use crate::bootstrap::{Includes, Plan, Program};
use crate::control::Cluster;
use crate::events::Events;
use crate::journal::Record;
use crate::link::{Authority, Dialer};
use crate::model::{Carrier, Epoch, Mode, Secret, Worker};
use crate::provider::{ProviderRef, Request};
use crate::spread::Spreads;
use crate::ssh::ClientKey;
use crate::timing::Timing;

/// What the nodes of one pool share.
#[derive(Debug)]
pub struct NodeKit {
    /// The provider that rented the machines.
    pub provider: ProviderRef,
    /// What the provider is told about the pool.
    pub request: Arc<Request>,
    /// What a machine must become.
    pub plan: Plan,
    /// The files that are copied to it.
    pub includes: Includes,
    /// How machines have them of each other, where they do.
    pub files: Option<Spreads>,
    /// The program that becomes the worker.
    pub program: ProgramCell,
    /// The client's SSH key.
    pub ssh_key: ClientKey,
    /// Who signs the nodes' certificates.
    pub authority: Arc<Authority>,
    /// The client's end of every link.
    pub dialer: Dialer,
    /// The client's end of the control plane.
    pub cluster: Cluster,
    /// The shared secret of the cluster's handshake.
    pub cookie: Secret<String>,
    /// This ownership of the pool.
    pub epoch: Epoch,
    /// What functions may ask for by name.
    pub secrets: BTreeMap<String, Secret<String>>,
    /// How a node runs tasks.
    pub worker: Worker,
    /// How it is known whether a node is well.
    pub probe: Option<Probe>,
    /// What the links run over.
    pub carrier: Carrier,
    /// What the nodes are to each other.
    pub mode: Mode,
    /// Every time-out.
    pub timing: Timing,
    /// Where facts go.
    pub events: Events,
    /// The pool's entry in the journal, if it has one.
    pub record: Option<Arc<Record>>,
}

/// The program that nodes run, read and packed once for all that share it, while machines boot.
#[derive(Clone)]
pub struct ProgramCell {
    packed: Shared<BoxFuture<'static, Result<Arc<Program>, String>>>,
}

impl ProgramCell {
    /// Begins to pack the program in this file, by default the running one, compressed when `compress` is set.
    pub fn start(file: Option<PathBuf>, compress: bool) -> Self {
        let what = file.as_ref().map_or("the running program".to_owned(), |it| it.display().to_string());
        let packing = tokio::task::spawn_blocking(move || match file {
            Some(file) => Program::of_file(&file, compress),
            None => Program::of_running(compress),
        });
        let packed = async move {
            match packing.await {
                Ok(Ok(program)) => Ok(Arc::new(program)),
                Ok(Err(error)) => Err(format!("failed to read {what}: {error}")),
                Err(error) => Err(format!("failed to pack {what}: {error}")),
            }
        };
        Self { packed: packed.boxed().shared() }
    }

    /// The packed program.
    ///
    /// # Errors
    /// Why it could not be read, in words.
    pub async fn get(&self) -> Result<Arc<Program>, String> {
        self.packed.clone().await
    }
}

impl std::fmt::Debug for ProgramCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProgramCell").finish_non_exhaustive()
    }
}
