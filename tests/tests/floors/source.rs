//! What a Rust file may contain: uses of lower floors, nothing that reads the world in a state machine,
//! a header, and a length that can be read.

use std::collections::BTreeSet;

use crate::Breach;
use crate::document::Document;
use crate::tokens::{self, Token};

/// Above this many lines a file is split.
const MOST_LINES: usize = 500;

/// Files, and folders, that decide and do nothing else.
const PURE: [&str; 9] =
    ["state", "plan", "map", "scale", "ledger", "fallback", "budget", "renting", "retention"];

/// What a file of [`PURE`] must not contain, as tokens in a row.
const IMPURE: [&[&str]; 11] = [
    &["async"],
    &["await"],
    &["Instant", "::", "now"],
    &["SystemTime"],
    &[".", "elapsed", "("],
    &["awake", "("],
    &["rand", "::"],
    &["getrandom", "::"],
    &["thread_rng"],
    &["HashMap"],
    &["HashSet"],
];

/// The crates that the words may use. Everything else that begins a path is a module or a type of ours.
const FOR_WORDS: [&str; 7] = ["std", "core", "alloc", "serde", "self", "super", "crate"];

/// Macros of the words, which Rust puts at the root of the crate.
const MACROS: [&str; 1] = ["usd"];

/// What begins a pool, as tokens in a row.
const BEGINS: [&str; 3] = ["Compute", "::", "builder"];

/// The one file of the tests that may, as it says where the journal is.
const WITHOUT_JOURNAL: &str = "tests/src/pool.rs";

const RUNTIME: &str = "crates/runtime/src/";

/// The rules that this file breaks.
pub(crate) fn check(file: &str, text: &str, document: &Document) -> Vec<Breach> {
    let breach = |line, what| Breach { file: file.to_owned(), line, what };
    let mut breaches = Vec::new();
    if !text.starts_with("//!") {
        breaches.push(breach(1, "does not open with `//!`: say what it is for and who calls it".to_owned()));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        breaches.push(breach(lines, format!("has {lines} lines, more than {MOST_LINES}: split it")));
    }
    let tokens = match tokens::read(text) {
        Ok(tokens) => tokens,
        Err(error) => {
            breaches.push(breach(1, error));
            return breaches;
        }
    };
    if is_pure(file) {
        breaches.extend(impure(&tokens).map(|(line, what)| breach(line, what)));
    }
    if file.starts_with("tests/") && file != WITHOUT_JOURNAL {
        let begun = tokens.windows(3).filter(|it| it.iter().map(|it| it.text.as_str()).eq(BEGINS));
        breaches.extend(begun.filter_map(|it| it.first()).map(|it| {
            breach(
                it.line,
                "a pool in the journal of who runs the test: begin with `skyward_tests::apart()`".to_owned(),
            )
        }));
    }
    let module = module_path(file);
    if let Some(own) = module.first() {
        for (line, used) in modules_used(&tokens, module.len()) {
            if let Some(refusal) = document.module_refusal(own, &used) {
                breaches.push(breach(line, refusal));
            }
        }
        if *own == "model" {
            breaches.extend(foreign_words(&tokens).map(|(line, what)| breach(line, what)));
        }
    }
    breaches
}

/// The client has no state machine: its `map.rs`, if there is one, is about `compute.map`. The bench measures:
/// its `plan.rs` times a plan.
fn is_pure(file: &str) -> bool {
    file.starts_with("crates/")
        && !["crates/client/", "crates/bench/"].iter().any(|it| file.starts_with(it))
        && file.trim_end_matches(".rs").split('/').any(|part| PURE.contains(&part))
}

fn impure(tokens: &[Token]) -> impl Iterator<Item = (usize, String)> {
    tokens.iter().enumerate().filter(|(_, token)| !token.test).filter_map(|(at, token)| {
        let rest = tokens.get(at..)?;
        let found = IMPURE.iter().find(|words| {
            rest.len() >= words.len() && rest.iter().zip(**words).all(|(token, word)| token.text == *word)
        })?;
        Some((token.line, format!("`{}` in a file that only decides", found.concat())))
    })
}

/// `["node", "state"]` for the runtime's `node/state.rs`; nothing for `lib.rs` and for other crates.
fn module_path(file: &str) -> Vec<&str> {
    let Some(inside) = file.strip_prefix(RUNTIME).and_then(|it| it.strip_suffix(".rs")) else {
        return Vec::new();
    };
    inside.split('/').filter(|part| !["mod", "lib"].contains(part)).collect()
}

/// The top modules that a file at this depth names, through `crate::` or through enough `super::`.
fn modules_used(tokens: &[Token], file_depth: usize) -> Vec<(usize, String)> {
    let text = |at: usize| tokens.get(at).map_or("", |it| it.text.as_str());
    let mut used = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let goes_on = at > 0 && text(at - 1) == "::" && !(at > 1 && text(at - 2) == "self");
        if goes_on || text(at + 1) != "::" {
            continue;
        }
        let after_root = match token.text.as_str() {
            "crate" => at + 2,
            "super" => {
                let ups = (0..).take_while(|up| text(at + 2 * up) == "super").count();
                if ups != file_depth + token.depth {
                    continue;
                }
                at + 2 * ups
            }
            _ => continue,
        };
        if text(after_root) == "{" {
            used.extend(first_words(tokens.get(after_root..).unwrap_or_default()));
        } else if let Some(name) = tokens.get(after_root) {
            used.push((name.line, name.text.clone()));
        }
    }
    used.retain(|(_, name)| !MACROS.contains(&name.as_str()));
    used
}

/// The first word of each branch of `{a::b, c::{d, e}}`.
fn first_words(group: &[Token]) -> Vec<(usize, String)> {
    let mut depth = 0_usize;
    let mut words = Vec::new();
    let mut begins = false;
    for token in group {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => {}
            name if begins && name != "self" => words.push((token.line, name.to_owned())),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        begins = depth == 1 && ["{", ","].contains(&token.text.as_str());
    }
    words
}

/// Paths that begin with a crate which the words must not know. Their tests may.
fn foreign_words(tokens: &[Token]) -> impl Iterator<Item = (usize, String)> {
    let declared = declared(tokens);
    let text = |at: usize| tokens.get(at).map_or("", |it| it.text.as_str());
    tokens.iter().enumerate().filter_map(move |(at, token)| {
        let name = token.text.as_str();
        // A method with its types spelled out (`text.parse::<u32>()`) is no path.
        let begins = text(at + 1) == "::" && (at == 0 || !["::", "."].contains(&text(at - 1)));
        let could_be_crate = name.starts_with(|it: char| it.is_ascii_lowercase());
        (begins && !token.test && could_be_crate && !FOR_WORDS.contains(&name) && !declared.contains(name))
            .then(|| (token.line, format!("the words use `{name}`; they use std and serde only")))
    })
}

/// Names that are no crates here: what `use` brings in, the file's own modules, the plain types.
fn declared(tokens: &[Token]) -> BTreeSet<&str> {
    const PLAIN: [&str; 14] = [
        "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i32", "i64", "isize", "f32",
        "f64",
    ];
    let words = tokens.iter().map(|it| it.text.as_str());
    let modules = words.clone().zip(words.clone().skip(1)).filter(|(key, _)| *key == "mod").map(|it| it.1);
    let mut declared: BTreeSet<_> = PLAIN.into_iter().chain(modules).collect();
    let mut rest = words;
    while rest.any(|word| word == "use") {
        declared.extend(rest.by_ref().take_while(|word| *word != ";").skip(1));
    }
    declared
}

#[cfg(test)]
fn breaches(file: &str, text: &str) -> Vec<String> {
    let found = check(file, &format!("//! Made up.\n{text}"), &crate::document::made_up());
    found.iter().map(|it| format!("{}: {}", it.line, it.what)).collect()
}

#[test]
fn a_use_that_goes_up_or_sideways_is_found_however_it_is_written() {
    const UP: &str = "`pool` is above `link`, which must not use it";
    for source in [
        "use crate::pool::Pool;",
        "use crate::{model::Rank, pool::{Pool, Order}};",
        "fn f() { trace!(\"{}\", crate::pool::size()) }",
        "use super::super::pool::Pool;",
        "mod inner { use super::super::super::pool::Pool; }",
        "use self::super::super::pool::Pool;",
    ] {
        assert_eq!(breaches("crates/runtime/src/link/dialer.rs", source), [format!("2: {UP}")], "{source}");
    }
    let sideways = "2: `link` and `control` are on one floor and must not use each other";
    assert_eq!(breaches("crates/runtime/src/link/mod.rs", "use super::control::Cluster;"), [sideways]);
}

#[test]
fn a_use_of_a_lower_floor_of_the_own_module_or_of_a_comment_is_fine() {
    for source in [
        "use crate::model::{Rank, pool};",
        "use super::Link; use crate::link::Link; use self::inner::Link;",
        "/// See [`crate::pool`].\nstruct Link; // crate::pool::Pool",
        "pub(crate) fn f(x: &str) -> bool { x == \"crate::pool\" }",
    ] {
        assert_eq!(breaches("crates/runtime/src/link/dialer.rs", source), [""; 0], "{source}");
    }
    assert_eq!(breaches("crates/worker/src/pool.rs", "use crate::attic::Box;"), [""; 0]);
}

#[test]
fn a_state_machine_that_waits_reads_a_clock_or_draws_a_number_is_found() {
    for (source, named) in [
        ("async fn f() {}", "async"),
        ("fn f() { g().await }", "await"),
        ("fn f() { let now = Instant::now(); }", "Instant::now"),
        ("fn f(t: SystemTime) {}", "SystemTime"),
        ("fn f() { then.elapsed() }", ".elapsed("),
        ("fn f() { lease::awake() }", "awake("),
        ("fn f() { rand::random() }", "rand::"),
        ("use getrandom::fill;", "getrandom::"),
        ("use std::collections::HashMap;", "HashMap"),
    ] {
        let expected = [format!("2: `{named}` in a file that only decides")];
        assert_eq!(breaches("crates/runtime/src/pool/state.rs", source), expected, "{source}");
        assert_eq!(breaches("crates/runtime/src/pool/state/ready.rs", source), expected, "{source}");
        assert_eq!(breaches("crates/runtime/src/pool/actor.rs", &source.replace("crate::", "")), [""; 0]);
    }
    let in_tests = "#[cfg(test)]\nmod tests { fn f() { let now = Instant::now(); } }";
    assert_eq!(breaches("crates/runtime/src/pool/state.rs", in_tests), [""; 0]);
}

#[test]
fn a_word_that_needs_more_than_std_and_serde_is_found() {
    let file = "crates/runtime/src/model/ids.rs";
    let expected = "2: the words use `bytes`; they use std and serde only";
    for source in ["use bytes::Bytes;", "use std::fmt; fn f(all: bytes::Bytes) { u8::from(fmt::g(all)) }"] {
        assert_eq!(breaches(file, source), [expected], "{source}");
    }
    let test = "#[cfg(test)]\nmod tests { fn f(it: &str) { bytes::g(it.parse::<u32>()) } }";
    assert_eq!(breaches(file, test), [""; 0]);
    assert_eq!(breaches(file, "fn f(it: &str) { it.parse::<u32>(); } use crate::usd;"), [""; 0]);
    assert_eq!(breaches(file, "mod end; pub use end::End; use serde::Serialize; use std::fmt;"), [""; 0]);
}

#[test]
fn a_file_without_a_header_and_a_file_too_long_are_found() {
    let found = check("tests/tests/long.rs", &"fn f() {}\n".repeat(501), &crate::document::made_up());
    let found: Vec<_> = found.iter().map(|it| (it.line, it.what.as_str())).collect();
    let expected = [
        (1, "does not open with `//!`: say what it is for and who calls it"),
        (501, "has 501 lines, more than 500: split it"),
    ];
    assert_eq!(found, expected);
}
