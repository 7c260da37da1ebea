//! `throughput`: how many calls of nothing a second go through a pool, as one gather and as calls that are
//! awaited each by itself; what they cost this process and its workers; and what a million of them take of its memory. The
//! floor moves frames of the same sizes over one multiplexed QUIC stream for each node.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use skyward::prelude::*;

use crate::floor::{self, Floor, Frames};
use crate::{Report, median, usage};

const CALLS: usize = 200_000;
const MILLION: usize = 1_000_000;

/// How many calls are under way at once when each is awaited by itself.
const IN_FLIGHT: usize = 512;

/// How many frames the floor has under way on each stream.
const WINDOW: usize = 2048;

/// What a call of nothing is on a lane, without its length.
const FRAME: usize = 44;

#[skyward::function]
pub(crate) async fn nothing() {}

/// What was measured in all rounds.
#[derive(Default)]
struct Rounds {
    gathers: Vec<Duration>,
    singles: Vec<Duration>,
    floors: Vec<Duration>,
    /// The least that could be called remote calls.
    least: Vec<Duration>,
    gather_used: Used,
    single_used: Used,
    floor_used: Used,
    least_used: Used,
}

/// Processor time.
#[derive(Default)]
struct Used {
    own: Duration,
    /// Of the processes below this one.
    workers: Duration,
}

/// How the lines of one case are called: a rate, then what a call costs this process, and its workers.
type Names = [&'static str; 3];

/// On two nodes, and the million.
pub(crate) async fn measure(rounds: usize) -> skyward::Result<Vec<Report>> {
    let compute = Compute::builder().nodes(2).start().await?;
    let gather = ["throughput-gather", "throughput-gather-cpu", "throughput-gather-worker-cpu"];
    let single = ["throughput-single", "throughput-single-cpu", "throughput-single-worker-cpu"];
    let mut reports = on(&compute, 2, rounds, gather, single).await?;
    reports.push(million(&compute).await?);
    compute.stop().await?;
    Ok(reports)
}

/// On sixteen nodes.
pub(crate) async fn measure_16(rounds: usize) -> skyward::Result<Vec<Report>> {
    let compute = Compute::builder().nodes(16).start().await?;
    let gather = ["throughput-16-gather", "throughput-16-gather-cpu", "throughput-16-gather-worker-cpu"];
    let single = ["throughput-16-single", "throughput-16-single-cpu", "throughput-16-single-worker-cpu"];
    let reports = on(&compute, 16, rounds, gather, single).await?;
    compute.stop().await?;
    Ok(reports)
}

async fn on(
    compute: &Compute,
    nodes: u32,
    rounds: usize,
    [gather_name, gather_cpu, gather_worker_cpu]: Names,
    [single_name, single_cpu, single_worker_cpu]: Names,
) -> skyward::Result<Vec<Report>> {
    let floors = Floor::start_many(nodes).await?;
    let mut frames = try_join_all(floors.iter().map(Floor::frames)).await?;
    all(compute, CALLS / 10).await?;
    let mut seen = Rounds::default();
    for _ in 0..rounds {
        timed(&mut seen.floors, &mut seen.floor_used, pump(&mut frames)).await?;
        timed(&mut seen.least, &mut seen.least_used, call_all(&mut frames)).await?;
        timed(&mut seen.gathers, &mut seen.gather_used, all(compute, CALLS)).await?;
        timed(&mut seen.singles, &mut seen.single_used, each(compute)).await?;
    }
    let rate = |times| CALLS as f64 / median(times).as_secs_f64();
    let cost = |time: Duration| time.as_secs_f64() * 1e6 / (CALLS * rounds) as f64;
    let (least, least_cost) = (rate(seen.least), cost(seen.least_used.own));
    let (floor, floor_cost) = (rate(seen.floors), cost(seen.floor_used.own));
    let (gather, single) = (seen.gather_used, seen.single_used);
    Ok(vec![
        Report::beside("minimal-rpc", least, floor, "calls/s", rounds),
        Report::beside("minimal-rpc-cpu", least_cost, floor_cost, "us/call", rounds),
        Report::beside(gather_name, rate(seen.gathers), floor, "calls/s", rounds),
        Report::beside(gather_cpu, cost(gather.own), floor_cost, "us/call", rounds),
        Report::alone(gather_worker_cpu, cost(gather.workers), "us/call", rounds),
        Report::beside(single_name, rate(seen.singles), floor, "calls/s", rounds),
        Report::beside(single_cpu, cost(single.own), floor_cost, "us/call", rounds),
        Report::alone(single_worker_cpu, cost(single.workers), "us/call", rounds),
    ])
}

async fn timed(
    times: &mut Vec<Duration>,
    used: &mut Used,
    work: impl Future<Output = skyward::Result<()>>,
) -> skyward::Result<()> {
    let before = usage::times()?;
    let began = Instant::now();
    work.await?;
    times.push(began.elapsed());
    let after = usage::times()?;
    used.own += after.own.saturating_sub(before.own);
    used.workers += after.below.saturating_sub(before.below);
    Ok(())
}

async fn all(compute: &Compute, calls: usize) -> skyward::Result<()> {
    let answers = (gather((0..calls).map(|_| nothing())) >> compute).await?;
    if answers.len() == calls { Ok(()) } else { Err("some calls were not answered".into()) }
}

async fn each(compute: &Compute) -> skyward::Result<()> {
    let mut running: FuturesUnordered<_> = (0..IN_FLIGHT).map(|_| nothing() >> compute).collect();
    let mut begun = IN_FLIGHT;
    while let Some(answer) = running.next().await {
        answer?;
        if begun < CALLS {
            running.push(nothing() >> compute);
            begun += 1;
        }
    }
    Ok(())
}

async fn pump(frames: &mut [Frames]) -> skyward::Result<()> {
    let share = CALLS / frames.len();
    try_join_all(frames.iter_mut().map(|it| it.pump(&[7; FRAME], share, WINDOW))).await?;
    Ok(())
}

async fn call_all(frames: &mut [Frames]) -> skyward::Result<()> {
    let share = (CALLS / frames.len()) as u64;
    try_join_all(frames.iter_mut().map(|it| floor::call_all(it, FRAME, share, WINDOW))).await?;
    Ok(())
}

/// How much memory this process needs more for a million calls through one stream of results.
async fn million(compute: &Compute) -> skyward::Result<Report> {
    usage::forget_peak()?;
    let before = usage::resident()?;
    let mut results = compute.stream(gather((0..MILLION).map(|_| nothing())));
    let mut came = 0;
    while let Some(result) = results.next().await {
        result?;
        came += 1;
    }
    if came != MILLION {
        return Err("some calls were not answered".into());
    }
    let more = usage::peak()?.saturating_sub(before) as f64 / f64::from(1 << 20);
    Ok(Report::alone("million-memory", more, "MiB", 1))
}
