//! A program that has a pool on two hosts which its arguments name, to be killed by the test of what is left then.

#![expect(clippy::print_stdout, reason = "it tells the test how far it is")]

use std::time::Duration;

use skyward::prelude::*;
use skyward::{Ssh, ssh};

#[skyward::function]
async fn wait_for_ever() {
    let _ = std::fs::write("a-file-of-its-own", "x");
    let _child = std::process::Command::new("sleep").arg("1234").spawn();
    std::future::pending::<()>().await;
}

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let ssh_config = arguments.next().map(Into::into);
    let hosts = arguments.map(Into::into).collect();
    let provider = Ssh::new(ssh::Config { hosts, ssh_config, ..ssh::Config::default() });
    let timing = Timing { lease: Duration::from_secs(4), ssh: Duration::from_secs(60), ..Timing::short() };
    let compute = Compute::builder().spec(Spec::on(provider)).nodes(2).timing(timing).start().await?;
    let running = wait_for_ever() * &compute;
    println!("started");
    running.await?;
    Ok(())
}
