//! `sky plan`: specs from flags become the ranked candidates of a pool, with prices for all of it.

use std::sync::Arc;

use clap::Parser;
use serde_json::Value;
use skyward::catalog::{Asked, Terms, rank};
use skyward::provider::{Architecture, Capabilities, Offer};
use skyward::{Candidate, InvalidRequest, Nodes, Plan, Requirements, Usd};

use crate::arguments::{OneSpec, PlanArguments, Wants};
use crate::offers::{place, pretty};
use crate::shop::Shop;
use crate::table::{Side, Table, terminal};
use crate::{Answer, Failed};

/// One spec, with what its provider has.
struct Spec {
    provider: String,
    wanted: Requirements,
    nodes: Nodes,
    sized_disk: bool,
    disk_gb_hour: Option<Usd>,
    offers: Result<Arc<[Offer]>, String>,
}

pub(crate) fn plan(arguments: &PlanArguments) -> Result<Answer, Failed> {
    let mut shop = Shop::open()?;
    let asked = specs(&shop, arguments)?;
    let providers: Vec<_> = asked.iter().map(|(provider, _)| provider.clone()).collect();
    let named = !(arguments.provider.is_empty() && arguments.spec.is_empty());
    let mut notes = shop.freshen(if named { &providers } else { &[] }, arguments.output.cached)?;
    let specs: Vec<Spec> =
        asked.into_iter().map(|(provider, wants)| spec(&shop, provider, wants)).collect::<Result<_, _>>()?;
    let asked: Vec<_> = specs
        .iter()
        .map(|it| Asked {
            provider: &it.provider,
            wanted: &it.wanted,
            nodes: it.nodes,
            sized_disk: it.sized_disk,
            disk_gb_hour: it.disk_gb_hour,
            offers: it.offers.as_deref().map_err(String::as_str),
        })
        .collect();
    let terms = Terms {
        selection: arguments.selection.clone(),
        max_hourly_cost: arguments.max_pool_hourly_cost,
        architecture: Architecture::here(),
    };
    let plan = rank(&asked, &terms);
    let found = plan.chosen().is_some();
    if !found {
        notes.push("nothing fits; ask for less of what removed the most, or name other providers".to_owned());
    }
    let text = if arguments.output.json { json(&plan)? } else { report(&plan, arguments.limit) };
    Ok(Answer { text, notes, found })
}

/// The specs' providers, each with what is wanted of it.
fn specs(shop: &Shop, arguments: &PlanArguments) -> Result<Vec<(String, Wants)>, Failed> {
    let mut specs = Vec::new();
    for words in &arguments.spec {
        let flags = words.split_whitespace().map(|it| format!("--{it}"));
        let one = OneSpec::try_parse_from(flags).map_err(|error| unread(words, &error))?;
        specs.push((one.provider, one.wants.or(&arguments.wants)));
    }
    let all = shop.known()?;
    let others = match (arguments.provider.as_slice(), specs.as_slice()) {
        ([], []) => all.as_slice(),
        (named, _) => named,
    };
    specs.extend(others.iter().map(|it| (it.clone(), arguments.wants.clone())));
    let names: Vec<_> = specs.iter().map(|(provider, _)| provider.clone()).collect();
    shop.check(&names)?;
    Ok(specs)
}

/// What is wrong with a spec's words. The usage that the parser would show has flags, which nobody typed.
fn unread(words: &str, error: &clap::Error) -> InvalidRequest {
    let told = error.to_string();
    let first = told.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let tip = told.lines().find_map(|it| it.trim_start().strip_prefix("tip: "));
    let said = tip.map_or_else(|| first.to_owned(), |tip| format!("{first}; {tip}")).replace("'--", "'");
    let allowed = format!(
        "{said}; its words are NAME=VALUE without spaces, such as \"provider=local vcpus=4 accelerator=RTX_4090\""
    );
    InvalidRequest::new("--spec", words, allowed)
}

fn spec(shop: &Shop, provider: String, wants: Wants) -> Result<Spec, Failed> {
    let allocation = wants.allocation().unwrap_or_default();
    let wanted = Requirements {
        accelerator: wants.accelerator,
        vcpus: wants.vcpus,
        memory_gb: wants.memory_gb,
        disk_gb: wants.disk_gb,
        architecture: wants.architecture,
        allocation,
        region: wants.region,
        max_hourly_cost: wants.max_hourly_cost,
        ..Requirements::default()
    };
    wanted.validated()?;
    let offers = shop.catalog.offers_of(&provider)?;
    let nothing = || match shop.failed(&provider) {
        Some(why) => why.to_owned(),
        None => format!("no offers are known; `sky offers refresh --provider {provider}` asks for them"),
    };
    let offers = if offers.is_empty() { Err(nothing()) } else { Ok(offers) };
    let Capabilities { sized_disk, disk_gb_hour, .. } = shop.capabilities(&provider);
    Ok(Spec { nodes: wants.nodes.unwrap_or_default(), wanted, sized_disk, disk_gb_hour, offers, provider })
}

fn report(plan: &Plan, limit: usize) -> String {
    let mut table = Table::new(&[
        ("", Side::Right),
        ("POOL/H", Side::Right),
        ("AT MOST/H", Side::Right),
        ("NODES", Side::Right),
        ("NODE/H", Side::Right),
        ("MARKET", Side::Left),
        ("PROVIDER", Side::Left),
        ("TYPE", Side::Left),
        ("PLACE", Side::Left),
        ("ACCELERATOR", Side::Left),
        ("SPEC", Side::Right),
        ("WHY NOT", Side::Left),
    ]);
    let most = if limit == 0 { usize::MAX } else { limit };
    for (at, it) in plan.candidates.iter().enumerate().take(most) {
        table.line(vec![
            (at + 1).to_string(),
            it.hourly().to_string(),
            it.scales.map(|(_, most)| (it.tariff.hourly * most).to_string()).unwrap_or_default(),
            it.scales.map_or_else(|| it.nodes.to_string(), |(least, most)| format!("{least} to {most}")),
            it.tariff.hourly.to_string(),
            it.tariff.market.to_string(),
            it.offer.provider.clone(),
            it.offer.instance_type.name.clone(),
            place(&it.offer),
            it.offer.instance_type.accelerator.as_ref().map(ToString::to_string).unwrap_or_default(),
            it.spec.to_string(),
            it.lost.clone().unwrap_or_default(),
        ]);
    }
    let mut text = if plan.candidates.is_empty() { String::new() } else { table.text(terminal()) + "\n" };
    for spec in &plan.specs {
        text.push_str(&format!("{spec}\n"));
    }
    text
}

/// The plan as data, with what each candidate costs for all nodes.
fn json(plan: &Plan) -> Result<String, Failed> {
    let mut value = serde_json::to_value(plan)?;
    let candidates = value.get_mut("candidates").and_then(Value::as_array_mut);
    for (told, candidate) in candidates.into_iter().flatten().zip(&plan.candidates) {
        let pool = |it: &Candidate| serde_json::to_value(it.hourly());
        if let Some(told) = told.as_object_mut() {
            told.insert("pool_hourly".to_owned(), pool(candidate)?);
        }
    }
    Ok(pretty(&value))
}
