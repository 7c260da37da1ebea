//! An offer as a row, and back.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Row, Transaction, params};

use super::error::Fault;
use crate::model::accelerator::{Accelerator, Count, Form};
use crate::model::{Architecture, Billing, BillingUnit, Conversion, InstanceType, Offer, Price, Usd};

/// What [`read`] reads, in its order.
pub(super) const COLUMNS: &str = "provider, id, instance_type, region, zone, vcpus, memory_mb, disk_gb, \
    cpu_architecture, accelerator, accelerator_parts, accelerator_mib, accelerator_form, spot, on_demand, \
    billing_unit, billing_minimum_ns, currency, rate, stock, specific";

const INSERT: &str = "INSERT INTO offers (provider, id, instance_type, region, zone, vcpus, memory_mb, disk_gb, \
    cpu_architecture, accelerator, accelerator_parts, accelerator_mib, accelerator_form, spot, on_demand, \
    billing_unit, billing_minimum_ns, currency, rate, stock, specific, manufacturer, architecture, cuda_min, \
    cuda_max) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
    ?20, ?21, ?22, ?23, ?24, ?25)";

/// Writes offers of one provider.
pub(super) fn insert(transaction: &Transaction<'_>, provider: &str, offers: &[Offer]) -> Result<(), Fault> {
    let mut statement = transaction.prepare(INSERT)?;
    for offer in offers {
        let kind = &offer.instance_type;
        let accelerator = kind.accelerator.clone().map(Accelerator::completed);
        let accelerator = accelerator.as_ref();
        let model = accelerator.and_then(Accelerator::model);
        let (cuda_min, cuda_max) = model.and_then(|it| it.cuda).unzip();
        let price = &offer.price;
        let converted = price.converted.as_ref();
        statement.execute(params![
            provider,
            offer.id,
            kind.name,
            offer.region,
            offer.zone,
            kind.vcpus,
            i64::try_from(kind.memory_mb).unwrap_or(i64::MAX),
            kind.disk_gb,
            kind.architecture.map(|it| it.to_string()),
            accelerator.map(|it| it.name.as_str()),
            accelerator.map(|it| it.count.parts()),
            accelerator.and_then(|it| it.memory_mib),
            accelerator.and_then(|it| it.form).map(Form::name),
            price.spot.map(Usd::nanos),
            price.on_demand.map(Usd::nanos),
            price.billing.unit.to_string(),
            i64::try_from(price.billing.minimum.as_nanos()).unwrap_or(i64::MAX),
            converted.map(|it| it.currency.as_str()),
            converted.map(|it| it.rate.nanos()),
            offer.stock,
            specific(&offer.specific),
            model.map(|it| it.manufacturer.name()),
            model.map(|it| it.architecture),
            cuda_min.map(|it| it.to_string()),
            cuda_max.flatten().map(|it| it.to_string()),
        ])?;
    }
    Ok(())
}

/// Reads [`COLUMNS`]. What no version of ours wrote is a failed conversion, which counts as damage.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Offer> {
    let memory_mb: i64 = row.get(6)?;
    let count: Option<u32> = row.get(10)?;
    let form: Option<String> = row.get(12)?;
    let accelerator = match row.get::<_, Option<String>>(9)? {
        None => None,
        Some(name) => Some(Accelerator {
            name,
            count: Count::of_parts(count.unwrap_or_default()),
            memory_mib: row.get(11)?,
            form: match form {
                None => None,
                Some(form) => Some(
                    Form::ALL.into_iter().find(|it| it.name() == form).ok_or_else(|| not_ours(12, &form))?,
                ),
            },
        }),
    };
    let architecture: Option<Architecture> = match row.get::<_, Option<String>>(8)? {
        None => None,
        Some(name) => Some(name.parse().map_err(|_| not_ours(8, &name))?),
    };
    let unit: String = row.get(15)?;
    let units = [BillingUnit::Second, BillingUnit::Minute, BillingUnit::TenMinutes, BillingUnit::Hour];
    let unit = units.into_iter().find(|it| it.to_string() == unit).ok_or_else(|| not_ours(15, &unit))?;
    let minimum: i64 = row.get(16)?;
    let minimum = Duration::from_nanos(u64::try_from(minimum).unwrap_or_default());
    let currency: Option<String> = row.get(17)?;
    let rate: Option<i64> = row.get(18)?;
    let specific: String = row.get(20)?;
    Ok(Offer {
        provider: row.get(0)?,
        id: row.get(1)?,
        instance_type: InstanceType {
            name: row.get(2)?,
            vcpus: row.get(5)?,
            memory_mb: u64::try_from(memory_mb).unwrap_or_default(),
            disk_gb: row.get(7)?,
            architecture,
            accelerator,
        },
        region: row.get(3)?,
        zone: row.get(4)?,
        price: Price {
            spot: row.get::<_, Option<i64>>(13)?.map(Usd::from_nanos),
            on_demand: row.get::<_, Option<i64>>(14)?.map(Usd::from_nanos),
            billing: Billing { unit, minimum },
            converted: currency
                .zip(rate)
                .map(|(currency, rate)| Conversion { currency, rate: Usd::from_nanos(rate) }),
        },
        stock: row.get(19)?,
        specific: if specific == NOTHING {
            BTreeMap::new()
        } else {
            serde_json::from_str(&specific).map_err(|_| not_ours(20, &specific))?
        },
    })
}

/// As JSON. A map of text to text always can be.
fn specific(specific: &BTreeMap<String, String>) -> String {
    if specific.is_empty() {
        return NOTHING.to_owned();
    }
    serde_json::to_string(specific).unwrap_or_else(|_| NOTHING.to_owned())
}

fn not_ours(column: usize, text: &str) -> rusqlite::Error {
    let what = format!("`{text}` was not written by this program");
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}

/// What [`Offer::specific`] is when there is nothing in it.
const NOTHING: &str = "{}";
