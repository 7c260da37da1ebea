//! Commands on every node, such as `torchrun` starts: each finds in its environment where the first node is, which
//! node it is itself, and how many there are. Run it with `cargo run --example commands`.

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::time::Duration;

use skyward::prelude::*;
use tokio::process::Command;

/// Runs a command and gives its exit code. What it prints reaches the client by line. When the call is dropped or its
/// time is over, the command is killed.
#[skyward::function]
async fn launch(program: String, arguments: Vec<String>) -> Result<i32, Failure> {
    let node = skyward::instance_info().ok_or("this function runs on nodes")?;
    let head = node.head.ok_or("the nodes of this pool stand alone: see docs/cluster.md")?;
    let status = Command::new(&program)
        .args(arguments)
        .env("MASTER_ADDR", head.to_string())
        .env("MASTER_PORT", "29500")
        .env("NODE_RANK", node.rank.to_string())
        .env("NNODES", node.nodes.to_string())
        .kill_on_drop(true)
        .status()
        .await?;
    Ok(status.code().ok_or_else(|| format!("{program} was ended: {status}"))?)
}

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let compute = Compute::builder().nodes(2).console().start().await?;

    let said = "echo node $NODE_RANK of $NNODES, the first is at $MASTER_ADDR:$MASTER_PORT";
    let said = vec!["-c".to_owned(), said.to_owned()];
    let codes = (launch("sh".to_owned(), said).timeout(Duration::from_secs(86_400)) * &compute).await?;
    println!("exit codes: {codes:?}");

    compute.stop().await
}
