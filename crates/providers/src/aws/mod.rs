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
mod book;
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types;
use futures_util::future::{join, join_all};
use futures_util::stream::{self, BoxStream, StreamExt};
use skyward_runtime::model::{
    Capabilities, Instance, InstanceId, InstanceState, KeyPrint, Leftover, Offer, PoolId,
};
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request, Sighting};
use tokio::time::Instant;

use crate::cloud::setup::{self, all_at_once};
use crate::cloud::{Account, Found, Rental, Snapshot, is_plain, none_left, stranger};
use book::{Book, Entry};
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
    /// What was rented: lists do not have it at once.
    rented: Mutex<BTreeMap<InstanceId, Recent>>,
}

/// When and for whom a machine was rented.
#[derive(Debug)]
struct Recent {
    since: Instant,
    region: String,
    pool: PoolId,
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

    /// Remembers what was just rented.
    fn made(&self, request: &Request, region: &str, ids: &[InstanceId]) {
        let (mut rented, settled) = (self.rented(), self.settled());
        rented.retain(|_, it| it.since.elapsed() < settled);
        for id in ids {
            let recent =
                Recent { since: Instant::now(), region: region.to_owned(), pool: request.pool.clone() };
            rented.insert(id.clone(), recent);
        }
    }

    /// Whether a machine is so new that who says that there is none may only not have heard of it.
    fn is_recent(&self, id: &str) -> bool {
        let since = self.rented().get(&InstanceId::new(id)).map(|it| it.since);
        since.is_some_and(|it| it.elapsed() < self.settled())
    }

    /// What was rented lately of a pool in a region, which no list may have yet.
    fn recent(&self, pool: &PoolId, region: &str) -> Vec<Rental> {
        let rented = self.rented();
        let ours = rented.iter().filter(|(_, it)| it.pool == *pool && it.region == region);
        Rental::known(&ours.map(|(id, _)| id.clone()).collect::<Vec<_>>())
    }

    /// How long it takes until what was just made is in every list. Within this time a machine that is not listed
    /// is one that is being made.
    const fn settled(&self) -> Duration {
        self.config.access.settles.saturating_mul(4)
    }

    fn rented(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Recent>> {
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
        Capabilities {
            root: true,
            ends_itself: true,
            udp: true,
            sized_disk: true,
            disk_gb_hour: Some(self.config.disks(1)),
            peers: true,
            arrival: self.config.instance_timeout,
            ..Capabilities::NONE
        }
    }

    fn account(&self) -> Option<KeyPrint> {
        self.keys.print()
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        let regions = self.regions();
        let left = Arc::new(AtomicUsize::new(regions.len()));
        let of = move |region: String| {
            let left = Arc::clone(&left);
            all_at_once(async move {
                let offers = lists::offers(self.way()?, &region, &self.config).await;
                offers.or_else(|error| match left.fetch_sub(1, Ordering::Relaxed) {
                    // None of them could be asked.
                    ..=1 => Err(error),
                    _ => {
                        tracing::warn!(region, %error, "a region is left out");
                        Ok(Vec::new())
                    }
                })
            })
        };
        stream::iter(regions).map(of).flatten_unordered(AT_ONCE).boxed()
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
        let (way, region) = (self.way()?, rent::region(request)?);
        let book = &Book::new(|ids| self.made(request, region, ids));
        // What is in the book outlives the renting, which is broken off when it takes too long.
        // A request that is sent twice has the same token, and is answered twice the same.
        let rented = setup::rent(
            TITLE,
            || 0,
            count,
            [()],
            |()| async move { rent::rent(way, &self.config, request, count, book).await.map(|()| Vec::new()) },
        );
        let late = rented.await.err();
        let Entry { name, machines, refusal } = book.close();
        let explained = async {
            match refusal {
                Some(refusal) => Some(rent::explained(way, request, region, count, refusal).await),
                None => None,
            }
        };
        let (refusal, ()) = join(explained, rent::tidy(way, region, name)).await;
        let short = || {
            let message =
                format!("failed to rent machines at {TITLE}: it gave {} of {count}", machines.len());
            ProviderError::new(ProviderErrorKind::NoCapacity, message)
        };
        let shortfall = refusal.or(late).or_else(|| (machines.len() < count as usize).then(short));
        match shortfall {
            Some(error) if machines.is_empty() => Err(error),
            shortfall => {
                let pending = |id| Instance { id, state: InstanceState::Pending };
                Ok(Provisioned { instances: machines.into_iter().map(pending).collect(), shortfall })
            }
        }
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
        Ok(match self.is_recent(id.as_str()) {
            true => Instance { id: id.clone(), state: InstanceState::Pending },
            false => stranger(id, TITLE),
        })
    }

    async fn sightings(&self) -> Result<Option<Vec<Sighting>>, ProviderError> {
        let way = self.way()?;
        let mut all = Vec::new();
        for region in self.regions() {
            let machines = end::machines(way, &region, EVERY).await?;
            all.extend(
                machines.iter().filter(|it| map::lives(it)).filter_map(|it| map::sighting(it, &region)),
            );
        }
        Ok(Some(all))
    }

    async fn terminate(&self, request: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let known = Rental::known(ids);
        if known.is_empty() {
            return Ok(());
        }
        let (way, region) = (self.way()?, rent::region(request)?);
        let ours: BTreeSet<_> = known.iter().map(|it| it.id.clone()).collect();
        let (ours, recent) = (|it: &str| ours.contains(it), |it: &str| self.is_recent(it));
        let left = end::machines_of(way, region, request.pool.as_str(), known, &ours, &recent).await?;
        none_left(left)?;
        self.rented().retain(|id, _| !ids.contains(id));
        Ok(())
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let (way, here) = (self.way()?, rent::region(request)?);
        let regions: BTreeSet<_> = self.regions().into_iter().chain([here.to_owned()]).collect();
        let each = regions.iter().map(|it| async move {
            let known = self.recent(&request.pool, it);
            (it, end::region(way, it, &request.pool, known, &|id| self.is_recent(id)).await)
        });
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
        if left.is_empty() {
            self.rented().retain(|_, it| it.pool != request.pool);
        }
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

/// Any value of a tag, in a filter.
const EVERY: &str = "*";

/// How many regions are asked at once.
const AT_ONCE: usize = 4;

/// Who knows whose key it is. Everybody may ask for themselves.
const IDENTITIES: Service = Service { host: "sts", signs: "sts" };

/// The question.
const WHO_AM_I: &str = "Action=GetCallerIdentity&Version=2011-06-15";
