//! `cargo bench -p skyward-bench`: what choosing machines takes, with 25,000 offers of three clouds: a search in
//! the catalog's file, and a plan of offers in memory. `skyward-bench -- plan` measures the same beside a floor.

#[path = "../src/offers.rs"]
mod offers;

use std::hint::black_box;
use std::time::SystemTime;

use criterion::Criterion;
use skyward::Nodes;
use skyward::catalog::{Asked, Catalog, CatalogError, Settings, Terms, rank};
use skyward::provider::{Architecture, Capabilities, Offer};

use offers::{PROVIDERS, generated, wanted};

const OFFERS: usize = 25_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    plan(&mut criterion);
    query(&mut criterion);
    criterion.final_summary();
}

fn plan(criterion: &mut Criterion) {
    let offers = generated(OFFERS);
    let own: Vec<Vec<Offer>> = PROVIDERS
        .iter()
        .map(|it| offers.iter().filter(|offer| offer.provider == *it).cloned().collect())
        .collect();
    let terms = Terms { architecture: Architecture::here(), ..Terms::default() };
    let specs = wanted();
    criterion.bench_function("catalog/plan of three specs", |it| {
        it.iter(|| {
            let asked: Vec<Asked<'_>> = specs
                .iter()
                .zip(&own)
                .map(|(wanted, offers)| Asked {
                    provider: "bench",
                    wanted,
                    nodes: Nodes::from(4),
                    sized_disk: false,
                    disk_gb_hour: None,
                    offers: Ok(offers),
                })
                .collect();
            black_box(rank(&asked, &terms))
        });
    });
}

fn query(criterion: &mut Criterion) {
    // Without a folder to write to there is nothing to measure.
    let Ok(folder) = tempfile::tempdir() else { return };
    let Ok(catalog) = filled(folder.path()) else { return };
    for (name, wanted) in ["accelerators", "a large machine", "a cheap machine"].into_iter().zip(wanted()) {
        criterion.bench_function(&format!("catalog/twenty cheapest: {name}"), |it| {
            it.iter(|| black_box(catalog.offers().fitting(&wanted, &Capabilities::NONE).cheapest(20)));
        });
    }
}

fn filled(folder: &std::path::Path) -> Result<Catalog, CatalogError> {
    let catalog = Catalog::open(Settings::in_folder(folder))?;
    let offers = generated(OFFERS);
    for provider in PROVIDERS {
        let own: Vec<Offer> = offers.iter().filter(|it| it.provider == provider).cloned().collect();
        catalog.replace(provider, &own, SystemTime::now())?;
    }
    Ok(catalog)
}
