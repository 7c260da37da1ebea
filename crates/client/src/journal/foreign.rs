//! Pools that clouds have machines of and the journal does not know: of another computer, another user, or a journal
//! that is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skyward_providers::cloud;
use skyward_runtime::model::{InstanceType, Leftover, Market, Offer, PoolId, Price};
use skyward_runtime::provider::{Provider, Request, Sighting};
use skyward_runtime::timing::Timing;

use super::{Journal, Reading};
use crate::engine::Engine;
use crate::error::Error;

/// A pool that somebody else began, or that nobody remembers, and what one cloud has of it.
#[derive(Clone)]
pub struct ForeignPool {
    /// Its id.
    pub id: PoolId,
    /// Its machines, as the cloud lists them. There is at least one.
    pub machines: Vec<Sighting>,
    /// The journal could not be read whole, and what could not be may be this one.
    pub may_be_own: bool,
    provider: Arc<dyn Provider>,
}

/// What was found of foreign pools.
#[derive(Clone, Debug, Default)]
pub struct Foreigners {
    /// The pools, by cloud and id.
    pub pools: Vec<ForeignPool>,
    /// The providers that could not be asked, and why.
    pub failed: Vec<(String, String)>,
}

impl ForeignPool {
    /// The cloud that has it.
    pub fn provider(&self) -> &str {
        self.provider.name()
    }

    /// For how long it has been there, from its youngest machine; nothing where that is not known. `now` is the
    /// [time since 1970](Journal::now).
    pub fn age(&self, now: Duration) -> Option<Duration> {
        let ages = self.machines.iter().map(|it| Some(now.saturating_sub(it.since?)));
        ages.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// How old it must be to be given back: so long its program may take to start it, and its machines may live
    /// without it. Its age is told by the clock of who began it and compared with this computer's, so ten minutes are
    /// added, by which the two may differ.
    pub fn settled(&self) -> Duration {
        let lease = self.machines.iter().filter_map(|it| it.lease).max().unwrap_or_default();
        Timing::default().boot + lease * 4 / 3 + CLOCKS
    }

    /// Whether it may just be starting: it is younger than that, or nobody knows how old it is.
    pub fn may_be_starting(&self, now: Duration) -> bool {
        self.age(now).is_none_or(|it| it < self.settled())
    }

    /// Gives back everything that its cloud has of it. Somebody may be using it: that its machines are there is all
    /// that is known. What is left is in the answer.
    ///
    /// # Errors
    /// When it [may be starting](Self::may_be_starting) or [one of this user's own](Self::may_be_own), or the cloud cannot
    /// be asked.
    pub async fn give_back(&self) -> Result<Vec<Leftover>, Error> {
        if self.may_be_own {
            return Err(Error::from(format!(
                "pool {} may be one of this user's own, as a part of the journal cannot be read",
                self.id
            )));
        }
        if self.may_be_starting(Journal::now()) {
            let settled = self.settled();
            return Err(Error::from(format!(
                "pool {} may just be starting: it is not known to be older than {settled:?}; try again later",
                self.id
            )));
        }
        let pool = self.clone();
        let undone = Engine::get()?.handle().spawn(async move { pool.undo(&Timing::default()).await });
        undone.await.map_err(Error::from)?
    }

    /// Looks once more whether it is in use, and removes all of it.
    pub(super) async fn undo(&self, timing: &Timing) -> Result<Vec<Leftover>, Error> {
        let (provider, within) = (&*self.provider, timing.provision);
        let there = tokio::time::timeout(within, provider.sightings()).await;
        let there = there.map_err(|_| late(provider, within))??;
        let is_known = |it: &Sighting| self.machines.iter().any(|known| known.instance == it.instance);
        let grown = there.into_iter().flatten().find(|it| it.pool == self.id && !is_known(it));
        if let Some(grown) = grown {
            let (id, instance) = (&self.id, grown.instance);
            return Err(Error::from(format!("pool {id} is in use: machine {instance} was rented just now")));
        }
        // What a cloud has to know to look everywhere where there are machines.
        let regions: BTreeSet<_> = self.machines.iter().map(|it| it.region.clone()).collect();
        let within = timing.giving_back(self.machines.len(), provider.capabilities().pace);
        let mut left = Vec::new();
        for request in regions.into_iter().map(|it| self.request(it)) {
            let torn = tokio::time::timeout(within, provider.teardown(&request)).await;
            left.extend(torn.map_err(|_| late(provider, within))??);
        }
        Ok(left)
    }

    /// What a teardown needs, which is the pool's name and a place.
    fn request(&self, region: Option<String>) -> Request {
        let kind = InstanceType::named("unknown");
        let offer = Offer { region, ..Offer::of(self.provider.name(), kind, Price::default()) };
        Request {
            pool: self.id.clone(),
            offer,
            market: Market::OnDemand,
            disk_gb: None,
            volumes: Vec::new(),
            ssh_key: String::new(),
            lease: Duration::ZERO,
        }
    }
}

/// How far the clock of who began a pool may be from this computer's. Clocks that nobody sets are minutes off, rarely more;
/// longer keeps what is nobody's for longer.
const CLOCKS: Duration = Duration::from_secs(600);

fn late(provider: &dyn Provider, within: Duration) -> Error {
    Error::from(format!("{} did not answer within {within:?}; is it reachable?", provider.name()))
}

impl fmt::Debug for ForeignPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForeignPool({} at {}, {} machines)", self.id, self.provider(), self.machines.len())
    }
}

/// Asks every cloud whose key is there for machines of pools that are not in the journal.
///
/// ```no_run
/// # async fn look() -> skyward::Result<()> {
/// use skyward::journal::{Journal, foreigners};
///
/// let journal = Journal::open(&Journal::folder_of_user()?)?;
/// for pool in foreigners(&journal.read()?).await?.pools {
///     println!("{pool:?}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the engine cannot start. A cloud that cannot be asked is in the answer.
pub async fn foreigners(known: &Reading) -> Result<Foreigners, Error> {
    let clouds = cloud::CLOUDS.iter().filter_map(|it| (it.open)(json!({})).ok());
    let asked = clouds.filter(|it| it.key().is_ok()).map(|it| {
        let account: Arc<dyn cloud::Account> = Arc::from(it);
        account as Arc<dyn Provider>
    });
    foreigners_of(known, asked.collect()).await
}

/// The same of these providers.
///
/// # Errors
/// As [`foreigners`].
pub async fn foreigners_of(known: &Reading, providers: Vec<Arc<dyn Provider>>) -> Result<Foreigners, Error> {
    let may_be_own = !known.damage.is_empty();
    let ids: BTreeSet<PoolId> = known.pools.iter().map(|it| it.id.clone()).collect();
    let within = Timing::default().offers;
    let asking = Engine::get()?.handle().spawn(async move {
        let asked = providers.into_iter().map(async |it| {
            let told = tokio::time::timeout(within, it.sightings()).await;
            let told = told.map_err(|_| format!("it did not answer within {within:?}"));
            (Arc::clone(&it), told.and_then(|it| it.map_err(|error| error.to_string())))
        });
        futures_util::future::join_all(asked).await
    });
    let mut found = Foreigners::default();
    for (provider, told) in asking.await.map_err(Error::from)? {
        match told {
            Ok(sightings) => {
                let mut pools: BTreeMap<PoolId, Vec<Sighting>> = BTreeMap::new();
                let foreign = sightings.into_iter().flatten().filter(|it| !ids.contains(&it.pool));
                foreign.for_each(|it| pools.entry(it.pool.clone()).or_default().push(it));
                found.pools.extend(pools.into_iter().map(|(id, machines)| ForeignPool {
                    id,
                    machines,
                    may_be_own,
                    provider: Arc::clone(&provider),
                }));
            }
            Err(reason) => found.failed.push((provider.name().to_owned(), reason)),
        }
    }
    Ok(found)
}
