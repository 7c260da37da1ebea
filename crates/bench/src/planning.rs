//! `plan` and `plan-million`: three specs, each on its cloud, become a ranked plan, which says of every
//! offer what removed it. The floor is one bare look at the same offers: the cheapest with enough
//! processors, nothing else asked and nothing counted.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use skyward::catalog::{Asked, Catalog, Settings, Terms, rank};
use skyward::provider::{Architecture, Offer};
use skyward::{Nodes, Requirements, Usd};

use crate::offers::{PROVIDERS, generated, wanted};
use crate::{Report, median};

const CACHED: usize = 25_000;
const MILLION: usize = 1_000_000;

/// `plan` is of a program that has planned before; in `plan-shared` each spec looks at the offers of all
/// three clouds, so at three times as many; `plan-first` opens the file and reads it as well, and is
/// compared with reading it.
pub(crate) fn measure(rounds: usize) -> skyward::Result<Vec<Report>> {
    let folder = tempfile::tempdir()?;
    let settings = Settings::in_folder(folder.path());
    let offers = generated(CACHED);
    let catalog = Catalog::open(settings.clone())?;
    fill(&catalog, &offers)?;
    let (mut again, mut shared, mut first, mut read) = (vec![], vec![], vec![], vec![]);
    let (mut look, mut look_thrice) = (vec![], vec![]);
    for _ in 0..rounds {
        again.push(timed(|| plan(&catalog, false))?);
        shared.push(timed(|| plan(&catalog, true))?);
        first.push(timed(|| plan(&Catalog::open(settings.clone())?, false))?);
        look.push(timed(|| Ok(black_box(cheapest(&offers, 8))))?);
        look_thrice.push(timed(|| Ok(black_box([8, 64, 4].map(|it| cheapest(&offers, it)))))?);
        read.push(timed(|| {
            let catalog = Catalog::open(settings.clone())?;
            PROVIDERS.iter().try_for_each(|it| catalog.offers_of(it).map(drop))?;
            Ok(())
        })?);
    }
    Ok(vec![
        report("plan", again, look, rounds),
        report("plan-shared", shared, look_thrice, rounds),
        report("plan-first", first, read, rounds),
    ])
}

/// `plan-million` ranks offers that are in memory; `query-million` asks the file for the twenty cheapest
/// of each spec, which is what a listing does.
pub(crate) fn measure_million(rounds: usize) -> skyward::Result<Vec<Report>> {
    let offers = generated(MILLION);
    let (mut ranked, mut look, mut asked) = (vec![], vec![], vec![]);
    let own: Vec<Vec<Offer>> = PROVIDERS
        .iter()
        .map(|it| offers.iter().filter(|offer| offer.provider == *it).cloned().collect())
        .collect();
    let parts: Vec<&[Offer]> = own.iter().map(Vec::as_slice).collect();
    for _ in 0..rounds {
        ranked.push(timed(|| rank_each(&parts))?);
        look.push(timed(|| Ok(black_box(cheapest(&offers, 8))))?);
    }
    let folder = tempfile::tempdir()?;
    let catalog = Catalog::open(Settings::in_folder(folder.path()))?;
    fill(&catalog, &offers)?;
    for _ in 0..rounds {
        asked.push(timed(|| {
            for wanted in wanted() {
                let can = skyward::provider::Capabilities::NONE;
                black_box(catalog.offers().fitting(&wanted, &can).cheapest(20)?);
            }
            Ok(())
        })?);
    }
    Ok(vec![
        report("plan-million", ranked, look.clone(), rounds),
        report("query-million", asked, look, rounds),
    ])
}

fn fill(catalog: &Catalog, offers: &[Offer]) -> skyward::Result<()> {
    for provider in PROVIDERS {
        let own: Vec<_> = offers.iter().filter(|it| it.provider == provider).cloned().collect();
        catalog.replace(provider, &own, SystemTime::now())?;
    }
    Ok(())
}

/// A plan of three specs: each on its own cloud, or each on all of them.
fn plan(catalog: &Catalog, shared: bool) -> skyward::Result<()> {
    let known = PROVIDERS.map(|it| catalog.offers_of(it));
    let mut parts = Vec::new();
    for offers in &known {
        parts.push(offers.as_ref().map_err(ToString::to_string)?.as_ref());
    }
    if !shared {
        return rank_each(&parts);
    }
    let wanted = wanted();
    let asked: Vec<_> = wanted.iter().flat_map(|it| parts.iter().map(|part| spec(it, part))).collect();
    check(&asked)
}

/// Each of three specs looks at its own list.
fn rank_each(parts: &[&[Offer]]) -> skyward::Result<()> {
    let wanted = wanted();
    let asked: Vec<_> = wanted.iter().zip(parts).map(|(wanted, offers)| spec(wanted, offers)).collect();
    check(&asked)
}

fn spec<'a>(wanted: &'a Requirements, offers: &'a [Offer]) -> Asked<'a> {
    Asked {
        provider: "bench",
        wanted,
        nodes: Nodes::from(4),
        sized_disk: false,
        disk_gb_hour: None,
        offers: Ok(offers),
    }
}

fn check(asked: &[Asked<'_>]) -> skyward::Result<()> {
    let terms = Terms { architecture: Architecture::here(), ..Terms::default() };
    let plan = black_box(rank(asked, &terms));
    if plan.chosen().is_none() {
        return Err("nothing fits, so nothing was measured".into());
    }
    Ok(())
}

/// The floor: the lowest price of an offer with so many processors.
fn cheapest(offers: &[Offer], vcpus: u32) -> Option<Usd> {
    let enough = offers.iter().filter(|it| it.instance_type.vcpus >= black_box(vcpus));
    enough.filter_map(|it| it.price.spot.or(it.price.on_demand)).min()
}

fn timed<T>(work: impl FnOnce() -> skyward::Result<T>) -> skyward::Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

fn report(case: &'static str, ours: Vec<Duration>, floor: Vec<Duration>, rounds: usize) -> Report {
    let ms = |times| median(times).as_secs_f64() * 1000.0;
    Report { case, ours: ms(ours), floor: Some(ms(floor)), unit: "ms", rounds }
}
