//! What `sky reap` says of a pool while a program has it, when it was left, and when it is given back.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use skyward::prelude::*;

/// What it prints, and its exit code.
fn sky(home: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sky"));
    command.env_clear().env("HOME", home).arg("reap").args(arguments);
    let told = command.output().expect("sky runs");
    let text = [told.stdout, told.stderr].concat();
    (String::from_utf8(text).expect("text"), told.status.code())
}

#[skyward::function]
async fn double(number: u32) -> u32 {
    number * 2
}

#[skyward::test]
async fn a_pool_is_given_back_when_nobody_has_it_and_that_is_asked_for() -> skyward::Result<()> {
    let home = tempfile::tempdir()?;
    let machines = home.path().join("machines");
    let builder = || {
        let timing = Timing { lease: Duration::from_secs(60), ..Timing::short() };
        let builder = Compute::builder().spec(Spec::on(Local::default().directory(&machines))).timing(timing);
        builder.name("train").state(home.path().join(".local/state/skyward"))
    };
    let says = |arguments: &[&str], words: &[&str], code: i32| {
        let (text, ended) = sky(home.path(), arguments);
        assert!(words.iter().all(|it| text.contains(it)), "{arguments:?}: {text}");
        assert_eq!(ended, Some(code), "{arguments:?}: {text}");
    };
    says(&[], &["there is no journal", "nothing was rented"], 0);

    let compute = builder().start().await?;
    let own = format!("in use by process {}", std::process::id());
    says(&["--yes", "--all", "--pool", "train"], &["train", &own, "is left alone"], 0);
    assert_eq!((double(3).key("three") >> &compute).await?, 6);
    compute.detach().await?;

    says(&["--yes"], &["can still be attached to", "is left alone"], 0);
    says(&["--pool", "train"], &["would be given back", "nothing was given back: say --yes"], 0);
    says(&["--pool", "other"], &["pool is other: must be the name or the id"], 2);

    let compute = builder().start().await?;
    let mut events = compute.events();
    assert_eq!((double(3).key("three") >> &compute).await?, 6);
    compute.detach().await?;
    let end = tokio::time::timeout(Duration::from_secs(60), async {
        let mut detached = false;
        while let Some(event) = events.next().await {
            detached |= matches!(event.kind, skyward::EventKind::Detached);
        }
        detached
    });
    assert_eq!(end.await, Ok(true), "its events end with the pool");

    says(&["--all", "--yes", "--json"], &["\"told\": \"given back\""], 0);
    says(&[], &["nothing is rented, as far as this computer knows"], 0);
    assert!(!machines.exists());
    Ok(())
}
