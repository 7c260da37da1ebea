//! A program that has a pool of two, on hosts which its arguments name or in containers, to be killed by the test of
//! what is left then.

#![expect(clippy::print_stdout, reason = "it tells the test how far it is")]

use std::time::Duration;

use skyward::prelude::*;
use skyward::{container, ssh};

#[skyward::function]
async fn wait_for_ever() {
    let _ = std::fs::write("a-file-of-its-own", "x");
    let _child = std::process::Command::new("sleep").arg("1234").spawn();
    std::future::pending::<()>().await;
}

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    let spec = if first == "container" {
        let (binary, image) = (arguments.next(), arguments.next().unwrap_or_default());
        Spec::on(Container::new(container::Config { binary, image, ..container::Config::default() }))
    } else {
        let (ssh_config, hosts) = (Some(first.into()), arguments.map(Into::into).collect());
        Spec::on(Ssh::new(ssh::Config { hosts, ssh_config, ..ssh::Config::default() }))
    };
    let long = Duration::from_secs(60);
    let timing =
        Timing { lease: Duration::from_secs(4), ssh: long, provision: long, join: long, ..Timing::short() };
    let compute = skyward_tests::apart().spec(spec).nodes(2).timing(timing).start().await?;
    let running = wait_for_ever() * &compute;
    println!("started");
    running.await?;
    Ok(())
}
