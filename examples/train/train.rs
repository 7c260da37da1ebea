//! Data-parallel training on four nodes: in each round every node computes the gradient of its shard of
//! a batch, and the client averages them and sends the new weights. Then the same training in this
//! process, which must reach the same loss but for the order of floating-point sums.
//! Run it with `cargo run --release --example train`, or with `-- --kill` to lose a machine under way.

#![expect(clippy::print_stdout, reason = "an example shows its results")]

mod outage;

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use skyward::prelude::*;
use skyward::{EventKind, Events};
use skyward_train::{Descent, Gradient, Network, Shard};

/// How many nodes there are.
const NODES: u32 = 4;

/// How many rounds the training has: 100 times all wines. The network does far better than any linear
/// model then.
const ROUNDS: usize = 400;

/// How far the two losses may be apart, relative to either. The sums over a batch differ in their order
/// alone, which is some 1e-16 a round.
const TOLERANCE: f64 = 1e-9;

/// How often a round is tried before the training gives up, and the pause in between: together longer
/// than a pool takes to notice that a machine is gone.
const TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// What a node answers.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    rank: u32,
    /// `None` when the node was not among those that share the batch.
    gradient: Option<Gradient>,
}

/// The gradient of this node's shard. `ranks` are the nodes that share the batch, in order.
#[skyward::function]
fn gradient(network: Network, batch: usize, ranks: Vec<u32>) -> Result<Answer, Failure> {
    let rank = skyward::instance_info().ok_or("only a node has a shard")?.rank.0;
    let part = ranks.iter().position(|it| *it == rank);
    let shard = part.map(|part| Shard { part, parts: ranks.len() });
    Ok(Answer { rank, gradient: shard.map(|it| network.gradient(batch, it)) })
}

/// Which node this is; asked to see who is there.
#[skyward::function]
async fn rank() -> Result<u32, Failure> {
    Ok(skyward::instance_info().ok_or("only a node has a rank")?.rank.0)
}

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let kill = std::env::args().any(|it| it == "--kill");
    let directory = std::env::temp_dir().join(format!("skyward-train-{}", std::process::id()));

    // A machine on this computer that is silent for two seconds is gone.
    let timing = Timing { detect: Duration::from_secs(2), ..Timing::default() };
    let local = Spec::on(Local::default().directory(&directory));
    let began = Instant::now();
    let compute = Compute::builder().spec(local).nodes(NODES).timing(timing).start().await?;
    let rented = began.elapsed();
    tokio::spawn(report(compute.events()));

    let mut far = Descent::new();
    let mut ranks: Vec<u32> = (0..NODES).collect();
    while far.round() < ROUNDS {
        if kill && far.round() == ROUNDS / 4 {
            outage::kill_a_machine_in(&directory)?;
        }
        let round = far.round();
        let loss = average(&compute, &mut far, &mut ranks).await?;
        println!("round {:>3}  loss {loss:.6}  on {} nodes", round + 1, ranks.len());
    }
    let took = began.elapsed();
    compute.stop().await?;

    let began = Instant::now();
    let near = Descent::alone(ROUNDS);
    compare(far.network(), near.network(), rented, took, began.elapsed())
}

/// One round, repeated on the nodes that are there for as long as one of them is lost. `ranks` are the
/// nodes that share the batch; when the round is over they are those that did.
async fn average(compute: &Compute, descent: &mut Descent, ranks: &mut Vec<u32>) -> skyward::Result<f64> {
    for _ in 0..TRIES {
        let call = gradient(descent.network().clone(), descent.round(), ranks.clone());
        match (call * compute).await {
            Ok(answers) => {
                let (there, gradients): (Vec<_>, Vec<_>) =
                    answers.into_iter().map(|it| (it.rank, it.gradient)).unzip();
                // A node that is away is not asked, and one that is back has no part in the round yet.
                if there == *ranks {
                    return Ok(descent.step(&gradients.into_iter().flatten().collect::<Vec<_>>())?);
                }
                *ranks = there;
            }
            Err(error) if is_outage(&error) => {
                println!("round {:>3}  is repeated: {error}", descent.round() + 1);
                *ranks = present(compute).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err("the nodes come and go too fast to finish a round".into())
}

/// The nodes that are there. Waits for one if there is none.
async fn present(compute: &Compute) -> skyward::Result<Vec<u32>> {
    for _ in 0..TRIES {
        match (rank() * compute).await {
            Ok(ranks) => return Ok(ranks),
            Err(error) if is_outage(&error) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err("no node came back".into())
}

/// Whether a node was lost, so that the same call may succeed on others.
const fn is_outage<E>(error: &CallError<E>) -> bool {
    use CallError::{Cancelled, Lost, NoNodes, NoSuchNode};
    matches!(error, Lost(_) | NoNodes | NoSuchNode { .. } | Cancelled)
}

/// Says what happens to the pool, but for its many tasks.
async fn report(mut events: Events) {
    use EventKind::{TaskCancelled, TaskFinished, TaskLost, TaskRetried, TaskStarted};
    while let Some(event) = events.next().await {
        if !matches!(
            event.kind,
            TaskStarted { .. }
                | TaskFinished { .. }
                | TaskRetried { .. }
                | TaskLost { .. }
                | TaskCancelled { .. }
        ) {
            println!("{event}");
        }
    }
}

fn compare(
    far: &Network,
    near: &Network,
    rented: Duration,
    took: Duration,
    alone: Duration,
) -> skyward::Result<()> {
    let [rented, took, alone] = [rented, took, alone].map(|it| it.as_secs_f64());
    let (far, near, weights) = (far.loss(), near.loss(), far.distance(near));
    let apart = (far - near).abs() / near;
    println!();
    println!("loss, {NODES} nodes  {far:.15}  ({took:.2} s, of which {rented:.2} s to start)");
    println!("loss, here     {near:.15}  ({alone:.2} s)");
    if apart.is_nan() || apart > TOLERANCE {
        return Err(Apart { apart }.into());
    }
    println!("they are {apart:.1e} apart (the weights {weights:.1e}), {TOLERANCE:.0e} is allowed");
    println!("guessing the mean would lose 1, and the best linear model loses 0.639");
    Ok(())
}

/// The nodes have learned something else than this process.
#[derive(Debug)]
struct Apart {
    apart: f64,
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the losses are {:.1e} apart, but only {TOLERANCE:.0e} is allowed", self.apart)
    }
}

impl std::error::Error for Apart {}
