//! Offers as clouds have them, in any number: the same ones in every run.

use skyward::accelerator::Model;
use skyward::provider::{Architecture, InstanceType, Offer, Price};
use skyward::{Accelerator, Requirements, Usd, accelerators, usd};

/// So many offers of three clouds: of twenty machines one has accelerators, in 80 regions.
pub(crate) fn generated(many: usize) -> Vec<Offer> {
    let models: Vec<&Model> = Model::all().collect();
    let mut dice = 7_u64;
    let mut below = move |most: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((dice >> 33) as usize) % most.max(1)
    };
    let offer = |at: usize| {
        let vcpus = 1 << below(8);
        let accelerator = if below(20) == 0 {
            let model = models.get(below(models.len()));
            model.map(|it| Accelerator::from(*it).count(1_u32 << below(4)).completed())
        } else {
            None
        };
        let hourly = 10_000_000 + below(2_000_000_000) as i64 * i64::from(vcpus) / 16;
        let kind = InstanceType {
            vcpus,
            memory_mb: u64::from(vcpus) * [2000, 4000, 8000].get(below(3)).copied().unwrap_or(4000),
            architecture: Some(if below(5) == 0 { Architecture::Aarch64 } else { Architecture::X86_64 }),
            accelerator,
            ..InstanceType::named(format!("kind-{}", at / 80))
        };
        let price = Price::on_demand(Usd::from_nanos(hourly));
        let price = if below(3) == 0 { price.with_spot(Usd::from_nanos(hourly / 3)) } else { price };
        Offer {
            id: format!("offer-{at}"),
            region: Some(format!("region-{}", at % 80)),
            ..Offer::of(PROVIDERS.get(below(3)).copied().unwrap_or_default(), kind, price)
        }
    };
    (0..many).map(offer).collect()
}

/// Whose they are.
pub(crate) const PROVIDERS: [&str; 3] = ["one", "two", "three"];

/// Three specs as people write them: accelerators, a large machine in a region, a cheap one under a cap.
pub(crate) fn wanted() -> [Requirements; 3] {
    [
        Requirements { accelerator: Some(accelerators::H100.count(8)), ..Requirements::default() },
        Requirements {
            vcpus: Some(64),
            memory_gb: Some(256),
            region: Some("region-7".to_owned()),
            ..Requirements::default()
        },
        Requirements { vcpus: Some(4), max_hourly_cost: Some(usd!(0.20)), ..Requirements::default() },
    ]
}
