//! DigitalOcean: droplets, with and without accelerators, up to ten in one request.
//!
//! ```text
//! prepare    key, tag, firewall for whatever has the tag
//! provision  ten names a request --202--> new --address--> active; 422: no capacity, or the account's limit
//! terminate  DELETE --204--> still listed for a while --404--> gone
//! teardown   DELETE by tag, wait until nothing has it; then firewall, key, tag
//! ```
//!
//! Quirks: a droplet that is switched off costs as much as one that runs, and only the account can delete
//! it, so no machine can end its own bill. A size is sold out where its list of regions is empty. Keys may
//! be listed ten times a minute, which is why the key's number is remembered. Errors are told apart by
//! their words, as far as they are told apart at all.

pub(crate) mod api;
mod config;
pub(crate) mod map;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde::de::{DeserializeOwned, IgnoredAny};
use skyward_runtime::model::{Capabilities, Instance, InstanceId, KeyPrint, Leftover, Market, Offer, PoolId};
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request, Sighting};

use crate::cloud::setup::{self, Way};
use crate::cloud::{
    Account, Found, GONE, Lately, Rental, SKYWARD, end_all, found_or_stranger, is_plain, leftovers,
    machine_name, pool_name, sighting, stranger, until,
};
use crate::http::{Auth, Call, Client};
use api::{Droplet, Droplets, Firewalls, Keys, OneAccount, OneDroplet, OneKey, Paged};

pub use config::Config;

pub(crate) use api::SERVICE;
pub(crate) use config::KEYS;

/// The name of its folder, in settings and in offers.
pub(crate) const NAME: &str = "digitalocean";

/// Machines of DigitalOcean. Asks nobody before it is used.
///
/// ```
/// use skyward_providers::digitalocean::DigitalOcean;
/// use skyward_runtime::pool::Spec;
/// let spec = Spec::on(DigitalOcean::default()).vcpus(4).region("fra1");
/// ```
#[derive(Debug, Default)]
pub struct DigitalOcean {
    config: Config,
    way: Way,
    /// The number of each pool's key.
    keys: Mutex<BTreeMap<PoolId, u64>>,
    lately: Lately,
}

impl DigitalOcean {
    /// Machines with these settings.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    fn client(&self) -> Result<&Client, ProviderError> {
        self.way.open(SERVICE, &self.config.access, self, |key| Ok(Auth::Bearer(key)))
    }

    /// The first thing of a paged list that is looked for.
    async fn first<P, T>(&self, call: Call, pick: impl Fn(P) -> Option<T>) -> Result<Option<T>, ProviderError>
    where
        P: Paged + DeserializeOwned + Send,
    {
        let mut pages = Box::pin(self.client()?.pages(call, api::next::<P>));
        while let Some(page) = pages.try_next().await? {
            if let Some(found) = pick(page) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn all(&self, tag: &str) -> Result<Vec<Droplet>, ProviderError> {
        let pages = self.client()?.pages(api::droplets(tag), api::next::<Droplets>);
        pages.map_ok(|page| stream::iter(page.droplets.into_iter().map(Ok))).try_flatten().try_collect().await
    }

    async fn find_key(&self, name: &str) -> Result<Option<u64>, ProviderError> {
        self.first(api::keys(), |page: Keys| {
            page.ssh_keys.into_iter().find(|it| it.name == name).map(|it| it.id)
        })
        .await
    }

    async fn find_firewall(&self, name: &str) -> Result<Option<String>, ProviderError> {
        self.first(api::firewalls(), |page: Firewalls| {
            page.firewalls.into_iter().find(|it| it.name == name).map(|it| it.id)
        })
        .await
    }

    /// The number of the pool's key: remembered, or looked up by its name.
    async fn key_of(&self, pool: &PoolId) -> Result<u64, ProviderError> {
        if let Some(id) = self.known_keys().get(pool).copied() {
            return Ok(id);
        }
        let name = pool_name(pool);
        let id = self.find_key(&name).await?.ok_or_else(|| {
            let message =
                format!("failed to rent droplets: the key {name} is not there; was the pool prepared?");
            ProviderError::new(ProviderErrorKind::NotFound, message)
        })?;
        self.known_keys().insert(pool.clone(), id);
        Ok(id)
    }

    async fn set_up(&self, request: &Request) -> Result<(), ProviderError> {
        let client = self.client()?;
        let name = pool_name(&request.pool);
        let key = client
            .create(&api::create_key(&name, &request.ssh_key), || {
                async { Ok(self.find_key(&name).await?.map(|id| OneKey::numbered(id, &name))) }.boxed()
            })
            .await;
        let (key, again) = match key {
            Ok(made) => (made.ssh_key.id, false),
            // It was stored by a preparation before this one.
            Err(error) if error.kind == ProviderErrorKind::Conflict => {
                (self.find_key(&name).await?.ok_or(error)?, true)
            }
            Err(error) => return Err(error),
        };
        self.known_keys().insert(request.pool.clone(), key);
        if !self.config.firewall || (again && self.find_firewall(&name).await?.is_some()) {
            return Ok(());
        }
        // A firewall takes only tags that exist.
        client.send::<IgnoredAny>(&api::create_tag(&name)).await?;
        let wanted = map::new_firewall(&name, &self.config);
        let find = || async { Ok(self.find_firewall(&name).await?.map(|_| serde_json::Value::Null)) }.boxed();
        client.create(&api::create_firewall(&wanted), find).await.map(drop)
    }

    /// Rents machines of these names with one request.
    async fn rent(&self, request: &Request, names: &[String]) -> Result<Vec<Instance>, ProviderError> {
        let key = self.key_of(&request.pool).await?;
        let Some(wanted) = map::new_droplets(request, &self.config, names, key) else {
            let message = format!("failed to rent droplets: {} is in no region", request.offer);
            return Err(ProviderError::new(ProviderErrorKind::NoCapacity, message));
        };
        let tag = pool_name(&request.pool);
        let find = |last: bool| {
            let tag = tag.clone();
            async move {
                let all = self.all(&tag).await?;
                let made: Vec<_> = all.into_iter().filter(|it| names.contains(&it.name)).collect();
                // Those that are missing may only not be listed yet, and would be nobody's.
                let enough = made.len() == names.len() || last && !made.is_empty();
                Ok(enough.then(|| Droplets::of(made)))
            }
            .boxed()
        };
        let client = self.client()?;
        let made: Droplets = client.create_some(&api::create_droplets(&wanted), find).await?;
        if made.droplets.len() < names.len() {
            client.doubt();
        }
        Ok(made.droplets.iter().map(|it| map::instance(it, &self.config)).collect())
    }

    /// Deletes one machine and waits until it is gone.
    async fn end(&self, id: &InstanceId) -> Result<(), ProviderError> {
        if !is_plain(id) {
            return Ok(());
        }
        let client = self.client()?;
        let told = AtomicBool::new(false);
        let gone = || async {
            match client.send::<IgnoredAny>(&api::delete_droplet(id.as_str())).await {
                Ok(_) => told.store(true, Ordering::Relaxed),
                // It is being deleted already, or is busy with something that has to end first.
                Err(error) if error.kind == ProviderErrorKind::Conflict => {}
                Err(error) if error.kind == ProviderErrorKind::NotFound => {
                    // One that is new may only not be heard of yet.
                    let unheard = !told.load(Ordering::Relaxed)
                        && self.lately.has(id.as_str(), self.config.access.settles);
                    return Ok((!unheard).then_some(()));
                }
                Err(error) => return Err(error),
            }
            match client.send::<IgnoredAny>(&api::droplet(id.as_str())).await {
                Ok(_) => Ok(None),
                Err(error) if error.kind == ProviderErrorKind::NotFound => Ok(Some(())),
                Err(error) => Err(error),
            }
        };
        match until(GONE, self.config.access.backoff, gone).await? {
            Some(()) => Ok(()),
            None => {
                let message = format!("failed to delete droplet {id}: it is still there after {GONE:?}");
                Err(ProviderError::new(ProviderErrorKind::Transient, message))
            }
        }
    }

    /// Deletes all machines of a pool; those that are left, and why.
    async fn end_pool(&self, tag: &str, known: Vec<Rental>) -> Result<Vec<(Rental, String)>, ProviderError> {
        let client = self.client()?;
        let list = || async {
            let rental = |it: Droplet| Rental { id: it.id.to_string(), name: it.name, ending: false };
            Ok(self.all(tag).await?.into_iter().map(rental).collect())
        };
        let delete = |it: Rental| async move {
            client.send::<IgnoredAny>(&api::delete_droplet(&it.id)).await.map(drop)
        };
        let end = |them: Vec<Rental>| async move {
            match client.send::<IgnoredAny>(&api::delete_droplets(tag)).await {
                Ok(_) => them.iter().map(|_| Ok(())).collect(),
                // One of them cannot be deleted now, and the others may have been left alone.
                Err(_) => join_all(them.into_iter().map(delete)).await,
            }
        };
        let recent = |id: &str| self.lately.has(id, self.config.access.settles);
        end_all(self.config.access.backoff, &recent, known, list, end).await
    }

    fn known_keys(&self) -> MutexGuard<'_, BTreeMap<PoolId, u64>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Provider for DigitalOcean {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { root: true, udp: true, peers: true, pace: api::PACE, ..Capabilities::NONE }
    }

    fn account(&self) -> Option<KeyPrint> {
        self.way.print(self)
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let pages = client.pages(api::sizes(), api::next::<api::Sizes>);
        let offers = pages.map_ok(|page| {
            let offers: Vec<_> = page.sizes.iter().flat_map(|it| map::offers(it, &self.config)).collect();
            stream::iter(offers.into_iter().map(Ok))
        });
        offers.try_flatten().boxed()
    }

    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        self.set_up(request).await
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        if request.market != Market::OnDemand {
            let message = "failed to rent droplets: DigitalOcean has no spot machines; ask for on-demand";
            return Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message));
        }
        let names: Vec<_> = (0..count).map(|_| machine_name(request)).collect::<Result<_, _>>()?;
        let chunks = names.chunks(api::MOST_NAMES);
        let (client, rent) = (self.client()?, |names| self.rent(request, names));
        let rented = setup::rent(SERVICE.name, || client.doubts(), count, chunks, rent).await?;
        self.lately.rented(&request.pool, &rented.instances, self.config.access.settles);
        Ok(rented)
    }

    async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        if !is_plain(id) {
            return Ok(stranger(id, SERVICE.name));
        }
        let found = self.client()?.send::<OneDroplet>(&api::droplet(id.as_str())).await;
        found_or_stranger(found.map(|it| map::instance(&it.droplet, &self.config)), id, SERVICE.name)
    }

    async fn sightings(&self) -> Result<Option<Vec<Sighting>>, ProviderError> {
        let droplets = self.all(SKYWARD).await?;
        Ok(Some(droplets.into_iter().filter_map(|it| sighting(it.id.to_string(), &it.name)).collect()))
    }

    async fn terminate(&self, _: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let ended = join_all(ids.iter().map(|id| self.end(id))).await;
        let gone = ids.iter().zip(&ended).filter(|(_, it)| it.is_ok()).map(|(id, _)| id);
        self.lately.ended(gone);
        ended.into_iter().collect()
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let name = pool_name(&request.pool);
        // No list may have yet what was rented just now.
        let known = self.lately.of(&request.pool, self.config.access.settles);
        let mut left = leftovers("droplet", self.end_pool(&name, known).await?);
        if left.is_empty() {
            self.lately.torn_down(&request.pool);
        }
        let firewall = self.find_firewall(&name).await?;
        let known = self.known_keys().get(&request.pool).copied();
        let key = match known {
            Some(key) => Some(key),
            None => self.find_key(&name).await?,
        };
        let firewall = firewall.map(|id| (format!("firewall {id} ({name})"), api::delete_firewall(&id)));
        let key = key.map(|id| (format!("key {id} ({name})"), api::delete_key(id)));
        let tag = Some((format!("tag {name}"), api::delete_tag(&name)));
        for (what, call) in [firewall, key, tag].into_iter().flatten() {
            left.extend(setup::remove(self.client()?, what, &call).await);
        }
        if left.is_empty() {
            self.known_keys().remove(&request.pool);
        }
        Ok(left)
    }
}

#[async_trait]
impl Account for DigitalOcean {
    fn key(&self) -> Result<Found, ProviderError> {
        KEYS.find(SERVICE.name, self.config.token.as_ref())
    }

    async fn check(&self) -> Result<String, ProviderError> {
        let OneAccount { account } = self.client()?.send(&api::account()).await?;
        let api::Account { email, status, droplet_limit } = account;
        Ok(format!("{email}, {status}, at most {droplet_limit} droplets"))
    }
}
