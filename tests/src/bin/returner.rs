//! A program that is killed and run again. Its first argument is a folder with all that its runs share: `machines`,
//! the journal in `state`, and `computed`, to which each task adds its number. The second is the name of its pool,
//! the third the seconds of its leases, the fourth what it does.

#![expect(clippy::print_stdout, reason = "it tells the test how far it is")]

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use skyward::prelude::*;
use skyward_tests::Elsewhere;

/// How many tasks there are.
const TASKS: u32 = 200;

/// Adds its number to the file, at once and whole, and takes a while.
#[skyward::function]
fn compute(file: PathBuf, number: u32) -> Result<u32, Failure> {
    std::thread::sleep(Duration::from_millis(50));
    let mut computed = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    computed.write_all(format!("{number}\n").as_bytes())?;
    Ok(number * 7)
}

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize| arguments.get(at).cloned().ok_or("folder, name, lease and deed are wanted");
    let (folder, name, deed) = (PathBuf::from(argument(0)?), argument(1)?, argument(3)?);
    let lease = Duration::from_secs(argument(2)?.parse()?);
    let local = Local::default().directory(folder.join("machines"));
    let spec =
        if deed == "cloud" { Spec::on(Elsewhere { local, ends_itself: true }) } else { Spec::on(local) };
    let (detect, grace) = (Duration::from_secs(5), Duration::from_secs(10));
    let timing = Timing { lease, ttl: lease, detect, grace, ..Timing::short() };
    // Who attaches by name may say anything: what the pool is, the journal says.
    let nodes = if deed == "wider" || deed == "attach" { 3 } else { 2 };
    let builder = skyward_tests::apart().spec(spec).nodes(nodes).timing(timing);
    let data = folder.join("data");
    let image = if data.exists() { Image::new().include(data) } else { Image::new() };
    let builder = if deed == "secret" { builder.secret("TOKEN", "hunter2") } else { builder };
    let builder = builder.image(image).worker(Worker { concurrency: 4, ..Worker::default() });
    let builder = builder.name(name).state(folder.join("state")).console();
    let compute = if deed == "attach" { builder.attach().await? } else { builder.start().await? };
    println!("running");
    if deed == "hold" {
        std::future::pending::<()>().await;
    }
    if deed == "stay" {
        let calls = (0..TASKS).map(|it| self::compute(folder.join("computed"), it));
        let _running = compute.spawn(gather(calls).key("sweep"));
        std::future::pending::<()>().await;
    }
    let calls = (0..TASKS).map(|it| self::compute(folder.join("computed"), it));
    let results = (gather(calls).key("sweep") >> &compute).await?;
    for result in &results {
        println!("result {result}");
    }
    println!("delivered");
    if deed == "linger" {
        // Until it is told to go on, which may be long after another program has tried to.
        let told = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
        told.map_err(|error| error.to_string())??;
        let file = folder.join("again");
        (gather((0..8).map(|it| self::compute(file.clone(), it))) >> &compute).await?;
        println!("still here");
    }
    compute.stop().await?;
    println!("stopped");
    Ok(())
}
