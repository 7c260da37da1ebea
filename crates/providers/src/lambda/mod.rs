//! Lambda: machines with accelerators, one launch at a time.
//!
//! ```text
//! prepare    key, and firewall rules for the region of the offer
//! provision  one launch in twelve seconds --200--> booting --address--> active
//! terminate  POST --terminating--> listed for a while --> gone
//! teardown   all whose name begins with the pool's; then rules of every region, and key
//! ```
//!
//! Quirks: `quantity` is gone from the launch, so machines come one by one, and a request for many is
//! answered in parts, before whoever asked stops waiting. A machine that shuts itself down goes on to cost,
//! and only the account can give it back. Lists have no pages. Errors have codes, but the gateway in front
//! of the interface says 403 and no more to those who come too often.

pub(crate) mod api;
mod config;
pub(crate) mod map;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use serde::de::IgnoredAny;
use skyward_runtime::model::{
    Capabilities, Instance, InstanceId, InstanceState, KeyPrint, Leftover, Market, Offer, PoolId,
};
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request, Sighting};

use crate::cloud::setup::{self, Way};
use crate::cloud::{
    Account, Found, Lately, Rental, Snapshot, end_all, found_or_stranger, is_plain, leftovers, machine_name,
    none_left, pool_name, sighting, stranger,
};
use crate::http::{Auth, Call, Client};
use api::{Data, Launched, Machine, Named};

pub use config::Config;

pub(crate) use api::SERVICE;
pub(crate) use config::KEYS;

/// The name of its folder, in settings and in offers.
pub(crate) const NAME: &str = "lambda";

/// Machines of Lambda. Asks nobody before it is used.
///
/// ```
/// use skyward_providers::lambda::Lambda;
/// use skyward_runtime::pool::Spec;
/// let spec = Spec::on(Lambda::default()).region("us-east-1");
/// ```
#[derive(Debug, Default)]
pub struct Lambda {
    config: Config,
    way: Way,
    seen: Snapshot<Machine>,
    lately: Lately,
}

impl Lambda {
    /// Machines with these settings.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    fn client(&self) -> Result<&Client, ProviderError> {
        self.way.open(SERVICE, &self.config.access, self, |key| Ok(Auth::Bearer(key)))
    }

    /// What a list has by this name.
    async fn find(&self, list: &Call, name: &str) -> Result<Option<Named>, ProviderError> {
        let Data { data } = self.client()?.send::<Data<Vec<Named>>>(list).await?;
        Ok(data.into_iter().find(|it| it.name == name))
    }

    /// Makes what is found in a list by its name, unless it is there.
    async fn make(&self, call: &Call, list: &Call, name: &str) -> Result<(), ProviderError> {
        let found = || async { Ok(self.find(list, name).await?.map(|_| serde_json::Value::Null)) }.boxed();
        self.client()?.create(call, found).await.map(drop)
    }

    async fn machines(&self) -> Result<Vec<Machine>, ProviderError> {
        let Data { data } = self.client()?.send::<Data<Vec<Machine>>>(&api::machines()).await?;
        Ok(data.into_iter().filter(map::lives).collect())
    }

    async fn set_up(&self, request: &Request) -> Result<(), ProviderError> {
        let name = pool_name(&request.pool);
        if self.find(&api::keys(), &name).await?.is_none() {
            self.make(&api::create_key(&name, &request.ssh_key), &api::keys(), &name).await?;
        }
        let Some(rules) = map::new_ruleset(request, &self.config) else { return Ok(()) };
        if self.find(&api::rulesets(), &rules.name).await?.is_none() {
            self.make(&api::create_ruleset(&rules), &api::rulesets(), &rules.name).await?;
        }
        Ok(())
    }

    async fn rent(&self, request: &Request, ruleset: Option<String>) -> Result<Instance, ProviderError> {
        let name = machine_name(request)?;
        let Some(launch) = map::launch(request, &self.config, &name, ruleset) else {
            let message = format!("failed to rent an instance: {} is in no region", request.offer);
            return Err(ProviderError::new(ProviderErrorKind::NoCapacity, message));
        };
        let find = || {
            async {
                let machines = self.machines().await?;
                let made = machines.into_iter().find(|it| it.name.as_ref() == Some(&name));
                Ok(made.map(|it| Data { data: Launched { instance_ids: vec![it.id] } }))
            }
            .boxed()
        };
        let launched: Data<Launched> = self.client()?.create(&api::launch(&launch), find).await?;
        let id = launched.data.instance_ids.into_iter().next().ok_or_else(|| {
            let message = "failed to rent an instance at Lambda: the answer names none; try again";
            ProviderError::new(ProviderErrorKind::Transient, message)
        })?;
        Ok(Instance { id: InstanceId::new(id), state: InstanceState::Pending })
    }

    /// Ends machines that are known or ours, and waits until none of them lives; those that are left, and why.
    async fn end(
        &self,
        known: Vec<Rental>,
        ours: &(dyn Fn(&Machine) -> bool + Send + Sync),
    ) -> Result<Vec<(Rental, String)>, ProviderError> {
        let list = || async {
            let machines = self.machines().await?.into_iter().filter(ours);
            let rental = |it: Machine| Rental {
                ending: it.status == "terminating",
                name: it.name.unwrap_or_default(),
                id: it.id,
            };
            Ok(machines.map(rental).collect())
        };
        let client = self.client()?;
        let end = |them: Vec<Rental>| async move {
            let ids: Vec<_> = them.into_iter().map(|it| it.id).collect();
            let ended = client.send::<IgnoredAny>(&api::terminate(&ids)).await.map(drop);
            match ended {
                // One of them is gone or cannot end, and the others were left alone.
                Err(error) if ids.len() > 1 && !passes(&error) => {
                    let mut each = Vec::with_capacity(ids.len());
                    for id in &ids {
                        let one = api::terminate(std::slice::from_ref(id));
                        each.push(client.send::<IgnoredAny>(&one).await.map(drop));
                    }
                    each
                }
                Err(error) => {
                    let again = || ProviderError::new(error.kind, error.message.clone());
                    ids.iter().map(|_| Err(again())).collect()
                }
                Ok(()) => ids.iter().map(|_| Ok(())).collect(),
            }
        };
        let recent = |id: &str| self.lately.has(id, self.config.access.settles);
        end_all(self.config.access.backoff, &recent, known, list, end).await
    }

    /// Removes the pool's rules in every region, and its key; what is left of them.
    async fn remove(&self, pool: &PoolId) -> Result<Vec<Leftover>, ProviderError> {
        let client = self.client()?;
        let Data { data: rulesets } = client.send::<Data<Vec<Named>>>(&api::rulesets()).await?;
        let ours = |it: &Named| {
            it.region.as_ref().is_some_and(|region| it.name == map::ruleset_name(pool, &region.name))
        };
        let rules =
            rulesets.into_iter().filter(ours).map(|it| ("firewall rules", api::delete_ruleset(&it.id), it));
        let key = self.find(&api::keys(), &pool_name(pool)).await?;
        let key = key.map(|it| ("key", api::delete_key(&it.id), it));
        let mut left = Vec::new();
        for (what, call, Named { id, name, .. }) in rules.chain(key) {
            left.extend(setup::remove(client, format!("{what} {id} ({name})"), &call).await);
        }
        Ok(left)
    }
}

#[async_trait]
impl Provider for Lambda {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { root: true, udp: true, peers: true, boot: BOOT, pace: api::PACE, ..Capabilities::NONE }
    }

    fn account(&self) -> Option<KeyPrint> {
        self.way.print(self)
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        let offers = async {
            let Data { data } = self.client()?.send::<Data<api::Types>>(&api::types()).await?;
            Ok(data.values().flat_map(|it| map::offers(it, &self.config)).collect::<Vec<_>>())
        };
        setup::all_at_once(offers)
    }

    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        self.set_up(request).await
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        if request.market != Market::OnDemand {
            let message = "failed to rent an instance: Lambda has no spot machines; ask for on-demand";
            return Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message));
        }
        let ruleset = match map::new_ruleset(request, &self.config) {
            Some(rules) => self.find(&api::rulesets(), &rules.name).await?.map(|it| it.id),
            None => None,
        };
        let rent = |_| async { Ok(vec![self.rent(request, ruleset.clone()).await?]) };
        let client = self.client()?;
        let rented = setup::rent(SERVICE.name, || client.doubts(), count, 0..count, rent).await?;
        self.lately.rented(&request.pool, &rented.instances, self.config.access.settles);
        Ok(rented)
    }

    async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        if !is_plain(id) {
            return Ok(stranger(id, SERVICE.name));
        }
        let seen = self.seen.fresh(|| self.machines()).await?;
        if let Some(found) = seen.iter().find(|it| it.id == id.as_str()) {
            return Ok(map::instance(found, &self.config));
        }
        // It may be too new for the list, or gone.
        let found = self.client()?.send::<Data<Machine>>(&api::machine(id.as_str())).await;
        found_or_stranger(found.map(|it| map::instance(&it.data, &self.config)), id, SERVICE.name)
    }

    async fn sightings(&self) -> Result<Option<Vec<Sighting>>, ProviderError> {
        let machines = self.machines().await?;
        Ok(Some(machines.into_iter().filter_map(|it| sighting(it.id, it.name.as_deref()?)).collect()))
    }

    async fn terminate(&self, _: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let ours = |it: &Machine| ids.iter().any(|id| id.as_str() == it.id);
        none_left(self.end(Rental::known(ids), &ours).await?)?;
        self.lately.ended(ids);
        Ok(())
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let name = pool_name(&request.pool);
        let prefix = format!("{name}-");
        let ours = |it: &Machine| it.name.as_ref().is_some_and(|it| it.starts_with(&prefix));
        // No list may have yet what was rented just now.
        let known = self.lately.of(&request.pool, self.config.access.settles);
        let mut left = leftovers("instance", self.end(known, &ours).await?);
        if left.is_empty() {
            self.lately.torn_down(&request.pool);
        }
        left.extend(self.remove(&request.pool).await?);
        Ok(left)
    }
}

#[async_trait]
impl Account for Lambda {
    fn key(&self) -> Result<Found, ProviderError> {
        KEYS.find(SERVICE.name, self.config.api_key.as_ref())
    }

    async fn check(&self) -> Result<String, ProviderError> {
        let machines = self.machines().await?;
        Ok(format!("the key is known; {} instances are running", machines.len()))
    }
}

/// Whether a refusal says nothing about what was asked for: it comes too often, or is asked by the wrong one.
fn passes(error: &ProviderError) -> bool {
    use ProviderErrorKind::{Auth, RateLimited, Transient};
    matches!(error.kind, Auth | RateLimited | Transient)
}

/// How long its slowest machines take: eight accelerators need some 25 minutes.
const BOOT: Duration = Duration::from_secs(1800);
