//! Many nodes: `broadcast`, one call on each, beside a raw fan-out over a connection for each; and `fleet`, a
//! hundred local nodes, what each adds to this process's memory and what it uses while nothing runs.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use skyward::prelude::*;

use crate::floor::{Floor, Frames};
use crate::latency::echo;
use crate::throughput::nothing;
use crate::usage::{self, Tree, time};
use crate::{Report, median};

const FLEET: u32 = 100;
const BYTES: usize = 64;
const WATCHED: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_secs(3);

/// On 2, 8 and 32 nodes.
pub(crate) async fn broadcast(rounds: usize) -> skyward::Result<Vec<Report>> {
    let mut reports = Vec::new();
    for (case, nodes) in [("broadcast-2", 2), ("broadcast-8", 8), ("broadcast-32", 32)] {
        let compute = Compute::builder().nodes(nodes).start().await?;
        let floors = Floor::start_many(nodes).await?;
        let mut frames = try_join_all(floors.iter().map(Floor::frames)).await?;
        let payload = vec![7; BYTES];
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        for round in 0..rounds + 5 {
            let began = Instant::now();
            let answers = (echo(payload.clone()) * &compute).await?;
            let took = began.elapsed();
            if answers.len() != usize::try_from(nodes)? {
                return Err("a node did not answer".into());
            }
            let began = Instant::now();
            fan_out(&mut frames, &payload).await?;
            if round >= 5 {
                ours.push(took);
                raw.push(began.elapsed());
            }
        }
        compute.stop().await?;
        let micros = |times| median(times).as_secs_f64() * 1e6;
        reports.push(Report::beside(case, micros(ours), micros(raw), "us", rounds));
    }
    Ok(reports)
}

async fn fan_out(frames: &mut [Frames], payload: &[u8]) -> skyward::Result<()> {
    try_join_all(frames.iter_mut().map(|it| it.echo(payload))).await?;
    Ok(())
}

/// A hundred nodes at rest.
pub(crate) async fn fleet() -> skyward::Result<Vec<Report>> {
    let small = Compute::builder().nodes(1).start().await?;
    (nothing() * &small).await?;
    let before = usage::resident()?;
    let began = Instant::now();
    let compute = Compute::builder().nodes(FLEET).start().await?;
    (nothing() * &compute).await?;
    let ready = began.elapsed();
    let grown = usage::resident()?.saturating_sub(before) as f64 / f64::from(1 << 20);
    tokio::time::sleep(SETTLED).await;
    let (began, own, all) = (Instant::now(), usage::own_time()?, Tree::below(std::process::id())?);
    tokio::time::sleep(WATCHED).await;
    let percent = |used: Duration| 100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64();
    let own = percent(usage::own_time()?.saturating_sub(own));
    let all = percent(time(Tree::below(std::process::id())?.ticks.saturating_sub(all.ticks)));
    compute.stop().await?;
    small.stop().await?;
    Ok(vec![
        Report::alone("fleet-ready", ready.as_secs_f64(), "s", 1),
        Report::alone("fleet-memory", grown / f64::from(FLEET), "MiB/node", 1),
        Report::alone("fleet-idle-client", own, "% of a core", 1),
        Report::alone("fleet-idle-all", all, "% of a core", 1),
    ])
}
