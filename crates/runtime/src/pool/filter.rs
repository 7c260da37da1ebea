//! Why an offer does not fit a spec. Pure, and without a single copy: it runs over a million offers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Architecture, Nodes, Offer, Requirements, Tariff, Usd};

/// What an offer may fail. They are asked in this order, and an offer counts for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Filter {
    /// It has other accelerators, another number of them, or none.
    Accelerator,
    /// It has fewer processors.
    Vcpus,
    /// It has less memory.
    Memory,
    /// Its disk is smaller, or cannot be made larger.
    Disk,
    /// It has another processor.
    Architecture,
    /// It is elsewhere.
    Region,
    /// It is not to be had in the market that is wanted.
    Allocation,
    /// One of them costs more than a node may.
    Price,
    /// As many as are wanted cost more than the pool may.
    PoolPrice,
    /// Too few of them are free.
    Stock,
}

/// What is asked of every offer of one spec.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sieve<'a> {
    pub(super) wanted: &'a Requirements,
    /// The processor, where the spec or the program itself asks for one.
    pub(super) architecture: Option<Architecture>,
    pub(super) nodes: Nodes,
    /// The most that all nodes together may cost an hour.
    pub(super) pool_hourly: Option<Usd>,
    /// Whether the provider lets the size of a disk be chosen.
    pub(super) sized_disk: bool,
    /// What a GB of it costs in an hour, where that is known.
    pub(super) disk_gb_hour: Option<Usd>,
}

/// What an offer fails: how many filters, and by how much, in thousandths of what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Miss {
    pub(super) count: u32,
    pub(super) gap: u64,
    pub(super) first: Filter,
}

impl Filter {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 10] = [
        Self::Accelerator,
        Self::Vcpus,
        Self::Memory,
        Self::Disk,
        Self::Architecture,
        Self::Region,
        Self::Allocation,
        Self::Price,
        Self::PoolPrice,
        Self::Stock,
    ];
}

impl Sieve<'_> {
    /// What is paid for an offer that fits, or how far it is from fitting.
    pub(super) fn look(&self, offer: &Offer) -> Result<Tariff, Miss> {
        let mut miss: Option<Miss> = None;
        let mut tariff = None;
        for filter in Filter::ALL {
            let gap = match filter {
                Filter::Allocation => {
                    tariff = self.wanted.pays(offer, self.disk_gb_hour);
                    if tariff.is_some() { 0 } else { WHOLE }
                }
                Filter::Price => tariff.map_or(0, |it| over(it.hourly, self.wanted.max_hourly_cost)),
                Filter::PoolPrice => {
                    tariff.map_or(0, |it| over(it.hourly * self.nodes.desired.max(1), self.pool_hourly))
                }
                Filter::Accelerator
                | Filter::Vcpus
                | Filter::Memory
                | Filter::Disk
                | Filter::Architecture
                | Filter::Region
                | Filter::Stock => self.gap(filter, offer),
            };
            if gap > 0 {
                let told = miss.get_or_insert(Miss { count: 0, gap: 0, first: filter });
                told.count += 1;
                told.gap = told.gap.saturating_add(gap);
            }
        }
        match (miss, tariff) {
            (None, Some(tariff)) => Ok(tariff),
            (Some(miss), _) => Err(miss),
            (None, None) => Err(Miss { count: 1, gap: WHOLE, first: Filter::Allocation }),
        }
    }

    fn gap(&self, filter: Filter, offer: &Offer) -> u64 {
        let (wanted, kind) = (self.wanted, &offer.instance_type);
        match filter {
            Filter::Accelerator => match (&wanted.accelerator, &kind.accelerator) {
                (None, _) => 0,
                (Some(wanted), Some(has)) if wanted.fits(has) => 0,
                // The same model in another number or size is nearer than another model.
                (Some(wanted), Some(has)) if wanted.name == has.name => WHOLE / 2,
                (Some(_), _) => WHOLE,
            },
            Filter::Vcpus => below(u64::from(kind.vcpus), wanted.vcpus.map(u64::from)),
            Filter::Memory => below(kind.memory_mb, wanted.memory_gb.map(|it| u64::from(it) * 1000)),
            Filter::Disk => match (wanted.disk_gb, kind.disk_gb) {
                (Some(_), None) if !self.sized_disk => WHOLE,
                (Some(wanted), Some(has)) if !self.sized_disk => {
                    below(u64::from(has), Some(u64::from(wanted)))
                }
                (Some(_) | None, _) => 0,
            },
            Filter::Architecture => match (self.architecture, kind.architecture) {
                (Some(wanted), Some(has)) => {
                    if wanted == has {
                        0
                    } else {
                        WHOLE
                    }
                }
                // Who does not say may be asked by those who do not insist.
                (Some(_), None) => {
                    if wanted.architecture.is_some() {
                        WHOLE
                    } else {
                        0
                    }
                }
                (None, _) => 0,
            },
            Filter::Region => match (&wanted.region, &offer.region) {
                (None, _) => 0,
                (Some(wanted), Some(has)) if wanted.eq_ignore_ascii_case(has) => 0,
                (Some(_), _) => WHOLE,
            },
            Filter::Stock => {
                let needed = if wanted.mixed { 1 } else { self.nodes.least().max(1) };
                offer.stock.map_or(0, |free| below(u64::from(free), Some(u64::from(needed))))
            }
            Filter::Allocation | Filter::Price | Filter::PoolPrice => 0,
        }
    }

    /// What an offer fails first, in words.
    pub(super) fn words(&self, filter: Filter, offer: &Offer) -> String {
        let (wanted, kind) = (self.wanted, &offer.instance_type);
        let tariff = wanted.pays(offer, self.disk_gb_hour);
        let hourly = tariff.map_or(Usd::ZERO, |it| it.hourly);
        let or = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
        let cap = |most: Option<Usd>| most.unwrap_or(Usd::MOST);
        match filter {
            Filter::Accelerator => {
                let has = or(kind.accelerator.as_ref().map(ToString::to_string));
                format!(
                    "its accelerator is {has}, not {}",
                    or(wanted.accelerator.as_ref().map(ToString::to_string))
                )
            }
            Filter::Vcpus => format!("{} vcpus, {} wanted", kind.vcpus, wanted.vcpus.unwrap_or_default()),
            Filter::Memory => {
                let wanted = wanted.memory_gb.unwrap_or_default();
                format!("{} GB of memory, {wanted} wanted", kind.memory_gb())
            }
            Filter::Disk => match kind.disk_gb {
                Some(has) => format!("a disk of {has} GB, {} wanted", wanted.disk_gb.unwrap_or_default()),
                None => format!("{} does not let the disk be chosen", offer.provider),
            },
            Filter::Architecture => {
                let has = kind.architecture.map_or_else(|| "not told".to_owned(), |it| it.to_string());
                format!("its processor is {has}, not {}", or(self.architecture.map(|it| it.to_string())))
            }
            Filter::Region => {
                let wanted = wanted.region.as_deref().unwrap_or_default();
                format!("it is in {}, not {wanted}", offer.region.as_deref().unwrap_or("no region"))
            }
            Filter::Allocation => format!("it is not to be had as {}", wanted.allocation),
            Filter::Price => format!("{hourly}/h, at most {}/h wanted", cap(wanted.max_hourly_cost)),
            Filter::PoolPrice => {
                // One that begins with none could never have the first.
                let nodes = self.nodes.desired.max(1);
                let all = hourly * nodes;
                format!("{all}/h for {nodes} nodes, at most {}/h wanted", cap(self.pool_hourly))
            }
            Filter::Stock => {
                format!("{} free, {} wanted", offer.stock.unwrap_or_default(), self.nodes.least())
            }
        }
    }
}

/// How far a number is below another, in thousandths of it.
fn below(has: u64, wanted: Option<u64>) -> u64 {
    match wanted.filter(|it| *it > has) {
        Some(wanted) => ((wanted - has).saturating_mul(WHOLE) / wanted).max(1),
        None => 0,
    }
}

/// How far a price is above a cap, in thousandths of it.
fn over(price: Usd, cap: Option<Usd>) -> u64 {
    match cap.filter(|it| *it < price) {
        Some(cap) => {
            let (price, cap) = (price.nanos().unsigned_abs(), cap.nanos().unsigned_abs().max(1));
            ((price - cap.min(price)).saturating_mul(WHOLE) / cap).max(1)
        }
        None => 0,
    }
}

/// All of it: a yes-or-no question that was answered wrongly.
const WHOLE: u64 = 1000;

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Accelerator => "accelerator",
            Self::Vcpus => "vcpus",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Architecture => "architecture",
            Self::Region => "region",
            Self::Allocation => "allocation",
            Self::Price => "max_hourly_cost",
            Self::PoolPrice => "max_hourly_cost of the pool",
            Self::Stock => "stock",
        })
    }
}
