//! Verda: machines with accelerators in Europe, also as spot.
//!
//! ```text
//! offers     kinds of machines x what each location has free, on demand and spot
//! prepare    key, and the startup script where there is one
//! provision  one machine a request --202, a bare text--> provisioning --address--> running
//!                                                           '--later--> no_capacity
//! terminate  delete with its volumes --> discontinued; refused while provisioning: asked again
//! teardown   all with the pool's tag; volumes that were left; then script and key
//! ```
//!
//! Quirks: volumes that a deletion does not name stay, and cost. A machine that shuts itself down goes on costing.
//! Spot machines are taken back without a warning, and only the journal says why. What is made is answered with its
//! id alone. Several errors have one code, and only their words differ.

mod api;
#[cfg(feature = "testing")]
pub(crate) mod bodies;
mod config;
mod map;

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use serde::de::DeserializeOwned;
use skyward_runtime::model::{Capabilities, Instance, InstanceId, InstanceState, KeyPrint, Leftover, Offer};
use skyward_runtime::provider::{
    Provider, ProviderError, ProviderErrorKind as Kind, Provisioned, Request, Sighting,
};

use crate::cloud::setup::{self, Way};
use crate::cloud::{
    Account, Found, Lately, Rental, end_all, found_or_stranger, is_plain, leftovers, machine_name, none_left,
    pool_name, sighting, stranger,
};
use crate::http::{Auth, Call, Client};
use api::{Balance, Done, Entry, Machine, Named, Volume};

pub use config::Config;

pub(crate) use api::SERVICE;
pub(crate) use config::KEYS;

/// The name of its folder, in settings and in offers.
pub(crate) const NAME: &str = "verda";

/// Machines of Verda. Asks nobody before it is used.
///
/// ```
/// use skyward_providers::verda::Verda;
/// use skyward_runtime::pool::Spec;
/// let spec = Spec::on(Verda::default()).region("FIN-01");
/// ```
#[derive(Debug, Default)]
pub struct Verda {
    config: Config,
    way: Way,
    lately: Lately,
}

impl Verda {
    /// Machines with these settings.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    fn client(&self) -> Result<&Client, ProviderError> {
        self.way.open(SERVICE, &self.config.access, self, |secret| {
            let id = match &self.config.client_id {
                Some(id) => id.clone(),
                None => config::IDS.find(SERVICE.name, None)?.key.reveal().clone(),
            };
            Ok(Auth::ClientCredentials { token_path: api::TOKEN, id, secret, json: true })
        })
    }

    async fn get<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ProviderError> {
        self.client()?.send(call).await
    }

    async fn catalog(&self) -> Result<map::Catalog, ProviderError> {
        Ok(map::Catalog {
            types: self.get(&api::types()).await?,
            stays: self.get(&api::availability(false)).await?,
            spot: self.get(&api::availability(true)).await?,
            locations: self.get(&api::locations()).await?,
        })
    }

    /// The id of what a list has by this name.
    async fn find(&self, list: &Call, name: &str) -> Result<Option<String>, ProviderError> {
        let all: Vec<Named> = self.get(list).await?;
        Ok(all.into_iter().find(|it| it.name == name).map(|it| it.id))
    }

    /// The id of what a list has by this name; it is made unless it is there.
    async fn make(&self, call: &Call, list: &Call, name: &str) -> Result<String, ProviderError> {
        match self.find(list, name).await? {
            Some(id) => Ok(id),
            None => self.client()?.create(call, || self.find(list, name).boxed()).await,
        }
    }

    /// The ids of the pool's key and script, which are made unless they are there.
    async fn set_up(&self, request: &Request) -> Result<(String, Option<String>), ProviderError> {
        let name = pool_name(&request.pool);
        let key = self.make(&api::create_key(&name, &request.ssh_key), &api::keys(), &name).await?;
        let script = match &self.config.startup_script {
            Some(script) => {
                Some(self.make(&api::create_script(&name, script), &api::scripts(&name), &name).await?)
            }
            None => None,
        };
        Ok((key, script))
    }

    async fn machines(&self, request: &Request) -> Result<Vec<Machine>, ProviderError> {
        let all: Vec<Machine> = self.get(&api::machines(&map::tag(request))).await?;
        // The tag is looked at by the cloud, and the name by us: nothing of anybody else may be deleted.
        let prefix = format!("{}-", pool_name(&request.pool));
        Ok(all.into_iter().filter(|it| map::lives(it) && it.hostname.starts_with(&prefix)).collect())
    }

    async fn rent(
        &self,
        request: &Request,
        key: &str,
        script: Option<&String>,
    ) -> Result<Vec<Instance>, ProviderError> {
        let name = machine_name(request)?;
        let wanted = map::new_machine(request, &self.config, &name, key.to_owned(), script.cloned());
        let wanted = wanted.ok_or_else(|| {
            let message = format!(
                "failed to rent a machine: {} is in no location, or no image fits it; set `image`",
                request.offer
            );
            ProviderError::new(Kind::NoCapacity, message)
        })?;
        let find = || {
            async {
                let all = self.machines(request).await?;
                Ok(all.into_iter().find(|it| it.hostname == name).map(|it| it.id))
            }
            .boxed()
        };
        let id: String = self.client()?.create(&api::rent(&wanted), find).await?;
        Ok(vec![Instance { id: InstanceId::new(id), state: InstanceState::Pending }])
    }

    /// Deletes machines that are known or ours and their volumes, and waits until none of them is there; those
    /// that are left, and why.
    async fn end(
        &self,
        request: &Request,
        known: Vec<Rental>,
        ours: &(dyn Fn(&Machine) -> bool + Send + Sync),
    ) -> Result<Vec<(Rental, String)>, ProviderError> {
        let list = || async {
            let machines = self.machines(request).await?.into_iter().filter(ours);
            let rental =
                |it: Machine| Rental { ending: it.status == "deleting", name: it.hostname, id: it.id };
            Ok(machines.map(rental).collect())
        };
        let end = |them: Vec<Rental>| async move { self.delete_all(request, them).await };
        let recent = |id: &str| self.lately.has(id, self.config.access.settles);
        end_all(self.config.access.backoff, &recent, known, list, end).await
    }

    /// Deletes one machine, with the volumes that it has now.
    async fn delete(&self, id: &str) -> Result<(), ProviderError> {
        let volumes = match self.get::<Machine>(&api::machine(id)).await {
            Ok(machine) if !map::lives(&machine) => return Ok(()),
            Ok(machine) => map::volumes(&machine),
            Err(error) if error.kind == Kind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let done: Option<Vec<Done>> = self.get(&api::delete(&[id], &volumes)).await?;
        done.iter().flatten().try_for_each(map::done)
    }

    /// Deletes machines, with few requests where a list has them: one request for each would take minutes for many.
    /// Answers for each.
    async fn delete_all(&self, request: &Request, them: Vec<Rental>) -> Vec<Result<(), ProviderError>> {
        let mut deleted: BTreeMap<String, Result<(), ProviderError>> = BTreeMap::new();
        if them.len() > 1
            && let Ok(machines) = self.machines(request).await
        {
            let wanted = |it: &Machine| them.iter().any(|rental| rental.id == it.id);
            let listed: Vec<(String, Vec<String>)> =
                machines.iter().filter(|it| wanted(it)).map(|it| (it.id.clone(), map::volumes(it))).collect();
            // Those whose volumes are not known are asked for without any.
            let (unmade, made): (Vec<_>, Vec<_>) = listed.into_iter().partition(|(_, it)| it.is_empty());
            for some in unmade.chunks(api::MOST_DELETED).chain(made.chunks(api::MOST_DELETED)) {
                let ids: Vec<&str> = some.iter().map(|(id, _)| id.as_str()).collect();
                let volumes: Vec<String> = some.iter().flat_map(|(_, it)| it.clone()).collect();
                let done: Result<Option<Vec<Done>>, _> = self.get(&api::delete(&ids, &volumes)).await;
                // What is not answered for, or not at all, is asked for alone.
                let done = done.ok().flatten().unwrap_or_default();
                deleted.extend(done.iter().map(|it| (it.id.clone(), map::done(it))));
            }
        }
        let each = them.iter().map(|it| {
            let known = deleted.remove(&it.id);
            async move {
                match known {
                    Some(known) => known,
                    None => self.delete(&it.id).await,
                }
            }
        });
        join_all(each.collect::<Vec<_>>()).await
    }

    /// What the journal says of a machine that has ended; nothing when it cannot be read.
    async fn journal(&self, machine: &Machine) -> Vec<Entry> {
        if !map::over(&machine.status) {
            return Vec::new();
        }
        self.get(&api::journal(&machine.id)).await.unwrap_or_else(|error| {
            tracing::debug!(%error, machine.id, "its journal cannot be read");
            Vec::new()
        })
    }
}

#[async_trait]
impl Provider for Verda {
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
        setup::all_at_once(async { Ok(self.catalog().await?.offers(&self.config)) })
    }

    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        self.set_up(request).await.map(drop)
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        if request.offer.price.tariff(request.market).is_none() {
            let message = format!("failed to rent {}: it is not free on that market", request.offer);
            return Err(ProviderError::new(Kind::InvalidRequest, message));
        }
        let (key, script) = self.set_up(request).await?;
        let rent = |_| self.rent(request, &key, script.as_ref());
        let client = self.client()?;
        let rented = setup::rent(SERVICE.name, || client.doubts(), count, 0..count, rent).await?;
        self.lately.rented(&request.pool, &rented.instances, self.config.access.settles);
        Ok(rented)
    }

    async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        if !is_plain(id) {
            return Ok(stranger(id, SERVICE.name));
        }
        let found = match self.get::<Machine>(&api::machine(id.as_str())).await {
            Ok(found) => Ok(map::instance(&found, &self.journal(&found).await, &self.config)),
            Err(error) => Err(error),
        };
        found_or_stranger(found, id, SERVICE.name)
    }

    async fn sightings(&self) -> Result<Option<Vec<Sighting>>, ProviderError> {
        let all: Vec<Machine> = self.get(&api::all_machines()).await?;
        let there = all.into_iter().filter(map::lives);
        Ok(Some(there.filter_map(|it| sighting(it.id, &it.hostname)).collect()))
    }

    async fn terminate(&self, request: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let ours = |it: &Machine| ids.iter().any(|id| id.as_str() == it.id);
        none_left(self.end(request, Rental::known(ids), &ours).await?)?;
        self.lately.ended(ids);
        Ok(())
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        let name = pool_name(&request.pool);
        // No list may have yet what was rented just now.
        let known = self.lately.of(&request.pool, self.config.access.settles);
        let mut left = leftovers("machine", self.end(request, known, &|_| true).await?);
        if left.is_empty() {
            self.lately.torn_down(&request.pool);
        }
        let prefix = format!("{name}-");
        let volumes: Vec<Volume> = self.get(&api::volumes()).await?;
        let volumes = volumes.into_iter().filter(|it| it.name.starts_with(&prefix) && map::remains(it));
        let volumes =
            volumes.map(|it| (format!("volume {} ({})", it.id, it.name), api::delete_volume(&it.id)));
        let script = self.find(&api::scripts(&name), &name).await?;
        let script = script.map(|id| (format!("script {id} ({name})"), api::delete_script(&id)));
        let key = self.find(&api::keys(), &name).await?;
        let key = key.map(|id| (format!("key {id} ({name})"), api::delete_key(&id)));
        for (what, call) in volumes.chain(script).chain(key) {
            left.extend(setup::remove(self.client()?, what, &call).await);
        }
        Ok(left)
    }
}

#[async_trait]
impl Account for Verda {
    fn key(&self) -> Result<Found, ProviderError> {
        KEYS.find(SERVICE.name, self.config.client_secret.as_ref())
    }

    async fn check(&self) -> Result<String, ProviderError> {
        let Balance { amount, currency } = self.get(&api::balance()).await?;
        Ok(format!("the project has {amount:.2} {currency} left"))
    }
}
