//! Containers on this computer, by docker, podman, nerdctl or Apple's `container`. The first process of each is this
//! program, as an SSH server of our own, so an image needs a shell and a C library and nothing else.
//!
//! ```text
//! prepare    runtime found, image there or pulled, dead pools swept, network made, guard started
//! provision  --run, a shell waits--> --program sent--> it is the server, says its key --> Running
//! Running    --lease lapsed | `kill` of the first process--> Ended: its last words are the reason --> Gone
//! terminate  removed; teardown: the network, too
//! this program killed --> containers end by their leases --> the guard removes them and the network
//! this computer lost power --> the next pool's prepare sweeps what has expired and does not run
//! ```
//!
//! Quirks: names, labels and last words are the runtime's to keep, so nothing is removed by `--rm`: a container that
//! died could not be asked why. A port is chosen here, because not every runtime can choose one.

mod command;
mod config;
mod engine;
mod failure;
mod guard;
mod launch;
mod map;
mod sweep;
#[cfg(feature = "testing")]
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream, StreamExt};
use skyward_runtime::bootstrap::Program;
use skyward_runtime::model::{
    Accelerator, Architecture, Capabilities, End, HostKey, Instance, InstanceId, InstanceState, InstanceType,
    Leftover, Loss, Notice, Offer, PoolId, Price, SshEndpoint,
};
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request};
use skyward_runtime::{random, usd};
use tokio::sync::OnceCell;

use crate::local::{CONTAINER_END, CONTAINER_KEY};
use crate::ssh::graphics;
use command::{Gpus, POOL, labels};
use engine::{Engine, PATIENCE, local};
use failure::Failure;
use guard::Guard;
use launch::{Launch, last_words, remove};
use map::{Life, Seen};
use sweep::sweep;

pub use config::Config;

/// The name of the provider, in settings and in offers.
const NAME: &str = "container";

/// Containers on this computer. Asks nobody before it is used.
///
/// ```
/// use skyward_providers::container::Container;
/// use skyward_runtime::pool::Spec;
/// let spec = Spec::on(Container::image("debian:bookworm-slim"));
/// ```
#[derive(Debug, Default)]
pub struct Container {
    config: Config,
    engine: OnceCell<Engine>,
    program: OnceCell<Arc<Program>>,
    guards: Mutex<BTreeMap<PoolId, Guard>>,
    /// The names of containers that were begun for each pool and not handed over, because nobody waited that long.
    begun: Mutex<BTreeMap<PoolId, BTreeSet<String>>>,
    /// By which key each container that this program started is known.
    keys: Mutex<BTreeMap<InstanceId, String>>,
}

impl Container {
    /// Containers with these settings.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// Containers of this image.
    pub fn image(image: impl Into<String>) -> Self {
        Self::new(Config { image: image.into(), ..Config::default() })
    }

    async fn engine(&self) -> Result<&Engine, ProviderError> {
        self.engine.get_or_try_init(|| Engine::find(&self.config)).await
    }

    /// This program, or another build of it: the first process of each container.
    async fn packed(&self) -> Result<Arc<Program>, ProviderError> {
        if !cfg!(target_os = "linux") {
            let message =
                "containers run programs of Linux, and this one is of another system: run it on Linux";
            return Err(local(message));
        }
        let file = self.config.worker_binary.clone();
        let read = || async {
            let failed = match &file {
                Some(file) => format!("failed to read `worker_binary` {}", file.display()),
                None => "failed to read the running program".to_owned(),
            };
            let pack = || match file {
                Some(file) => Program::of_file(&file, false),
                None => Program::of_running(false),
            };
            let packed = tokio::task::spawn_blocking(pack).await;
            packed
                .map_err(|it| local(&failed).because(it))?
                .map(Arc::new)
                .map_err(|it| local(&failed).because(it))
        };
        self.program.get_or_try_init(read).await.cloned()
    }

    async fn offer(&self) -> Result<Offer, ProviderError> {
        let info = &self.engine().await?.info;
        let cores = std::thread::available_parallelism().ok().and_then(|it| u32::try_from(it.get()).ok());
        let cores = info.vcpus.or(cores).unwrap_or(1);
        // A part of a processor is none, as everywhere; what is asked for in vain is not offered.
        let limit = self.config.cpus.map_or(cores, |it| it.floor().clamp(0.0, f64::from(cores)) as u32);
        let limits = [info.memory_mb, self.config.memory_mb.map(|it| it.saturating_mul(1 << 20) / 1_000_000)];
        let kind = InstanceType {
            vcpus: limit,
            memory_mb: limits.into_iter().flatten().min().unwrap_or_default(),
            architecture: info.architecture.or(Architecture::here()),
            accelerator: self.accelerator().await?,
            ..InstanceType::named(NAME)
        };
        Ok(Offer::of(NAME, kind, Price::on_demand(usd!(0))))
    }

    /// What `gpus` gives of this computer's accelerators.
    async fn accelerator(&self) -> Result<Option<Accelerator>, ProviderError> {
        let Some(gpus) = &self.config.gpus else { return Ok(None) };
        let gpus = Gpus::read(gpus)?;
        let mut smi = tokio::process::Command::new("nvidia-smi");
        smi.args(["--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]).kill_on_drop(true);
        let missing = "failed to look for accelerators: `nvidia-smi` says of none; install NVIDIA's driver, or leave \
                       out `gpus`";
        let output = match tokio::time::timeout(PATIENCE, smi.output()).await {
            Ok(Ok(output)) if output.status.success() => output,
            _ => return Err(local(missing)),
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<_> = said.lines().collect();
        let given = match &gpus {
            Gpus::All => lines.as_slice(),
            Gpus::Count(count) => lines.get(..*count as usize).unwrap_or_default(),
            Gpus::These(these) => lines.get(..these.len()).unwrap_or_default(),
        };
        graphics(given)
            .map(Some)
            .ok_or_else(|| local(format!("there are not as many accelerators as `gpus` asks for; {missing}")))
    }

    /// Sees to it that the image is here.
    async fn fetch(&self, engine: &Engine) -> Result<(), ProviderError> {
        let (runtime, image) = (engine.runtime, &self.config.image);
        if image.is_empty() || image.starts_with('-') {
            return Err(ProviderError::new(
                ProviderErrorKind::InvalidRequest,
                format!("{image:?} is no image"),
            ));
        }
        let known = engine.speak("look for an image", &runtime.has_image(image), None, PATIENCE).await?;
        if known.good {
            return Ok(());
        }
        tracing::info!(image, "pulling");
        let what = format!("pull {image:?}");
        // As long as the pool gives it, which drops this then.
        let pulled = engine.speak(&what, &runtime.pull(image), None, PULL).await?;
        if pulled.good {
            return Ok(());
        }
        let said = format!("{}\n{}", pulled.said, pulled.why);
        Err(engine.refused_for_good(&what, &said))
    }

    /// The network of a pool: its name, and whether it is the pool's own.
    fn network(&self, pool: &PoolId) -> Result<(String, bool), ProviderError> {
        match self.config.network.as_deref() {
            None => Ok((self.name(pool), true)),
            Some(shared)
                if ["host", "none", ""].contains(&shared)
                    || shared.starts_with(['-'])
                    || shared.contains(':') =>
            {
                let message = format!(
                    "containers cannot be on the network {shared:?}: each has a server at one port of its own; name \
                     another as `network`, or none"
                );
                Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message))
            }
            Some(shared) => Ok((shared.to_owned(), false)),
        }
    }

    fn name(&self, pool: &PoolId) -> String {
        format!("{}-{pool}", self.config.prefix())
    }

    /// A container that was begun is somebody's, or gone.
    fn forget(&self, pool: &PoolId, name: &str) {
        let mut begun = lock(&self.begun);
        let is_last = begun.get_mut(pool).is_some_and(|names| {
            names.remove(name);
            names.is_empty()
        });
        if is_last {
            begun.remove(pool);
        }
    }

    /// Sees to it that a pool has its guard. `network` is the pool's own, where it has one.
    fn watch(&self, engine: &Engine, pool: &PoolId, network: Option<&str>) -> Result<(), ProviderError> {
        let mut guards = lock(&self.guards);
        if !guards.contains_key(pool) {
            let prefix = format!("{}-", self.name(pool));
            guards.insert(pool.clone(), Guard::start(engine, pool, &prefix, network)?);
        }
        Ok(())
    }

    /// Makes the pool's network unless it is there.
    async fn connect(&self, engine: &Engine, request: &Request) -> Result<String, ProviderError> {
        let (name, is_own) = self.network(&request.pool)?;
        let networks = engine.runtime.networks(&format!("{POOL}={}", request.pool));
        let is_there = engine.list("list networks", &networks).await?.iter().any(|it| it.name == name);
        if is_own && !is_there {
            let labels = labels(&request.pool, now(), request.lease);
            engine.ask("make a network", &engine.runtime.make_network(&name, &labels)).await?;
        }
        Ok(name)
    }

    /// The containers of a pool that are there.
    async fn of_pool(&self, engine: &Engine, pool: &PoolId) -> Result<Vec<String>, ProviderError> {
        let listed = engine.list("list containers", &engine.runtime.list(&format!("{POOL}={pool}"))).await?;
        Ok(listed.into_iter().filter(|it| it.pool() == Some(pool.as_str())).map(|it| it.name).collect())
    }

    async fn state(&self, engine: &Engine, id: &InstanceId) -> Result<InstanceState, ProviderError> {
        let gone = |reason: String, loss| InstanceState::Gone { reason, loss };
        let removed =
            || gone("it was removed: by hand, or by its guard after its lease".to_owned(), Loss::Stopped);
        let what = "look at a container";
        let spoken = engine.speak(what, &engine.runtime.inspect(id.as_str()), None, PATIENCE).await?;
        let Some(seen) = map::seen(engine.runtime, &spoken.said) else {
            return match spoken.good {
                true if spoken.said.trim() == "[]" => Ok(removed()),
                true => {
                    let message =
                        format!("failed to {what}: what {:?} says is not understood", engine.binary);
                    Err(ProviderError::new(ProviderErrorKind::Transient, message))
                }
                false if Failure::is_gone(&spoken.why, id.as_str()) => Ok(removed()),
                false => Err(engine.refused(what, &spoken.why)),
            };
        };
        Ok(match &seen.life {
            Life::Beginning => InstanceState::Pending,
            Life::Running => match self.running(engine, id, &seen).await? {
                Some(state) => state,
                None => InstanceState::Pending,
            },
            Life::Ended { out_of_memory: true, .. } => {
                gone("it used more memory than it may: raise `memory_mb`".to_owned(), Loss::Crashed)
            }
            Life::Ended { code, .. } => {
                let code = code.map(|it| format!(" with {it}")).unwrap_or_default();
                let words = last_words(engine, id.as_str()).await;
                gone(format!("its first process ended{code}; its last words: {words}"), Loss::Crashed)
            }
        })
    }

    /// A container that runs, in the words of the contract; `None` as long as it has no port or key.
    async fn running(
        &self,
        engine: &Engine,
        id: &InstanceId,
        seen: &Seen,
    ) -> Result<Option<InstanceState>, ProviderError> {
        let Some(port) = seen.port else { return Ok(None) };
        let known = lock(&self.keys).get(id).cloned();
        let key = match known {
            Some(key) => key,
            None => {
                // Another program started it.
                let script = format!("cat \"$HOME/{CONTAINER_KEY}\"");
                let words = engine.runtime.exec(id.as_str(), &script, &[]);
                let spoken =
                    engine.speak("ask a container for its key", &words, Some(Bytes::new()), PATIENCE).await?;
                if !spoken.good || !spoken.said.starts_with("ssh-") {
                    return Ok(None);
                }
                lock(&self.keys).entry(id.clone()).or_insert_with(|| spoken.said.trim().to_owned()).clone()
            }
        };
        // Nothing is sent anywhere where containers are not on a net of this computer's.
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Ok(Some(InstanceState::Running {
            ssh: SshEndpoint {
                host: Ipv4Addr::LOCALHOST.to_string(),
                port,
                user: self.config.ssh_user.clone(),
                host_key: HostKey::Known(key),
                login: Box::default(),
            },
            address: seen.address.filter(|_| engine.info.reaches).unwrap_or(nowhere),
            private: seen.address,
            end: End::Command { shell: CONTAINER_END.to_owned() },
            notice: Notice::None,
        }))
    }
}

#[async_trait]
impl Provider for Container {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        // Known once the runtime was asked, which offers do.
        let udp = self.engine.get().map_or(cfg!(target_os = "linux"), |it| it.info.reaches);
        let root = self.config.is_root();
        Capabilities { root, ends_itself: true, udp, same_computer: true, peers: udp, ..Capabilities::NONE }
    }

    fn settings(&self) -> String {
        serde_json::to_string(&self.config).unwrap_or_else(|_| "{}".to_owned())
    }

    fn program(&self) -> Option<PathBuf> {
        self.config.worker_binary.clone()
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        stream::once(self.offer()).boxed()
    }

    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        let engine = self.engine().await?;
        if !is_plain(self.config.prefix()) || !is_plain(request.pool.as_str()) {
            let message = format!(
                "{:?} cannot be the name of containers: use letters, digits, - and _",
                self.name(&request.pool)
            );
            return Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message));
        }
        if self.config.cpus.is_some_and(|it| it.is_nan() || it <= 0.0) {
            let message = "`cpus` must be above 0; leave it out for all that there are";
            return Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message));
        }
        let (network, is_own) = self.network(&request.pool)?;
        if let Some(file) = &self.config.worker_binary {
            launch::check(file, self.packed().await?.travels())?;
        }
        sweep(engine).await;
        self.fetch(engine).await?;
        self.watch(engine, &request.pool, is_own.then_some(network.as_str()))?;
        self.connect(engine, request).await.map(drop)
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        let (engine, program) = (self.engine().await?, self.packed().await?);
        let given_up: Vec<_> = lock(&self.begun).get(&request.pool).into_iter().flatten().cloned().collect();
        for name in given_up {
            remove(engine, &name).await?;
            self.forget(&request.pool, &name);
        }
        let network = self.connect(engine, request).await?;
        let labels = labels(&request.pool, now(), request.lease);
        let launch = Launch { engine, config: &self.config, program, network: &network, labels };
        let mut names = Vec::new();
        for _ in 0..count {
            let random = random::text(8).map_err(|it| local(format!("failed to name a container: {it}")))?;
            names.push(format!("{}-{random}", self.name(&request.pool)));
        }
        lock(&self.begun).entry(request.pool.clone()).or_default().extend(names.iter().cloned());
        let launch = &launch;
        let launched = names.into_iter().map(|name| async move {
            let key = launch.launch(&name, request).await;
            (InstanceId::new(name), key)
        });
        // Only so many at once: each is some copies of the program on its way.
        let launched: Vec<_> = stream::iter(launched).buffer_unordered(AT_ONCE).collect().await;
        let (mut instances, mut shortfall) = (Vec::new(), None);
        for (id, key) in launched {
            self.forget(&request.pool, id.as_str());
            match key {
                Ok(key) => {
                    lock(&self.keys).insert(id.clone(), key);
                    instances.push(Instance { id, state: InstanceState::Pending });
                }
                Err(error) => shortfall = shortfall.or(Some(error)),
            }
        }
        match shortfall {
            Some(error) if instances.is_empty() => Err(error),
            shortfall => Ok(Provisioned { instances, shortfall }),
        }
    }

    async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        let engine = self.engine().await?;
        Ok(Instance { id: id.clone(), state: self.state(engine, id).await? })
    }

    async fn terminate(&self, _: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let engine = self.engine().await?;
        let removed = join_all(ids.iter().map(|it| remove(engine, it.as_str()))).await;
        lock(&self.keys).retain(|id, _| !ids.contains(id));
        removed.into_iter().collect()
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let engine = self.engine().await?;
        let names = self.of_pool(engine, &request.pool).await?;
        let removed = join_all(names.iter().map(|it| remove(engine, it))).await;
        let failed = names.iter().zip(removed).filter_map(|(name, it)| Some((name, it.err()?)));
        let left = |what: String, reason: String| Leftover { what, reason };
        let mut left: Vec<_> =
            failed.map(|(name, error)| left(format!("container {name}"), error.to_string())).collect();
        let (network, is_own) = self.network(&request.pool)?;
        if is_own && let Err(error) = disconnect(engine, &request.pool, &network).await {
            left.push(Leftover { what: format!("network {network}"), reason: error.to_string() });
        }
        let guard = lock(&self.guards).remove(&request.pool);
        match guard {
            // What is left is the guard's to try again, once this program has let go of it.
            Some(guard) if left.is_empty() => guard.end().await,
            _ => {}
        }
        Ok(left)
    }
}

/// Removes a network, a few times: containers that were just removed may hold it for a moment.
async fn disconnect(engine: &Engine, pool: &PoolId, name: &str) -> Result<(), ProviderError> {
    let networks = engine.runtime.networks(&format!("{POOL}={pool}"));
    let mut refused = None;
    for tried in 0..=TRIES {
        if !engine.list("list networks", &networks).await?.iter().any(|it| it.name == name) {
            return Ok(());
        }
        if tried == TRIES {
            break;
        }
        if tried > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        refused = engine.ask("remove a network", &engine.runtime.remove_network(name)).await.err();
    }
    Err(refused.unwrap_or_else(|| {
        let message = format!("failed to remove the network {name}: it was removed {TRIES} times and is still there; remove it by hand");
        ProviderError::new(ProviderErrorKind::Transient, message)
    }))
}

/// Now, as labels count it.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whether something can be a part of a name with every runtime.
fn is_plain(name: &str) -> bool {
    let fine = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
    name.starts_with(|it: char| it.is_ascii_alphanumeric()) && name.len() <= 100 && name.bytes().all(fine)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many containers are begun at once.
const AT_ONCE: usize = 8;

/// How long a pull may take at the very most; the pool ends it before.
const PULL: Duration = Duration::from_secs(3600);

/// How often, and with what waits, the removal of a network is tried.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(300);

#[cfg(test)]
mod fake_tests;
