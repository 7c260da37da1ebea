//! The first program: two machines on this computer, one call to both of them, one call to one of them.
//! Run it with `cargo run --example hello`.

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use serde::{Deserialize, Serialize};
use skyward::prelude::*;

#[derive(Serialize, Deserialize)]
struct Greeting {
    text: String,
    process: u32,
    home: String,
}

#[skyward::function]
fn greet(whom: String) -> Greeting {
    Greeting {
        text: format!("hello, {whom}"),
        process: std::process::id(),
        home: std::env::var("HOME").unwrap_or_default(),
    }
}

#[skyward::function]
async fn add(left: u64, right: u64) -> u64 {
    left + right
}

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let compute = Compute::builder().spec(Spec::on(Local::default())).nodes(2).console().start().await?;

    // Every node, in rank order.
    let greetings = (greet("world".to_owned()) * &compute).await?;
    for (rank, Greeting { text, process, home }) in greetings.iter().enumerate() {
        println!("node {rank} says {text:?}: process {process}, at home in {home}");
    }

    // One node, whichever is free.
    let sum = (add(2, 3) >> &compute).await?;
    println!("2 + 3 = {sum}");

    compute.stop().await
}
