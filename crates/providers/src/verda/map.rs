//! From what Verda says to our words, and back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use skyward_runtime::model::{
    self, Accelerator, Architecture, BillingUnit, Instance, InstanceId, InstanceState, Loss, Market, Offer,
    Price, Usd,
};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind as Kind, Request};

use super::api::{
    Availability, Done, Entry, InstanceType, Location, Machine, NewMachine, NewVolume, Refusal, Tag, Volume,
};
use super::{Config, NAME};
use crate::cloud::{SKYWARD, pool_name, reached};
use crate::http::{Answer, Said};

/// What is for rent: kinds of machines, joined with what each location has free on each market.
pub(super) struct Catalog {
    pub(super) types: Vec<InstanceType>,
    pub(super) stays: Vec<Availability>,
    pub(super) spot: Vec<Availability>,
    pub(super) locations: Vec<Location>,
}

impl Catalog {
    /// One offer for each location that has some, or one without a location and without stock where none has.
    /// Nothing for machines whose accelerator no program could ask for.
    pub(super) fn offers(&self, config: &Config) -> Vec<Offer> {
        self.types.iter().flat_map(|it| self.offers_of(it, config)).collect()
    }

    fn offers_of(&self, sold: &InstanceType, config: &Config) -> Vec<Offer> {
        let Some(offer) = offer(sold, config) else { return Vec::new() };
        let has = |all: &[Availability], code: &str| {
            all.iter().any(|it| it.location_code == code && it.availabilities.contains(&sold.instance_type))
        };
        let wanted = |code: &&str| config.regions.is_empty() || config.regions.iter().any(|it| it == code);
        let mut codes: Vec<_> =
            self.stays.iter().chain(&self.spot).map(|it| it.location_code.as_str()).filter(wanted).collect();
        codes.sort_unstable();
        codes.dedup();
        let there: Vec<_> = codes
            .into_iter()
            .filter_map(|code| {
                let price = Price {
                    on_demand: offer.price.on_demand.filter(|_| has(&self.stays, code)),
                    spot: offer.price.spot.filter(|_| has(&self.spot, code)),
                    ..offer.price.clone()
                };
                let any = price.on_demand.is_some() || price.spot.is_some();
                any.then(|| self.at(code, Offer { price, ..offer.clone() }))
            })
            .collect();
        if there.is_empty() { vec![Offer { stock: Some(0), ..offer }] } else { there }
    }

    fn at(&self, code: &str, mut offer: Offer) -> Offer {
        if let Some(place) = self.locations.iter().find(|it| it.code == code) {
            offer.specific.insert("place".to_owned(), format!("{}, {}", place.name, place.country_code));
        }
        Offer { id: format!("{}@{code}", offer.instance_type.name), region: Some(code.to_owned()), ..offer }
    }
}

fn offer(sold: &InstanceType, config: &Config) -> Option<Offer> {
    let gpus = sold.gpu.as_ref().map_or(0, |it| it.number_of_gpus);
    let accelerator = if gpus == 0 { None } else { Some(accelerator(sold, gpus)?) };
    let arm = ["GB200", "GB300", "GH200"].iter().any(|it| sold.model.contains(it));
    let kind = model::InstanceType {
        vcpus: sold.cpu.number_of_cores,
        memory_mb: (sold.memory.size_in_gigabytes * 1000.0) as u64,
        disk_gb: Some(config.os_volume_gb),
        architecture: Some(if arm { Architecture::Aarch64 } else { Architecture::X86_64 }),
        accelerator,
        ..model::InstanceType::named(&sold.instance_type)
    };
    let with_disk = |price: &str| Some(Usd::written(price)? + disk(config));
    let mut price = Price::on_demand(with_disk(&sold.price_per_hour)?)
        // Ten minutes are paid ahead. Whether the last of them are paid as a whole nobody says: more is counted, not less.
        .billed(BillingUnit::TenMinutes, Duration::ZERO);
    price.spot = sold.spot_price.as_deref().and_then(with_disk);
    let image = image(sold, gpus > 0);
    let specific = image.map(|it| (IMAGE.to_owned(), it)).into_iter().collect::<BTreeMap<_, _>>();
    Some(Offer { specific, ..Offer::of(NAME, kind, price) })
}

fn accelerator(sold: &InstanceType, gpus: u32) -> Option<Accelerator> {
    let all = sold.gpu_memory.as_ref().map_or(0.0, |it| it.size_in_gigabytes) as u32;
    let accelerator = crate::cloud::sold(&sold.name).ok()?.count(gpus);
    Some(match all.checked_div(gpus) {
        Some(each) if each > 0 => accelerator.memory_gb(each),
        _ => accelerator,
    })
}

/// What the disk costs in an hour: a month has 730 of them here.
fn disk(config: &Config) -> Usd {
    config.os_volume_monthly.fraction(u128::from(config.os_volume_gb), 730)
}

/// Of the images that fit a kind of machine, the newest Ubuntu, with CUDA where there is something for it. Older
/// accelerators do not take the newest.
fn image(sold: &InstanceType, cuda: bool) -> Option<String> {
    // Clusters have images of their own, which expect a network that single machines do not have.
    let plain = |it: &&String| it.starts_with("ubuntu-") && !it.contains("cluster");
    let fits: Vec<_> = sold.supported_os.iter().filter(plain).collect();
    let preferred = fits.iter().filter(|it| it.contains("cuda") == cuda && !it.contains("docker")).max();
    preferred
        .or_else(|| fits.iter().filter(|it| it.contains("cuda") == cuda).max())
        .or(fits.iter().max())
        .map(|it| (*it).clone())
}

/// The name under which an offer knows its image.
const IMAGE: &str = "image";

/// The request for one machine. `None` when the offer is in no location, or no image fits it.
pub(super) fn new_machine(
    request: &Request,
    config: &Config,
    name: &str,
    key: String,
    script: Option<String>,
) -> Option<NewMachine> {
    let spot = request.market == Market::Spot;
    let tag = |key: &str, value: String| Tag { key: format!("{SKYWARD}-{key}"), value };
    let image = config.image.clone().or_else(|| request.offer.specific.get(IMAGE).cloned())?;
    Some(NewMachine {
        instance_type: request.offer.instance_type.name.clone(),
        image,
        hostname: name.to_owned(),
        description: pool_name(&request.pool),
        location_code: request.offer.region.clone()?,
        ssh_key_ids: std::iter::once(key).chain(config.ssh_key_ids.iter().cloned()).collect(),
        startup_script_id: script,
        is_spot: spot,
        contract: if spot { "SPOT" } else { "PAY_AS_YOU_GO" },
        os_volume: NewVolume {
            name: name.to_owned(),
            size: config.os_volume_gb,
            // It would stay, and cost, when the cloud takes the machine back.
            on_spot_discontinue: spot.then_some("delete_permanently"),
        },
        tags: vec![
            tag("pool", request.pool.to_string()),
            tag("lease", format!("{}s", request.lease.as_secs())),
        ],
    })
}

/// The tag of all machines of a pool, as a list is asked for it.
pub(super) fn tag(request: &Request) -> String {
    format!("{SKYWARD}-pool={}", request.pool)
}

/// A machine as ours; `journal` is what its journal says, where that was read.
pub(super) fn instance(machine: &Machine, journal: &[Entry], config: &Config) -> Instance {
    let address: Option<IpAddr> = machine.ip.as_ref().and_then(|it| it.trim().parse().ok());
    let state = match (machine.status.as_str(), address) {
        ("running", Some(address)) => reached(address, config.ssh_port, &config.user),
        (status, _) if over(status) => {
            let why = journal.iter().find_map(why).map(|it| format!(": {it}")).unwrap_or_default();
            let (what, loss) = match status {
                "offline" => ("it is switched off, and still costs", Loss::Stopped),
                "no_capacity" => ("the location had no capacity for it after all", Loss::Preempted),
                "discontinued" if machine.is_spot => ("the cloud took it back", Loss::Preempted),
                "deleting" | "notfound" => {
                    return gone(machine, format!("it is {status}{why}"), Loss::Stopped);
                }
                status => return gone(machine, format!("it is {status}{why}"), Loss::Crashed),
            };
            return gone(machine, format!("{what}{why}"), loss);
        }
        // What is being made, what has no address yet, and what nobody has heard of.
        _ => InstanceState::Pending,
    };
    Instance { id: InstanceId::new(&machine.id), state }
}

fn gone(machine: &Machine, reason: String, loss: Loss) -> Instance {
    Instance { id: InstanceId::new(&machine.id), state: InstanceState::Gone { reason, loss } }
}

/// Whether a machine of this status will not run, or not again.
pub(super) fn over(status: &str) -> bool {
    const OVER: [&str; 7] =
        ["offline", "deleting", "discontinued", "error", "no_capacity", "installation_failed", "notfound"];
    OVER.contains(&status)
}

/// Why a machine ended, where an entry of its journal says so.
fn why(entry: &Entry) -> Option<String> {
    let told = entry.properties.get("delete_reason").and_then(|it| it.as_str()).map(str::to_owned);
    told.or_else(|| entry.error_message.clone())
}

/// Whether a listed machine is still there: what never began and what has ended costs nothing.
pub(super) fn lives(machine: &Machine) -> bool {
    !matches!(machine.status.as_str(), "discontinued" | "notfound" | "no_capacity")
}

/// Whether a volume is still there, in or out of the trash.
pub(super) fn remains(volume: &Volume) -> bool {
    !matches!(volume.status.as_str(), "deleted" | "deleting" | "canceled" | "canceling")
}

/// The volumes of a machine, each once.
pub(super) fn volumes(machine: &Machine) -> Vec<String> {
    let mut all = machine.volume_ids.clone();
    all.extend(machine.os_volume_id.clone());
    all.sort_unstable();
    all.dedup();
    all
}

/// What an error says, by its code, and where one code stands for several things, by its words.
pub(super) fn said(answer: &Answer) -> Option<Said> {
    if answer.is_success() {
        return None;
    }
    let Refusal { code, message } = answer.json().ok()?;
    Some(Said::new(kind(&code, answer.status, &message), message))
}

/// What became of one machine of an action.
pub(super) fn done(done: &Done) -> Result<(), ProviderError> {
    if done.status != "error" {
        return Ok(());
    }
    let why = done.error.as_deref().unwrap_or("no reason was given");
    let (code, status) = match done.code.unwrap_or_default() as u16 {
        403 => ("forbidden_action", 403),
        404 => ("not_found", 404),
        409 => ("conflict", 409),
        400 => ("invalid_request", 400),
        // Nobody knows, so that it is asked for again.
        _ => ("", 500),
    };
    let code = if why.to_ascii_lowercase().contains("discontinue") { "forbidden_action" } else { code };
    let message = format!("failed to delete machine {}: {why}", done.id);
    Err(ProviderError::new(kind(code, status, why), message))
}

/// The class, by the code and the words before the status.
fn kind(code: &str, status: u16, message: &str) -> Kind {
    let words = message.to_ascii_lowercase();
    match code {
        _ if words.contains("quota") => Kind::Quota,
        "unauthorized_request" | "invalid_client" => Kind::Auth,
        "insufficient_funds" => Kind::InsufficientFunds,
        "service_unavailable" if words.contains("capacity") => Kind::NoCapacity,
        // It has to be made before it can be deleted.
        "forbidden_action" if words.contains("provisioning") => Kind::Conflict,
        "forbidden_action" if words.contains("discontinued") => Kind::NotFound,
        "forbidden_action" => Kind::Permission,
        "not_found" => Kind::NotFound,
        "conflict" => Kind::Conflict,
        "rate_limit_exceeded" => Kind::RateLimited,
        _ if status == 401 => Kind::Auth,
        _ if status >= 500 => Kind::Transient,
        _ => Kind::InvalidRequest,
    }
}
