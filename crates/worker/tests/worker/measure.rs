//! Two figures: the time of a small call, and how many calls a second go through. Meaningful in a
//! release build.

use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::node::{Node, call, request};

/// How many calls are timed one by one.
const SINGLE: usize = 5_000;

/// How many calls are made with [`IN_FLIGHT`] of them under way.
const MANY: usize = 100_000;

/// How many calls are under way at once.
const IN_FLIGHT: usize = 512;

/// Prints the figures.
pub(crate) async fn measure() {
    let node = Node::start_with(|it| it.slots = 1024).await;
    let link = node.link().await;
    let payload = vec![7_u8; 64];
    let mut times = Vec::with_capacity(SINGLE);
    for _ in 0..SINGLE {
        let started = Instant::now();
        call(&link, "echo", payload.clone()).await;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    println!(
        "64 B async call, one at a time: p50 {:?}, p99 {:?}",
        times[SINGLE / 2],
        times[SINGLE * 99 / 100]
    );
    let started = Instant::now();
    let one = || tokio::spawn(link.call(request("echo", payload.clone())));
    let mut flying: FuturesUnordered<_> = (0..IN_FLIGHT).map(|_| one()).collect();
    let mut done = 0;
    while let Some(outcome) = flying.next().await {
        outcome.expect("joined").expect("an outcome");
        done += 1;
        if done + flying.len() < MANY {
            flying.push(one());
        }
    }
    let rate = done as f64 / started.elapsed().as_secs_f64();
    println!("64 B async calls, {IN_FLIGHT} in flight: {rate:.0} calls/s");
}
