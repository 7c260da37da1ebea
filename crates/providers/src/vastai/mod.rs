//! Vast.ai: a market of strangers' machines, rented as containers.
//!
//! ```text
//! offers     all asks, cheapest first, page by page; each refused with a reason, or an offer for its likes
//! prepare    in a physical cluster: a private network; elsewhere nothing
//! provision  search the likes again; ask by ask: PUT --200--> loading --ports--> running
//!              '--failed--> an instance may be there all the same: found by its label, destroyed
//! describe   stopped, and nobody wanted it: outbid --> gone
//! terminate  DELETE, again until none is listed; then, in a teardown, the private network
//! ```
//!
//! Quirks: `price` in a create makes the machine interruptible, whatever the search was for. A create may fail
//! and leave an instance. Deleting a private network destroys whatever is still in it, so machines go first. An
//! instance has a key that can destroy it and do nothing else, so a machine ends its own bill. The pool's key is
//! let into its machines alone: a key of the account would be let into every instance that the account has.
//! UDP is not mapped; links run over SSH.

mod api;
#[cfg(feature = "testing")]
pub(crate) mod bodies;
mod config;
mod guard;
mod map;
mod market;
#[cfg(test)]
mod market_tests;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::join_all;
use futures_util::stream::{BoxStream, TryStreamExt};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use skyward_runtime::model::{Capabilities, Instance, InstanceId, InstanceState, KeyPrint, Leftover, Offer};
use skyward_runtime::provider::{
    Provider, ProviderError, ProviderErrorKind as Kind, Provisioned, Request, Sighting,
};

use crate::cloud::setup::{self, Way};
use crate::cloud::{
    Account, Found, Lately, Rental, end_all, found_or_stranger, is_plain, leftovers, machine_name, none_left,
    pool_name, sighting, stranger, until,
};
use crate::http::{Auth, Call, Client};
use api::{Ask, Asks, Created, Instances, OneInstance, Overlay, User};

pub use config::Config;

pub(crate) use api::SERVICE;
pub(crate) use config::KEYS;

/// The name of its folder, in settings and in offers.
pub(crate) const NAME: &str = "vastai";

/// Machines of Vast.ai. Asks nobody before it is used.
///
/// ```
/// use skyward_providers::vastai::VastAi;
/// use skyward_runtime::pool::Spec;
/// let spec = Spec::on(VastAi::default()).region("US").spot();
/// ```
#[derive(Debug, Default)]
pub struct VastAi {
    config: Config,
    way: Way,
    lately: Lately,
}

impl VastAi {
    /// Machines with these settings.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// The name of NVIDIA's image with these versions, for [`Config::docker_image`]. A host whose driver does not
    /// run this CUDA cannot start it: set [`Config::min_cuda`] to the same.
    ///
    /// ```
    /// use skyward_providers::vastai::VastAi;
    /// let image = VastAi::ubuntu("24.04", "12.9.1");
    /// assert_eq!(image, "nvcr.io/nvidia/cuda:12.9.1-runtime-ubuntu24.04");
    /// ```
    pub fn ubuntu(version: &str, cuda: &str) -> String {
        format!("nvcr.io/nvidia/cuda:{cuda}-runtime-ubuntu{version}")
    }

    fn client(&self) -> Result<&Client, ProviderError> {
        self.way.open(SERVICE, &self.config.access, self, |key| Ok(Auth::Bearer(key)))
    }

    /// What the market has, or has like this offer. A page begins at the price at which the last one ended, until
    /// one has nothing new: how many a search answers at most, nobody says.
    async fn search(&self, like: Option<&Offer>) -> Result<Vec<Offer>, ProviderError> {
        let client = self.client()?;
        let mut asks: BTreeMap<u64, Ask> = BTreeMap::new();
        let mut search = map::search(&self.config, like);
        for _ in 0..MOST_PAGES {
            let page: Asks = client.send(&api::search(&search)).await?;
            let before = asks.len();
            let mut last = None;
            for ask in page.offers {
                match serde_json::from_value::<Ask>(ask) {
                    Ok(ask) => {
                        last = ask.dph_total.or(last);
                        asks.insert(ask.id, ask);
                    }
                    Err(error) => tracing::warn!(%error, "an ask of Vast.ai cannot be read, and is left out"),
                }
            }
            match last {
                Some(last) if asks.len() > before => search.dph_total = Some(json!({"gte": last})),
                _ => break,
            }
        }
        let asks: Vec<_> = asks.into_values().collect();
        let (offers, refused) = market::offers(&asks, &self.config);
        for (ask, reason) in &refused {
            tracing::debug!(ask, reason, "an ask is left out");
        }
        Ok(offers)
    }

    async fn instances(
        &self,
        ours: impl Fn(&api::Instance) -> bool + Send,
        first: Call,
    ) -> Result<Vec<api::Instance>, ProviderError> {
        let mut pages = Box::pin(self.client()?.pages(first, api::next));
        let mut all = Vec::new();
        while let Some(Instances { instances, .. }) = pages.try_next().await? {
            all.extend(instances.into_iter().filter(&ours));
        }
        Ok(all)
    }

    /// The private network of a pool, where the offer is in a physical cluster.
    fn overlay(request: &Request) -> Option<(String, u64)> {
        let cluster = request.offer.specific.get(market::CLUSTER)?.parse().ok()?;
        Some((map::overlay(&request.pool, cluster), cluster))
    }

    async fn find_overlay(&self, name: &str) -> Result<Option<Overlay>, ProviderError> {
        let all: Vec<Overlay> = self.client()?.send(&api::overlays()).await?;
        Ok(all.into_iter().find(|it| it.name.as_deref() == Some(name)))
    }

    async fn set_up(&self, request: &Request) -> Result<(), ProviderError> {
        let client = self.client()?;
        let Some((name, cluster)) = Self::overlay(request) else { return Ok(()) };
        if self.find_overlay(&name).await?.is_none() {
            let found = || async { Ok(self.find_overlay(&name).await?.map(|_| Value::Null)) }.boxed();
            client.create(&api::create_overlay(&name, cluster), found).await?;
        }
        Ok(())
    }

    /// Rents the machine of one ask.
    async fn rent(&self, request: &Request, ask: &Offer) -> Result<Instance, ProviderError> {
        let label = machine_name(request)?;
        let rented = match ask.id.parse() {
            Ok(ask_id) => self.take(request, ask, ask_id, &label).await,
            Err(_) => Err(ProviderError::new(Kind::InvalidRequest, format!("{ask} has no number"))),
        };
        match rented {
            Ok(id) => Ok(Instance { id: InstanceId::new(id.to_string()), state: InstanceState::Pending }),
            Err(error) => {
                // Whatever the answer was, something may have been made.
                let ours = |it: &api::Instance| it.label.as_deref() == Some(label.as_str());
                match self.end(Vec::new(), &ours, &api::labelled(&label)).await {
                    Ok(left) if left.is_empty() => {}
                    left => tracing::warn!(label, ?left, "a failed request may have left a machine"),
                }
                Err(error)
            }
        }
    }

    async fn take(
        &self,
        request: &Request,
        ask: &Offer,
        ask_id: u64,
        label: &str,
    ) -> Result<u64, ProviderError> {
        let client = self.client()?;
        let find = || {
            async {
                let found = self.instances(|it| it.label.as_deref() == Some(label), api::labelled(label));
                Ok(found.await?.first().map(|it| Created { new_contract: Some(it.id) }))
            }
            .boxed()
        };
        let wanted = map::create(request, &self.config, ask, label);
        let made: Created = client.create(&api::create(ask_id, &wanted), find).await?;
        let id = made.new_contract.ok_or_else(|| {
            let message = "failed to rent a machine at Vast.ai: the answer names none; try again";
            ProviderError::new(Kind::Transient, message)
        })?;
        if let Some((name, _)) = Self::overlay(request) {
            self.join(&name, id).await?;
        }
        if let Err(error) = client.send::<IgnoredAny>(&api::let_in(id, &request.ssh_key)).await {
            // Its own start lets the key in, too.
            tracing::warn!(id, %error, "the pool's key could not be sent to a machine");
        }
        Ok(id)
    }

    /// Brings a machine into the pool's private network, and returns when it is in.
    async fn join(&self, overlay: &str, id: u64) -> Result<(), ProviderError> {
        self.client()?.send::<IgnoredAny>(&api::join_overlay(overlay, id)).await?;
        let deadline = Duration::from_secs(self.config.overlay_timeout);
        let joined = || async {
            let found = self.find_overlay(overlay).await?;
            Ok(found.filter(|it| it.instances.contains(&id)).map(drop))
        };
        until(deadline, self.config.access.backoff, joined).await?.ok_or_else(|| {
            let message = format!(
                "failed to bring machine {id} into the private network {overlay} within {deadline:?}; raise \
                 `overlay_timeout`, or set `use_overlay` to false"
            );
            ProviderError::new(Kind::Transient, message)
        })
    }

    /// Destroys what is known, and what is listed and ours, until nothing of it is listed; what is left, and why.
    async fn end(
        &self,
        known: Vec<Rental>,
        ours: &(dyn Fn(&api::Instance) -> bool + Send + Sync),
        first: &Call,
    ) -> Result<Vec<(Rental, String)>, ProviderError> {
        let list = || async {
            let there = self.instances(ours, first.clone()).await?;
            let rental = |it: api::Instance| Rental {
                id: it.id.to_string(),
                name: it.label.unwrap_or_default(),
                ending: false,
            };
            Ok(there.into_iter().map(rental).collect())
        };
        let client = self.client()?;
        let destroy = |it: Rental| async move {
            // What has no number is nobody's.
            let Ok(id) = it.id.parse() else { return Ok(()) };
            client.send::<IgnoredAny>(&api::destroy(id)).await.map(drop)
        };
        let end = |them: Vec<Rental>| join_all(them.into_iter().map(destroy));
        let recent = |id: &str| self.lately.has(id, self.config.access.settles);
        end_all(self.config.access.backoff, &recent, known, list, end).await
    }
}

#[async_trait]
impl Provider for VastAi {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            root: true,
            ends_itself: true,
            arrival: guard::ARRIVAL,
            pace: api::PACE,
            ..Capabilities::NONE
        }
    }

    fn account(&self) -> Option<KeyPrint> {
        self.way.print(self)
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        setup::all_at_once(self.search(None))
    }

    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        self.set_up(request).await
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        if request.offer.price.tariff(request.market).is_none() {
            let message = format!("failed to rent {}: it has no price on that market", request.offer);
            return Err(ProviderError::new(Kind::InvalidRequest, message));
        }
        let fresh = self.search(Some(&request.offer)).await?;
        let likes = market::likes(&request.offer, request.market, fresh);
        let rent = |ask: Offer| async move {
            match self.rent(request, &ask).await {
                Ok(instance) => Ok(vec![instance]),
                // Somebody was faster: the next one.
                Err(error) if error.kind == Kind::OfferGone => {
                    tracing::debug!(%error, "an ask is gone");
                    Ok(Vec::new())
                }
                Err(error) => Err(error),
            }
        };
        let client = self.client()?;
        let rented = setup::rent(SERVICE.name, || client.doubts(), count, likes, rent).await?;
        self.lately.rented(&request.pool, &rented.instances, self.config.access.settles);
        if rented.shortfall.is_some() || rented.instances.len() >= count as usize {
            return Ok(rented);
        }
        let message =
            format!("nothing like {} is left for what it cost; try another offer, or later", request.offer);
        let none = ProviderError::new(Kind::NoCapacity, message);
        if rented.instances.is_empty() {
            return Err(none);
        }
        Ok(Provisioned { shortfall: Some(none), ..rented })
    }

    async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        if !is_plain(id) {
            return Ok(stranger(id, SERVICE.name));
        }
        let found = self.client()?.send::<OneInstance>(&api::instance(id.as_str())).await;
        let found = found.map(|it| match it.instances {
            Some(found) => map::instance(&found, &self.config),
            None => stranger(id, SERVICE.name),
        });
        found_or_stranger(found, id, SERVICE.name)
    }

    async fn sightings(&self) -> Result<Option<Vec<Sighting>>, ProviderError> {
        let all = self.instances(|_| true, api::instances()).await?;
        Ok(Some(all.into_iter().filter_map(|it| sighting(it.id.to_string(), it.label.as_deref()?)).collect()))
    }

    async fn terminate(&self, _: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let numbers: Vec<u64> = ids.iter().filter_map(|it| it.as_str().parse().ok()).collect();
        let ours = |it: &api::Instance| numbers.contains(&it.id);
        none_left(self.end(Rental::known(ids), &ours, &api::instances()).await?)?;
        self.lately.ended(ids);
        Ok(())
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let prefix = format!("{}-", pool_name(&request.pool));
        let ours = |it: &api::Instance| it.label.as_ref().is_some_and(|it| it.starts_with(&prefix));
        // No list may have yet what was rented just now.
        let known = self.lately.of(&request.pool, self.config.access.settles);
        let mut left = leftovers("instance", self.end(known, &ours, &api::instances()).await?);
        if left.is_empty() {
            self.lately.torn_down(&request.pool);
        }
        if !self.config.use_overlay {
            return Ok(left);
        }
        // An offer before this one may have been in another cluster.
        let overlays: Vec<Overlay> = self.client()?.send(&api::overlays()).await?;
        for Overlay { name, cluster_id, .. } in overlays {
            if let Some((name, cluster)) = name.zip(cluster_id)
                && name == map::overlay(&request.pool, cluster)
            {
                let what = format!("private network {name}");
                left.extend(setup::remove(self.client()?, what, &api::delete_overlay(&name)).await);
            }
        }
        Ok(left)
    }
}

#[async_trait]
impl Account for VastAi {
    fn key(&self) -> Result<Found, ProviderError> {
        KEYS.find(SERVICE.name, self.config.api_key.as_ref())
    }

    async fn check(&self) -> Result<String, ProviderError> {
        let User { email, balance } = self.client()?.send(&api::user()).await?;
        let email = email.unwrap_or_else(|| "the key is known".to_owned());
        Ok(format!("{email}, ${:.2} of credit", balance.unwrap_or_default()))
    }
}

/// How many pages of offers are read: fifty times the whole market.
const MOST_PAGES: u32 = 1000;
