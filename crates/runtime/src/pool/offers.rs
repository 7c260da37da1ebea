//! Which offers are tried, in which order: filters and ranks what every spec's provider said. Pure.

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::filter::{Filter, Miss, Sieve};
use super::plan::{Candidate, NearMiss, Plan, SpecReport};
use crate::model::{Architecture, Choice, Nodes, Offer, Requirements, Selection, Tariff, Usd};

/// What one spec wants, and what its provider said.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The provider's name.
    pub provider: &'a str,
    /// What the machines must have.
    pub wanted: &'a Requirements,
    /// How many of them.
    pub nodes: Nodes,
    /// Whether the provider lets the size of a disk be chosen.
    pub sized_disk: bool,
    /// What a GB of it costs in an hour beyond what an offer comes with, where that is known.
    pub disk_gb_hour: Option<Usd>,
    /// Its offers, or why there are none to be had.
    pub offers: Result<&'a [Offer], &'a str>,
}

/// What holds for all specs of a pool.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The order in which offers are tried.
    pub selection: Selection,
    /// The most that all nodes together may cost an hour.
    pub max_hourly_cost: Option<Usd>,
    /// The processor of the program that the machines will run.
    pub architecture: Option<Architecture>,
}

/// How many offers of each spec are tried.
pub const SHORTLIST: usize = 20;

/// Filters and ranks. Nothing is copied but the offers that are tried, [`SHORTLIST`] for each spec.
///
/// ```
/// use skyward_runtime::model::{InstanceType, Nodes, Offer, Price, Requirements};
/// use skyward_runtime::pool::{Asked, Terms, rank};
/// use skyward_runtime::usd;
/// let kind = |name: &str, vcpus| InstanceType { vcpus, ..InstanceType::named(name) };
/// let offers = [
///     Offer::of("cloud", kind("large", 8), Price::on_demand(usd!(0.40))),
///     Offer::of("cloud", kind("small", 2), Price::on_demand(usd!(0.10))),
/// ];
/// let wanted = Requirements { vcpus: Some(4), ..Requirements::default() };
/// let asked = Asked { provider: "cloud", wanted: &wanted, nodes: Nodes::from(3), sized_disk: false, disk_gb_hour: None, offers: Ok(&offers) };
/// let plan = rank(&[asked], &Terms::default());
/// assert_eq!(plan.chosen().expect("one fits").hourly(), usd!(1.20));
/// ```
pub fn rank(asked: &[Asked<'_>], terms: &Terms) -> Plan {
    let sieves: Vec<Sieve<'_>> = asked.iter().map(|it| sieve(it, terms)).collect();
    let mut specs = Vec::new();
    let mut fitting = Vec::new();
    for (spec, (asked, sieve)) in asked.iter().zip(&sieves).enumerate() {
        specs.push(sift(spec, asked, sieve, &mut fitting));
    }
    let mut trouble = None;
    let mut choices = if let Selection::Custom(choose) = &terms.selection {
        fitting.sort_unstable_by(|one, other| order(one, other, &Selection::Cheapest, asked));
        // A closure that panics must not take the pool's loop with it.
        if catch_unwind(AssertUnwindSafe(|| choose(&mut fitting))).is_err() {
            trouble = Some("the pool's custom selection panicked".to_owned());
            fitting.clear();
        }
        fitting
    } else {
        shortlist(fitting, |one, other| order(one, other, &terms.selection, asked), asked.len())
    };
    let mut taken = vec![0; asked.len()];
    choices.retain(|it| {
        taken.get_mut(it.spec).is_some_and(|taken| {
            *taken += 1;
            *taken <= SHORTLIST
        })
    });
    let candidates = choices.iter().filter_map(|it| candidate(it, asked, &sieves)).collect();
    Plan { selection: terms.selection.to_string(), candidates, specs, trouble }.explained()
}

fn sieve<'a>(asked: &Asked<'a>, terms: &Terms) -> Sieve<'a> {
    Sieve {
        wanted: asked.wanted,
        architecture: asked.wanted.architecture.or(terms.architecture),
        nodes: asked.nodes,
        pool_hourly: terms.max_hourly_cost,
        sized_disk: asked.sized_disk,
        disk_gb_hour: asked.disk_gb_hour,
    }
}

/// Adds the offers that fit to `fitting`, and counts what removed the others.
fn sift<'a>(spec: usize, asked: &Asked<'a>, sieve: &Sieve<'_>, fitting: &mut Vec<Choice<'a>>) -> SpecReport {
    let (offers, error) = match asked.offers {
        Ok(offers) => (offers, None),
        Err(reason) => (&[] as &[Offer], Some(reason.to_owned())),
    };
    let before = fitting.len();
    let mut removed = [0_usize; Filter::ALL.len()];
    let mut nearest: Option<(Miss, &Offer)> = None;
    for offer in offers {
        match sieve.look(offer) {
            Ok(tariff) => fitting.push(Choice { spec, offer, tariff }),
            Err(miss) => {
                if let Some(count) = removed.get_mut(miss.first as usize) {
                    *count += 1;
                }
                let nearer = nearest.is_none_or(|(best, than)| {
                    let (price, other) = (price(sieve, offer), price(sieve, than));
                    (miss, price).cmp(&(best, other)).then_with(|| named(offer).cmp(&named(than))).is_lt()
                });
                if nearer {
                    nearest = Some((miss, offer));
                }
            }
        }
    }
    let removed = Filter::ALL.into_iter().zip(removed).filter(|(_, count)| *count > 0).collect();
    let nearest = nearest.map(|(miss, offer)| NearMiss {
        offer: offer.clone(),
        filter: miss.first,
        reason: sieve.words(miss.first, offer),
    });
    let is_unpriced = asked.sized_disk && asked.disk_gb_hour.is_none() && asked.offers.is_ok();
    let unpriced_disk_gb = asked.wanted.disk_gb.filter(|_| is_unpriced);
    SpecReport {
        unpriced_disk_gb,
        spec,
        provider: asked.provider.to_owned(),
        offers: offers.len(),
        fitting: fitting.len() - before,
        removed,
        nearest,
        error,
    }
}

fn price(sieve: &Sieve<'_>, offer: &Offer) -> Usd {
    sieve.wanted.pays(offer, sieve.disk_gb_hour).map_or(Usd::MOST, |it| it.hourly)
}

fn named(offer: &Offer) -> (&str, Option<&str>, Option<&str>, &str) {
    (&offer.provider, offer.region.as_deref(), offer.zone.as_deref(), &offer.id)
}

/// Which of two choices comes first. Never equal for two different offers of one provider.
fn order(one: &Choice<'_>, other: &Choice<'_>, selection: &Selection, asked: &[Asked<'_>]) -> Ordering {
    let first = match selection {
        Selection::Cheapest | Selection::Custom(_) => Ordering::Equal,
        Selection::First => one.spec.cmp(&other.spec),
        Selection::Available => {
            let key = |it: &Choice<'_>| (scarcity(it, asked), it.spec);
            key(one).cmp(&key(other))
        }
    };
    first
        .then_with(|| one.tariff.hourly.cmp(&other.tariff.hourly))
        .then_with(|| one.spec.cmp(&other.spec))
        // Of two at one price, the one that stays.
        .then_with(|| other.tariff.market.cmp(&one.tariff.market))
        .then_with(|| named(one.offer).cmp(&named(other.offer)))
}

/// 0: enough are known to be free; 1: nobody says; 2: too few.
fn scarcity(choice: &Choice<'_>, asked: &[Asked<'_>]) -> u8 {
    let needed = asked.get(choice.spec).map_or(1, |it| it.nodes.desired);
    match choice.offer.stock {
        Some(free) if free >= needed => 0,
        None => 1,
        Some(_) => 2,
    }
}

/// The first [`SHORTLIST`] of each spec, in order, without sorting the rest.
fn shortlist<'a>(
    fitting: Vec<Choice<'a>>,
    order: impl Fn(&Choice<'a>, &Choice<'a>) -> Ordering,
    specs: usize,
) -> Vec<Choice<'a>> {
    let mut rest = fitting.as_slice();
    let mut chosen = Vec::new();
    // They were gathered spec by spec.
    for spec in 0..specs {
        let (own, others) =
            rest.split_at_checked(rest.partition_point(|it| it.spec <= spec)).unwrap_or((rest, &[]));
        rest = others;
        chosen.extend(first_of(own, &order));
    }
    chosen.sort_unstable_by(order);
    chosen
}

fn first_of<'a>(
    own: &[Choice<'a>],
    order: &impl Fn(&Choice<'a>, &Choice<'a>) -> Ordering,
) -> Vec<Choice<'a>> {
    let mut own = own.to_vec();
    if own.len() > SHORTLIST {
        own.select_nth_unstable_by(SHORTLIST - 1, order);
        own.truncate(SHORTLIST);
    }
    own
}

fn candidate(choice: &Choice<'_>, asked: &[Asked<'_>], sieves: &[Sieve<'_>]) -> Option<Candidate> {
    let (asked, sieve) = (asked.get(choice.spec)?, sieves.get(choice.spec)?);
    let within = |it: &Tariff| {
        let node = asked.wanted.max_hourly_cost.is_none_or(|cap| it.hourly <= cap);
        let pool = sieve.pool_hourly.is_none_or(|cap| it.hourly * asked.nodes.desired <= cap);
        node && pool
    };
    let other = asked.wanted.pays_else(choice.offer, asked.disk_gb_hour).filter(within);
    Some(Candidate {
        spec: choice.spec,
        offer: choice.offer.clone(),
        tariff: choice.tariff,
        otherwise: other.filter(|it| it.market != choice.tariff.market),
        nodes: asked.nodes.desired,
        least: asked.nodes.least(),
        scales: asked.nodes.scales(),
        lease: asked.wanted.ttl,
        mixed: asked.wanted.mixed,
        lost: None,
    })
}

#[cfg(test)]
#[path = "offers_tests.rs"]
mod tests;
