//! Small calls beside a crowd: `fairness`, a single call behind a gather of a million, whose floor is the
//! same call alone; and `behind-bulk`, small calls while 256 MiB move to the same node, whose floor is the
//! same with quinn alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skyward::prelude::*;

use crate::bulk::{BULK, take};
use crate::floor::Floor;
use crate::latency::echo;
use crate::throughput::nothing;
use crate::{Report, median, percentile};

const MILLION: usize = 1_000_000;
const CALLS: usize = 400;
const BYTES: usize = 64;

/// A single call, alone and behind a million.
pub(crate) async fn fairness(rounds: usize) -> skyward::Result<Vec<Report>> {
    let compute = Compute::builder().nodes(2).start().await?;
    (gather((0..10_000).map(|_| nothing())) >> &compute).await?;
    let (mut alone, mut behind) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for _ in 0..CALLS {
            alone.push(single(&compute).await?);
        }
        let crowd = compute.spawn(gather((0..MILLION).map(|_| nothing())));
        // The crowd has begun when its calls run. No more of them are sent than the nodes are given ahead, so
        // that there may be none that waits.
        while compute.explain().await.calls.is_none_or(|it| it.running == 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..CALLS {
            behind.push(single(&compute).await?);
        }
        drop(crowd);
        // A dropped handle leaves the crowd to run; whoever asks for nodes next waits behind none of it.
        while compute.explain().await.calls.is_some_and(|it| it.running > 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    compute.stop().await?;
    let micros = |it: Duration| it.as_secs_f64() * 1e6;
    let (late, idle) = (percentile(&mut behind, 0.99), micros(median(alone)));
    Ok(vec![
        Report::beside("fairness", micros(median(behind)), idle, "us", rounds),
        Report::beside("fairness-p99", micros(late), idle, "us", rounds),
    ])
}

async fn single(compute: &Compute) -> skyward::Result<Duration> {
    let began = Instant::now();
    (nothing() >> compute).await?;
    Ok(began.elapsed())
}

/// Small calls beside bulk to the same node.
pub(crate) async fn behind_bulk(rounds: usize) -> skyward::Result<Vec<Report>> {
    // A slot for the bulk and one for the others.
    let worker = Worker { concurrency: 2, ..Worker::default() };
    let compute = Compute::builder().nodes(1).worker(worker).start().await?;
    let floor = Floor::start().await?;
    let mut frames = floor.frames().await?;
    let data = Bytes::from(vec![7; BULK]);
    let small = vec![7; BYTES];
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let moved = AtomicBool::new(false);
        let bulk = async {
            (take(data.clone().into()) >> &compute).await?;
            moved.store(true, Ordering::Relaxed);
            Ok::<_, skyward::Error>(())
        };
        let others = async {
            while !moved.load(Ordering::Relaxed) {
                let began = Instant::now();
                (echo(small.clone()) >> &compute).await?;
                ours.push(began.elapsed());
            }
            Ok::<_, skyward::Error>(())
        };
        tokio::try_join!(bulk, others)?;
        let moved = AtomicBool::new(false);
        let bulk = async {
            floor.send_bulk(data.clone()).await?;
            moved.store(true, Ordering::Relaxed);
            Ok::<_, skyward::Error>(())
        };
        let others = async {
            while !moved.load(Ordering::Relaxed) {
                let began = Instant::now();
                frames.echo(&small).await?;
                floors.push(began.elapsed());
            }
            Ok::<_, skyward::Error>(())
        };
        tokio::try_join!(bulk, others)?;
    }
    compute.stop().await?;
    let millis = |times: &mut [Duration]| percentile(times, 0.99).as_secs_f64() * 1e3;
    Ok(vec![Report::beside("behind-bulk-p99", millis(&mut ours), millis(&mut floors), "ms", rounds)])
}
