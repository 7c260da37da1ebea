//! `catalog-import`: 25,000 offers of one provider replace as many others. The floor is the same rows in
//! a table of a bare SQLite file, in one transaction, without an index, and without taking any out.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, params};
use skyward::catalog::{Catalog, Settings};
use skyward::provider::Offer;

use crate::offers::generated;
use crate::{Report, median};

const OFFERS: usize = 25_000;

pub(crate) fn measure(rounds: usize) -> skyward::Result<Vec<Report>> {
    let folder = tempfile::tempdir()?;
    let offers = generated(OFFERS);
    let catalog = Catalog::open(Settings::in_folder(folder.path()))?;
    catalog.replace("cloud", &offers, SystemTime::now())?;
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let began = Instant::now();
        catalog.replace("cloud", &offers, SystemTime::now())?;
        ours.push(began.elapsed());
        floor.push(bare(&folder.path().join(format!("bare-{round}.sqlite")), &offers)?);
    }
    let found = catalog.offers().free(0).count()?;
    if found != OFFERS {
        return Err(format!("{found} offers were kept").into());
    }
    let s = |times| median(times).as_secs_f64();
    Ok(vec![Report { case: "catalog-import", ours: s(ours), floor: Some(s(floor)), unit: "s", rounds }])
}

fn bare(path: &Path, offers: &[Offer]) -> skyward::Result<Duration> {
    let began = Instant::now();
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = normal; CREATE TABLE it (a, b, c, d, e, f, g, h)",
    )?;
    let transaction = connection.transaction()?;
    let mut statement = transaction.prepare("INSERT INTO it VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for offer in offers {
        let kind = &offer.instance_type;
        let accelerator = kind.accelerator.as_ref().map(|it| it.name.as_str());
        let memory_mb = i64::try_from(kind.memory_mb)?;
        let prices = (offer.price.spot.map(|it| it.nanos()), offer.price.on_demand.map(|it| it.nanos()));
        statement.execute(params![
            offer.id,
            kind.name,
            offer.region,
            kind.vcpus,
            memory_mb,
            accelerator,
            prices.0,
            prices.1
        ])?;
    }
    drop(statement);
    transaction.commit()?;
    Ok(began.elapsed())
}
