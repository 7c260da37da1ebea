//! `idle`: which part of one core a client and four local nodes use while nothing runs on them. The floor
//! is nothing at all, so there is none to compare with. Linux only: it reads `/proc`.

use std::time::{Duration, Instant};

use skyward::prelude::*;

use crate::Report;
use crate::usage::{Tree, time};

const NODES: u32 = 4;

/// Long enough for several lease renewals and many keep-alives.
const WATCHED: Duration = Duration::from_secs(10);

/// After the start, so that what it leaves to do is done.
const SETTLED: Duration = Duration::from_secs(2);

/// A client, and for each node a machine and a worker. Fewer means that some were not seen.
const FEWEST_PROCESSES: usize = 1 + 2 * NODES as usize;

#[skyward::function]
fn nothing() {}

/// Processor time of this process and all below it, over the time watched.
pub(crate) async fn measure() -> skyward::Result<Vec<Report>> {
    let compute = Compute::builder().nodes(NODES).start().await?;
    (nothing() * &compute).await?;
    tokio::time::sleep(SETTLED).await;

    let (began, before) = (Instant::now(), Tree::below(std::process::id())?);
    tokio::time::sleep(WATCHED).await;
    let (watched, after) = (began.elapsed(), Tree::below(std::process::id())?);

    compute.stop().await?;
    if after.processes < FEWEST_PROCESSES || after.processes != before.processes {
        let seen = (before.processes, after.processes);
        return Err(
            format!("saw {seen:?} processes, expected {FEWEST_PROCESSES} or more, twice alike").into()
        );
    }
    let busy = time(after.ticks.saturating_sub(before.ticks));
    let percent = 100.0 * busy.as_secs_f64() / watched.as_secs_f64();
    Ok(vec![Report::alone("idle", percent, "% of a core", 1)])
}
