//! Guards of one pool after another.

use std::path::PathBuf;
use std::time::Duration;

use super::super::fake_tests::Fake;
use super::*;

#[tokio::test]
async fn the_guard_of_an_owner_who_is_gone_is_relieved_and_no_other() {
    let fake = Fake::failing("docker", "nothing", "", "'ps --filter'*) echo skyward-relieved-1;;");
    let engine = Engine::find(&fake.config()).await.expect("a runtime");
    let pool = PoolId::new("relieved");
    let words = Guard::words(&engine, &pool, "skyward-relieved-", None);
    // Its parent is a shell that has ended, and so has who held its standard input.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "sh \"$@\" </dev/null >/dev/null 2>&1 & echo $!", "sh"]).args(&words);
    let said = shell.output().expect("a shell").stdout;
    let older = PathBuf::from("/proc").join(String::from_utf8_lossy(&said).trim());
    let is_there = || std::fs::read(older.join("cmdline")).is_ok_and(|it| !it.is_empty());
    assert!(is_there(), "it waits for the container that runs");
    let mut first = Guard::start(&engine, &pool, "skyward-relieved-", None).expect("a guard");
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while is_there() && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!is_there(), "the older guard goes");
    // This program's stays, when another of its providers begins one for the same pool.
    let second = Guard::start(&engine, &pool, "skyward-relieved-", None).expect("a guard");
    assert!(first.child.try_wait().expect("waitable").is_none());
    first.end().await;
    second.end().await;
}
