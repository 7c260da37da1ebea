//! From what Lambda says to our words, and back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use skyward_runtime::model::{
    Architecture, BillingUnit, Instance, InstanceId, InstanceState, InstanceType, Loss, Offer, PoolId, Price,
    Usd,
};
use skyward_runtime::provider::{ProviderErrorKind as Kind, Request};

use super::api::{Failed, Id, Image, Launch, Machine, NewRuleset, Rule, Tag, TypeItem};
use super::{Config, NAME};
use crate::cloud::{SKYWARD, pool_name, reached};
use crate::http::{Answer, Said};

/// One offer for each region that has some, or one without a region and without stock when none has.
/// Nothing for machines whose accelerator no program could ask for.
pub(crate) fn offers(item: &TypeItem, config: &Config) -> Vec<Offer> {
    let Some(offer) = offer(item) else { return Vec::new() };
    let wanted = |region: &&str| config.regions.is_empty() || config.regions.iter().any(|it| it == region);
    let there = item.regions_with_capacity_available.iter().map(|it| it.name.as_str());
    let regions: Vec<_> = there.filter(wanted).collect();
    if regions.is_empty() {
        return vec![Offer { stock: Some(0), ..offer }];
    }
    let at = |region: &str| Offer {
        id: format!("{}@{region}", offer.instance_type.name),
        region: Some(region.to_owned()),
        ..offer.clone()
    };
    regions.into_iter().map(at).collect()
}

fn offer(item: &TypeItem) -> Option<Offer> {
    let sold = &item.instance_type;
    let accelerator =
        if sold.specs.gpus == 0 { None } else { Some(crate::cloud::sold(&sold.gpu_description).ok()?) };
    // The one superchip that is sold here has Arm processors.
    let arm = sold.name.contains("gh200") || sold.name.contains("gb200");
    let kind = InstanceType {
        vcpus: sold.specs.vcpus,
        memory_mb: sold.specs.memory_gib.saturating_mul(1000),
        disk_gb: Some(sold.specs.storage_gib),
        architecture: Some(if arm { Architecture::Aarch64 } else { Architecture::X86_64 }),
        accelerator: accelerator.map(|it| it.count(sold.specs.gpus)),
        ..InstanceType::named(&sold.name)
    };
    let price = Price::on_demand(Usd::from_cents(i64::from(sold.price_cents_per_hour)))
        .billed(BillingUnit::Minute, Duration::ZERO);
    let specific = BTreeMap::from([("description".to_owned(), sold.description.clone())]);
    Some(Offer { specific, ..Offer::of(NAME, kind, price) })
}

/// The request for one machine. `None` when the offer is in no region.
pub(super) fn launch(
    request: &Request,
    config: &Config,
    name: &str,
    ruleset: Option<String>,
) -> Option<Launch> {
    let tag = |key: &str, value: String| Tag { key: format!("{SKYWARD}-{key}"), value };
    let image = config.image_id.clone().map(Image::Id);
    Some(Launch {
        region_name: request.offer.region.clone()?,
        instance_type_name: request.offer.instance_type.name.clone(),
        ssh_key_names: vec![pool_name(&request.pool)],
        name: name.to_owned(),
        tags: vec![
            tag("pool", request.pool.to_string()),
            tag("lease", format!("{}s", request.lease.as_secs())),
        ],
        file_system_names: config.file_systems.clone(),
        firewall_rulesets: ruleset.map(|id| Id { id }).into_iter().collect(),
        image: image.or_else(|| config.image_family.clone().map(Image::Family)),
    })
}

/// The rules of a pool in its region: SSH, the ports that programs listen on, and ping. `None` where there
/// are no rules to make.
pub(super) fn new_ruleset(request: &Request, config: &Config) -> Option<NewRuleset> {
    let region = request.offer.region.clone()?;
    if !config.firewall || region == WITHOUT_RULES {
        return None;
    }
    let rule = |protocol, port_range, network: &String, description: &str| Rule {
        protocol,
        port_range,
        source_network: network.clone(),
        description: description.to_owned(),
    };
    let ssh = config.ssh_port;
    let rules = config.allow_from.iter().flat_map(|network| {
        [
            rule("tcp", Some([ssh, ssh]), network, "SSH"),
            rule("udp", Some([1024, 65535]), network, "Skyward's workers"),
            rule("icmp", None, network, "ping"),
        ]
    });
    Some(NewRuleset { name: ruleset_name(&request.pool, &region), region, rules: rules.collect() })
}

/// What the rules of a pool in a region are called: they are good for machines of this region alone, and a name
/// has sixty-four characters at most.
pub(super) fn ruleset_name(pool: &PoolId, region: &str) -> String {
    let room = 64_usize.saturating_sub(region.len() + 1);
    let pool: String = pool_name(pool).chars().take(room).collect();
    format!("{pool}-{region}")
}

/// The region whose machines have no rules of ours in front of them.
const WITHOUT_RULES: &str = "us-south-1";

/// An instance as a machine.
pub(crate) fn instance(machine: &Machine, config: &Config) -> Instance {
    let address: Option<IpAddr> = machine.ip.as_ref().and_then(|it| it.parse().ok());
    let state = match (machine.status.as_str(), address) {
        // Unhealthy is what the cloud's own checks say; whether it answers us is for us to see.
        ("active" | "unhealthy", Some(address)) => reached(address, config.ssh_port, &config.user),
        ("preempted", _) => {
            InstanceState::Gone { reason: "the cloud took it back".to_owned(), loss: Loss::Preempted }
        }
        ("terminating" | "terminated", _) => {
            InstanceState::Gone { reason: format!("it is {}", machine.status), loss: Loss::Stopped }
        }
        // What is booting, what has no address yet, and what nobody has heard of.
        _ => InstanceState::Pending,
    };
    Instance { id: InstanceId::new(&machine.id), state }
}

/// Whether a listed instance still costs.
pub(crate) fn lives(machine: &Machine) -> bool {
    !matches!(machine.status.as_str(), "terminated" | "preempted")
}

/// What an error says, by its code.
pub(crate) fn said(answer: &Answer) -> Option<Said> {
    let failed: Option<Failed> = answer.json().ok();
    let Some(Failed { error }) = failed else {
        // A page of the gateway in front of the interface, which refuses those who come too often.
        let gateway = answer.status == 403;
        return gateway.then(|| Said::new(Kind::RateLimited, "HTTP 403 without a reason, from the gateway"));
    };
    let kind = match error.code.as_str() {
        "global/invalid-api-key" => Kind::Auth,
        "global/forbidden" => Kind::Permission,
        "global/account-inactive" | "global/invalid-address" => Kind::InsufficientFunds,
        "global/quota-exceeded" => Kind::Quota,
        "instance-operations/launch/insufficient-capacity" => Kind::NoCapacity,
        "global/object-does-not-exist" | "global/not-found" => Kind::NotFound,
        "global/duplicate" | "global/conflict" => Kind::Conflict,
        "global/rate-limited" | "global/too-many-requests" => Kind::RateLimited,
        "global/internal-error" => Kind::Transient,
        code if code.starts_with("provider/") => Kind::Transient,
        _ if answer.status == 429 => Kind::RateLimited,
        _ if answer.status >= 500 => Kind::Transient,
        _ => Kind::InvalidRequest,
    };
    let suggestion = error.suggestion.map(|it| format!(" ({it})")).unwrap_or_default();
    Some(Said::new(kind, format!("{}{suggestion}", error.message)))
}
