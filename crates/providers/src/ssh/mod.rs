//! Hosts that you already have, by SSH. A machine on one is a folder and a process that guards it; what runs there
//! has that folder as its home.
//!
//! ```text
//! offers     every host is asked what it has --> groups of hosts that have at least as much
//! provision  lock on the host's folder, dead machines cleared away --guard started--> Running
//! Running    --SIGTERM | lease lapsed--> guard ends what bears the machine's mark, removes its folder --> Gone
//! host lost power --> no guard holds the folder: Gone; the next machine there clears it away
//! ```
//!
//! Quirks: the user's own keys and lists of known hosts count, as `ssh` uses them, and nothing is written to
//! either. A host is never ended, and a machine that cannot be reached ends by its lease.

mod config;
mod host;
mod map;
mod openssh;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream, StreamExt};
use skyward_runtime::model::{
    Capabilities, End, Instance, InstanceId, InstanceState, Leftover, Loss, Notice, Offer, PoolId,
};
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request};

use host::Host;
use map::{Found, HOSTS};

pub use config::{Config, Host as NamedHost};

pub(crate) use map::graphics;

/// The name of the provider, in settings and in offers.
const NAME: &str = "ssh";

/// Hosts that you already have. Asks nobody before it is used.
///
/// ```
/// use skyward_providers::ssh::Ssh;
/// use skyward_runtime::pool::Spec;
/// let spec = Spec::on(Ssh::hosts(["gpu1", "me@10.0.0.7:2222"])).memory_gb(16);
/// ```
#[derive(Debug, Default)]
pub struct Ssh {
    config: Config,
    hosts: Vec<Host>,
    /// The hosts on which each pool has, or may have, machines.
    used: Mutex<BTreeMap<PoolId, BTreeSet<usize>>>,
    /// The machines of this program.
    machines: Mutex<BTreeMap<InstanceId, usize>>,
}

impl Ssh {
    /// Machines on the hosts of these settings.
    pub fn new(config: Config) -> Self {
        let hosts = config.hosts.iter().cloned().map(Host::new).collect();
        Self { config, hosts, ..Self::default() }
    }

    /// Machines on these hosts, one on each.
    pub fn hosts<H: Into<NamedHost>>(hosts: impl IntoIterator<Item = H>) -> Self {
        Self::new(Config { hosts: hosts.into_iter().map(Into::into).collect(), ..Config::default() })
    }

    /// What all hosts have; hosts that cannot be used are told of and left out, unless there is no other.
    async fn found(&self) -> Result<Vec<Offer>, ProviderError> {
        if self.hosts.is_empty() {
            return Err(openssh::local(
                "there are no hosts: name some (`Ssh::hosts`, or `hosts` in the settings)",
            ));
        }
        let probed = join_all(self.hosts.iter().map(|it| it.probe(&self.config))).await;
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        for (host, probed) in self.hosts.iter().zip(probed) {
            match probed {
                Ok(kind) => found.push(Found {
                    name: host.named.name.clone(),
                    slots: host.slots(&self.config),
                    hourly: host.named.hourly_cost.unwrap_or(self.config.hourly_cost),
                    kind,
                }),
                Err(error) => {
                    tracing::warn!(%error, "a host cannot be used");
                    failed.push(error);
                }
            }
        }
        if found.is_empty() {
            return Err(together(failed));
        }
        Ok(map::offers(&found))
    }

    /// Tries to make a machine on a host.
    async fn enter(&self, request: &Request, at: usize) -> Result<Instance, ProviderError> {
        let (host, config) = self.host(at)?;
        lock(&self.used).entry(request.pool.clone()).or_default().insert(at);
        let mut random = [0; 4];
        getrandom::fill(&mut random)
            .map_err(|error| openssh::local(format!("no random numbers: {error}")))?;
        let id = InstanceId::new(format!("{}-{:08x}", plain(&host.named.name), u32::from_be_bytes(random)));
        let lease = request.lease.as_secs().max(1);
        // Whole seconds where the lease is long enough for them: not every `sleep` takes a part of one.
        let pause = match lease / 8 {
            0 => String::from("0.3"),
            whole => whole.min(10).to_string(),
        };
        let yes = |it: bool| if it { "yes" } else { "no" };
        let arguments = [
            config.directory.as_str(),
            request.pool.as_str(),
            id.as_str(),
            &host.slots(config).to_string(),
            yes(config.share),
            &lease.to_string(),
            &pause,
            GUARD,
            yes(config.cache),
        ];
        let (word, rest) = host.ask(config, ENTER, &arguments, WAITS).await?;
        let (kind, why) = match word.as_str() {
            "machine" => {
                let state = self.running(at, &rest).await?;
                lock(&self.machines).insert(id.clone(), at);
                return Ok(Instance { id, state });
            }
            "held" => (
                ProviderErrorKind::NoCapacity,
                format!("pool {rest} has it; wait until that is over, or let both share it (`share`)"),
            ),
            "full" => (
                ProviderErrorKind::NoCapacity,
                format!("{rest} machines are on it, as many as there may be; allow more (`slots`)"),
            ),
            "busy" => (ProviderErrorKind::Conflict, "another pool comes or goes there right now".to_owned()),
            "folder" => (
                ProviderErrorKind::Local,
                format!(
                    "there is no place for a machine: {rest}; make room, or name another folder (`directory`)"
                ),
            ),
            "tool" => (ProviderErrorKind::Local, format!("it has no `{rest}`: install it there")),
            "system" => (ProviderErrorKind::Local, format!("it runs {rest}, and only Linux can be used")),
            other => (ProviderErrorKind::Local, format!("it answered {other:?}, which is no answer")),
        };
        Err(host.trouble(kind, &why))
    }

    /// A machine whose guard has this number and this folder.
    async fn running(&self, at: usize, guard: &str) -> Result<InstanceState, ProviderError> {
        let (host, config) = self.host(at)?;
        let read = guard.split_once(' ').and_then(|(pid, folder)| Some((pid.parse().ok()?, folder)));
        let Some((pid, folder)) = read else {
            let why = format!("it told {guard:?} of a machine, which cannot be read");
            return Err(host.trouble(ProviderErrorKind::Local, &why));
        };
        let mut ssh = host.endpoint(config).await?;
        ssh.login.home = Some(folder.to_owned());
        let address = host.address(config).await?;
        let end = End::Process { pid, directory: PathBuf::from(folder) };
        Ok(InstanceState::Running { ssh, address, private: None, end, notice: Notice::None })
    }

    /// Where a machine may be: remembered, or read from its name, which hosts may share that differ by their ports.
    fn homes_of(&self, id: &InstanceId) -> Vec<usize> {
        if let Some(known) = lock(&self.machines).get(id) {
            return vec![*known];
        }
        let Some((name, _)) = id.as_str().rsplit_once('-') else { return Vec::new() };
        let named = self.hosts.iter().enumerate().filter(|(_, it)| plain(&it.named.name) == name);
        named.map(|(at, _)| at).collect()
    }

    fn host(&self, at: usize) -> Result<(&Host, &Config), ProviderError> {
        let none = || openssh::local("there is no such host in the settings");
        self.hosts.get(at).map(|it| (it, &self.config)).ok_or_else(none)
    }

    /// Ends machines of a pool on a host, all of them when none is named.
    async fn end(&self, pool: &PoolId, at: usize, ids: &[&InstanceId]) -> Result<(), ProviderError> {
        let (host, config) = self.host(at)?;
        let mut arguments = vec![config.directory.as_str(), pool.as_str()];
        arguments.extend(ids.iter().map(|it| it.as_str()));
        let (_, left) = host.ask(config, LEAVE, &arguments, WAITS).await?;
        if left.is_empty() {
            return Ok(());
        }
        let why = format!("{left} cannot be removed; see what still runs there");
        Err(host.trouble(ProviderErrorKind::Transient, &why))
    }
}

#[async_trait]
impl Provider for Ssh {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let Config { root, udp, .. } = self.config;
        Capabilities { root, udp, peers: udp, ends_itself: true, ..Capabilities::NONE }
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        let offers = stream::once(self.found()).map(|found| match found {
            Ok(offers) => offers.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        offers.flat_map(stream::iter).boxed()
    }

    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        if plain(request.pool.as_str()) != request.pool.as_str() {
            let message = format!("pool {} cannot be the name of a folder", request.pool);
            return Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message));
        }
        lock(&self.used).entry(request.pool.clone()).or_default();
        Ok(())
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        let names: Vec<_> = request.offer.specific.get(HOSTS).map_or("", String::as_str).split(' ').collect();
        let members = self.hosts.iter().enumerate().filter(|(_, it)| names.contains(&it.named.name.as_str()));
        let members: Vec<_> = members.map(|(at, host)| (at, host.slots(&self.config))).collect();
        let most = members.iter().map(|(_, slots)| *slots).max().unwrap_or_default();
        // One on each host before a second on any. Whether a place is free is the host's to say.
        let places = (0..most).flat_map(|round| members.iter().filter(move |(_, slots)| *slots > round));
        let mut places: Vec<_> = places.map(|(at, _)| *at).collect();
        {
            let machines = lock(&self.machines);
            for at in machines.values() {
                // A host that has one is asked last: it may have been given back by its own end.
                if let Some(position) = places.iter().position(|it| it == at) {
                    let place = places.remove(position);
                    places.push(place);
                }
            }
        }
        let (mut instances, mut failed, mut rest) = (Vec::new(), Vec::new(), places.into_iter());
        loop {
            let missing = (count as usize).saturating_sub(instances.len());
            let next: Vec<_> = rest.by_ref().take(missing).collect();
            if next.is_empty() {
                break;
            }
            for entered in join_all(next.into_iter().map(|at| self.enter(request, at))).await {
                match entered {
                    Ok(instance) => instances.push(instance),
                    Err(error) => failed.push(error),
                }
            }
        }
        let short = instances.len() < count as usize;
        if failed.is_empty() && short {
            let message = format!("{} is all that these hosts have room for (`slots`)", instances.len());
            failed.push(ProviderError::new(ProviderErrorKind::NoCapacity, message));
        }
        match (instances.is_empty(), short) {
            (true, _) => Err(together(failed)),
            (false, true) => Ok(Provisioned { instances, shortfall: Some(together(failed)) }),
            (false, false) => Ok(Provisioned { instances, shortfall: None }),
        }
    }

    async fn describe(&self, request: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        let gone = |reason: &str| {
            let state = InstanceState::Gone { reason: reason.to_owned(), loss: Loss::Stopped };
            Instance { id: id.clone(), state }
        };
        let homes = self.homes_of(id);
        if homes.is_empty() {
            return Ok(gone("no host of these settings has it"));
        }
        let mut failed = None;
        for at in homes {
            let (host, config) = self.host(at)?;
            let arguments = [config.directory.as_str(), request.pool.as_str(), id.as_str()];
            match host.ask(config, include_str!("sh/look.sh"), &arguments, SCRIPT).await {
                Ok((word, rest)) if word == "lives" => {
                    let state = self.running(at, &rest).await?;
                    lock(&self.machines).insert(id.clone(), at);
                    return Ok(Instance { id: id.clone(), state });
                }
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            // It may be there.
            Some(error) => Err(error),
            None => Ok(gone(
                "its guard has ended: its lease lapsed, somebody ended it, or the host was restarted",
            )),
        }
    }

    async fn terminate(&self, request: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let mut places: BTreeMap<usize, Vec<&InstanceId>> = BTreeMap::new();
        for id in ids {
            for at in self.homes_of(id) {
                places.entry(at).or_default().push(id);
            }
        }
        let ended = places.iter().map(|(at, ids)| async move {
            self.end(&request.pool, *at, ids).await?;
            let mut machines = lock(&self.machines);
            machines.retain(|id, _| !ids.contains(&id));
            Ok(())
        });
        let failed: Vec<_> = join_all(ended).await.into_iter().filter_map(Result::err).collect();
        if failed.is_empty() { Ok(()) } else { Err(together(failed)) }
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let pool = &request.pool;
        let used = lock(&self.used).get(pool).cloned();
        // A program that does not know the pool looks everywhere, and what it cannot reach it never used.
        let places = used.clone().unwrap_or_else(|| (0..self.hosts.len()).collect());
        let ended = join_all(places.iter().map(|at| self.end(pool, *at, &[]))).await;
        let mut left = Vec::new();
        for (at, ended) in places.iter().zip(ended) {
            let Some(host) = self.hosts.get(*at) else { continue };
            host.leave();
            if let (Err(error), true) = (ended, used.is_some()) {
                let what = format!("machines of pool {pool} on host {}", host.named.name);
                let reason =
                    format!("{error}; what runs there ends {:?} after it was last heard of", request.lease);
                left.push(Leftover { what, reason });
            }
        }
        if left.is_empty() {
            lock(&self.used).remove(pool);
            lock(&self.machines).retain(|_, at| !places.contains(at));
        }
        Ok(left)
    }
}

/// Several failures as one: what the pool does goes by the one that leaves most hope.
fn together(failed: Vec<ProviderError>) -> ProviderError {
    let hope = |it: &ProviderError| match it.kind {
        ProviderErrorKind::Conflict | ProviderErrorKind::Transient => 0,
        ProviderErrorKind::NoCapacity => 1,
        _ => 2,
    };
    let kind = failed.iter().min_by_key(|it| hope(it)).map_or(ProviderErrorKind::NoCapacity, |it| it.kind);
    let words: Vec<_> = failed.iter().map(ToString::to_string).collect();
    ProviderError::new(kind, format!("failed to use hosts: {}", words.join("; ")))
}

/// The scripts of a machine: how it begins, what guards it, and how it ends.
const ENTER: &str =
    concat!(include_str!("sh/lock.sh"), include_str!("sh/clear.sh"), include_str!("sh/enter.sh"));
const GUARD: &str =
    concat!(include_str!("sh/lock.sh"), include_str!("sh/clear.sh"), include_str!("sh/guard.sh"));
const LEAVE: &str =
    concat!(include_str!("sh/lock.sh"), include_str!("sh/clear.sh"), include_str!("sh/leave.sh"));

/// How long a script that only looks may take.
const SCRIPT: Duration = Duration::from_secs(20);

/// How long one may take that waits for a lock, some 20 s, and ends what does not listen. Shorter, and it is taken for
/// one that did nothing while it goes on.
const WAITS: Duration = Duration::from_secs(60);

/// A name as one step of a path.
fn plain(name: &str) -> String {
    name.chars().map(|it| if it.is_ascii_alphanumeric() || "-_".contains(it) { it } else { '_' }).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "scripts_tests.rs"]
mod tests;
