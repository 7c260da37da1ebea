//! Streams: losses as a model trains, samples that go in while averages come out, and every node at once.
//! Run it with `cargo run --example streaming`.

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use skyward::prelude::*;

#[derive(Debug, Serialize, Deserialize)]
struct Diverged {
    epoch: u32,
}

/// Gives the loss of each epoch as soon as it is known. An error ends the stream.
#[skyward::function]
fn train(rate: f64) -> impl Stream<Item = Result<f64, Diverged>> {
    stream::unfold((0, 1.0), move |(epoch, loss)| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let next = loss * (1.0 - rate);
        let item = if next.abs() > 10.0 { Err(Diverged { epoch }) } else { Ok(next) };
        (epoch < 10).then_some((item, (epoch + 1, next)))
    })
}

/// A plain function gives an iterator. It runs on a thread of its own, and waits while nobody reads.
#[skyward::function]
fn primes() -> impl Iterator<Item = u64> {
    (2..).filter(|n| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0))
}

/// Takes a stream and gives one: the average of each two that follow each other.
#[skyward::function]
fn smooth(samples: Streaming<f64>) -> impl Stream<Item = f64> {
    samples.scan(0.0, |before, now| {
        let average = (*before + now) / 2.0;
        *before = now;
        std::future::ready(Some(average))
    })
}

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let compute = Compute::builder().nodes(2).console().start().await?;

    let mut losses = train(0.4) >> &compute;
    while let Some(loss) = losses.next().await {
        println!("loss {:.4}", loss?);
    }

    // What came before an error is there before it.
    let mut losses = train(4.0) >> &compute;
    loop {
        match losses.next().await {
            Some(Ok(loss)) => println!("loss {loss}"),
            Some(Err(CallError::Task(Diverged { epoch }))) => println!("diverged at epoch {epoch}"),
            Some(Err(other)) => return Err(other.into()),
            None => break,
        }
    }

    // Every node at once, each item with the rank that it is from.
    let mut all = (train(0.9) * &compute).await?;
    while let Some((rank, loss)) = all.next().await {
        println!("node {rank}: loss {:.1e}", loss?);
    }

    // There is no last prime: dropping the stream ends the function.
    let mut primes = (primes() >> &compute).take(5);
    while let Some(prime) = primes.next().await {
        println!("prime {}", prime?);
    }
    drop(primes);

    // In one way and out the other. Any stream will do, and any iterator.
    let samples = stream::iter(0..5).map(|it| f64::from(it * it));
    let averages = (smooth(Streaming::new(samples)) >> compute.head()).collect().await?;
    println!("averages {averages:?}");

    compute.stop().await
}
