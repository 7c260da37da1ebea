//! `sky providers`: who can be asked, with which key, and whether that key is good.

use futures_util::future::join_all;
use serde_json::{Value, json};
use skyward::InvalidRequest;
use skyward::provider::cloud::{Account, CLOUDS, Cloud, Found};

use crate::arguments::{CheckArguments, ProvidersArguments};
use crate::table::{Side, Table, terminal};
use crate::{Answer, Failed, chain};

/// Those that need no key, and what they rent.
const KEYLESS: &[(&str, &str)] =
    &[("local", "this computer"), ("container", "containers on it"), ("ssh", "hosts of yours")];

/// Clouds that this build may be without, and the feature that has them.
const FEATURES: &[(&str, &str)] = &[("aws", "aws")];

/// Every provider, and where its key was found. Asks nobody.
pub(crate) fn list(arguments: &ProvidersArguments) -> Result<Answer, Failed> {
    let keyless = KEYLESS.iter().map(|(name, title)| (*name, *title, Ok("needs none".to_owned())));
    let clouds = CLOUDS.iter().map(|it| (it.name, it.title, key(it).map(|found| found.place)));
    let lines: Vec<(&str, &str, Result<String, String>)> = keyless.chain(clouds).collect();
    if arguments.json {
        let line = |(name, title, key): &(&str, &str, Result<String, String>)| match key {
            Ok(place) => json!({ "provider": name, "title": title, "key": place }),
            Err(why) => json!({ "provider": name, "title": title, "key": null, "missing": why }),
        };
        return Ok(answer(pretty(&lines.iter().map(line).collect()), true));
    }
    let mut table = Table::new(&[("PROVIDER", Side::Left), ("NAME", Side::Left), ("KEY", Side::Left)]);
    for (name, title, key) in lines {
        table.line(vec![name.to_owned(), title.to_owned(), key.unwrap_or_else(|why| why)]);
    }
    Ok(answer(table.text(terminal()), true))
}

/// Makes one cheap call with each key that was found, or with those of the named providers.
pub(crate) fn check(arguments: &CheckArguments) -> Result<Answer, Failed> {
    let names = &arguments.provider;
    if let Some(other) = names.iter().find(|name| !CLOUDS.iter().any(|it| it.name == *name)) {
        return Err(unknown(other).into());
    }
    let wanted = |it: &&Cloud| {
        if names.is_empty() { key(it).is_ok() } else { names.iter().any(|name| name == it.name) }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = CLOUDS.iter().filter(wanted).map(async |cloud| {
        let told = match (cloud.open)(json!({})) {
            Ok(provider) => ask(provider.as_ref()).await,
            Err(error) => Err(chain(&error)),
        };
        (cloud.name, told)
    });
    let checked = runtime.block_on(join_all(asked));
    if checked.is_empty() {
        let notes =
            vec!["no provider has a key; `sky providers list` says where each is looked for".to_owned()];
        let text = if arguments.json { pretty(&json!([])) } else { String::new() };
        return Ok(Answer { text, notes, found: false });
    }
    let found = checked.iter().all(|(_, told)| told.is_ok());
    let text = if arguments.json {
        let line = |(name, told): &(&str, Result<String, String>)| match told {
            Ok(words) => json!({ "provider": name, "ok": true, "account": words }),
            Err(error) => json!({ "provider": name, "ok": false, "error": error }),
        };
        pretty(&checked.iter().map(line).collect())
    } else {
        let line = |(name, told): &(&str, Result<String, String>)| match told {
            Ok(words) => format!("{name}: ok: {words}\n"),
            Err(error) => format!("{name}: {error}\n"),
        };
        checked.iter().map(line).collect()
    };
    Ok(answer(text, found))
}

async fn ask(provider: &dyn Account) -> Result<String, String> {
    let place = provider.key().map_err(|it| chain(&it))?.place;
    let words = provider.check().await.map_err(|it| chain(&it))?;
    Ok(format!("{words} (key in {place})"))
}

/// Why a name cannot be checked.
fn unknown(name: &str) -> InvalidRequest {
    let is = |it: &&(&str, &str)| it.0 == name;
    let allowed = if KEYLESS.iter().any(|it| is(&it)) {
        "it needs no key, so there is nothing to check".to_owned()
    } else if let Some((_, feature)) = FEATURES.iter().find(is) {
        format!(
            "it is not in this `sky`: `cargo install --path crates/cli --features {feature}` makes one that has it"
        )
    } else {
        let known: Vec<_> = CLOUDS.iter().map(|it| it.name).collect();
        format!("must be one of {}", known.join(", "))
    };
    InvalidRequest::new("provider", name, allowed)
}

/// The key of a cloud, or why there is none.
pub(crate) fn key(cloud: &Cloud) -> Result<Found, String> {
    let provider = (cloud.open)(json!({})).map_err(|it| it.to_string())?;
    provider.key().map_err(|_| format!("none in {}", cloud.keys))
}

fn answer(text: String, found: bool) -> Answer {
    Answer { text, notes: Vec::new(), found }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
