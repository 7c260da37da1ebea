//! RunPod: containers on computers of its own or of others, behind mapped ports.
//!
//! ```text
//! prepare    nothing is made: each pod is told the pool's key when it is rented
//! provision  on demand POST /v2/pods, spot by GraphQL, one by one --> RUNNING --port 22 is mapped--> there
//! terminate  DELETE --204--> TERMINATED or 404
//! teardown   all whose name begins with the pool's
//! ```
//!
//! Quirks: a pod that is `RUNNING` may go on loading its image for twenty minutes, so that only its mapped
//! ports tell that it is there. UDP gets nowhere. The newer interface has no spot machines, the older one is
//! to end in 2027, and both say "no capacity" in words alone. The account's list of keys is replaced as a
//! whole by whoever writes it, so it is left alone. A spot pod is stopped without warning, and its second
//! disk goes on costing until it is deleted. Every pod has a key that may delete this pod and no other.

mod api;
#[cfg(feature = "testing")]
pub(crate) mod bodies;
mod config;
mod graphql;
mod map;
mod said;
mod start;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde::de::IgnoredAny;
use skyward_runtime::model::{
    Capabilities, Instance, InstanceId, InstanceState, KeyPrint, Leftover, Market, Offer,
};
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request, Sighting};

use crate::cloud::setup::{self, Way};
use crate::cloud::{
    Account, Found, Lately, Rental, Snapshot, end_all, found_or_stranger, is_plain, leftovers, machine_name,
    none_left, pool_name, sighting, stranger, ubuntu,
};
use crate::http::{Auth, Client};
use api::{Answered, Cpus, Floor, Floors, Gpus, Pod, Pods, Registries, Rented};

pub use config::{CloudType, ClusterMode, Config, Ubuntu};

pub(crate) use api::SERVICE;
pub(crate) use config::KEYS;

/// The name of its folder, in settings and in offers.
pub(crate) const NAME: &str = "runpod";

/// Machines of RunPod. Asks nobody before it is used.
///
/// ```
/// use skyward_providers::runpod::RunPod;
/// use skyward_runtime::model::accelerators;
/// use skyward_runtime::pool::Spec;
/// let spec = Spec::on(RunPod::default()).accelerator(accelerators::RTX_4090);
/// ```
#[derive(Debug, Default)]
pub struct RunPod {
    config: Config,
    way: Way,
    seen: Snapshot<Pod>,
    lately: Lately,
    /// The id of the registry's credential, once it was looked up.
    credential: OnceLock<Option<String>>,
}

/// What is asked for the next offers.
enum Step {
    /// Machines with so many accelerators.
    Gpus(u32),
    Cpus,
    Done,
}

impl RunPod {
    /// Machines with these settings.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// NVIDIA's image of this version of Ubuntu with this version of CUDA, for [`Config::image`].
    ///
    /// ```
    /// use skyward_providers::runpod::{Config, RunPod};
    /// let image = Some(RunPod::ubuntu("22.04", "12.4.1"));
    /// let older = RunPod::new(Config { image, ..Config::default() });
    /// ```
    pub fn ubuntu(version: &str, cuda: &str) -> String {
        ubuntu(version, cuda)
    }

    fn client(&self) -> Result<&Client, ProviderError> {
        self.way.open(SERVICE, &self.config.access, self, |key| Ok(Auth::Bearer(key)))
    }

    async fn pods(&self) -> Result<Vec<Pod>, ProviderError> {
        let Pods { pods } = self.client()?.send(&api::pods()).await?;
        Ok(pods.into_iter().filter(map::lives).collect())
    }

    /// The offers of one step, and the next step.
    async fn step(&self, step: Step) -> Result<Option<(Vec<Offer>, Step)>, ProviderError> {
        let cloud = self.config.cloud_type;
        match step {
            Step::Gpus(count) => {
                let Gpus { gpus } = self.client()?.send(&api::gpus(count, cloud)).await?;
                let floors = self.floors(count).await?;
                let offers = |it: &api::Gpu| map::gpu_offers(it, count, floors.get(&it.id), &self.config);
                let most = gpus.iter().map(|it| it.most.of(cloud)).max().unwrap_or_default();
                let next = match cloud {
                    _ if count < most.min(MOST_GPUS) => Step::Gpus(count + 1),
                    CloudType::Secure => Step::Cpus,
                    CloudType::Community => Step::Done,
                };
                Ok(Some((gpus.iter().flat_map(offers).collect(), next)))
            }
            Step::Cpus => {
                let Cpus { cpus } = self.client()?.send(&api::cpus()).await?;
                let offers = cpus.iter().flat_map(|it| map::cpu_offers(it, &self.config)).collect();
                Ok(Some((offers, Step::Done)))
            }
            Step::Done => Ok(None),
        }
    }

    /// What comes with accelerators, and what they cost as spot machines, while there is somebody to ask.
    async fn floors(&self, count: u32) -> Result<BTreeMap<String, Floor>, ProviderError> {
        use ProviderErrorKind::{Local, RateLimited};
        match self.client()?.send::<Answered<Floors>>(&api::spot_prices(count, self.config.cloud_type)).await
        {
            Ok(found) => Ok(found.data.by_id()),
            Err(error) if !matches!(error.kind, RateLimited | Local) => {
                tracing::warn!(%error, "RunPod has no spot machines for us; the others are offered");
                Ok(BTreeMap::new())
            }
            Err(error) => Err(error),
        }
    }

    /// The id of the credential for the image of these machines, if the account has one.
    async fn credential(&self, request: &Request) -> Result<Option<&String>, ProviderError> {
        let Some(name) = map::credential(&map::image(request, &self.config), &self.config) else {
            return Ok(None);
        };
        if let Some(known) = self.credential.get() {
            return Ok(known.as_ref());
        }
        let Registries { registries } = self.client()?.send(&api::registries()).await?;
        let found = registries.into_iter().find(|it| it.name.eq_ignore_ascii_case(name)).map(|it| it.id);
        if found.is_none() && name != config::DOCKER_HUB {
            let message = format!(
                "failed to rent a pod: the account has no credential for a registry that is called `{name}`; \
                 make it in RunPod's settings, or leave `registry_auth` out"
            );
            return Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message));
        }
        Ok(self.credential.get_or_init(|| found).as_ref())
    }

    async fn rent(&self, request: &Request) -> Result<Instance, ProviderError> {
        let name = &machine_name(request)?;
        let credential = self.credential(request).await?;
        let found = async || Ok(self.pods().await?.into_iter().find(|it| it.name == *name));
        let id = match request.market {
            Market::OnDemand => {
                let new =
                    map::new_pod(request, &self.config, name, credential).ok_or_else(|| none(request))?;
                let pod: Pod = self.client()?.create(&api::create_pod(&new), || found().boxed()).await?;
                pod.id
            }
            Market::Spot => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let ends = map::ends(now, &self.config);
                let new = map::new_spot(request, &self.config, name, credential, ends);
                let call = api::rent_spot(&new.ok_or_else(|| none(request))?);
                let find = || async { Ok(found().await?.map(|it| Rented::found(it.id))) }.boxed();
                let rented: Answered<Rented> = self.client()?.create(&call, find).await?;
                let none_left = || {
                    let message = format!("failed to rent a spot pod: RunPod gave none of {}", request.offer);
                    ProviderError::new(ProviderErrorKind::NoCapacity, message)
                };
                rented.data.pod.ok_or_else(none_left)?.id
            }
        };
        Ok(Instance { id: InstanceId::new(id), state: InstanceState::Pending })
    }

    /// Deletes pods that are known or ours, and waits until none of them is listed; those that are left, and why.
    async fn end(
        &self,
        known: Vec<Rental>,
        ours: &(dyn Fn(&Pod) -> bool + Send + Sync),
    ) -> Result<Vec<(Rental, String)>, ProviderError> {
        let list = || async {
            let pods = self.pods().await?.into_iter().filter(ours);
            Ok(pods.map(|it| Rental { id: it.id, name: it.name, ending: false }).collect())
        };
        let client = self.client()?;
        let delete =
            |it: Rental| async move { client.send::<IgnoredAny>(&api::delete_pod(&it.id)).await.map(drop) };
        let end = |them: Vec<Rental>| join_all(them.into_iter().map(delete));
        let recent = |id: &str| self.lately.has(id, self.config.access.settles);
        end_all(self.config.access.backoff, &recent, known, list, end).await
    }
}

#[async_trait]
impl Provider for RunPod {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            root: true,
            ends_itself: true,
            sized_disk: true,
            disk_gb_hour: Some(map::disks(1, &self.config)),
            boot: BOOT,
            arrival: start::ARRIVAL,
            pace: api::PACE,
            ..Capabilities::NONE
        }
    }

    fn account(&self) -> Option<KeyPrint> {
        self.way.print(self)
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        let steps = stream::try_unfold(Step::Gpus(1), |step| self.step(step));
        steps.map_ok(|offers| stream::iter(offers.into_iter().map(Ok))).try_flatten().boxed()
    }

    /// Makes nothing. What can be refused without a pod is refused here, and the key is tried.
    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        if self.config.cluster_mode == ClusterMode::Instant {
            let message = "failed to set up an instant cluster: its pods cannot be given back or replaced one \
                           by one; use `cluster_mode: individual`";
            return Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message));
        }
        self.pods().await?;
        self.credential(request).await.map(drop)
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        let rent = |_| async { Ok(vec![self.rent(request).await?]) };
        let client = self.client()?;
        let rented = setup::rent(SERVICE.name, || client.doubts(), count, 0..count, rent).await?;
        self.lately.rented(&request.pool, &rented.instances, self.config.access.settles);
        Ok(rented)
    }

    async fn describe(&self, request: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        if !is_plain(id) {
            return Ok(stranger(id, SERVICE.name));
        }
        let seen = self.seen.fresh(|| self.pods()).await?;
        if let Some(found) = seen.iter().find(|it| it.id == id.as_str()) {
            return Ok(map::instance(found, request.market));
        }
        // It may be too new for the list, or gone.
        let found = self.client()?.send::<Pod>(&api::pod(id.as_str())).await;
        found_or_stranger(found.map(|it| map::instance(&it, request.market)), id, SERVICE.name)
    }

    async fn sightings(&self) -> Result<Option<Vec<Sighting>>, ProviderError> {
        let pods = self.pods().await?;
        Ok(Some(pods.into_iter().filter_map(|it| sighting(it.id, &it.name)).collect()))
    }

    async fn terminate(&self, _: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let ours = |it: &Pod| ids.iter().any(|id| id.as_str() == it.id);
        none_left(self.end(Rental::known(ids), &ours).await?)?;
        self.lately.ended(ids);
        Ok(())
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let prefix = format!("{}-", pool_name(&request.pool));
        // No list may have yet what was rented just now.
        let known = self.lately.of(&request.pool, self.config.access.settles);
        let left = self.end(known, &|it| it.name.starts_with(&prefix)).await?;
        if left.is_empty() {
            self.lately.torn_down(&request.pool);
        }
        Ok(leftovers("pod", left))
    }
}

#[async_trait]
impl Account for RunPod {
    fn key(&self) -> Result<Found, ProviderError> {
        KEYS.find(SERVICE.name, self.config.api_key.as_ref())
    }

    async fn check(&self) -> Result<String, ProviderError> {
        let pods = self.pods().await?;
        Ok(format!("the key is known; {} pods are there", pods.len()))
    }
}

/// An offer that cannot be rented like this.
fn none(request: &Request) -> ProviderError {
    let message = format!("failed to rent a pod: {} is not to be had {}", request.offer, request.market);
    ProviderError::new(ProviderErrorKind::InvalidRequest, message)
}

/// The most accelerators that a pod has.
const MOST_GPUS: u32 = 8;

/// How long its slowest machines take: some load an image for twenty minutes.
const BOOT: Duration = Duration::from_secs(1500);
