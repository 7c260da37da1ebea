//! What this computer offers: its own processors and memory, for nothing.

use std::thread;

use skyward_runtime::model::{Architecture, InstanceType, Offer, Price};
use skyward_runtime::usd;

/// The one offer. Machines share the computer, so there is no number of them that is free.
pub(super) fn offer() -> Offer {
    let vcpus = thread::available_parallelism().map_or(1, |it| u32::try_from(it.get()).unwrap_or(u32::MAX));
    let kind = InstanceType {
        vcpus,
        memory_mb: memory_mb().unwrap_or_default(),
        architecture: Architecture::here(),
        ..InstanceType::named("local")
    };
    Offer::of("local", kind, Price::on_demand(usd!(0)))
}

/// The memory of this computer; `None` where the system does not say, and then no spec that asks for
/// memory fits.
#[cfg(target_os = "linux")]
fn memory_mb() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|it| it.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024) / 1_000_000)
}

/// The memory of this computer, as its system tells it.
#[cfg(not(target_os = "linux"))]
fn memory_mb() -> Option<u64> {
    let told = std::process::Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok()?;
    let bytes: u64 = String::from_utf8(told.stdout).ok()?.trim().parse().ok()?;
    Some(bytes / 1_000_000)
}

#[test]
fn the_offer_says_what_this_computer_has_and_costs_nothing() {
    let offer = offer();
    assert!(offer.instance_type.vcpus > 0);
    assert_eq!(offer.instance_type.memory_mb > 0, cfg!(any(target_os = "linux", target_os = "macos")));
    assert_eq!(offer.price, Price::on_demand(usd!(0)));
}
