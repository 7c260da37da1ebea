//! AWS: machines of EC2, rented by fleets of the kind that answers at once, on demand and spot.
//!
//! ```text
//! prepare    key, security group and its rules; what is there already is used
//! provision  template {user data: host key, guard} -> fleet --200--> machines, and errors in the same answer
//! describe   one list for all machines of a pool; what was just rented may be missing from it
//! terminate  TerminateInstances --shutting-down, which costs nothing--> terminated
//! teardown   machines, templates, key, then the group, once nothing uses it; in every region
//! ```
//!
//! Quirks: a fleet that got nothing answers with a success, so its errors are read first. A shutdown terminates a
//! machine, because its template says so: leases end the bill. Quotas count processors by family and market.

mod api;
mod config;
mod connector;
mod end;
mod keys;
mod lists;
mod map;
mod notice;
mod order;
mod prices;
mod profile;
mod quota;
mod refusal;
mod rent;
mod user_data;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types;
use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream, StreamExt};
use skyward_runtime::model::{Capabilities, Instance, InstanceId, InstanceState, Leftover, Offer, PoolId};
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request};
use tokio::time::Instant;

use crate::cloud::setup::{self, all_at_once};
use crate::cloud::{Account, Found, Rental, Snapshot, is_plain, none_left, stranger};
use keys::Keys;
use refusal::{Refusal, between};
use way::{Body, Service, Way};

pub use config::Config;

pub(crate) use config::KEYS;

/// The name of its folder, in settings and in offers.
pub(crate) const NAME: &str = "aws";

/// The name for people.
pub(crate) const TITLE: &str = "AWS";

/// Machines of AWS. Asks nobody before it is used.
///
/// ```
/// use skyward_providers::aws::Aws;
/// use skyward_runtime::model::accelerators;
/// use skyward_runtime::pool::Spec;
/// let spec = Spec::on(Aws::default()).accelerator(accelerators::L4).spot();
/// ```
#[derive(Debug)]
pub struct Aws {
    config: Config,
    keys: Arc<Keys>,
    way: OnceLock<Way>,
    lists: Mutex<Lists>,
    /// What was rented, and when: lists do not have it at once.
    rented: Mutex<BTreeMap<InstanceId, Instant>>,
}

/// One list of machines for each region and pool.
type Lists = BTreeMap<(String, PoolId), Arc<Snapshot<types::Instance>>>;

impl Aws {
    /// Machines with these settings.
    pub fn new(config: Config) -> Self {
        let keys = Arc::new(Keys::new(config.clone()));
        Self { config, keys, way: OnceLock::new(), lists: Mutex::default(), rented: Mutex::default() }
    }

    fn way(&self) -> Result<&Way, ProviderError> {
        if let Some(way) = self.way.get() {
            return Ok(way);
        }
        let way = Way::new(&self.config, Arc::clone(&self.keys))?;
        Ok(self.way.get_or_init(|| way))
    }

    /// The regions to rent in, each once.
    fn regions(&self) -> Vec<String> {
        let Config { regions, region, .. } = &self.config;
        if regions.is_empty() {
            let found = region.clone().or_else(|| keys::region(&self.config));
            return vec![found.unwrap_or_else(|| HOME.to_owned())];
        }
        regions.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// All machines of a request's pool in its region, in whatever state. Who asks at the same time shares the
    /// answer.
    async fn machines(&self, request: &Request) -> Result<Arc<Vec<types::Instance>>, ProviderError> {
        let (way, region) = (self.way()?, rent::region(request)?);
        let key = (region.to_owned(), request.pool.clone());
        let snapshot = Arc::clone(self.lists().entry(key).or_default());
        snapshot.fresh(|| end::machines(way, region, request.pool.as_str())).await
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was just rented.
    fn made(&self, id: InstanceId) -> Instance {
        let (mut rented, settled) = (self.rented(), self.settled());
        rented.retain(|_, since| since.elapsed() < settled);
        rented.insert(id.clone(), Instant::now());
        Instance { id, state: InstanceState::Pending }
    }

    /// How long it takes until what was just made is in every list. Within this time a machine that is not listed
    /// is one that is being made.
    const fn settled(&self) -> Duration {
        self.config.access.settles.saturating_mul(4)
    }

    fn rented(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Instant>> {
        self.rented.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Aws {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

#[async_trait]
impl Provider for Aws {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { root: true, ends_itself: true, udp: true, sized_disk: true, ..Capabilities::NONE }
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        let of = move |region: String| {
            all_at_once(async move { lists::offers(self.way()?, &region, &self.config).await })
        };
        stream::iter(self.regions()).map(of).flatten_unordered(AT_ONCE).boxed()
    }

    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        rent::prepare(self.way()?, &self.config, request).await
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        if request.offer.price.tariff(request.market).is_none() {
            let message =
                format!("failed to rent machines at {TITLE}: {} is not on that market", request.offer);
            return Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message));
        }
        let (way, shortfall) = (&self.way()?, &Mutex::new(None));
        // A fleet gives all that it can at once; what it did not is no better asked for a second time.
        setup::rent(TITLE, count, [true, false], |asks| async move {
            if !asks {
                let why = shortfall.lock().unwrap_or_else(PoisonError::into_inner).take();
                return why.map_or(Ok(Vec::new()), Err);
            }
            let (machines, why) = rent::rent(way, &self.config, request, count).await?;
            *shortfall.lock().unwrap_or_else(PoisonError::into_inner) = why;
            Ok(machines.into_iter().map(|it| self.made(it)).collect())
        })
        .await
    }

    async fn describe(&self, request: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        if !is_plain(id) {
            return Ok(stranger(id, TITLE));
        }
        let machines = self.machines(request).await?;
        let found = machines.iter().find(|it| it.instance_id() == Some(id.as_str()));
        if let Some(found) = found.and_then(|it| map::instance(it, &self.config)) {
            return Ok(found);
        }
        let since = self.rented().get(id).copied();
        Ok(match since {
            Some(since) if since.elapsed() < self.settled() => {
                Instance { id: id.clone(), state: InstanceState::Pending }
            }
            _ => stranger(id, TITLE),
        })
    }

    async fn terminate(&self, request: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let known = Rental::known(ids);
        if known.is_empty() {
            return Ok(());
        }
        let (way, region) = (self.way()?, rent::region(request)?);
        let ours: BTreeSet<_> = known.iter().map(|it| it.id.clone()).collect();
        let left =
            end::machines_of(way, region, request.pool.as_str(), known, &|it| ours.contains(it)).await?;
        none_left(left)?;
        self.rented().retain(|id, _| !ids.contains(id));
        Ok(())
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let (way, here) = (self.way()?, rent::region(request)?);
        let regions: BTreeSet<_> = self.regions().into_iter().chain([here.to_owned()]).collect();
        let each = regions.iter().map(|it| async move { (it, end::region(way, it, &request.pool).await) });
        let mut left = Vec::new();
        for (region, ended) in join_all(each).await {
            match ended {
                Ok(more) => left.extend(more),
                Err(error) if region == here => return Err(error),
                // What was never rented in costs nothing, but nobody could look.
                Err(error) => {
                    let what = format!("whatever the pool has in {region}");
                    left.push(Leftover { what, reason: error.to_string() });
                }
            }
        }
        self.lists().retain(|(_, pool), _| *pool != request.pool);
        Ok(left)
    }
}

#[async_trait]
impl Account for Aws {
    fn key(&self) -> Result<Found, ProviderError> {
        self.keys.found()
    }

    async fn check(&self) -> Result<String, ProviderError> {
        let region = self.regions().into_iter().next().unwrap_or_else(|| HOME.to_owned());
        let way = self.way()?;
        let told = way.send("ask for the account", || async {
            let told = way.signed(IDENTITIES, &region, Body::Form(WHO_AM_I)).await?;
            let told = String::from_utf8_lossy(&told).into_owned();
            let who = between(&told, "<Arn>", "</Arn>").map(str::to_owned);
            who.ok_or_else(|| Refusal::unreadable(&"it does not say whose key it is"))
        });
        let regions = self.regions().join(", ");
        Ok(format!("{}, in {regions}", told.await?))
    }
}

/// Where machines are rented when nobody says.
const HOME: &str = "us-east-1";

/// How many regions are asked at once.
const AT_ONCE: usize = 4;

/// Who knows whose key it is. Everybody may ask for themselves.
const IDENTITIES: Service = Service { host: "sts", signs: "sts" };

/// The question.
const WHO_AM_I: &str = "Action=GetCallerIdentity&Version=2011-06-15";
