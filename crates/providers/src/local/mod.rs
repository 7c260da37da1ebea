//! Machines on this computer: each is a child process of the running program with a directory and an
//! SSH server of its own, so that a laptop walks the same road as a cloud.
//!
//! ```text
//! provision --directory made, its log locked, process started--> Pending
//! Pending --the machine answers its port and host key--> Running
//! Running --SIGTERM | lease lapsed | die_after--> all below it killed, directory removed --> Gone
//! Running --killed or frozen--> terminate kills what is left and removes the directory
//! everything lost power --> the next pool's prepare sweeps directories whose lock nobody holds
//! ```

mod config;
mod end;
mod environment;
mod launch;
mod machine;
mod offer;
mod place;
mod process;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream, StreamExt};
use skyward_runtime::model::{
    Capabilities, Instance, InstanceId, InstanceState, Leftover, Loss, Notice, Offer,
};
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request};

use config::{MachineStart, Record};
use launch::{Machine, lock, running};
use place::{Place, advice, list, remove_empty};

pub use machine::main as machine_main;

pub(crate) use config::{CONTAINER_END, CONTAINER_KEY, container_order};

/// Machines on this computer. Needs nothing installed; a program whose `main` begins with
/// `skyward::init()` can use it.
///
/// ```
/// use skyward_providers::local::{Faults, Local};
/// use std::time::Duration;
/// let slow = Local::default().faults(Faults { boot_delay: Duration::from_secs(1), ..Faults::default() });
/// ```
///
/// A machine has as little of this program's environment as a rented one would have: `PATH`, the language, where
/// temporary files, libraries and accelerators are, `RUST_LOG` and `RUST_BACKTRACE`, and proxies, certificates and
/// package indices without a login (`…@`) in their address. Keys stay here; `Image::env` gives the rest.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Local {
    /// Where the machines' directories are made. Default: `skyward-<user id>` in the system's
    /// temporary directory. It is removed in the end if it was not there before.
    pub directory: Option<PathBuf>,
    /// What should go wrong, for tests.
    pub faults: Faults,
    refused: AtomicU32,
    known: Known,
}

/// Misfortunes of machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// How long a machine takes to boot, on top of what it needs.
    pub boot_delay: Duration,
    /// How many requests for machines are refused for lack of capacity, the first ones.
    pub refuse: u32,
    /// How long after its boot each machine loses power.
    pub die_after: Option<Duration>,
    /// The machines say that UDP does not reach them.
    pub no_udp: bool,
    /// The machines' SSH servers run commands but forward no connections.
    pub no_forwarding: bool,
    /// How often each machine looks for a file `notice` in its home directory, which says in how many seconds the
    /// machine will be taken. Default: it does not look.
    pub notices: Option<Duration>,
}

/// The machines that this program started and has not given back.
#[derive(Default)]
struct Known {
    place: Mutex<Option<Place>>,
    machines: Mutex<BTreeMap<InstanceId, Arc<Machine>>>,
}

impl Local {
    /// Keeps the machines' directories below this one.
    #[must_use]
    pub fn directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { directory: Some(directory.into()), ..self }
    }

    /// Lets things go wrong.
    #[must_use]
    pub fn faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    fn place(&self) -> Place {
        let mut place = lock(&self.known.place);
        place.get_or_insert_with(|| Place::new(self.directory.as_deref())).clone()
    }

    fn notice(&self) -> Notice {
        let look = |every| Notice::Command { shell: String::from("cat \"$HOME/notice\""), every };
        self.faults.notices.map_or(Notice::None, look)
    }

    fn known(&self, id: &InstanceId) -> Option<Arc<Machine>> {
        lock(&self.known.machines).get(id).cloned()
    }

    async fn start(&self, request: &Request) -> Result<Instance, ProviderError> {
        let place = self.place();
        let plot = place.plot(&request.pool)?;
        let directory = plot.directory.clone();
        let start = MachineStart {
            directory: directory.clone(),
            above: place.above(&request.pool)?,
            authorized: request.ssh_key.clone(),
            lease: request.lease,
            forwards: !self.faults.no_forwarding,
            boot_delay: self.faults.boot_delay,
            die_after: self.faults.die_after,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            is_container: false,
        };
        match Machine::start(plot, &start).await {
            Ok(machine) => {
                let id = machine.id.clone();
                lock(&self.known.machines).insert(id.clone(), Arc::new(machine));
                Ok(Instance { id, state: InstanceState::Pending })
            }
            Err(error) => {
                place::clear(&directory);
                remove_empty(&start.above);
                Err(error)
            }
        }
    }

    async fn end(&self, request: &Request, id: &InstanceId) -> Result<(), String> {
        let directory = self.place().machine(&request.pool, id).map_err(|it| it.to_string())?;
        let machine = self.known(id);
        end::end(machine.as_deref(), &directory).await?;
        lock(&self.known.machines).remove(id);
        Ok(())
    }

    async fn end_all(&self, request: &Request, ids: &[InstanceId]) -> Vec<Leftover> {
        let ended = join_all(ids.iter().map(|id| self.end(request, id))).await;
        let failed = ids.iter().zip(ended);
        failed
            .filter_map(|(id, ended)| {
                ended.err().map(|reason| Leftover { what: format!("local machine {id}"), reason })
            })
            .collect()
    }
}

#[async_trait]
impl Provider for Local {
    fn name(&self) -> &str {
        "local"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            ends_itself: true,
            udp: !self.faults.no_udp,
            same_computer: true,
            peers: true,
            ..Capabilities::NONE
        }
    }

    fn settings(&self) -> String {
        serde_json::json!({ "directory": self.directory }).to_string()
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        stream::iter([Ok(offer::offer())]).boxed()
    }

    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        let place = self.place();
        place.pool(&request.pool)?;
        place.open()?;
        let swept = tokio::task::spawn_blocking(move || place.sweep());
        swept.await.map_err(|error| {
            ProviderError::new(ProviderErrorKind::Local, "failed to sweep dead machines").because(error)
        })
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        let refusing = |done: u32| (done < self.faults.refuse).then(|| done + 1);
        if self.refused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refusing).is_ok() {
            let message = "no local machine is free (refused on request, by Faults::refuse)";
            return Err(ProviderError::new(ProviderErrorKind::NoCapacity, message));
        }
        let mut instances = Vec::new();
        for _ in 0..count {
            match self.start(request).await {
                Ok(instance) => instances.push(instance),
                Err(error) if instances.is_empty() => return Err(error),
                Err(error) => return Ok(Provisioned { instances, shortfall: Some(error) }),
            }
        }
        Ok(Provisioned { instances, shortfall: None })
    }

    async fn describe(&self, request: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        if let Some(machine) = self.known(id) {
            return Ok(Instance { id: id.clone(), state: machine.look(self.notice()).await });
        }
        let directory = self.place().machine(&request.pool, id)?;
        let state = match Record::read(&directory) {
            Some(Record { process, door }) if process.lives() => match door {
                Some(door) => running(&door, process.pid, directory, self.notice()),
                None => InstanceState::Pending,
            },
            Some(_) => {
                InstanceState::Gone { reason: String::from("its process is over"), loss: Loss::Crashed }
            }
            None => {
                InstanceState::Gone { reason: String::from("there is no such machine"), loss: Loss::Stopped }
            }
        };
        Ok(Instance { id: id.clone(), state })
    }

    async fn terminate(&self, request: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let left = self.end_all(request, ids).await;
        if left.is_empty() {
            return Ok(());
        }
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        let message = format!("failed to end {}; end what is left by hand", left.join(", "));
        Err(ProviderError::new(ProviderErrorKind::Transient, message))
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let place = self.place();
        let pool = place.pool(&request.pool)?;
        let listed = list(&pool);
        let mut ids: Vec<InstanceId> = listed
            .iter()
            .flatten()
            .filter_map(|it| Some(InstanceId::new(it.file_name()?.to_str()?)))
            .collect();
        // A machine that removed its own directory may still have a process to be reaped.
        let machines: Vec<Arc<Machine>> = lock(&self.known.machines).values().cloned().collect();
        let of_pool = machines.iter().filter(|it| it.directory.starts_with(&pool));
        ids.extend(of_pool.map(|it| it.id.clone()).filter(|id| !ids.contains(id)).collect::<Vec<_>>());
        let mut left = self.end_all(request, &ids).await;
        remove_empty(&place.above(&request.pool)?);
        if let Err(error) = listed
            && pool.exists()
        {
            let what = format!("local machines in {}", pool.display());
            left.push(Leftover { what, reason: format!("{error}{}", advice(&error)) });
        }
        Ok(left)
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("machines", &lock(&self.machines).len()).finish()
    }
}
