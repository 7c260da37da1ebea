//! A program whose pool scales, which is killed and run again. Its argument is a folder with all that its runs share:
//! `machines`, the journal in `state`, `computed`, to which each task adds its number when it begins, and `go`, without
//! which no task ends. With a second argument it first does something else.

#![expect(clippy::print_stdout, reason = "it tells the test how far it is")]

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use skyward::prelude::*;
use skyward::{EventKind, ScaledBecause, Scaling};
use skyward_tests::{apart, patient, until_said};

/// How many tasks there are.
const TASKS: u32 = 4;

/// Adds its number to the file, at once and whole, and ends when it may.
#[skyward::function]
async fn compute(folder: PathBuf, number: u32) -> Result<u32, Failure> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("computed"));
    file?.write_all(format!("{number}\n").as_bytes())?;
    while !folder.join("go").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(number * 7)
}

/// Takes longer than the pool lets nodes idle.
#[skyward::function]
async fn load() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("a folder is wanted")?);
    let local = Local::default().directory(folder.join("machines"));
    let timing = Timing { lease: Duration::from_secs(300), ttl: Duration::from_secs(300), ..patient() };
    let scaling = Scaling { idle: Duration::from_millis(300), cooldown: Duration::from_millis(300) };
    let builder = apart().spec(Spec::on(local)).nodes((1, TASKS + 1)).scaling(scaling).timing(timing);
    let compute = builder.name("scaler").state(folder.join("state")).console().start().await?;
    let mut events = compute.events();
    if arguments.next().is_some() {
        // All nodes have something, and it is nothing that this program has asked for yet.
        (load() >> &compute).await?;
    }
    println!("running");
    let calls = (0..TASKS).map(|it| self::compute(folder.clone(), it));
    for result in (gather(calls).key("sweep") >> &compute).await? {
        println!("result {result}");
    }
    until_said(&mut events, Duration::from_secs(90), |it| {
        matches!(it, EventKind::Scaled { to: 1, why: ScaledBecause::Idle(_), .. })
    })
    .await;
    compute.stop().await?;
    println!("stopped");
    Ok(())
}
