//! What a manifest may say: dependencies on our own crates as the table allows, versions in one place.

use toml::{Table, Value};

use crate::Breach;
use crate::document::Document;

/// The rules that this manifest breaks.
pub(crate) fn check(file: &str, text: &str, document: &Document) -> Vec<Breach> {
    let breach = |line, what| Breach { file: file.to_owned(), line, what };
    let manifest: Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![breach(1, format!("cannot be read: {error}"))],
    };
    let package = manifest.get("package").and_then(|it| it.get("name")).and_then(Value::as_str);
    let Some(package) = package else { return Vec::new() };

    let mut breaches = Vec::new();
    for (name, dependency) in dependencies(&manifest) {
        let line = 1 + text.lines().position(|line| line.starts_with(name)).unwrap_or(0);
        if is_ours(name)
            && let Some(refusal) = document.crate_refusal(package, name)
        {
            breaches.push(breach(line, refusal));
        }
        if dependency.get("workspace").and_then(Value::as_bool) != Some(true) {
            breaches.push(breach(line, format!("`{name}` has no `workspace = true`")));
        }
    }
    breaches
}

fn is_ours(name: &str) -> bool {
    name == "skyward" || name.starts_with("skyward-")
}

/// Every dependency of every kind and every target.
fn dependencies(manifest: &Table) -> impl Iterator<Item = (&str, &Value)> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    std::iter::once(manifest)
        .chain(targets.filter_map(Value::as_table))
        .flat_map(|table| KINDS.into_iter().filter_map(|kind| table.get(kind)?.as_table()))
        .flatten()
        .map(|(name, dependency)| (name.as_str(), dependency))
}

#[cfg(test)]
fn breaches(text: &str) -> Vec<String> {
    check("Cargo.toml", text, &crate::document::made_up()).iter().map(ToString::to_string).collect()
}

#[test]
fn an_edge_between_crates_that_the_table_does_not_allow_is_named_with_its_line() {
    let text = "[package]\nname = \"skyward-runtime\"\n[target.'cfg(unix)'.dev-dependencies]\n\
                skyward-worker.workspace = true\n";
    assert_eq!(breaches(text), ["Cargo.toml:4: `skyward-runtime` must not use `skyward-worker`"]);
    assert_eq!(breaches(&text.replace("skyward-worker", "serde")), [""; 0]);
}

#[test]
fn a_crate_that_the_table_does_not_know_is_refused() {
    let text = "[package]\nname = \"skyward-attic\"\n[dependencies]\nskyward-worker.workspace = true\n";
    let expected = "Cargo.toml:4: the crate `skyward-attic` is not in the table of ARCHITECTURE.md";
    assert_eq!(breaches(text), [expected]);
}

#[test]
fn a_version_outside_the_workspace_table_is_refused() {
    let text = "[package]\nname = \"skyward-worker\"\n[dependencies]\nserde = \"1\"\n";
    assert_eq!(breaches(text), ["Cargo.toml:4: `serde` has no `workspace = true`"]);
}
