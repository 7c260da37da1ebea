//! Everything that reads bytes from outside, fed with bytes that nobody would send: `cargo test` replays what is
//! kept in `corpus` and changes it at random for a second each; `.ci/fuzz` searches, led by coverage, when it is asked to.
//!
//! ```text
//! corpus, seeds --Mutation | libFuzzer--> bytes --bounded--> Decoder::check --does not hold--> kept, failed
//! ```
//!
//! What may come of it is in `docs/decisions/0019-fuzzing-without-a-sanitizer.md`.

mod arguments;
mod catalog;
mod links;
mod mutation;
mod processes;
mod words;

use std::path::{Path, PathBuf};

pub use mutation::Mutation;
pub use skyward_runtime::testing::Decoder;

/// Those that need no more than what their crates give everybody.
const PUBLIC: &[Decoder] = &[
    Decoder { name: "lane-frames", check: links::lanes, seeds: links::lane_seeds },
    Decoder { name: "control-messages", check: links::control, seeds: links::control_seeds },
    Decoder { name: "task-process", check: processes::tasks, seeds: processes::task_seeds },
    Decoder { name: "worker-start", check: processes::worker, seeds: processes::worker_seeds },
    Decoder { name: "arguments", check: arguments::check, seeds: arguments::seeds },
    Decoder { name: "accelerators", check: words::accelerators, seeds: words::accelerator_seeds },
    Decoder { name: "money", check: words::money, seeds: words::money_seeds },
    Decoder { name: "catalog-sql", check: catalog::sql, seeds: catalog::sql_seeds },
];

/// All of them.
pub fn decoders() -> impl Iterator<Item = &'static Decoder> {
    let of_crates = [
        skyward_runtime::testing::DECODERS,
        skyward_worker::testing::DECODERS,
        skyward_providers::testing::DECODERS,
    ];
    of_crates.into_iter().chain([PUBLIC]).flatten()
}

/// The one of this name.
pub fn decoder(name: &str) -> Option<&'static Decoder> {
    decoders().find(|it| it.name == name)
}

/// Has the decoder read these bytes.
///
/// # Panics
/// When something does not hold, or it claims more memory than such bytes are worth.
pub fn bounded(decoder: &Decoder, bytes: &[u8]) {
    let used = allocation_counter::measure(|| (decoder.check)(bytes));
    let answer = if decoder.name == "catalog-sql" { catalog::MOST_ANSWERED } else { 0 };
    let most = MOST_BYTES + MOST_BYTES_EACH * bytes.len() as u64 + answer;
    assert!(
        used.bytes_max <= most,
        "{} bytes of {} claim {} of memory",
        bytes.len(),
        decoder.name,
        used.bytes_max
    );
}

/// The folder of what is kept for a decoder.
pub fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// What is kept for a decoder, in the order of the files' names.
///
/// # Errors
/// When a file cannot be read; no folder is no file.
pub fn kept(name: &str) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = corpus(name);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<_> = folder.read_dir()?.map(|it| it.map(|it| it.path())).collect::<Result<_, _>>()?;
    paths.sort();
    paths.into_iter().map(|it| std::fs::read(&it).map(|bytes| (it, bytes))).collect()
}

/// Writes bytes under the name of their hash and says where.
///
/// # Errors
/// When the system refuses.
pub fn keep(folder: &Path, bytes: &[u8]) -> std::io::Result<PathBuf> {
    use sha2::Digest as _;
    std::fs::create_dir_all(folder)?;
    let name: String = hex::encode(sha2::Sha256::digest(bytes)).chars().take(16).collect();
    let path = folder.join(name);
    std::fs::write(&path, bytes)?;
    Ok(path)
}

/// What a decoder may claim for no bytes at all: tables, buffers, a whole database page.
const MOST_BYTES: u64 = 4 << 20;

/// And for each byte: a list of empty values costs the most.
const MOST_BYTES_EACH: u64 = 512;
