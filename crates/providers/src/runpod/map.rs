//! From what RunPod says to our words, and back.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use skyward_runtime::model::accelerator::Unsold;
use skyward_runtime::model::{
    Accelerator, Architecture, HostKey, Instance, InstanceId, InstanceState, InstanceType, Loss, Market,
    Notice, Offer, Price, SshEndpoint, Usd,
};
use skyward_runtime::provider::Request;

use super::api::{
    Cpu, DataCenter, Floor, Gpu, Mounts, NewMachine, NewPod, NewSpot, Persistent, Pod, Variable, cloud_name,
};
use super::config::DOCKER_HUB;
use super::{CloudType, Config, NAME, start};
use crate::cloud::ubuntu;

/// The offers of a kind of accelerator with so many of them in each pod: one for each data center, or one
/// without where it is nowhere to be had. None for machines whose accelerator no program could ask for.
pub(super) fn gpu_offers(gpu: &Gpu, count: u32, floor: Option<&Floor>, config: &Config) -> Vec<Offer> {
    let accelerator = match Accelerator::as_sold(&gpu.id) {
        _ if gpu.most.of(config.cloud_type) < count => return Vec::new(),
        Ok(accelerator) => accelerator,
        Err(Unsold::Refused { .. }) => return Vec::new(),
        Err(_) => Accelerator::custom(&gpu.name),
    };
    let kind = InstanceType {
        vcpus: floor.and_then(|it| it.min_vcpu).unwrap_or_default(),
        memory_mb: floor.and_then(|it| it.min_memory).unwrap_or_default().saturating_mul(1000),
        disk_gb: Some(config.container_disk_gb),
        architecture: Some(Architecture::X86_64),
        accelerator: Some(accelerator.count(count).memory_gb(gpu.memory)),
        ..InstanceType::named(format!("{count}x {}", gpu.id))
    };
    let Some(price) = dollars(gpu.price.of(config.cloud_type), count).filter(|it| *it > Usd::ZERO) else {
        return Vec::new();
    };
    let disks = disks(config.container_disk_gb.saturating_add(config.volume_gb), config);
    let mut offer = Offer::of(NAME, kind, Price::on_demand(price + disks));
    offer.specific = specific([(GPU, &gpu.id), (MAKER, &gpu.manufacturer)]);
    let bid = floor.and_then(|it| it.minimum_bid_price).and_then(|it| bid(it, config));
    if let Some((bid, spot)) = bid.and_then(|it| Some((it, dollars(it, count)?))) {
        offer.price = offer.price.with_spot(spot + disks);
        offer.specific.insert(BID.to_owned(), bid.to_string());
    }
    places(&offer, gpu.availability.as_deref(), &gpu.data_centers, config)
}

/// The offers of a kind of processor: pods with 2, 4, 8 of them and so on.
pub(super) fn cpu_offers(cpu: &Cpu, config: &Config) -> Vec<Offer> {
    let wanted = format!("cpu{}", config.cpu_clock);
    if cpu.id != wanted {
        return Vec::new();
    }
    let sizes = (1..=16).map(|it| 1_u32 << it).filter(|it| (cpu.vcpu.min..=cpu.vcpu.max).contains(it));
    let offers = sizes.filter_map(|vcpus| {
        let kind = InstanceType {
            vcpus,
            memory_mb: (f64::from(vcpus) * cpu.ram * 1000.0) as u64,
            disk_gb: Some(cpu_disk(vcpus, config)),
            architecture: Some(Architecture::X86_64),
            ..InstanceType::named(format!("{}-{vcpus}", cpu.id))
        };
        let price = dollars(cpu.price.secure, vcpus)? + disks(cpu_disk(vcpus, config), config);
        let mut offer = Offer::of(NAME, kind, Price::on_demand(price));
        offer.specific = specific([(CPU, &cpu.id), ("name", &cpu.name)]);
        Some(places(&offer, cpu.availability.as_deref(), &cpu.data_centers, config))
    });
    offers.flatten().collect()
}

/// The offer in each place that has it.
fn places(offer: &Offer, overall: Option<&str>, centers: &[DataCenter], config: &Config) -> Vec<Offer> {
    let there = |level: &str| level != "NONE";
    let only = &config.data_center_ids;
    let wanted = |it: &&DataCenter| only.is_empty() || only.contains(&it.id);
    let at = |center: &DataCenter| Offer {
        id: format!("{}@{}", offer.id, center.id),
        region: Some(center.id.clone()),
        ..offer.clone()
    };
    let offers: Vec<_> = centers.iter().filter(|it| there(&it.availability)).filter(wanted).map(at).collect();
    if !offers.is_empty() {
        return offers;
    }
    // Other people's computers are in no data center.
    let anywhere = config.cloud_type == CloudType::Community && overall.is_some_and(there);
    vec![Offer { stock: (!anywhere).then_some(0), ..offer.clone() }]
}

fn specific<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// So many at this price. Prices come as numbers of single precision that were written out in double.
fn dollars(each: f64, count: u32) -> Option<Usd> {
    let each = Usd::written(&(each as f32).to_string())?;
    Some(each.fraction(u128::from(count), 1))
}

/// The disk of a pod without accelerators, in GB.
fn cpu_disk(vcpus: u32, config: &Config) -> u32 {
    config.container_disk_gb.min(vcpus.saturating_mul(DISK_OF_VCPU))
}

/// What so many GB of disks cost in an hour: a month has 730 of them here.
pub(super) fn disks(gb: u32, config: &Config) -> Usd {
    config.disk_monthly.fraction(u128::from(gb), 730)
}

/// What is bid for one accelerator, to a hundredth of a cent, rounded up.
fn bid(least: f64, config: &Config) -> Option<f64> {
    let bid = (least * config.bid_multiplier * 10_000.0 - 1e-6).ceil() / 10_000.0;
    (bid.is_finite() && bid > 0.0).then_some(bid)
}

/// The request for a pod on demand. `None` when the offer is none of ours.
pub(super) fn new_pod(
    request: &Request,
    config: &Config,
    name: &str,
    credential: Option<&String>,
) -> Option<NewPod> {
    let kind = &request.offer.instance_type;
    let specific = &request.offer.specific;
    let (machine, disk) = match (specific.get(GPU), specific.get(CPU)) {
        (Some(id), _) => {
            let count = kind.accelerator.as_ref()?.count.whole()?;
            let gpu = NewMachine::Gpu { id: id.clone(), count, min_cuda_version: min_cuda(request, config) };
            (gpu, config.container_disk_gb)
        }
        (None, Some(id)) => {
            let cpu = NewMachine::Cpu { id: id.clone(), vcpu_count: kind.vcpus };
            (cpu, cpu_disk(kind.vcpus, config))
        }
        (None, None) => return None,
    };
    let has_gpu = matches!(machine, NewMachine::Gpu { .. });
    let path = config.volume_mount_path.clone();
    let volume = (has_gpu && config.volume_gb > 0)
        .then_some(Mounts { persistent: Persistent { size: config.volume_gb, path } });
    Some(NewPod {
        name: name.to_owned(),
        image: image(request, config),
        args: start::command(),
        disk: request.disk_gb.unwrap_or(disk),
        env: BTreeMap::from(start::variables(request, config)),
        ports: ports(config),
        cloud: cloud_name(config.cloud_type),
        machine,
        data_center_ids: request.offer.region.iter().cloned().collect(),
        mounts: volume,
        global_networking: config.global_networking.filter(|_| has_gpu),
        registry: credential.cloned(),
    })
}

/// The request for a spot pod that RunPod itself ends at a moment, in seconds since 1970. `None` when the
/// offer has no spot price of ours.
pub(super) fn new_spot(
    request: &Request,
    config: &Config,
    name: &str,
    credential: Option<&String>,
    ends: u64,
) -> Option<NewSpot> {
    let specific = &request.offer.specific;
    Some(NewSpot {
        name: name.to_owned(),
        bid_per_gpu: specific.get(BID)?.parse().ok()?,
        cloud_type: cloud_name(config.cloud_type),
        container_disk_in_gb: request.disk_gb.unwrap_or(config.container_disk_gb),
        data_center_id: request.offer.region.clone(),
        docker_args: start::command(),
        env: start::variables(request, config).map(|(key, value)| Variable { key, value }).into(),
        gpu_count: request.offer.instance_type.accelerator.as_ref()?.count.whole()?,
        gpu_type_id: specific.get(GPU)?.clone(),
        image_name: image(request, config),
        min_cuda_version: min_cuda(request, config),
        ports: ports(config).join(","),
        support_public_ip: true,
        terminate_after: moment(ends),
        volume_in_gb: config.volume_gb,
        volume_mount_path: (config.volume_gb > 0).then(|| config.volume_mount_path.clone()),
        container_registry_auth_id: credential.cloned(),
    })
}

/// The image of a pod.
pub(super) fn image(request: &Request, config: &Config) -> String {
    let version = config.ubuntu.version();
    match (&config.image, &request.offer.instance_type.accelerator) {
        (Some(image), _) => image.clone(),
        (None, Some(_)) => ubuntu(version, &config.cuda),
        (None, None) => format!("ubuntu:{version}"),
    }
}

/// The credential for this image, by its name in the account, if there is to be one.
pub(super) fn credential<'a>(image: &str, config: &'a Config) -> Option<&'a str> {
    // A registry is named by its host, with a dot or a port.
    let host = image.split_once('/').map(|(host, _)| host).filter(|it| it.contains(['.', ':']));
    let docker_hub = host.is_none_or(|it| it == "docker.io");
    config.registry_auth.as_deref().filter(|it| docker_hub || *it != DOCKER_HUB)
}

/// The least that a computer's driver must know, for the default image on NVIDIA's machines: it does not
/// start where the driver is older.
fn min_cuda(request: &Request, config: &Config) -> Option<String> {
    let nvidia = request.offer.specific.get(MAKER).is_some_and(|it| it == "NVIDIA");
    let mut parts = config.cuda.split('.');
    let (major, minor) = (parts.next()?, parts.next()?);
    (nvidia && config.image.is_none()).then(|| format!("{major}.{minor}"))
}

fn ports(config: &Config) -> Vec<String> {
    let others = config.ports.iter().filter(|it| *it != SSH);
    std::iter::once(SSH.to_owned()).chain(others.cloned()).collect()
}

/// A pod as a machine. That it runs says nothing: it is there when its SSH port is reached from outside.
pub(super) fn instance(pod: &Pod, market: Market) -> Instance {
    let gone = |reason: &str, loss| InstanceState::Gone { reason: reason.to_owned(), loss };
    let state = match (pod.status.as_str(), door(pod)) {
        ("RUNNING", Some((address, port))) => InstanceState::Running {
            ssh: SshEndpoint {
                host: address.to_string(),
                port,
                user: "root".to_owned(),
                host_key: HostKey::PinOnFirstUse,
                login: Box::default(),
            },
            address,
            private: None,
            end: start::end(),
            notice: Notice::None,
        },
        ("EXITED", _) if market == Market::Spot => gone("RunPod took it back", Loss::Preempted),
        ("EXITED", _) => gone("its container stopped, and its disks still cost", Loss::Crashed),
        ("ERROR", _) => gone("its container cannot be started; does its image exist?", Loss::Crashed),
        ("TERMINATED", _) => gone("it is deleted", Loss::Stopped),
        // What is made ready, what has no port yet, and what nobody has heard of.
        _ => InstanceState::Pending,
    };
    Instance { id: InstanceId::new(&pod.id), state }
}

/// Where the SSH port of a pod is reached from everywhere.
fn door(pod: &Pod) -> Option<(IpAddr, u16)> {
    let ports = pod.runtime.iter().flat_map(|it| &it.ports);
    let doors = ports.filter(|it| it.private == Some(22)).filter_map(|it| {
        let address: IpAddr = it.ip.as_ref()?.parse().ok()?;
        Some((address, it.public?))
    });
    doors.into_iter().find(|(address, _)| !is_inside(*address))
}

/// Whether an address is one of the cloud's own network.
fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => {
            let carrier = u32::from(it) & 0xffc0_0000 == u32::from(Ipv4Addr::new(100, 64, 0, 0));
            it.is_private() || it.is_link_local() || it.is_unspecified() || carrier
        }
        IpAddr::V6(it) => it.is_unique_local() || it.is_unspecified(),
    }
}

/// Whether a listed pod still costs.
pub(super) fn lives(pod: &Pod) -> bool {
    pod.status != "TERMINATED"
}

/// A moment, in seconds since 1970, as RFC 3339 writes it.
fn moment(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years of 365 days and a quarter, counted from a first of March, so that the odd day is the last.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// When a pod that is rented now is ended at the latest.
pub(super) fn ends(now: Duration, config: &Config) -> u64 {
    now.saturating_add(config.terminate_after).as_secs()
}

/// What an offer says for us: the accelerator's id and maker, what is bid for one, the processor's id.
const GPU: &str = "gpu";
const MAKER: &str = "manufacturer";
const BID: &str = "bid";
const CPU: &str = "cpu";

const SSH: &str = "22/tcp";

/// How much disk a pod without accelerators may have for each processor, in GB.
const DISK_OF_VCPU: u32 = 10;

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
