//! What the catalog holds, in a few lines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, params_from_iter};

use super::error::Fault;
use super::filters::Sql;
use crate::model::Usd;

/// A provider in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub provider: String,
    /// When it was asked.
    pub read_at: SystemTime,
    /// How many offers it had.
    pub offers: u64,
}

/// What one provider has of one accelerator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The provider.
    pub provider: String,
    /// The accelerator's name; `None` for machines without.
    pub accelerator: Option<String>,
    /// How many offers there are.
    pub offers: u64,
    /// In how many regions.
    pub regions: u64,
    /// The lowest price of a machine, an hour.
    pub cheapest: Usd,
    /// The highest.
    pub dearest: Usd,
}

pub(super) fn sources(connection: &Connection) -> Result<Vec<Source>, Fault> {
    let mut statement = connection.prepare(
        "SELECT provider, read_at_ms, (SELECT count(*) FROM offers WHERE offers.provider = sources.provider) \
         FROM sources ORDER BY provider",
    )?;
    let found = statement.query_map([], |row| {
        let read_at_ms: i64 = row.get(1)?;
        Ok(Source {
            provider: row.get(0)?,
            read_at: UNIX_EPOCH + Duration::from_millis(u64::try_from(read_at_ms).unwrap_or_default()),
            offers: whole(row.get(2)?),
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn lines(connection: &Connection, paid: &str, sql: &Sql) -> Result<Vec<Summary>, Fault> {
    let text = format!(
        "SELECT provider, accelerator, count(*), count(DISTINCT region), min({paid}), max({paid}) \
         FROM offers{} GROUP BY provider, accelerator ORDER BY provider, accelerator",
        sql.text
    );
    let mut statement = connection.prepare(&text)?;
    let found = statement.query_map(params_from_iter(&sql.values), |row| {
        Ok(Summary {
            provider: row.get(0)?,
            accelerator: row.get(1)?,
            offers: whole(row.get(2)?),
            regions: whole(row.get(3)?),
            cheapest: Usd::from_nanos(row.get(4)?),
            dearest: Usd::from_nanos(row.get(5)?),
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}
