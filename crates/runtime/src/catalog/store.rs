//! The catalog as a program holds it: opened once, made anew when it is damaged, shared by threads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, TransactionBehavior};

use super::error::Fault;
use super::file::{Opened, open_or_rebuild};
use super::{CatalogError, Query, Settings, Source, Summary, Table, read_only, row, summary};
use crate::model::Offer;

/// The offers of all providers that were asked before, on this machine, by this user.
///
/// Every call may wait for the disk, and for other programs for [`Settings::busy`], so an async program
/// calls from a blocking thread. A call that is begun is ended: a reader sees all of a provider's new
/// offers or none.
///
/// ```
/// use skyward_runtime::catalog::{Catalog, Settings};
/// use skyward_runtime::model::{InstanceType, Offer, Price};
/// use skyward_runtime::usd;
/// use std::time::SystemTime;
///
/// let folder = std::env::temp_dir().join(format!("skyward-doc-{}", std::process::id()));
/// let catalog = Catalog::open(Settings::in_folder(&folder))?;
/// let small = InstanceType { vcpus: 2, memory_mb: 4000, ..InstanceType::named("small") };
/// let offers = [Offer::of("aws", small, Price::on_demand(usd!(0.02)))];
/// catalog.replace("aws", &offers, SystemTime::now())?;
///
/// let cheapest = catalog.offers().vcpus(2..).cheapest(1)?;
/// assert_eq!(cheapest[0].tariff.hourly, usd!(0.02));
/// # drop(catalog);
/// # std::fs::remove_dir_all(folder).expect("it can be removed");
/// # Ok::<(), skyward_runtime::catalog::CatalogError>(())
/// ```
#[derive(Debug)]
pub struct Catalog {
    settings: Settings,
    opened: Mutex<Opened>,
    rebuilt: Mutex<Vec<String>>,
    kept: Mutex<Kept>,
}

/// Offers that were read before, of one version of the file.
#[derive(Debug, Default)]
struct Kept {
    version: Option<i64>,
    offers: BTreeMap<String, Arc<[Offer]>>,
}

impl Catalog {
    /// Opens the catalog, or makes an empty one. One that is damaged is moved aside and made anew, which
    /// [`Catalog::rebuilt`] tells.
    ///
    /// # Errors
    /// When the folder cannot be used, or cannot be used by several programs at once.
    pub fn open(settings: Settings) -> Result<Self, CatalogError> {
        let (opened, why) = open_or_rebuild(&settings.folder, settings.busy, None)?;
        let catalog =
            Self { settings, opened: Mutex::new(opened), rebuilt: Mutex::default(), kept: Mutex::default() };
        catalog.note(why);
        Ok(catalog)
    }

    /// Replaces everything that is known of a provider with what it said at `read_at`. The offers' own
    /// `provider` is ignored: they are of the one that is named here. An accelerator's memory is
    /// filled in where its model has only one size ([`Accelerator::completed`](crate::model::Accelerator::completed)).
    ///
    /// # Errors
    /// When they cannot be written. What was there before is then there still.
    pub fn replace(&self, provider: &str, offers: &[Offer], read_at: SystemTime) -> Result<(), CatalogError> {
        let read_at_ms = millis(read_at);
        self.with("write", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM offers WHERE provider = ?1", [provider])?;
            row::insert(&transaction, provider, offers)?;
            transaction.execute("INSERT OR REPLACE INTO sources VALUES (?1, ?2)", (provider, read_at_ms))?;
            transaction.commit()?;
            Ok(())
        })?;
        self.changed();
        Ok(())
    }

    /// Removes everything that is known of a provider.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn forget(&self, provider: &str) -> Result<(), CatalogError> {
        self.with("write", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM offers WHERE provider = ?1", [provider])?;
            transaction.execute("DELETE FROM sources WHERE provider = ?1", [provider])?;
            transaction.commit()?;
            Ok(())
        })?;
        self.changed();
        Ok(())
    }

    /// Everything that is known of a provider, as it gave it, whether it is to be had or not. It is read
    /// once and kept in memory until anybody changes the catalog, for those who ask again and again.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn offers_of(&self, provider: &str) -> Result<Arc<[Offer]>, CatalogError> {
        let version = self.with("read", |connection| {
            Ok(connection.pragma_query_value(None, "data_version", |it| it.get::<_, i64>(0))?)
        })?;
        let known = |kept: &mut Kept| {
            // A version of before the file was made anew counts for nothing: `with` cleared what was kept.
            if kept.version != Some(version) {
                *kept = Kept { version: Some(version), ..Kept::default() };
            }
            kept.offers.get(provider).cloned()
        };
        if let Some(offers) = known(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(offers);
        }
        let text = format!("SELECT {} FROM offers WHERE provider = ? ORDER BY seq", row::COLUMNS);
        let offers: Arc<[Offer]> = self.with("read", |connection| {
            let mut statement = connection.prepare(&text)?;
            let rows = statement.query_map([provider], row::read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        // Read after the version, so that it may be newer than that, and then is read once more.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.version == Some(version) {
            kept.offers.insert(provider.to_owned(), Arc::clone(&offers));
        }
        Ok(offers)
    }

    /// What there is, to be narrowed down.
    pub const fn offers(&self) -> Query<'_> {
        Query::of(self)
    }

    /// The providers that are known, by name, each with when it was asked and how much it had.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn sources(&self) -> Result<Vec<Source>, CatalogError> {
        self.with("read", |connection| summary::sources(connection))
    }

    /// Those of `providers` that were never asked, or longer ago than [`Settings::age_of`] allows. One
    /// that was asked in the future, by a clock that was wrong, counts as stale too.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn stale<'a>(&self, providers: &[&'a str], now: SystemTime) -> Result<Vec<&'a str>, CatalogError> {
        let sources = self.sources()?;
        let is_stale = |provider: &&&str| {
            let source = sources.iter().find(|it| it.provider == **provider);
            let age = source.and_then(|it| now.duration_since(it.read_at).ok());
            age.is_none_or(|age| age > self.settings.age_of(provider))
        };
        Ok(providers.iter().filter(is_stale).copied().collect())
    }

    /// For each provider and accelerator, how many offers there are and what they cost.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn summary(&self) -> Result<Vec<Summary>, CatalogError> {
        self.offers().summary()
    }

    /// Answers one SQL query, for the curious. The view `catalog` has a line for each offer: `provider`,
    /// `instance_type`, `region`, `accelerator_name`, `accelerator_count`, `accelerator_memory_gb` (of each),
    /// `manufacturer`, `architecture` (of the accelerator), `cuda_min`, `cuda_max`, `vcpus`, `memory_gb`,
    /// `cpu_architecture`, `spot_price`, `on_demand_price` (dollars an hour), `billing_unit`, `specific`
    /// (JSON), `zone`, `stock`, `offer_id`. Nothing can be written, and no other file be read.
    ///
    /// # Errors
    /// When the query is wrong, would change anything, or takes longer than [`Settings::busy`].
    pub fn sql(&self, query: &str) -> Result<Table, CatalogError> {
        // The connection that writes has looked at the file: a damaged one is made anew before it is read.
        self.with("read", |connection| summary::sources(connection).map(drop))?;
        read_only::answer(&self.settings, query)
    }

    /// Why it was made anew since it was opened, each time; most programs say so. What it held is to be
    /// asked for again.
    pub fn rebuilt(&self) -> Vec<String> {
        self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        &self.settings.folder
    }

    /// Runs one operation. When it finds the file damaged, the file is made anew and the operation run
    /// on that, once. It may run twice, so it changes nothing outside its transaction.
    pub(super) fn with<T>(
        &self,
        doing: &'static str,
        operation: impl Fn(&mut Connection) -> Result<T, Fault>,
    ) -> Result<T, CatalogError> {
        let Settings { folder, busy, .. } = &self.settings;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if !opened.is_current(folder) {
            // Another program has made it anew, or somebody has removed it.
            let (fresh, why) = open_or_rebuild(folder, *busy, None)?;
            *opened = fresh;
            self.changed();
            self.note(why);
        }
        let fault = match operation(&mut opened.connection) {
            Ok(done) => return Ok(done),
            Err(fault) => fault,
        };
        let Some(damage) = fault.damage().or_else(|| opened.foreign(folder)) else {
            return Err(fault.told(folder, doing));
        };
        let (fresh, why) = open_or_rebuild(folder, *busy, Some((&*opened, damage)))?;
        *opened = fresh;
        self.changed();
        self.note(why);
        operation(&mut opened.connection).map_err(|it| it.told(folder, doing))
    }

    /// What was read before is not what there is: SQLite's version tells of others' changes alone.
    fn changed(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    fn note(&self, why: Option<String>) {
        let Some(why) = why else { return };
        tracing::warn!(folder = %self.settings.folder.display(), why, "the catalog of offers was made anew");
        self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner).push(why);
    }
}

/// Milliseconds since 1970; 0 for a clock before that.
fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
