//! From what AWS says to our words, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use aws_sdk_ec2::types::{self, ArchitectureType, InstanceStateName, InstanceTypeInfo, UsageClassType};
use skyward_runtime::model::accelerator::Form;
use skyward_runtime::model::{
    Accelerator, Architecture, BillingUnit, End, HostKey, Instance, InstanceId, InstanceState, InstanceType,
    Loss, Market, Notice, Offer, Price, SshEndpoint, Usd,
};
use skyward_runtime::provider::{Request, Sighting};

use super::{Config, NAME, notice};
use crate::cloud::{self, SKYWARD, pool_name, sold};

/// What one region has for rent: kinds of machines, joined with where each is and what it costs.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) types: Vec<InstanceTypeInfo>,
    /// The zones of each kind.
    pub(super) zones: BTreeMap<String, BTreeSet<String>>,
    /// By the hour, on demand.
    pub(super) prices: BTreeMap<String, Usd>,
    /// By the hour, of each kind in each zone.
    pub(super) spot: BTreeMap<String, BTreeMap<String, Usd>>,
}

impl Found {
    /// One offer for each kind that the region has, with the zones that have it.
    pub(super) fn offers(&self, region: &str, config: &Config) -> Vec<Offer> {
        self.types.iter().filter_map(|it| self.offer(it, region, config)).collect()
    }

    fn offer(&self, sold: &InstanceTypeInfo, region: &str, config: &Config) -> Option<Offer> {
        let kind = InstanceType { disk_gb: Some(config.disk_gb), ..instance_type(sold)? };
        if config.exclude_burstable && sold.burstable_performance_supported() == Some(true) {
            return None;
        }
        if config.ami.is_none() && !is_driven(sold, &kind.name) {
            return None;
        }
        let zones = self.zones.get(&kind.name).filter(|it| !it.is_empty())?;
        let usable = |class: &UsageClassType| sold.supported_usage_classes().contains(class);
        let on_demand = self.prices.get(&kind.name).copied().filter(|_| usable(&UsageClassType::OnDemand));
        // A machine may come from any of the zones, so it is offered for what the dearest asks.
        let spot = self.spot.get(&kind.name).filter(|_| usable(&UsageClassType::Spot));
        let spot =
            spot.and_then(|it| it.iter().filter(|(zone, _)| zones.contains(*zone)).map(|(_, it)| *it).max());
        let beside = |it: Usd| it + config.beside();
        let (on_demand, spot) = (on_demand.map(beside), spot.map(beside));
        let mut price = match (on_demand, spot) {
            (Some(on_demand), _) => Price::on_demand(on_demand),
            (None, Some(spot)) => Price::spot(spot),
            (None, None) => return None,
        };
        price.spot = spot;
        let price = price.billed(BillingUnit::Second, Duration::from_secs(60));
        let zones: Vec<_> = zones.iter().map(String::as_str).collect();
        let mut specific = BTreeMap::from([(ZONES.to_owned(), zones.join(" "))]);
        if sold.gpu_info().is_some_and(|it| it.gpus().iter().any(|it| it.manufacturer() == Some("NVIDIA"))) {
            specific.insert(DRIVERS.to_owned(), "nvidia".to_owned());
        } else if sold.neuron_info().is_some() || sold.inference_accelerator_info().is_some() {
            specific.insert(DRIVERS.to_owned(), "neuron".to_owned());
        }
        let id = format!("{}@{region}", kind.name);
        Some(Offer { id, region: Some(region.to_owned()), specific, ..Offer::of(NAME, kind, price) })
    }
}

/// The name under which an offer knows its zones.
const ZONES: &str = "zones";

/// The name under which an offer knows which drivers its accelerators need.
const DRIVERS: &str = "drivers";

/// The zones of an offer.
pub(super) fn zones(offer: &Offer) -> BTreeSet<&str> {
    offer.specific.get(ZONES).into_iter().flat_map(|it| it.split(' ')).collect()
}

/// Whether the image that a kind of machine gets by default can use its accelerators, if it has any: NVIDIA's are driven
/// by open modules, which know none before Turing, and a part of one needs GRID.
fn is_driven(sold: &InstanceTypeInfo, name: &str) -> bool {
    let family = name.split('.').next().unwrap_or_default();
    let is_old = ["g2", "g3", "g3s", "p2", "p3", "p3dn", "inf1", "g6f", "gr6f"].contains(&family);
    let gpus = sold.gpu_info().map(|it| it.gpus()).unwrap_or_default();
    let is_foreign = gpus.iter().any(|it| it.manufacturer() != Some("NVIDIA"));
    let is_part = gpus.iter().any(|it| it.gpu_partition_size().is_some_and(|it| it > 0.0 && it < 1.0));
    let is_unknown = sold.inference_accelerator_info().is_some() && sold.neuron_info().is_none();
    !(is_old || is_foreign || is_part || is_unknown)
}

/// Whether a kind of machine saves up processor time, and can be told not to buy more.
pub(super) fn is_burstable(name: &str) -> bool {
    ["t2.", "t3.", "t3a.", "t4g."].iter().any(|it| name.starts_with(it))
}

fn instance_type(sold: &InstanceTypeInfo) -> Option<InstanceType> {
    let name = sold.instance_type()?.as_str();
    let processor = sold.processor_info().map(|it| it.supported_architectures()).unwrap_or_default();
    // What takes macOS alone, or 32 bits alone, is nothing that a worker runs on.
    let architecture = match processor {
        it if it.contains(&ArchitectureType::X8664) => Architecture::X86_64,
        it if it.contains(&ArchitectureType::Arm64) => Architecture::Aarch64,
        _ => return None,
    };
    let mib = sold.memory_info().and_then(|it| it.size_in_mib()).unwrap_or(0);
    let vcpus = sold.v_cpu_info().and_then(|it| it.default_v_cpus()).unwrap_or(0);
    Some(InstanceType {
        vcpus: u32::try_from(vcpus).unwrap_or(0),
        // Sold as 1 GiB is what is told as 1024 MiB.
        memory_mb: u64::try_from(mib).unwrap_or(0).saturating_mul(1000) / 1024,
        disk_gb: None,
        architecture: Some(architecture),
        accelerator: accelerator(name, sold)?,
        ..InstanceType::named(name)
    })
}

/// The accelerators of a kind of machine, if it has any. `None` where they are nothing that a program could ask
/// for.
#[expect(clippy::option_option, reason = "none at all, and none that anybody could ask for, are two things")]
fn accelerator(name: &str, sold: &InstanceTypeInfo) -> Option<Option<Accelerator>> {
    if let Some(gpu) = sold.gpu_info().and_then(|it| it.gpus().first()) {
        let mib = gpu.memory_info().and_then(|it| it.size_in_mib());
        // A part of one is told as so many of that size; a whole one as a number alone.
        let part = gpu.gpu_partition_size().filter(|it| *it > 0.0 && *it < 1.0);
        let accelerator = described(gpu.name()?, mib)?;
        let accelerator = match part {
            Some(part) => accelerator.count(part * f64::from(gpu.logical_gpu_count().unwrap_or(1))),
            None => accelerator.count(whole(gpu.count())?),
        };
        return Some(Some(formed(name, accelerator)));
    }
    if let Some(chip) = sold.neuron_info().and_then(|it| it.neuron_devices().first()) {
        let mib = chip.memory_info().and_then(|it| it.size_in_mib());
        return Some(Some(described(chip.name()?, mib)?.count(whole(chip.count())?)));
    }
    if let Some(chip) = sold.inference_accelerator_info().and_then(|it| it.accelerators().first()) {
        let mib = chip.memory_info().and_then(|it| it.size_in_mib());
        return Some(Some(described(chip.name()?, mib)?.count(whole(chip.count())?)));
    }
    Some(None)
}

fn described(name: &str, mib: Option<i32>) -> Option<Accelerator> {
    let accelerator = sold(name).ok()?;
    Some(match mib.and_then(|it| u32::try_from(it).ok()).filter(|it| *it > 0) {
        Some(mib) => accelerator.memory_mib(mib),
        None => accelerator,
    })
}

fn whole(count: Option<i32>) -> Option<u32> {
    count.and_then(|it| u32::try_from(it).ok()).filter(|it| *it > 0)
}

/// AWS does not say how accelerators are built in. Those of the P family, but for its first two, are on a board.
fn formed(name: &str, mut accelerator: Accelerator) -> Accelerator {
    let on_a_board = ["p3", "p4", "p5", "p6-"].iter().any(|it| name.starts_with(it));
    accelerator.form = on_a_board.then_some(Form::Sxm);
    accelerator.form = accelerator.telling_form();
    accelerator
}

/// The parameter that says which image a kind of machine gets.
pub(super) fn image_parameter(offer: &Offer, config: &Config) -> String {
    let Config { ami_parameters, ubuntu_version, .. } = config;
    let is_arm = offer.instance_type.architecture == Some(Architecture::Aarch64);
    let deep = if is_arm { "arm64" } else { "x86_64" };
    match offer.specific.get(DRIVERS).map(String::as_str) {
        Some("nvidia") => format!(
            "{ami_parameters}/deeplearning/ami/{deep}/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
        ),
        Some(_) => format!("{ami_parameters}/neuron/dlami/base/ubuntu-22.04/latest/image_id"),
        None => {
            let plain = if is_arm { "arm64" } else { "amd64" };
            // Before 24.04 they were made for disks of the kind before.
            let disk = if ubuntu_version.as_str() < "23" { "ebs-gp2" } else { "ebs-gp3" };
            format!(
                "{ami_parameters}/canonical/ubuntu/server/{ubuntu_version}/stable/current/{plain}/hvm/{disk}/ami-id"
            )
        }
    }
}

/// What everything of a pool is tagged with.
pub(super) fn tags(request: &Request, owner: &str, created: &str) -> Vec<types::Tag> {
    vec![
        tag("Name", &pool_name(&request.pool)),
        tag(&format!("{SKYWARD}-pool"), request.pool.as_str()),
        tag(&format!("{SKYWARD}-owner"), owner),
        tag(&format!("{SKYWARD}-created"), created),
        tag(&format!("{SKYWARD}-ttl"), &format!("{}s", request.lease.as_secs())),
    ]
}

pub(super) fn tag(key: &str, value: &str) -> types::Tag {
    // What a tag may hold beside letters and digits.
    let fits = |it: &char| it.is_ascii_alphanumeric() || " +-=._:/@".contains(*it);
    types::Tag::builder().key(key).value(value.chars().filter(fits).take(256).collect::<String>()).build()
}

/// The tag by which machines of one request are found when its answer was lost.
pub(super) const ORDER: &str = "skyward-order";

/// The tag that has the public half of a machine's host key.
pub(super) const HOST_KEY: &str = "skyward-host-key";

/// A machine as ours.
pub(super) fn instance(machine: &types::Instance, config: &Config) -> Option<Instance> {
    let id = InstanceId::new(machine.instance_id()?);
    let address =
        if config.private_address { machine.private_ip_address() } else { machine.public_ip_address() };
    let address: Option<IpAddr> = address.and_then(|it| it.parse().ok());
    let state = match (machine.state().and_then(|it| it.name()), address) {
        (Some(InstanceStateName::Running), Some(address)) => running(machine, address, config),
        (Some(it), _) if is_over(it) => why(machine, it),
        // What is being made, what has no address yet, and what nobody has heard of.
        _ => InstanceState::Pending,
    };
    Some(Instance { id, state })
}

fn running(machine: &types::Instance, address: IpAddr, config: &Config) -> InstanceState {
    let key = machine.tags().iter().find(|it| it.key() == Some(HOST_KEY)).and_then(|it| it.value());
    let host_key = key.map_or(HostKey::PinOnFirstUse, |it| HostKey::Known(it.to_owned()));
    let ssh = SshEndpoint {
        host: address.to_string(),
        port: config.ssh_port,
        user: config.user().to_owned(),
        host_key,
        login: Box::default(),
    };
    let notice = match machine.instance_lifecycle() {
        Some(types::InstanceLifecycleType::Spot) => notice::of(config.heed_rebalance),
        _ => Notice::None,
    };
    InstanceState::Running {
        ssh,
        address,
        private: machine.private_ip_address().and_then(|it| it.parse().ok()),
        end: End::Command { shell: config.shutdown_command.clone() },
        notice,
    }
}

/// Whether a machine will not run any more. One that stops was told to by somebody else, and is given back.
fn is_over(state: &InstanceStateName) -> bool {
    use InstanceStateName::{ShuttingDown, Stopped, Stopping, Terminated};
    matches!(state, ShuttingDown | Terminated | Stopping | Stopped)
}

/// Whether a machine costs, or may cost again.
pub(super) fn lives(machine: &types::Instance) -> bool {
    use InstanceStateName::{ShuttingDown, Terminated};
    !matches!(machine.state().and_then(|it| it.name()), Some(ShuttingDown | Terminated))
}

/// A machine of whichever pool. Its order's name says when it was asked for.
pub(super) fn sighting(machine: &types::Instance, region: &str) -> Option<Sighting> {
    let order = machine.tags().iter().find(|it| it.key() == Some(ORDER)).and_then(|it| it.value())?;
    let told = cloud::sighting(machine.instance_id()?, order)?;
    Some(Sighting { region: Some(region.to_owned()), ..told })
}

/// What became of a machine, and why.
fn why(machine: &types::Instance, state: &InstanceStateName) -> InstanceState {
    let told = machine.state_reason();
    let code = told.and_then(|it| it.code()).unwrap_or_default();
    let said = told.and_then(|it| it.message()).unwrap_or_default();
    let (reason, loss) = match code {
        "Server.SpotInstanceTermination" | "Server.SpotInstanceShutdown" => {
            (format!("the cloud took it back: {said}"), Loss::Preempted)
        }
        "Server.InsufficientInstanceCapacity" => {
            (format!("the zone had no capacity for it after all: {said}"), Loss::Preempted)
        }
        "Client.InstanceInitiatedShutdown" => ("it shut itself down".to_owned(), Loss::Stopped),
        code if code.starts_with("Client.User") => {
            (format!("it is {}: {said}", state.as_str()), Loss::Stopped)
        }
        _ if said.is_empty() => (format!("it is {}", state.as_str()), Loss::Crashed),
        _ => (format!("it is {}: {said}", state.as_str()), Loss::Crashed),
    };
    InstanceState::Gone { reason, loss }
}

/// By what spot machines are chosen.
pub(super) fn market(market: Market) -> types::DefaultTargetCapacityType {
    match market {
        Market::Spot => types::DefaultTargetCapacityType::Spot,
        Market::OnDemand => types::DefaultTargetCapacityType::OnDemand,
    }
}
