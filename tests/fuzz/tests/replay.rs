//! Every decoder reads what is kept for it and what is in order, and then changes of both, for as many seconds as
//! `SKYWARD_FUZZ_SECONDS` says, by the dice that `SKYWARD_SEED` names (1 where it names none, so that the gate says
//! the same of the same code). No bytes make it panic, hang, or claim memory that they are not worth.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stdout, reason = "how many inputs there were is worth a line")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use skyward_fuzz::{Decoder, Mutation, bounded, decoder, decoders, keep, kept};

/// How long one input may be read, on a machine with much else to do. The longest takes a tenth of a second.
const HANGS: Duration = Duration::from_secs(60);

/// What is being read.
type Reading = Arc<Mutex<(u64, Vec<u8>)>>;

macro_rules! decoders {
    ($($test:ident: $name:literal,)*) => {
        const NAMES: &[&str] = &[$($name),*];

        $(#[test]
        fn $test() {
            fuzz(decoder($name).expect("a decoder"));
        })*
    };
}

decoders! {
    accelerators: "accelerators",
    arguments: "arguments",
    bootstrap_lines: "bootstrap-lines",
    catalog_sql: "catalog-sql",
    container_words: "container-words",
    control_messages: "control-messages",
    digitalocean_bodies: "digitalocean-bodies",
    host_keys: "host-keys",
    http_headers: "http-headers",
    ignore_files: "ignore-files",
    lambda_bodies: "lambda-bodies",
    lane_frames: "lane-frames",
    link_words: "link-words",
    money: "money",
    mux_frames: "mux-frames",
    mux_peer: "mux-peer",
    output_lines: "output-lines",
    parcels: "parcels",
    queue: "queue",
    roles: "roles",
    runpod_bodies: "runpod-bodies",
    spread_words: "spread-words",
    stream_items: "stream-items",
    task_process: "task-process",
    vastai_bodies: "vastai-bodies",
    verda_bodies: "verda-bodies",
    worker_start: "worker-start",
}

#[test]
fn every_decoder_is_fed_and_every_corpus_is_ones() {
    let mut all: Vec<_> = decoders().map(|it| it.name).collect();
    all.sort_unstable();
    assert_eq!(NAMES, all);
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").read_dir().expect("a corpus");
    for folder in folders.map(|it| it.expect("read").file_name()) {
        assert!(all.iter().any(|it| *it == folder), "nobody reads corpus/{}", folder.display());
    }
}

/// Where a search begins, for `.ci/fuzz`: each decoder's seeds as files.
#[test]
#[ignore = "writes files; `.ci/fuzz` asks for it with SKYWARD_FUZZ_SEEDS"]
fn seeds_are_written() {
    let folder = std::env::var("SKYWARD_FUZZ_SEEDS").expect("SKYWARD_FUZZ_SEEDS names a folder");
    for decoder in decoders() {
        for seed in (decoder.seeds)() {
            keep(&Path::new(&folder).join(decoder.name), &seed).expect("written");
        }
    }
}

fn fuzz(decoder: &'static Decoder) {
    let seconds = std::env::var("SKYWARD_FUZZ_SECONDS").ok().map(|it| it.parse().expect("seconds"));
    let seed = std::env::var("SKYWARD_SEED").ok().map(|it| it.parse().expect("a number"));
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(1));
    let reading = Reading::default();
    let (done, over) = mpsc::channel();
    let shared = Arc::clone(&reading);
    let thread = std::thread::spawn(move || {
        let kept = kept(decoder.name).expect("the corpus is read").into_iter().map(|(_, bytes)| bytes);
        let all: Vec<_> = kept.chain((decoder.seeds)()).collect();
        assert!(!all.is_empty(), "a search begins somewhere");
        all.iter().for_each(|it| feed(decoder, &shared, it));
        let mut mutation = Mutation::new(seed.unwrap_or(1));
        while Instant::now() < end {
            feed(decoder, &shared, &mutation.of(&all));
        }
        let _ = done.send(());
    });
    let mut last = 0;
    loop {
        match over.recv_timeout(HANGS) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let (number, bytes) = reading.lock().expect("whole").clone();
                assert!(number != last, "{} hangs with {}", decoder.name, told(decoder, &bytes));
                last = number;
            }
        }
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
    println!("{}: {} inputs", decoder.name, reading.lock().expect("whole").0);
}

fn feed(decoder: &Decoder, reading: &Reading, bytes: &[u8]) {
    {
        let mut reading = reading.lock().expect("whole");
        reading.0 += 1;
        reading.1.clear();
        reading.1.extend_from_slice(bytes);
    }
    if catch_unwind(AssertUnwindSafe(|| bounded(decoder, bytes))).is_err() {
        // Its message and place are above.
        panic!("{} does not hold with {}", decoder.name, told(decoder, bytes));
    }
}

/// Where the bytes were put, and what to do with them.
fn told(decoder: &Decoder, bytes: &[u8]) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(decoder.name);
    let path = keep(&folder, bytes).expect("written");
    format!("{}; mend it and keep that file in tests/fuzz/corpus/{}", path.display(), decoder.name)
}
