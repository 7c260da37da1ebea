//! Real price lists of clouds, read where they are: none of them is part of this repository. Looks in
//! `$SKYWARD_SHARED`, then in the folders `shared` above this crate.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use skyward_runtime::model::{Accelerator, InstanceType, Offer, Price, Usd};

/// The folder with the lists. When there is none, that is said, and the test is to be skipped; it fails
/// where nothing may be missing.
pub(crate) fn lists(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("SKYWARD_SHARED").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|it| it.join("shared"));
    let found = named.into_iter().chain(above).map(|it| it.join("catalog"));
    let found = found.into_iter().find(|it| it.join("aws_azure_prices.csv").is_file());
    if found.is_none() {
        let missing =
            "the price lists are not here; SKYWARD_SHARED names the folder that has them in `catalog`";
        let must = std::env::var_os("SKYWARD_REQUIRE_ALL").is_some();
        assert!(!must, "SKYWARD_REQUIRE_ALL is set, but {missing}");
        eprintln!("SKIPPED {test}: {missing}");
    }
    found
}

/// A line of `aws_azure_prices.csv` and of `server_specs_7_clouds.csv`.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) cloud: String,
    instance_type: String,
    region: Option<String>,
    vcpus: u32,
    memory_gib: Option<f64>,
    pub(crate) gpu_count: u32,
    pub(crate) gpu_model: String,
    pub(crate) gpu_memory_gib_total: Option<f64>,
    arch: String,
    on_demand_usd_hr: Option<String>,
    spot_usd_hr: Option<String>,
}

/// An offer of `vast-offers-*.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Ask {
    id: u64,
    pub(crate) gpu_name: String,
    num_gpus: u32,
    pub(crate) gpu_ram: u32,
    cpu_cores_effective: f64,
    cpu_ram: u64,
    disk_space: f64,
    geolocation: Option<String>,
    rentable: bool,
    dph_total: Usd,
    min_bid: Option<Usd>,
}

/// A line of `gpu-offerings-*.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    id: String,
    provider_id: String,
    pub(crate) gpu_model: String,
    pub(crate) vram_gb: u32,
    is_spot: bool,
    price_usd_hour: Usd,
    vcpu: Option<u32>,
    ram_gb: Option<u64>,
}

#[derive(Deserialize)]
struct Market {
    offers_by_model: BTreeMap<String, Vec<Ask>>,
}

pub(crate) fn lines(folder: &Path, file: &str) -> Vec<Line> {
    let mut reader = csv::Reader::from_path(folder.join(file)).expect("the list opens");
    reader.deserialize().collect::<Result<_, _>>().expect(file)
}

pub(crate) fn asks(folder: &Path) -> Vec<Ask> {
    let text = fs::read(folder.join("vast-offers-2026-03-06.json")).expect("the offers are there");
    let market: Market = serde_json::from_slice(&text).expect("the offers are read");
    market.offers_by_model.into_values().flatten().collect()
}

pub(crate) fn listed(folder: &Path) -> Vec<Listed> {
    let text =
        fs::read(folder.join("gpu-offerings-21-providers-2026-05-25.json")).expect("the list is there");
    serde_json::from_slice(&text).expect("the list is read")
}

/// Everything that has a price, as offers: 20,194 of AWS and Azure, 257 of Vast, 310 of a list. What has
/// an accelerator that is left out keeps the cloud's name for it.
pub(crate) fn offers(folder: &Path) -> Vec<Offer> {
    let lines = lines(folder, "aws_azure_prices.csv").into_iter().map(Line::offer);
    let asks = asks(folder).into_iter().map(Ask::offer);
    lines.chain(asks).chain(listed(folder).into_iter().map(Listed::offer)).collect()
}

/// With what its model decides filled in, as the catalog keeps it.
fn sold(name: &str, count: u32, memory_mib: Option<u32>) -> Accelerator {
    let named = if name.is_empty() { "unnamed" } else { name };
    let mut sold = Accelerator::as_sold(name).unwrap_or_else(|_| Accelerator::custom(named)).count(count);
    sold.memory_mib = memory_mib.or(sold.memory_mib);
    sold.completed()
}

impl Line {
    /// The memory of each accelerator.
    pub(crate) fn each_mib(&self) -> Option<u32> {
        let total = self.gpu_memory_gib_total?;
        Some((total * 1024.0 / f64::from(self.gpu_count.max(1))).round() as u32)
    }

    fn offer(self) -> Offer {
        let accelerator =
            (self.gpu_count > 0).then(|| sold(&self.gpu_model, self.gpu_count, self.each_mib()));
        let kind = InstanceType {
            vcpus: self.vcpus,
            memory_mb: (self.memory_gib.unwrap_or_default() * 1000.0).round() as u64,
            architecture: self.arch.parse().ok(),
            accelerator,
            ..InstanceType::named(&self.instance_type)
        };
        let usd = |it: Option<String>| it.filter(|it| !it.is_empty()).map(|it| it.parse().expect("a price"));
        let price =
            Price { spot: usd(self.spot_usd_hr), on_demand: usd(self.on_demand_usd_hr), ..Price::default() };
        Offer { region: self.region, ..Offer::of(self.cloud, kind, price) }
    }
}

impl Ask {
    fn offer(self) -> Offer {
        let kind = InstanceType {
            vcpus: self.cpu_cores_effective as u32,
            memory_mb: self.cpu_ram,
            disk_gb: Some(self.disk_space as u32),
            architecture: "amd64".parse().ok(),
            accelerator: Some(sold(&self.gpu_name, self.num_gpus, Some(self.gpu_ram))),
            ..InstanceType::named(&self.gpu_name)
        };
        let price = Price { spot: self.min_bid, ..Price::on_demand(self.dph_total) };
        Offer {
            id: self.id.to_string(),
            region: self.geolocation,
            stock: Some(u32::from(self.rentable)),
            ..Offer::of("vast", kind, price)
        }
    }
}

impl Listed {
    fn offer(self) -> Offer {
        let kind = InstanceType {
            vcpus: self.vcpu.unwrap_or_default(),
            memory_mb: self.ram_gb.unwrap_or_default() * 1000,
            accelerator: Some(sold(&self.gpu_model, 1, Some(self.vram_gb * 1024))),
            ..InstanceType::named(&self.gpu_model)
        };
        let price = match self.is_spot {
            true => Price::spot(self.price_usd_hour),
            false => Price::on_demand(self.price_usd_hour),
        };
        Offer { id: self.id, ..Offer::of(self.provider_id, kind, price) }
    }
}
