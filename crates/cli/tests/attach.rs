//! What `sky attach` says of a pool that was left, what it runs there, and whom it refuses.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use skyward::prelude::*;

/// What it prints, and its exit code.
fn sky(home: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sky"));
    command.env_clear().env("HOME", home).env("HTTPS_PROXY", "http://127.0.0.1:1");
    let told = command.arg("attach").args(arguments).output().expect("sky runs");
    let text = [told.stdout, told.stderr].concat();
    (String::from_utf8(text).expect("text"), told.status.code())
}

#[skyward::test]
async fn a_pool_that_was_left_is_looked_at_runs_commands_and_is_given_back() -> skyward::Result<()> {
    let home = tempfile::tempdir()?;
    let machines = home.path().join("machines");
    let says = |arguments: &[&str], words: &[&str], code: i32| {
        let (text, ended) = sky(home.path(), arguments);
        assert!(words.iter().all(|it| text.contains(it)), "{arguments:?}: {text}");
        assert_eq!(ended, Some(code), "{arguments:?}: {text}");
    };
    says(&["train"], &["name is train: there is no journal"], 2);

    let timing = Timing { lease: Duration::from_secs(120), ..Timing::short() };
    let builder = Compute::builder().spec(Spec::on(Local::default().directory(&machines))).timing(timing);
    let builder = builder.name("train").nodes(2).state(home.path().join(".local/state/skyward"));
    let compute = builder.start().await?;
    says(&["train"], &["in use by process", &std::process::id().to_string()], 1);
    says(&["train", "--stop"], &["in use by process"], 1);
    compute.detach().await?;

    says(&["other"], &["name is other: must be the name or the id"], 2);
    says(&["train"], &["pool train (", "$0.00 so far", "without a program", "running", "127.0.0.1"], 0);
    says(&["train", "--json"], &["\"rank\": 1", "\"state\": \"running\"", "\"lease_seconds\": 120"], 0);
    says(
        &["train", "--", "echo \"one $((1 + 1))\"; echo other >&2"],
        &["[0] one 2\n", "[1] one 2\n", "[1] other"],
        0,
    );
    says(&["train", "--node", "1", "--", "printf", "%s-", "a b", "c"], &["[1] a b-c-\n"], 0);
    let (text, _) = sky(home.path(), &["train", "--node", "1", "--", "echo here"]);
    assert_eq!(text, "[1] here\n");
    says(&["train", "--node", "0", "--", "exit 3"], &["[0] ended with code 3"], 1);
    says(
        &["train", "--node", "7", "--", "true"],
        &["node is 7: must be the rank of a node that was left: 0, 1"],
        1,
    );
    // Its program was killed before any machine had become a node, say.
    let journal = rusqlite::Connection::open(home.path().join(".local/state/skyward/journal.sqlite"));
    let journal = journal.map_err(|error| error.to_string())?;
    let all = "UPDATE machines SET node = NULL";
    assert_eq!(journal.execute(all, []).map_err(|error| error.to_string())?, 2);
    drop(journal);
    let none = "error: pool train has no node to run it on: `sky attach train` shows its machines";
    says(&["train", "--", "true"], &[none], 1);
    says(&["train"], &["-", "running"], 0);
    says(&["train", "--stop"], &["train: given back"], 0);
    says(&["train"], &["must be the name or the id"], 2);
    assert!(!machines.exists());
    Ok(())
}
