//! From what DigitalOcean says to our words, and back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use skyward_runtime::model::{
    Architecture, BillingUnit, Instance, InstanceId, InstanceState, InstanceType, Loss, Offer, Price, Usd,
};
use skyward_runtime::provider::{ProviderErrorKind as Kind, Request};

use super::api::{Addresses, Droplet, ImageName, Inbound, NewDroplets, NewFirewall, Outbound, Refusal, Size};
use super::{Config, NAME};
use crate::cloud::{SKYWARD, pool_name, reached, sold};
use crate::http::{Answer, Said};

/// One offer for each region that has the size, or one without a region and without stock when none has.
/// `None` of it for machines whose accelerator no program could ask for.
pub(crate) fn offers(size: &Size, config: &Config) -> Vec<Offer> {
    let Some(offer) = offer(size) else { return Vec::new() };
    let wanted = |region: &&String| config.regions.is_empty() || config.regions.contains(region);
    let regions: Vec<_> = size.regions.iter().filter(wanted).filter(|_| size.available).collect();
    if regions.is_empty() {
        return vec![Offer { stock: Some(0), ..offer }];
    }
    let there = |region: &String| Offer {
        id: format!("{}@{region}", size.slug),
        region: Some(region.clone()),
        ..offer.clone()
    };
    regions.into_iter().map(there).collect()
}

fn offer(size: &Size) -> Option<Offer> {
    let accelerator = match &size.gpu_info {
        None => None,
        Some(gpu) => {
            let accelerator = sold(&gpu.model).ok()?.count(gpu.count);
            // The memory is that of all of them together.
            let each = gpu.vram.as_ref().filter(|it| it.unit.eq_ignore_ascii_case("gib"));
            match each.and_then(|it| it.amount.checked_div(gpu.count)) {
                Some(gib) if gib > 0 => Some(accelerator.memory_gb(gib)),
                _ => Some(accelerator),
            }
        }
    };
    let kind = InstanceType {
        vcpus: size.vcpus,
        // Sold as 1 GB is what is told as 1024 MB.
        memory_mb: size.memory.saturating_mul(1000) / 1024,
        disk_gb: Some(size.disk),
        architecture: Some(Architecture::X86_64),
        accelerator,
        ..InstanceType::named(&size.slug)
    };
    let hourly = hourly(size.price_hourly)?;
    let price = Price::on_demand(hourly).billed(BillingUnit::Second, least(hourly));
    let specific = BTreeMap::from([("class".to_owned(), size.description.clone())]);
    Some(Offer { specific, ..Offer::of(NAME, kind, price) })
}

/// How long a machine at this price is paid for at least: a minute or a cent, whichever is more.
fn least(hourly: Usd) -> Duration {
    let cent = Usd::from_cents(1).nanos().saturating_mul(3600);
    let seconds =
        if hourly > Usd::ZERO { cent / hourly.nanos() + i64::from(cent % hourly.nanos() > 0) } else { 0 };
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default().max(60))
}

/// Prices come as numbers of single precision that were written out in double: `0.00743999984115362`
/// stands for 0.00744.
fn hourly(price: f64) -> Option<Usd> {
    Usd::written(&(price as f32).to_string())
}

/// The image of a kind of machine.
fn image(offer: &Offer, config: &Config) -> ImageName {
    if let Some(image) = &config.image {
        return match image.parse() {
            Ok(number) => ImageName::Number(number),
            Err(_) => ImageName::Slug(image.clone()),
        };
    }
    let slug = match &offer.instance_type.accelerator {
        None => "ubuntu-24-04-x64",
        Some(it) if offer.instance_type.name.contains("mi3") || it.name.starts_with("MI") => "gpu-amd-base",
        Some(it) if it.count.whole() == Some(8) => "gpu-h100x8-base",
        Some(_) => "gpu-h100x1-base",
    };
    ImageName::Slug(slug.to_owned())
}

/// The request for machines of these names. `None` when the offer is in no region.
pub(super) fn new_droplets(
    request: &Request,
    config: &Config,
    names: &[String],
    key: u64,
) -> Option<NewDroplets> {
    let mut tags = vec![SKYWARD.to_owned(), pool_name(&request.pool)];
    tags.push(format!("{SKYWARD}-lease:{}s", request.lease.as_secs()));
    tags.extend(config.tags.iter().cloned());
    Some(NewDroplets {
        names: names.to_vec(),
        region: request.offer.region.clone()?,
        size: request.offer.instance_type.name.clone(),
        image: image(&request.offer, config),
        ssh_keys: vec![key],
        tags,
        ipv6: config.ipv6,
        monitoring: config.monitoring,
        with_droplet_agent: false,
        vpc_uuid: config.vpc_uuid.clone(),
    })
}

/// A firewall for all machines with the pool's tag: SSH, the ports that programs listen on, and each other.
pub(super) fn new_firewall(name: &str, config: &Config) -> NewFirewall {
    let from = || Addresses { addresses: config.allow_from.clone(), tags: Vec::new() };
    let each_other = || Addresses { addresses: Vec::new(), tags: vec![name.to_owned()] };
    let inbound = |protocol, ports: &str, sources| Inbound { protocol, ports: ports.to_owned(), sources };
    let outbound = |protocol| {
        let everywhere = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
        let destinations = Addresses { addresses: everywhere, tags: Vec::new() };
        Outbound { protocol, ports: "0".to_owned(), destinations }
    };
    NewFirewall {
        name: name.to_owned(),
        tags: vec![name.to_owned()],
        inbound_rules: vec![
            inbound("tcp", &config.ssh_port.to_string(), from()),
            inbound("udp", "1024-65535", from()),
            inbound("tcp", "0", each_other()),
            inbound("udp", "0", each_other()),
            inbound("icmp", "0", each_other()),
        ],
        outbound_rules: vec![outbound("tcp"), outbound("udp"), outbound("icmp")],
    }
}

/// A droplet as a machine.
pub(crate) fn instance(droplet: &Droplet, config: &Config) -> Instance {
    let public = droplet.networks.v4.iter().find(|it| it.kind == "public");
    let address: Option<IpAddr> = public.and_then(|it| it.ip_address.parse().ok());
    let state = match (droplet.status.as_str(), address) {
        ("active", Some(address)) => reached(address, config.ssh_port, &config.user),
        ("off", _) => {
            let reason = "the droplet is switched off, and still costs".to_owned();
            InstanceState::Gone { reason, loss: Loss::Stopped }
        }
        ("archive", _) => {
            InstanceState::Gone { reason: "the droplet is archived".to_owned(), loss: Loss::Stopped }
        }
        // What is new, what has no address yet, and what nobody has heard of.
        _ => InstanceState::Pending,
    };
    Instance { id: InstanceId::new(droplet.id.to_string()), state }
}

/// What an error says. Its `id` names little more than the status, so that what a pool must tell apart
/// can be told from the words alone.
pub(crate) fn said(answer: &Answer) -> Option<Said> {
    if answer.is_success() {
        return None;
    }
    let Refusal { id, message } = answer.json().ok()?;
    let words = message.to_ascii_lowercase();
    let has = |any: &[&str]| any.iter().any(|it| words.contains(it));
    let kind = match (id.as_str(), answer.status) {
        ("unauthorized", _) | (_, 401) => Kind::Auth,
        _ if has(&["payment", "billing", "account is locked", "balance"]) => Kind::InsufficientFunds,
        ("too_many_requests", _) | (_, 429) => Kind::RateLimited,
        ("not_found", _) | (_, 404) => Kind::NotFound,
        _ if has(&["droplet limit", "exceed your", "limit for this"]) => Kind::Quota,
        ("forbidden", _) | (_, 403) => Kind::Permission,
        (_, 500..) => Kind::Transient,
        _ if has(&["not available", "unavailable", "sold out", "capacity"]) => Kind::NoCapacity,
        ("conflict", _) | (_, 409) => Kind::Conflict,
        _ if has(&["already in use", "already in progress", "pending event", "duplicate"]) => Kind::Conflict,
        _ => Kind::InvalidRequest,
    };
    Some(Said::new(kind, message))
}
