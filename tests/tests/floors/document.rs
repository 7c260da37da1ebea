//! The two tables of ARCHITECTURE.md: which crate stands on which, and the floors of the runtime.

use std::collections::{BTreeMap, BTreeSet};

/// What the document allows.
#[derive(Debug)]
pub(crate) struct Document {
    crates: BTreeMap<String, BTreeSet<String>>,
    floors: Vec<Vec<Module>>,
}

#[derive(Debug)]
struct Module {
    name: String,
    /// Those of its own floor that it stands on.
    beside: BTreeSet<String>,
}

impl Document {
    /// Reads the fenced blocks `crates` and `floors`.
    ///
    /// ```text
    /// one > two three       in `crates`: one uses two and three
    /// a | b | c > b         in `floors`: each uses all lower lines; c uses b as well
    /// ```
    pub(crate) fn parse(document: &str) -> Result<Self, String> {
        let crates = block(document, "crates")?.into_iter().map(entry).collect();
        let floors = block(document, "floors")?
            .into_iter()
            .map(|line| line.split('|').map(entry).map(|(name, beside)| Module { name, beside }).collect())
            .collect();
        Ok(Self { crates, floors })
    }

    /// Why the crate `from` must not use our crate `to`; `None` when it may.
    pub(crate) fn crate_refusal(&self, from: &str, to: &str) -> Option<String> {
        match self.crates.get(from) {
            None => Some(format!("the crate `{from}` is not in the table of ARCHITECTURE.md")),
            Some(below) if below.contains(to) => None,
            Some(_) => Some(format!("`{from}` must not use `{to}`")),
        }
    }

    /// Why the module `from` of the runtime must not use the module `to`; `None` when it may.
    pub(crate) fn module_refusal(&self, from: &str, to: &str) -> Option<String> {
        let Some((from_floor, module)) = self.find(from) else {
            return Some(format!("the module `{from}` is on no floor of ARCHITECTURE.md"));
        };
        let Some((to_floor, _)) = self.find(to) else {
            return Some(format!("`crate::{to}` is on no floor of ARCHITECTURE.md"));
        };
        if from == to || from_floor < to_floor || module.beside.contains(to) {
            None
        } else if from_floor == to_floor {
            Some(format!("`{from}` and `{to}` are on one floor and must not use each other"))
        } else {
            Some(format!("`{to}` is above `{from}`, which must not use it"))
        }
    }

    fn find(&self, name: &str) -> Option<(usize, &Module)> {
        self.floors
            .iter()
            .enumerate()
            .find_map(|(floor, modules)| Some((floor, modules.iter().find(|it| it.name == name)?)))
    }
}

fn block<'a>(document: &'a str, language: &str) -> Result<Vec<&'a str>, String> {
    let fence = format!("```{language}");
    let lines: Vec<_> = document
        .lines()
        .skip_while(|line| line.trim_end() != fence)
        .skip(1)
        .take_while(|line| line.trim_end() != "```")
        .filter(|line| !line.trim().is_empty())
        .collect();
    if lines.is_empty() { Err(format!("ARCHITECTURE.md has no block ```{language}")) } else { Ok(lines) }
}

fn entry(text: &str) -> (String, BTreeSet<String>) {
    let (name, below) = text.split_once('>').unwrap_or((text, ""));
    (name.trim().to_owned(), below.split_whitespace().map(str::to_owned).collect())
}

/// A small document for the tests of the rules.
#[cfg(test)]
pub(crate) fn made_up() -> Document {
    Document::parse(concat!(
        "# Made up\n```crates\nskyward-runtime\nskyward-worker > skyward-runtime\n```\n",
        "text\n```floors\npool\nssh | link | control > link\nmodel\n```\n",
    ))
    .expect("both tables are there")
}

#[test]
fn a_module_uses_what_is_below_it_and_what_it_is_said_to_stand_on() {
    let document = made_up();
    for (from, to, refused) in [
        ("pool", "model", None),
        ("pool", "control", None),
        ("control", "link", None),
        ("link", "link", None),
        ("link", "control", Some("`link` and `control` are on one floor and must not use each other")),
        ("ssh", "link", Some("`ssh` and `link` are on one floor and must not use each other")),
        ("model", "pool", Some("`pool` is above `model`, which must not use it")),
        ("attic", "model", Some("the module `attic` is on no floor of ARCHITECTURE.md")),
        ("pool", "attic", Some("`crate::attic` is on no floor of ARCHITECTURE.md")),
    ] {
        assert_eq!(document.module_refusal(from, to).as_deref(), refused, "{from} -> {to}");
    }
}

#[test]
fn a_document_without_its_tables_is_refused() {
    let error = Document::parse("# Nothing\n```crates\na\n```\n").expect_err("no floors");
    assert_eq!(error, "ARCHITECTURE.md has no block ```floors");
}
