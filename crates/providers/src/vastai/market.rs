//! The market of hosts, as offers: which asks are taken, which are refused and why, and which of them are as
//! good as another one and cost no more. Pure.
//!
//! One ask is one machine. A pool of several, or one that lost a machine, wants more of the same, so an offer
//! stands for its likes, too: the same accelerators in the same country, no fewer processors, no less memory,
//! and no higher price.

use std::collections::BTreeMap;
use std::time::Duration;

use skyward_runtime::model::{
    Accelerator, Architecture, BillingUnit, InstanceType, Market, Offer, Price, Usd,
};

use super::api::Ask;
use super::{Config, NAME};
use crate::cloud::sold;

/// All that is for rent, with how many of its kind there are of each; and what is not for rent, with the
/// reason, by the number of the ask.
pub(super) fn offers(asks: &[Ask], config: &Config) -> (Vec<Offer>, BTreeMap<u64, String>) {
    let mut refused = BTreeMap::new();
    let mut kinds: BTreeMap<_, Vec<Offer>> = BTreeMap::new();
    for ask in asks {
        match offer(ask, config) {
            Ok(offer) => kinds.entry(kind(&offer)).or_default().push(offer),
            Err(reason) => drop(refused.insert(ask.id, reason)),
        }
    }
    let counted = |kind: &Vec<Offer>| {
        kind.iter()
            .map(|offer| {
                let likes = kind.iter().filter(|it| no_dearer(it, offer) && no_smaller(it, offer)).count();
                Offer { stock: u32::try_from(likes).ok(), ..offer.clone() }
            })
            .collect::<Vec<_>>()
    };
    (kinds.values().flat_map(counted).collect(), refused)
}

/// Those of `fresh` that can be rented for what was agreed for `wanted`: itself first, then the cheapest.
pub(super) fn likes(wanted: &Offer, market: Market, fresh: Vec<Offer>) -> Vec<Offer> {
    let price = |it: &Offer| it.price.tariff(market).map(|it| it.hourly);
    let Some(agreed) = price(wanted) else { return Vec::new() };
    let fits = |it: &Offer| price(it).is_some_and(|it| it <= agreed) && no_smaller(it, wanted);
    let mut likes: Vec<_> =
        fresh.into_iter().filter(|it| kind(it) == kind(wanted)).filter(|it| fits(it)).collect();
    likes.sort_by(|a, b| (a.id != wanted.id, price(a), &a.id).cmp(&(b.id != wanted.id, price(b), &b.id)));
    likes
}

/// What two offers must share to stand for each other.
fn kind(offer: &Offer) -> (Option<Accelerator>, Option<Architecture>, Option<String>, Option<String>) {
    let it = &offer.instance_type;
    (it.accelerator.clone(), it.architecture, offer.region.clone(), offer.specific.get(CLUSTER).cloned())
}

fn no_smaller(offer: &Offer, than: &Offer) -> bool {
    let (it, than) = (&offer.instance_type, &than.instance_type);
    it.vcpus >= than.vcpus && it.memory_mb >= than.memory_mb
}

/// In each market in which the other one is to be had.
fn no_dearer(offer: &Offer, than: &Offer) -> bool {
    let in_market = |market| match (offer.price.tariff(market), than.price.tariff(market)) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(it), Some(than)) => it.hourly <= than.hourly,
    };
    in_market(Market::OnDemand) && in_market(Market::Spot)
}

/// What a host asks, as an offer.
///
/// # Errors
/// Why it is none, for people.
pub(super) fn offer(ask: &Ask, config: &Config) -> Result<Offer, String> {
    let (countries, country) = (config.countries(), country(ask));
    let reliability = ask.reliability2.unwrap_or_default();
    let cuda = ask.cuda_max_good.unwrap_or_default();
    let disk = ask.disk_space.unwrap_or_default();
    let refusals = [
        (ask.rentable == Some(false) || ask.rented == Some(true), "somebody else has it".to_owned()),
        (
            config.verified_only && ask.verification.as_deref() != Some("verified"),
            format!("its host is {}", ask.verification.as_deref().unwrap_or("unverified")),
        ),
        (
            reliability < config.min_reliability,
            format!("its host's reliability is {reliability}, and {} are wanted", config.min_reliability),
        ),
        (cuda < config.min_cuda, format!("its driver runs CUDA {cuda}, and {} is wanted", config.min_cuda)),
        (
            !countries.is_empty() && !country.as_ref().is_some_and(|it| countries.contains(it)),
            format!("it is in {}", ask.geolocation.as_deref().unwrap_or("a place that nobody knows")),
        ),
        (config.require_direct_port && direct_ports(ask) < 1, "it has no port of its own".to_owned()),
        (
            disk < f64::from(config.disk_gb),
            format!("it has {disk} GB of disk left, and {} are wanted", config.disk_gb),
        ),
    ];
    if let Some((_, reason)) = refusals.into_iter().find(|(refused, _)| *refused) {
        return Err(reason);
    }
    let price = price(ask, config).ok_or("it has no price")?;
    Ok(Offer {
        id: ask.id.to_string(),
        region: country,
        specific: specific(ask, config),
        ..Offer::of(NAME, instance_type(ask, config)?, price)
    })
}

fn instance_type(ask: &Ask, config: &Config) -> Result<InstanceType, String> {
    let model = ask.gpu_name.as_deref().unwrap_or_default();
    let accelerator = if gpus(ask) == 0 { None } else { Some(accelerator(ask, model)?) };
    // A host's memory is shared out as its accelerators are.
    let memory_mb = ask.cpu_ram.unwrap_or_default() * ask.gpu_frac.unwrap_or(1.0);
    Ok(InstanceType {
        vcpus: ask.cpu_cores_effective.unwrap_or_default() as u32,
        memory_mb: memory_mb as u64,
        disk_gb: Some(config.disk_gb),
        architecture: ask.cpu_arch.as_ref().and_then(|it| it.parse().ok()),
        accelerator,
        ..InstanceType::named(format!("{}x {model}", gpus(ask)))
    })
}

fn accelerator(ask: &Ask, model: &str) -> Result<Accelerator, String> {
    let accelerator = sold(model)?.count(gpus(ask));
    Ok(match ask.gpu_ram {
        Some(mib) if mib >= 1.0 => accelerator.memory_mib(mib as u32),
        _ => accelerator,
    })
}

/// The machine with its disk; the bid, where it is one, is only for the machine.
fn price(ask: &Ask, config: &Config) -> Option<Price> {
    let disk = disk(ask, config);
    // With a search's own total the disk would be the one that the search named.
    let on_demand = match usd(ask.dph_base) {
        Some(base) => base + disk,
        None => usd(ask.dph_total)?,
    };
    let price = Price::on_demand(on_demand).billed(BillingUnit::Minute, Duration::ZERO);
    Some(match bid(ask, config) {
        Some(bid) => price.with_spot(bid + disk),
        None => price,
    })
}

/// What is bid; `None` where an interruptible machine would cost as much as one that stays.
fn bid(ask: &Ask, config: &Config) -> Option<Usd> {
    let times = (config.bid_multiplier.max(1.0) * 10_000.0) as u128;
    let bid = usd(ask.min_bid)?.fraction(times, 10_000);
    (bid > Usd::ZERO && bid < usd(ask.dph_base.or(ask.dph_total))?).then_some(bid)
}

/// What the disk costs in an hour: a month has 720 of them here.
fn disk(ask: &Ask, config: &Config) -> Usd {
    usd(ask.storage_cost).unwrap_or_default().fraction(u128::from(config.disk_gb), 720)
}

fn gpus(ask: &Ask) -> u32 {
    ask.num_gpus.unwrap_or_default()
}

fn direct_ports(ask: &Ask) -> i64 {
    ask.direct_port_count.unwrap_or_default().max(0)
}

fn usd(dollars: Option<f64>) -> Option<Usd> {
    Usd::written(&dollars?.to_string())
}

/// `Texas, US` is in the United States.
fn country(ask: &Ask) -> Option<String> {
    let (_, code) = ask.geolocation.as_deref()?.rsplit_once(", ")?;
    Some(code.trim().to_owned()).filter(|it| !it.is_empty())
}

fn specific(ask: &Ask, config: &Config) -> BTreeMap<String, String> {
    let cluster = ask.cluster_id.filter(|_| config.use_overlay).map(|it| it.to_string());
    let cost = |it: Option<f64>| it.map(|it| it.to_string());
    let all = [
        ("place", ask.geolocation.clone()),
        ("machine", ask.machine_id.map(|it| it.to_string())),
        ("reliability", ask.reliability2.map(|it| it.to_string())),
        (CUDA, ask.cuda_max_good.map(|it| it.to_string())),
        (DIRECT_PORTS, Some(direct_ports(ask).to_string())),
        ("sent_gb", cost(ask.inet_up_cost)),
        ("received_gb", cost(ask.inet_down_cost)),
        (MODEL, ask.gpu_name.clone()),
        (COUNT, Some(gpus(ask).to_string())),
        (BID, bid(ask, config).map(|it| it.to_string())),
        (CLUSTER, cluster),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// What we read again ourselves, of what an offer says besides.
pub(super) const BID: &str = "bid";
pub(super) const CLUSTER: &str = "cluster";
pub(super) const COUNT: &str = "count";
pub(super) const CUDA: &str = "cuda";
pub(super) const DIRECT_PORTS: &str = "direct_ports";
pub(super) const MODEL: &str = "model";
