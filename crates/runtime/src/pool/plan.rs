//! What would be rented and why, as data: what `plan()` answers, and what the pool follows. Pure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::filter::Filter;
use crate::model::{Offer, Tariff, Usd};

/// What a pool would try, in order, and what became of all other offers. Nothing is rented.
///
/// Its `Display` is a report for people; it is plain data for everybody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How the offers were put in order.
    pub selection: String,
    /// The offers that fit, in the order in which they are tried: at most 20 for each spec.
    pub candidates: Vec<Candidate>,
    /// What each spec's provider said, and what removed its offers.
    pub specs: Vec<SpecReport>,
    /// What went wrong with choosing itself.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// An offer that fits, and what a pool of it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The number of the spec that it fits, from 0.
    pub spec: usize,
    /// The offer.
    pub offer: Offer,
    /// What is paid for one node.
    pub tariff: Tariff,
    /// What is paid when that market turns out to be empty, where the spec allows it.
    pub otherwise: Option<Tariff>,
    /// How many nodes.
    pub nodes: u32,
    /// With how many of them the pool is ready.
    pub least: u32,
    /// Between how many nodes the pool scales by itself; nothing where it keeps its number.
    #[serde(default)]
    pub scales: Option<(u32, u32)>,
    /// How long its machines live on without their client, where the spec says so.
    pub lease: Option<Duration>,
    /// Whether its machines may be in a pool with those of other offers.
    pub mixed: bool,
    /// Why it is not the first; nothing for the first.
    pub lost: Option<String>,
}

/// What became of one spec's offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecReport {
    /// The number of the spec, from 0.
    pub spec: usize,
    /// Its provider.
    pub provider: String,
    /// How many offers there were.
    pub offers: usize,
    /// How many of them fit.
    pub fitting: usize,
    /// How many each filter removed; an offer counts for the first that it fails.
    pub removed: Vec<(Filter, usize)>,
    /// The offer that came nearest to fitting, of those that did not.
    pub nearest: Option<NearMiss>,
    /// Why the provider gave no offers, if it did not.
    pub error: Option<String>,
    /// The disk that is asked for, in GB, where nobody knows what it costs: it is in no price of this spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpriced_disk_gb: Option<u32>,
}

/// An offer that nearly fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearMiss {
    /// The offer.
    pub offer: Offer,
    /// What it fails first.
    pub filter: Filter,
    /// How, in words.
    pub reason: String,
}

impl Plan {
    /// What is tried first; nothing when nothing fits.
    pub fn chosen(&self) -> Option<&Candidate> {
        self.candidates.first()
    }

    /// Says of every candidate but the first why it is not the first.
    pub(super) fn explained(mut self) -> Self {
        let Some(first) = self.candidates.first().cloned() else { return self };
        for candidate in self.candidates.iter_mut().skip(1) {
            candidate.lost = Some(candidate.reason(&first, &self.selection));
        }
        self
    }
}

impl Candidate {
    /// What all nodes cost an hour.
    pub fn hourly(&self) -> Usd {
        self.tariff.hourly * self.nodes
    }

    fn reason(&self, first: &Self, selection: &str) -> String {
        let (own, than) = (self.hourly(), first.hourly());
        match selection {
            "cheapest" if own > than => format!("{}/h dearer", own.less(than)),
            "first" if self.spec != first.spec => format!("spec {} comes first", first.spec),
            "available" if self.offer.stock != first.offer.stock => match self.offer.stock {
                Some(free) => format!("{free} known to be free"),
                None => "not known to be free".to_owned(),
            },
            "custom" => "the custom selection puts it later".to_owned(),
            _ if own > than => format!("{}/h dearer", own.less(than)),
            _ if self.spec != first.spec => format!("spec {} comes first", first.spec),
            _ if self.tariff.market != first.tariff.market => format!("it is {}", self.tariff.market),
            _ => "the same price; its name comes later".to_owned(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, candidate) in self.candidates.iter().enumerate() {
            writeln!(f, "{}. {candidate}", at + 1)?;
        }
        if let Some(trouble) = &self.trouble {
            writeln!(f, "{trouble}")?;
        }
        self.specs.iter().try_for_each(|it| writeln!(f, "{it}"))
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/h for {} x {}, {}", self.hourly(), self.nodes, self.offer, self.tariff)?;
        if let Some(conversion) = &self.offer.price.converted {
            write!(f, " ({conversion})")?;
        }
        match &self.lost {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SpecReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spec {} on {}: ", self.spec, self.provider)?;
        if let Some(error) = &self.error {
            return f.write_str(error);
        }
        write!(f, "{} of {} offers fit", self.fitting, self.offers)?;
        let mut before = " (";
        for (filter, count) in &self.removed {
            write!(f, "{before}{count} removed by {filter}")?;
            before = ", ";
        }
        if !self.removed.is_empty() {
            f.write_str(")")?;
        }
        if let Some(NearMiss { offer, reason, .. }) = self.nearest.as_ref().filter(|_| self.fitting == 0) {
            write!(f, "; the nearest is {offer}: {reason}")?;
        }
        match self.unpriced_disk_gb {
            Some(gb) => write!(f, "; what a disk of {gb} GB costs is not known, and in no price"),
            None => Ok(()),
        }
    }
}
