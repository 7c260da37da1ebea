//! Keeps what ARCHITECTURE.md states about who may use whom, and the rules of style that a machine can
//! see. The tables are read from that document, so it cannot drift from the check.
//!
//! document (the tables) → manifests, source (one file each) → breaches, all printed at once

mod document;
mod manifest;
mod source;
mod tokens;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use document::Document;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Breach {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

#[test]
fn every_file_of_the_workspace_keeps_to_the_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent");
    let document = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md can be read");
    let document = Document::parse(&document).expect("its tables can be read");

    let mut breaches = Vec::new();
    let mut seen = 0_usize;
    for path in files_below(root).expect("the workspace can be listed") {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("the file can be read");
        let found = if name.ends_with(".rs") {
            source::check(&name, &text, &document)
        } else {
            manifest::check(&name, &text, &document)
        };
        breaches.extend(found);
        seen += 1;
    }
    assert!(seen > 30, "only {seen} files found below {}", root.display());
    let lines: Vec<_> = breaches.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} breaches\n{}", lines.len(), lines.join("\n"));
}

/// All Rust files and manifests, without what is built or hidden, in order.
fn files_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            found.extend(files_below(&path)?);
        } else if name == "Cargo.toml" || name.ends_with(".rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
