//! Narrows down what is for rent, and reads what is left.

use std::ops::RangeBounds;

use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::error::Fault;
use super::filters::{Filters, Order, Span};
use super::{Catalog, CatalogError, Summary, row, summary};
use crate::model::accelerator::{Accelerator, Count, Manufacturer};
use crate::model::{Allocation, Architecture, Capabilities, Offer, Requirements, Tariff, Usd};

/// A search in the catalog: every filter narrows it, then one of [`all`](Query::all),
/// [`first`](Query::first), [`cheapest`](Query::cheapest), [`count`](Query::count) and
/// [`summary`](Query::summary) answers it.
///
/// Offers that have no price in the market of [`allocation`](Query::allocation) are never found, nor those
/// that are sold out, unless [`free`](Query::free) says so: nobody could rent them.
///
/// ```no_run
/// use skyward_runtime::catalog::{Catalog, Settings};
/// use skyward_runtime::model::accelerators;
/// use skyward_runtime::usd;
/// let catalog = Catalog::open(Settings::of_user()?)?;
/// let found = catalog
///     .offers()
///     .accelerator(accelerators::A100.memory_gb(80))
///     .accelerator_count(8..=8)
///     .spot()
///     .max_price(usd!(12))
///     .cheapest(3)?;
/// # Ok::<(), skyward_runtime::catalog::CatalogError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a query does nothing before it is answered"]
pub struct Query<'a> {
    catalog: &'a Catalog,
    filters: Filters,
    limit: Option<usize>,
}

/// An offer with what would be paid for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    /// The offer.
    pub offer: Offer,
    /// What one machine would cost, in the market that the query's allocation takes.
    pub tariff: Tariff,
}

impl<'a> Query<'a> {
    pub(super) const fn of(catalog: &'a Catalog) -> Self {
        Self { catalog, filters: Filters::NONE, limit: None }
    }

    /// What fits the requirements of a spec on a provider that can do this: exactly its accelerators, at
    /// least its processors, memory and disk, its processor (by default this program's), its region,
    /// market and cap, in which what a larger disk costs is not counted. How many must be free is [`free`](Query::free)'s to say.
    pub fn fitting(mut self, wanted: &Requirements, can: &Capabilities) -> Self {
        if let Some(accelerator) = &wanted.accelerator {
            let count = accelerator.count;
            self = self.accelerator(accelerator.clone()).accelerator_count(count..=count);
        }
        if let Some(vcpus) = wanted.vcpus {
            self = self.vcpus(vcpus..);
        }
        if let Some(memory_gb) = wanted.memory_gb {
            self = self.memory_gb(memory_gb..);
        }
        if let Some(disk_gb) = wanted.disk_gb.filter(|_| !can.sized_disk) {
            self = self.disk_gb(disk_gb..);
        }
        self.filters.cpu = wanted.architecture.or_else(Architecture::here);
        self.filters.cpu_untold = wanted.architecture.is_none();
        if let Some(region) = &wanted.region {
            self = self.region(region);
        }
        if let Some(most) = wanted.max_hourly_cost {
            self = self.max_price(most);
        }
        self.allocation(wanted.allocation)
    }

    /// With accelerators of this name, and of this memory and form where they are said; any number of
    /// them, which is [`accelerator_count`](Query::accelerator_count)'s to say.
    pub fn accelerator(mut self, accelerator: impl Into<Accelerator>) -> Self {
        self.filters.accelerator = Some(accelerator.into());
        self
    }

    /// With so many accelerators: `8..=8` is eight, `4..` four and more.
    pub fn accelerator_count<T: Copy + Into<Count>>(mut self, range: impl RangeBounds<T>) -> Self {
        self.filters.accelerator_count = Some(Span::of_counts(&range));
        self
    }

    /// With so much memory on each accelerator, in GB.
    pub fn accelerator_memory_gb(mut self, range: impl RangeBounds<u32>) -> Self {
        self.filters.accelerator_mib = Some(Span::of(&range, 1024));
        self
    }

    /// With accelerators of this generation, such as `Hopper`. The processor's architecture is
    /// [`cpu_architecture`](Query::cpu_architecture).
    pub fn architecture(mut self, generation: impl Into<String>) -> Self {
        self.filters.architecture = Some(generation.into());
        self
    }

    /// With accelerators of this maker.
    pub const fn manufacturer(mut self, manufacturer: Manufacturer) -> Self {
        self.filters.manufacturer = Some(manufacturer);
        self
    }

    /// Without accelerators.
    pub const fn cpu_only(mut self) -> Self {
        self.filters.cpu_only = true;
        self
    }

    /// Of this provider. Said several times: of any of them.
    pub fn provider(mut self, provider: impl Into<String>) -> Self {
        self.filters.providers.push(provider.into());
        self
    }

    /// In this region, as its provider calls it; upper and lower case are the same.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.filters.region = Some(region.into());
        self
    }

    /// With so many processors: `8..` is at least eight.
    pub fn vcpus(mut self, range: impl RangeBounds<u32>) -> Self {
        self.filters.vcpus = Some(Span::of(&range, 1));
        self
    }

    /// With so much memory, in GB as the provider counts them: `64..` is at least 64.
    pub fn memory_gb(mut self, range: impl RangeBounds<u32>) -> Self {
        self.filters.memory_mb = Some(Span::of(&range, 1000));
        self
    }

    /// Coming with a disk of so much, in GB.
    pub fn disk_gb(mut self, range: impl RangeBounds<u32>) -> Self {
        self.filters.disk_gb = Some(Span::of(&range, 1));
        self
    }

    /// With this processor.
    pub const fn cpu_architecture(mut self, architecture: Architecture) -> Self {
        self.filters.cpu = Some(architecture);
        self.filters.cpu_untold = false;
        self
    }

    /// In which market, and so at which price. Default [`Allocation::SpotIfAvailable`].
    pub const fn allocation(mut self, allocation: Allocation) -> Self {
        self.filters.allocation = allocation;
        self
    }

    /// [`Allocation::Spot`].
    pub const fn spot(self) -> Self {
        self.allocation(Allocation::Spot)
    }

    /// [`Allocation::OnDemand`].
    pub const fn on_demand(self) -> Self {
        self.allocation(Allocation::OnDemand)
    }

    /// Costing at most this much an hour: the price that would really be paid, spot or on demand.
    pub const fn max_price(mut self, hourly: Usd) -> Self {
        self.filters.max_price = Some(hourly);
        self
    }

    /// With this in [`Offer::specific`].
    pub fn specific(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.filters.specific.push((key.into(), value.into()));
        self
    }

    /// With at least so many free, where the provider says how many are. Default 1; 0 finds what is sold
    /// out too.
    pub const fn free(mut self, least: u32) -> Self {
        self.filters.free = least;
        self
    }

    /// In this order. Default [`Order::Price`].
    pub const fn order_by(mut self, order: Order) -> Self {
        self.filters.order = order;
        self
    }

    /// At most so many.
    pub const fn limit(mut self, most: usize) -> Self {
        self.limit = Some(most);
        self
    }

    /// All that fit, in order, up to the limit.
    ///
    /// # Errors
    /// When a filter cannot be met by anything, or the catalog cannot be read.
    pub fn all(&self) -> Result<Vec<Priced>, CatalogError> {
        self.read(&self.filters, self.limit)
    }

    /// The first in order.
    ///
    /// # Errors
    /// As [`all`](Query::all).
    pub fn first(&self) -> Result<Option<Priced>, CatalogError> {
        Ok(self.read(&self.filters, Some(self.limit.unwrap_or(1).min(1)))?.pop())
    }

    /// The `most` cheapest, whatever the order is, the cheapest first.
    ///
    /// # Errors
    /// As [`all`](Query::all).
    pub fn cheapest(&self, most: usize) -> Result<Vec<Priced>, CatalogError> {
        let by_price = Filters { order: Order::Price, ..self.filters.clone() };
        self.read(&by_price, Some(self.limit.unwrap_or(most).min(most)))
    }

    /// How many fit, up to the limit.
    ///
    /// # Errors
    /// As [`all`](Query::all).
    pub fn count(&self) -> Result<usize, CatalogError> {
        let sql = self.filters.conditions()?;
        let text = format!("SELECT count(*) FROM offers{}", sql.text);
        let found = self.catalog.with("search", |connection| {
            let found: i64 = connection.query_row(&text, params_from_iter(&sql.values), |it| it.get(0))?;
            Ok(usize::try_from(found).unwrap_or_default())
        })?;
        Ok(self.limit.map_or(found, |most| found.min(most)))
    }

    /// For each provider and accelerator among those that fit: how many offers there are, in how many
    /// regions, and what they cost. By provider, then by accelerator; the limit is on these lines.
    ///
    /// # Errors
    /// As [`all`](Query::all).
    pub fn summary(&self) -> Result<Vec<Summary>, CatalogError> {
        let sql = self.filters.conditions()?;
        let paid = self.filters.paid();
        let mut lines = self.catalog.with("search", |connection| summary::lines(connection, paid, &sql))?;
        lines.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(lines)
    }

    fn read(&self, filters: &Filters, limit: Option<usize>) -> Result<Vec<Priced>, CatalogError> {
        let mut sql = filters.conditions()?;
        let mut text = format!("SELECT {} FROM offers INDEXED BY {}", row::COLUMNS, filters.index());
        text.push_str(&sql.text);
        text.push_str(&filters.ordering());
        if let Some(most) = limit {
            text.push_str(" LIMIT ?");
            sql.values.push(Value::Integer(i64::try_from(most).unwrap_or(i64::MAX)));
        }
        let allocation = filters.allocation;
        self.catalog.with("search", |connection| {
            let mut statement = connection.prepare(&text)?;
            let rows = statement.query_map(params_from_iter(&sql.values), row::read)?;
            let priced = |offer: Offer| {
                let tariff = allocation.pays(&offer.price);
                let nothing = || Fault::Damaged(format!("the offer {offer} has lost its price"));
                Ok(Priced { tariff: tariff.ok_or_else(nothing)?, offer })
            };
            rows.map(|offer| priced(offer?)).collect()
        })
    }
}
