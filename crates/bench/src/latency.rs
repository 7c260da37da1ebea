//! `latency`: the median of 64-byte calls, one after the other, to one local node; the floor is 64 bytes
//! echoed on one multiplexed QUIC stream to another process, in turns with ours.

use std::time::{Duration, Instant};

use skyward::prelude::*;

use crate::floor::Floor;
use crate::{Report, median};

/// The payload of a small call.
const BYTES: usize = 64;

/// Before anything counts: connections open, code and caches warm.
const WARM_UP: usize = 200;

/// So many of each in turn: long enough for each to have the machine warm as it would be alone.
const TURN: usize = 50;

#[skyward::function]
pub(crate) async fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

#[skyward::function]
fn echo_blocking(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// Ours, async and blocking, and the floor, this many rounds each.
pub(crate) async fn measure(rounds: usize) -> skyward::Result<Vec<Report>> {
    let payload = vec![7_u8; BYTES];
    let compute = Compute::builder().nodes(1).start().await?;
    let floor = Floor::start().await?;
    let mut frames = floor.frames().await?;
    let (mut ours, mut blocking, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for round in (0..WARM_UP + rounds).step_by(TURN) {
        for _ in 0..TURN {
            let began = Instant::now();
            let answer = (echo(payload.clone()) >> &compute).await?;
            keep(&mut ours, round, began.elapsed());
            check(&answer, &payload)?;
        }
        for _ in 0..TURN {
            let began = Instant::now();
            let answer = (echo_blocking(payload.clone()) >> &compute).await?;
            keep(&mut blocking, round, began.elapsed());
            check(&answer, &payload)?;
        }
        for _ in 0..TURN {
            let began = Instant::now();
            let answer = frames.echo(&payload).await?;
            keep(&mut floors, round, began.elapsed());
            check(&answer, &payload)?;
        }
    }
    compute.stop().await?;
    let micros = |times| median(times).as_secs_f64() * 1e6;
    let floor = micros(floors);
    Ok(vec![
        Report::beside("latency", micros(ours), floor, "us", rounds),
        Report::beside("latency-blocking", micros(blocking), floor, "us", rounds),
    ])
}

fn keep(times: &mut Vec<Duration>, round: usize, took: Duration) {
    if round >= WARM_UP {
        times.push(took);
    }
}

fn check(answer: &[u8], payload: &[u8]) -> skyward::Result<()> {
    if answer == payload { Ok(()) } else { Err("an echo came back changed".into()) }
}
