//! `sky offers`: list, cheapest, summary, sql, refresh.

use serde_json::{Value, json};
use skyward::catalog::{Cell, Priced, Query};
use skyward::provider::Offer;

use crate::arguments::{
    CheapestArguments, Filters, ListArguments, RefreshArguments, SqlArguments, SummaryArguments,
};
use crate::shop::{Asked, Shop};
use crate::table::{Side, Table, terminal};
use crate::{Answer, Failed, chain};

pub(crate) fn list(arguments: &ListArguments) -> Result<Answer, Failed> {
    let (shop, mut notes) = open(&arguments.filters, arguments.output.cached)?;
    let query = search(&shop, &arguments.filters).order_by(arguments.order.into());
    let limited = if arguments.limit == 0 { query.clone() } else { query.clone().limit(arguments.limit) };
    let found = limited.all()?;
    if found.is_empty() {
        notes.push(nothing(&shop)?);
    } else if found.len() == arguments.limit {
        let all = query.count()?;
        if all > found.len() {
            notes.push(format!("{} of {all} offers; --limit 0 shows all", found.len()));
        }
    }
    Ok(Answer { text: told(&found, arguments.output.json), notes, found: !found.is_empty() })
}

pub(crate) fn cheapest(arguments: &CheapestArguments) -> Result<Answer, Failed> {
    let (shop, mut notes) = open(&arguments.filters, arguments.output.cached)?;
    let found = search(&shop, &arguments.filters).cheapest(arguments.number)?;
    if found.is_empty() {
        notes.push(nothing(&shop)?);
    }
    Ok(Answer { text: told(&found, arguments.output.json), notes, found: !found.is_empty() })
}

pub(crate) fn summary(arguments: &SummaryArguments) -> Result<Answer, Failed> {
    let (shop, mut notes) = open(&arguments.filters, arguments.output.cached)?;
    let lines = search(&shop, &arguments.filters).summary()?;
    let found = !lines.is_empty();
    if !found {
        notes.push(nothing(&shop)?);
    }
    let text = if arguments.output.json {
        let line = |it: &skyward::catalog::Summary| {
            json!({
                "provider": it.provider, "accelerator": it.accelerator, "offers": it.offers,
                "regions": it.regions, "cheapest": it.cheapest, "dearest": it.dearest,
            })
        };
        pretty(&lines.iter().map(line).collect())
    } else {
        let mut table = Table::new(&[
            ("PROVIDER", Side::Left),
            ("ACCELERATOR", Side::Left),
            ("OFFERS", Side::Right),
            ("REGIONS", Side::Right),
            ("FROM", Side::Right),
            ("TO", Side::Right),
        ]);
        for it in lines {
            let accelerator = it.accelerator.unwrap_or_else(|| "none".to_owned());
            let (offers, regions) = (it.offers.to_string(), it.regions.to_string());
            let prices = (it.cheapest.to_string(), it.dearest.to_string());
            table.line(vec![it.provider, accelerator, offers, regions, prices.0, prices.1]);
        }
        if found { table.text(terminal()) } else { String::new() }
    };
    Ok(Answer { text, notes, found })
}

pub(crate) fn sql(arguments: &SqlArguments) -> Result<Answer, Failed> {
    let mut shop = Shop::open()?;
    let mut notes = shop.freshen(&[], arguments.cached)?;
    let answer = shop.catalog.sql(&arguments.query)?;
    if answer.cut {
        notes.push(format!("only the first {} lines are shown", answer.rows.len()));
    }
    let text = if arguments.json {
        let row = |cells: &Vec<Cell>| -> Value {
            Value::Object(answer.columns.iter().cloned().zip(cells.iter().map(value)).collect())
        };
        pretty(&answer.rows.iter().map(row).collect())
    } else {
        let side = |at: usize| {
            let number = |row: &Vec<Cell>| !matches!(row.get(at), Some(Cell::Text(_)));
            if answer.rows.iter().all(number) { Side::Right } else { Side::Left }
        };
        let titles: Vec<_> =
            answer.columns.iter().enumerate().map(|(at, it)| (it.as_str(), side(at))).collect();
        let mut table = Table::with_all(&titles);
        answer.rows.iter().for_each(|row| table.line(row.iter().map(shown).collect()));
        table.text(terminal())
    };
    Ok(Answer { text, notes, found: true })
}

pub(crate) fn refresh(arguments: &RefreshArguments) -> Result<Answer, Failed> {
    let shop = Shop::open()?;
    shop.check(&arguments.provider)?;
    let named = |name: &str| arguments.provider.is_empty() || arguments.provider.iter().any(|it| it == name);
    let asked = shop.ask(named)?;
    if let Some(other) = arguments.provider.iter().find(|it| !asked.iter().any(|(name, _)| name == *it)) {
        return Err(format!(
            "failed to ask {other}: this program knows its offers of before, and no way to ask it"
        )
        .into());
    }
    let found = asked.iter().all(|(_, offers)| offers.is_ok());
    let text = if arguments.json {
        let line = |(name, offers): &Asked| match offers {
            Ok(offers) => json!({ "provider": name, "offers": offers }),
            Err(error) => json!({ "provider": name, "error": chain(error) }),
        };
        pretty(&asked.iter().map(line).collect())
    } else {
        let line = |(name, offers): &Asked| match offers {
            Ok(1) => format!("{name}: 1 offer\n"),
            Ok(offers) => format!("{name}: {offers} offers\n"),
            Err(error) => format!("{name}: {}\n", chain(error)),
        };
        asked.iter().map(line).collect()
    };
    Ok(Answer { text, notes: Vec::new(), found })
}

fn open(filters: &Filters, cached: bool) -> Result<(Shop, Vec<String>), Failed> {
    let mut shop = Shop::open()?;
    shop.check(&filters.provider)?;
    let notes = shop.freshen(&filters.provider, cached)?;
    Ok((shop, notes))
}

fn search<'a>(shop: &'a Shop, filters: &Filters) -> Query<'a> {
    let mut query = shop.catalog.offers().allocation(filters.allocation());
    for provider in &filters.provider {
        query = query.provider(provider);
    }
    if let Some(wanted) = &filters.accelerator {
        query = query.accelerator(wanted.accelerator.clone());
        if let Some(count) = wanted.count {
            query = query.accelerator_count(count..=count);
        }
    }
    if let Some(range) = filters.accelerator_count {
        query = query.accelerator_count(range.bounds());
    }
    if let Some(range) = filters.accelerator_memory {
        query = query.accelerator_memory_gb(range.bounds());
    }
    if let Some(generation) = &filters.generation {
        query = query.architecture(generation);
    }
    if let Some(manufacturer) = filters.manufacturer {
        query = query.manufacturer(manufacturer);
    }
    if filters.cpu_only {
        query = query.cpu_only();
    }
    if let Some(range) = filters.vcpus {
        query = query.vcpus(range.bounds());
    }
    if let Some(range) = filters.memory {
        query = query.memory_gb(range.bounds());
    }
    if let Some(cpu) = filters.cpu {
        query = query.cpu_architecture(cpu);
    }
    if let Some(region) = &filters.region {
        query = query.region(region);
    }
    if let Some(most) = filters.max_price {
        query = query.max_price(most);
    }
    for (key, value) in &filters.specific {
        query = query.specific(key, value);
    }
    if filters.sold_out { query.free(0) } else { query }
}

/// Why there may be nothing.
fn nothing(shop: &Shop) -> Result<String, Failed> {
    let known: u64 = shop.catalog.sources()?.iter().map(|it| it.offers).sum();
    Ok(match known {
        0 => format!("no offers are known in {}; `sky offers refresh` asks for them", shop.place()),
        known => {
            format!("none of the {known} offers that are known fits; ask for less, or `sky offers summary`")
        }
    })
}

fn told(found: &[Priced], json: bool) -> String {
    if json {
        let line = |it: &Priced| json!({ "offer": it.offer, "tariff": it.tariff });
        return pretty(&found.iter().map(line).collect());
    }
    let mut table = Table::new(&[
        ("PROVIDER", Side::Left),
        ("TYPE", Side::Left),
        ("PLACE", Side::Left),
        ("ACCELERATOR", Side::Left),
        ("VCPUS", Side::Right),
        ("GB", Side::Right),
        ("CPU", Side::Left),
        ("PRICE/H", Side::Right),
        ("MARKET", Side::Left),
        ("FREE", Side::Right),
    ]);
    for Priced { offer, tariff } in found {
        let kind = &offer.instance_type;
        table.line(vec![
            offer.provider.clone(),
            kind.name.clone(),
            place(offer),
            kind.accelerator.as_ref().map(ToString::to_string).unwrap_or_default(),
            kind.vcpus.to_string(),
            kind.memory_gb(),
            kind.architecture.map(|it| it.to_string()).unwrap_or_default(),
            tariff.hourly.to_string(),
            tariff.market.to_string(),
            offer.stock.map(|it| it.to_string()).unwrap_or_default(),
        ]);
    }
    if found.is_empty() { String::new() } else { table.text(terminal()) }
}

/// The zone, else the region.
pub(crate) fn place(offer: &Offer) -> String {
    offer.zone.as_ref().or(offer.region.as_ref()).cloned().unwrap_or_default()
}

pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Integer(number) => json!(number),
        Cell::Real(number) => json!(number),
        Cell::Text(text) => json!(text),
        _ => Value::Null,
    }
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) => text.clone(),
        _ => "-".to_owned(),
    }
}
