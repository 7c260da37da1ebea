//! What an offer must have, as conditions of SQL. Everything that a caller gives is a parameter.

use std::ops::{Bound, RangeBounds};

use rusqlite::types::Value;

use crate::model::accelerator::{Accelerator, Count, Manufacturer, Model, nearest};
use crate::model::{Allocation, Architecture, InvalidRequest, Usd};

/// By what offers are put in order. Those that are equal follow each other by price, those that stay
/// before those that may be taken back, then by provider, region, zone and id, so that the same offers
/// always come in the same order. It is the order in which a pool tries them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// The price that would be paid, the lowest first. The default.
    #[default]
    Price,
    /// That price for each accelerator, the lowest first; offers without any come last.
    PricePerAccelerator,
    /// Processors, the most first.
    Vcpus,
    /// Memory, the most first.
    Memory,
    /// Accelerators, the most first.
    Accelerators,
    /// The memory of each accelerator, the most first.
    AcceleratorMemory,
}

/// The conditions of one query.
#[derive(Clone, Debug)]
pub(super) struct Filters {
    pub(super) accelerator: Option<Accelerator>,
    pub(super) architecture: Option<String>,
    pub(super) manufacturer: Option<Manufacturer>,
    pub(super) accelerator_count: Option<Span>,
    pub(super) accelerator_mib: Option<Span>,
    pub(super) providers: Vec<String>,
    pub(super) region: Option<String>,
    pub(super) vcpus: Option<Span>,
    pub(super) memory_mb: Option<Span>,
    pub(super) disk_gb: Option<Span>,
    pub(super) cpu: Option<Architecture>,
    /// Whether an offer that does not say its processor will do.
    pub(super) cpu_untold: bool,
    pub(super) cpu_only: bool,
    pub(super) allocation: Allocation,
    pub(super) max_price: Option<Usd>,
    pub(super) specific: Vec<(String, String)>,
    /// How many must be free, where the provider says how many are.
    pub(super) free: u32,
    pub(super) order: Order,
}

/// A range with both ends in it, where they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    least: Option<i64>,
    most: Option<i64>,
}

impl Span {
    /// A range of numbers, each of which stands for `scale` in the file.
    pub(super) fn of<T: Copy + Into<u64>>(range: &impl RangeBounds<T>, scale: u64) -> Self {
        let number = |it: T| i64::try_from(it.into().saturating_mul(scale)).unwrap_or(i64::MAX);
        Self {
            least: match range.start_bound() {
                Bound::Included(it) => Some(number(*it)),
                Bound::Excluded(it) => Some(number(*it).saturating_add(1)),
                Bound::Unbounded => None,
            },
            most: match range.end_bound() {
                Bound::Included(it) => Some(number(*it)),
                Bound::Excluded(it) => Some(number(*it).saturating_sub(1)),
                Bound::Unbounded => None,
            },
        }
    }

    /// A range of numbers of accelerators.
    pub(super) fn of_counts<T: Copy + Into<Count>>(range: &impl RangeBounds<T>) -> Self {
        let parts = |it: &T| u64::from((*it).into().parts());
        Self::of(&(range.start_bound().map(parts), range.end_bound().map(parts)), 1)
    }
}

/// A part of a statement with its parameters.
#[derive(Debug, Default)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

impl Sql {
    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.text.push_str(if self.text.is_empty() { " WHERE " } else { " AND " });
        self.text.push_str(condition);
        self.values.extend(values);
    }

    fn within(&mut self, column: &str, span: Option<Span>) {
        let Some(Span { least, most }) = span else { return };
        if let Some(least) = least {
            self.and(&format!("{column} >= ?"), [Value::Integer(least)]);
        }
        if let Some(most) = most {
            self.and(&format!("{column} <= ?"), [Value::Integer(most)]);
        }
    }
}

impl Filters {
    /// Everything that can be had.
    pub(super) const NONE: Self = Self {
        accelerator: None,
        architecture: None,
        manufacturer: None,
        accelerator_count: None,
        accelerator_mib: None,
        providers: Vec::new(),
        region: None,
        vcpus: None,
        memory_mb: None,
        disk_gb: None,
        cpu: None,
        cpu_untold: false,
        cpu_only: false,
        allocation: Allocation::SpotIfAvailable,
        max_price: None,
        specific: Vec::new(),
        free: 1,
        order: Order::Price,
    };

    /// What would be paid, as an expression; null where the offer is not to be had.
    pub(super) const fn paid(&self) -> &'static str {
        match self.allocation {
            Allocation::Spot => "spot",
            Allocation::OnDemand => "on_demand",
            Allocation::SpotIfAvailable => "COALESCE(spot, on_demand)",
            Allocation::Cheapest => "COALESCE(MIN(spot, on_demand), spot, on_demand)",
        }
    }

    /// Whether that is the price of a spot machine, as a term of an order, where both are to be had.
    const fn is_spot(&self) -> &'static str {
        match self.allocation {
            Allocation::Spot | Allocation::OnDemand => "",
            Allocation::SpotIfAvailable => "spot IS NOT NULL, ",
            Allocation::Cheapest => "(on_demand IS NULL OR COALESCE(spot < on_demand, 0)), ",
        }
    }

    /// The index to read. SQLite would guess from statistics that a cache of changing content has not.
    pub(super) const fn index(&self) -> &'static str {
        match (&self.accelerator, self.allocation) {
            (Some(_), _) => "by_accelerator",
            (None, Allocation::Spot) => "paid_spot",
            (None, Allocation::OnDemand) => "paid_on_demand",
            (None, Allocation::SpotIfAvailable) => "paid_spot_if_available",
            (None, Allocation::Cheapest) => "paid_cheapest",
        }
    }

    /// All conditions, as ` WHERE …`.
    pub(super) fn conditions(&self) -> Result<Sql, InvalidRequest> {
        let mut sql = Sql::default();
        let text = |it: &str| Value::Text(it.to_owned());
        match self.max_price {
            Some(most) => sql.and(&format!("{} <= ?", self.paid()), [Value::Integer(most.nanos())]),
            // Not `IS NOT NULL`, for which no index would be read.
            None => sql.and(&format!("{} >= ?", self.paid()), [Value::Integer(i64::MIN)]),
        }
        if let Some(asked) = &self.accelerator {
            sql.and("accelerator = ?", [text(&asked.name)]);
            if let Some((least, most)) = asked.memory_bounds_mib() {
                sql.within("accelerator_mib", Some(Span::of(&(least..=most), 1)));
            }
            if let Some(form) = asked.telling_form() {
                sql.and("accelerator_form = ?", [text(form.name())]);
            }
        }
        sql.within("accelerator_parts", self.accelerator_count);
        sql.within("accelerator_mib", self.accelerator_mib);
        if let Some(architecture) = &self.architecture {
            sql.and("architecture = ?", [text(known_architecture(architecture)?)]);
        }
        if let Some(manufacturer) = self.manufacturer {
            sql.and("manufacturer = ?", [text(manufacturer.name())]);
        }
        if self.cpu_only {
            sql.and("accelerator IS NULL", []);
        }
        if !self.providers.is_empty() {
            let marks = vec!["?"; self.providers.len()].join(", ");
            sql.and(&format!("provider IN ({marks})"), self.providers.iter().map(|it| text(it)));
        }
        if let Some(region) = &self.region {
            sql.and("region = ? COLLATE NOCASE", [text(region)]);
        }
        sql.within("vcpus", self.vcpus);
        sql.within("memory_mb", self.memory_mb);
        sql.within("disk_gb", self.disk_gb);
        if let Some(cpu) = self.cpu {
            let condition = if self.cpu_untold {
                "(cpu_architecture IS NULL OR cpu_architecture = ?)"
            } else {
                "cpu_architecture = ?"
            };
            sql.and(condition, [text(&cpu.to_string())]);
        }
        for (key, value) in &self.specific {
            sql.and(
                "EXISTS (SELECT 1 FROM json_each(specific) AS it WHERE it.key = ? AND it.value = ?)",
                [text(key), text(value)],
            );
        }
        if self.free > 0 {
            sql.and("(stock IS NULL OR stock >= ?)", [Value::Integer(i64::from(self.free))]);
        }
        Ok(sql)
    }

    /// ` ORDER BY …`, so that no two rows can change places.
    pub(super) fn ordering(&self) -> String {
        let paid = self.paid();
        let first = match self.order {
            Order::Price => String::new(),
            Order::PricePerAccelerator => format!("({paid}) * 10000.0 / accelerator_parts ASC NULLS LAST, "),
            Order::Vcpus => "vcpus DESC, ".to_owned(),
            Order::Memory => "memory_mb DESC, ".to_owned(),
            Order::Accelerators => "accelerator_parts DESC NULLS LAST, ".to_owned(),
            Order::AcceleratorMemory => "accelerator_mib DESC NULLS LAST, ".to_owned(),
        };
        let spot = self.is_spot();
        format!(" ORDER BY {first}{paid}, {spot}provider, region, zone, id, seq")
    }
}

/// The name of a generation of accelerators as the catalog has it.
fn known_architecture(given: &str) -> Result<&'static str, InvalidRequest> {
    let known = || Model::all().map(|it| it.architecture);
    known().find(|it| it.eq_ignore_ascii_case(given.trim())).ok_or_else(|| {
        let close = nearest(given, known());
        let allowed = if close.is_empty() {
            "must be a generation of accelerators, such as Hopper, Ampere, Ada or CDNA3".to_owned()
        } else {
            format!("must be a generation of accelerators; did you mean {}?", close.join(" or "))
        };
        InvalidRequest::new("architecture", given, allowed)
    })
}

#[test]
fn a_range_becomes_its_first_and_its_last_number() {
    let span = |least, most| Span { least, most };
    assert_eq!(Span::of::<u32>(&(2..), 1), span(Some(2), None));
    assert_eq!(Span::of::<u32>(&(2..=4), 1000), span(Some(2000), Some(4000)));
    assert_eq!(Span::of::<u32>(&(2..4), 1000), span(Some(2000), Some(3999)));
    assert_eq!(Span::of::<u32>(&(..), 1), span(None, None));
    assert_eq!(Span::of::<u64>(&(u64::MAX..), 2).least, Some(i64::MAX));
}

#[test]
fn a_generation_that_does_not_exist_is_refused_with_the_nearest() {
    assert_eq!(known_architecture("hopper"), Ok("Hopper"));
    let error = known_architecture("Hoper").expect_err("misspelt").to_string();
    assert_eq!(error, "architecture is Hoper: must be a generation of accelerators; did you mean Hopper?");
}
