//! `throughput`: how many calls of nothing a second go through a pool, as one gather and as calls that are
//! awaited each by itself; what they cost this process; and what a million of them take of its memory. The
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
    gather_time: Duration,
    single_time: Duration,
    floor_time: Duration,
    least_time: Duration,
}

/// On two nodes, and the million.
pub(crate) async fn measure(rounds: usize) -> skyward::Result<Vec<Report>> {
    let compute = Compute::builder().nodes(2).start().await?;
    let mut reports = on(
        &compute,
        2,
        rounds,
        ["throughput-gather", "throughput-gather-cpu", "throughput-single", "throughput-single-cpu"],
    )
    .await?;
    reports.push(million(&compute).await?);
    compute.stop().await?;
    Ok(reports)
}

/// On sixteen nodes.
pub(crate) async fn measure_16(rounds: usize) -> skyward::Result<Vec<Report>> {
    let compute = Compute::builder().nodes(16).start().await?;
    let names = [
        "throughput-16-gather",
        "throughput-16-gather-cpu",
        "throughput-16-single",
        "throughput-16-single-cpu",
    ];
    let reports = on(&compute, 16, rounds, names).await?;
    compute.stop().await?;
    Ok(reports)
}

async fn on(
    compute: &Compute,
    nodes: u32,
    rounds: usize,
    [gather_name, gather_cpu, single_name, single_cpu]: [&'static str; 4],
) -> skyward::Result<Vec<Report>> {
    let floors = Floor::start_many(nodes).await?;
    let mut frames = try_join_all(floors.iter().map(Floor::frames)).await?;
    all(compute, CALLS / 10).await?;
    let mut seen = Rounds::default();
    for _ in 0..rounds {
        timed(&mut seen.floors, &mut seen.floor_time, pump(&mut frames)).await?;
        timed(&mut seen.least, &mut seen.least_time, call_all(&mut frames)).await?;
        timed(&mut seen.gathers, &mut seen.gather_time, all(compute, CALLS)).await?;
        timed(&mut seen.singles, &mut seen.single_time, each(compute)).await?;
    }
    let rate = |times| CALLS as f64 / median(times).as_secs_f64();
    let cost = |time: Duration| time.as_secs_f64() * 1e6 / (CALLS * rounds) as f64;
    let (least, least_cost) = (rate(seen.least), cost(seen.least_time));
    let (floor, floor_cost) = (rate(seen.floors), cost(seen.floor_time));
    Ok(vec![
        Report::beside("minimal-rpc", least, floor, "calls/s", rounds),
        Report::beside("minimal-rpc-cpu", least_cost, floor_cost, "us/call", rounds),
        Report::beside(gather_name, rate(seen.gathers), floor, "calls/s", rounds),
        Report::beside(gather_cpu, cost(seen.gather_time), floor_cost, "us/call", rounds),
        Report::beside(single_name, rate(seen.singles), floor, "calls/s", rounds),
        Report::beside(single_cpu, cost(seen.single_time), floor_cost, "us/call", rounds),
    ])
}

async fn timed(
    times: &mut Vec<Duration>,
    used: &mut Duration,
    work: impl Future<Output = skyward::Result<()>>,
) -> skyward::Result<()> {
    let (began, before) = (Instant::now(), usage::own_time()?);
    work.await?;
    times.push(began.elapsed());
    *used += usage::own_time()?.saturating_sub(before);
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
