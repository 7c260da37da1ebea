//! One catalog and many processes: this test program started again and again, each a writer, a reader or
//! one that is killed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use skyward_runtime::catalog::{Catalog, Settings};
use skyward_runtime::model::{InstanceType, Offer, Price, Usd};
use skyward_tests::until;

/// Every batch has so many offers, all at one price: a reader that sees another number, or two prices,
/// has seen a part of one.
const BATCH: usize = 300;
const ROUNDS: usize = 15;
const FOLDER: &str = "SKYWARD_TEST_CATALOG";
const ROLE: &str = "SKYWARD_TEST_ROLE";

fn batch(provider: &str, round: usize) -> Vec<Offer> {
    let hourly = Usd::from_nanos(i64::try_from(round).expect("small") + 1);
    let offer = |at| Offer::of(provider, InstanceType::named(format!("m{at}")), Price::on_demand(hourly));
    (0..BATCH).map(offer).collect()
}

/// Looks at one provider once: a whole batch, or nothing yet.
fn look(catalog: &Catalog, provider: &str) {
    let found = catalog.offers().provider(provider).all().expect("read");
    let first = found.first().map(|it| it.tariff.hourly);
    assert!(found.is_empty() || found.len() == BATCH, "{} offers of {provider}", found.len());
    assert!(found.iter().all(|it| Some(it.tariff.hourly) == first), "two batches of {provider} at once");
}

/// What a started process does. Does nothing when this is the test run itself.
#[test]
fn role() {
    let (Some(folder), Ok(role)) = (std::env::var_os(FOLDER), std::env::var(ROLE)) else { return };
    let open = || Catalog::open(Settings { busy: Duration::from_secs(60), ..Settings::in_folder(&folder) });
    let own = format!("own-{}", std::process::id());
    for round in 0.. {
        match role.as_str() {
            "open" => drop(open().expect("opened")),
            _ => {
                let catalog = open().expect("opened");
                catalog.replace("all", &batch("all", round), SystemTime::now()).expect("written");
                catalog.replace(&own, &batch(&own, round), SystemTime::now()).expect("written");
                look(&catalog, "all");
                look(&catalog, &own);
                assert_eq!(catalog.rebuilt(), [""; 0]);
            }
        }
        if role != "killed" && round == ROUNDS {
            return;
        }
    }
}

fn start(folder: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "processes::role", "--nocapture"])
        .env(FOLDER, folder)
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started")
}

fn ended(child: Child) {
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn many_processes_make_write_and_read_one_catalog() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("made by one of them");
    let children: Vec<_> = ["write", "open", "write", "open", "write"].map(|it| start(&folder, it)).into();
    children.into_iter().for_each(ended);
    let catalog = Catalog::open(Settings::in_folder(&folder)).expect("a catalog");
    let sources = catalog.sources().expect("read");
    let told: Vec<_> = sources.iter().map(|it| it.offers).collect();
    assert_eq!(told, [BATCH as u64; 4], "one that all wrote, and one of each writer");
    look(&catalog, "all");
}

#[test]
fn a_process_that_is_killed_while_it_writes_spoils_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = Catalog::open(Settings::in_folder(folder.path())).expect("a catalog");
    for life in 0..4 {
        let mut child = start(folder.path(), "killed");
        let own = format!("own-{}", child.id());
        // It has written, and goes on writing, when it is killed.
        let wrote = || catalog.sources().expect("read").iter().any(|it| it.provider == own).then_some(());
        until(Duration::from_secs(60), wrote).expect("it writes");
        child.kill().expect("killed");
        child.wait().expect("ended");
        look(&catalog, "all");
        look(&catalog, &own);
        catalog.replace("all", &batch("all", life), SystemTime::now()).expect("written");
        look(&catalog, "all");
    }
    assert_eq!(catalog.rebuilt(), [""; 0]);
}

#[test]
fn processes_that_find_it_damaged_make_it_anew_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings::in_folder(folder.path());
    let catalog = Catalog::open(settings.clone()).expect("a catalog");
    catalog.replace("all", &batch("all", 1), SystemTime::now()).expect("written");
    drop(catalog);
    let file = fs::read_dir(folder.path()).expect("read").flatten().map(|it| it.path());
    let file = file.into_iter().find(|it| it.extension().is_some_and(|it| it == "sqlite")).expect("the file");
    fs::write(&file, "this is no catalog").expect("spoilt");
    // The writers must not find it anew: whoever opens first makes it anew for all.
    let children: Vec<_> = ["open", "open", "open"].map(|it| start(folder.path(), it)).into();
    children.into_iter().for_each(ended);
    ended(start(folder.path(), "write"));
    look(&Catalog::open(settings).expect("a catalog"), "all");
}
