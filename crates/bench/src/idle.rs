//! `idle`: which part of one core a client and four local nodes use while nothing runs on them. The floor
//! is nothing at all, so there is none to compare with. Linux only: it reads `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use skyward::prelude::*;

use crate::Report;

const NODES: u32 = 4;

/// Long enough for several lease renewals and many keep-alives.
const WATCHED: Duration = Duration::from_secs(10);

/// After the start, so that what it leaves to do is done.
const SETTLED: Duration = Duration::from_secs(2);

/// A client, and for each node a machine and a worker. Fewer means that some were not seen.
const FEWEST_PROCESSES: usize = 1 + 2 * NODES as usize;

/// In what `/proc` counts processor time. Linux tells user space 100 on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

#[skyward::function]
fn nothing() {}

/// Processor time of this process and all below it, over the time watched.
pub(crate) async fn measure() -> skyward::Result<Report> {
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
    let busy = after.ticks.saturating_sub(before.ticks) as f64 / TICKS_PER_SECOND;
    let percent = 100.0 * busy / watched.as_secs_f64();
    Ok(Report { case: "idle", ours: percent, floor: None, unit: "% of a core", rounds: 1 })
}

/// A process and its descendants.
struct Tree {
    processes: usize,
    ticks: u64,
}

/// What `/proc/PID/stat` says of one process.
struct Stat {
    parent: u32,
    ticks: u64,
}

impl Tree {
    fn below(root: u32) -> std::io::Result<Self> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            // A process may end between being listed and being read.
            if let Some(pid) = name.to_str().and_then(|it| it.parse::<u32>().ok())
                && let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat"))
                && let Some(stat) = Stat::parse(&text)
            {
                all.insert(pid, stat);
            }
        }
        let mut tree = Self { processes: 0, ticks: 0 };
        let mut waiting = vec![root];
        while let Some(pid) = waiting.pop() {
            tree.processes += 1;
            tree.ticks += all.get(&pid).map_or(0, |it| it.ticks);
            waiting.extend(all.iter().filter(|(_, it)| it.parent == pid).map(|(pid, _)| *pid));
        }
        Ok(tree)
    }
}

impl Stat {
    /// After the name, which stands in parentheses and may hold anything: state, parent, nine numbers that
    /// we leave, then user and system time.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let (user, system): (u64, u64) = (fields.nth(9)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { parent, ticks: user + system })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_named_like_a_field_does_not_confuse_the_reader() {
        let text = "77 (a) S 1 (b)) R 42 77 77 0 -1 4194304 10 0 0 0 150 25 0 0 20 0 1 0 100";
        let stat = Stat::parse(text).expect("a line of the kernel's");
        assert_eq!((stat.parent, stat.ticks), (42, 175));
    }

    #[test]
    fn this_process_is_in_its_own_tree() {
        assert!(Tree::below(std::process::id()).expect("Linux has /proc").processes >= 1);
    }
}
