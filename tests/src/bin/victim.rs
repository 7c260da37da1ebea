//! A program that ends in the way that its first argument says, with machines in the directory that
//! its second argument names. The endings tests start it and look at what it leaves.

#![expect(
    clippy::print_stdout,
    clippy::panic,
    reason = "it tells the test how far it is, and panics on demand"
)]

use std::time::Duration;

use skyward::prelude::*;

#[skyward::function]
async fn wait_for_ever() {
    std::future::pending::<()>().await;
}

#[skyward::function]
async fn one() -> u32 {
    1
}

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let ending = arguments.next().unwrap_or_default();
    let mut local = Local::default();
    local.directory = arguments.next().map(Into::into);
    let lease =
        arguments.next().and_then(|it| it.parse().ok()).map_or(Duration::from_secs(60), Duration::from_secs);
    let slow = ["booting", "bootstrapping", "joining"].contains(&ending.as_str());
    let mut image = Image::new();
    if ending == "booting" {
        local.faults.boot_delay = Duration::from_secs(60);
    } else if ending == "bootstrapping" {
        image = image.shell("sleep 60");
    }
    let timing = Timing { lease, ..Timing::short() };
    let starting = skyward_tests::apart().spec(Spec::on(local)).nodes(2).image(image).timing(timing).start();
    if slow {
        println!("started");
    }
    let compute = starting.await?;
    (one() >> &compute).await?;
    if !slow {
        println!("started");
    }
    match ending.as_str() {
        "return" => Ok(()),
        "stop" => compute.stop().await,
        "error" => Err("an error on purpose".into()),
        "panic" => panic!("a panic on purpose"),
        "drop" => {
            drop(compute);
            println!("dropped");
            std::future::pending().await
        }
        // It is ended from outside, with a call under way.
        _ => Ok((wait_for_ever() >> &compute).await?),
    }
}
