//! `hosts-start`, `hosts-spread`, `hosts-udp` and `hosts-delay`: pools on hosts in namespaces of this machine, with
//! OpenSSH and a net of their own. Only root has those; who has none is told why, and nothing is measured.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use skyward::prelude::*;
use skyward::{Bytes, Shared, Ssh, ssh};
use skyward_tests::testbed::{Bed, Weather};

use crate::throughput::nothing;
use crate::{Report, median};

/// How many hosts `hosts-start` takes.
const MANY: u8 = 20;

/// How many `hosts-spread` takes.
const SPREAD: u8 = 16;

/// What it gives each of them, in bytes.
const LARGE: usize = 256 << 20;

/// How fast each of its wires is.
const BITS_PER_SECOND: u64 = 100_000_000;

/// How long a frame of `hosts-delay` is on its way.
const DELAY: Duration = Duration::from_millis(150);

/// How many calls a node is given ahead at most, and the one that its slot runs: what `tasks::ahead` allows.
const GIVEN: f64 = 257.0;

/// How many calls `hosts-delay` sends in a round.
const CALLS: usize = 5000;

#[skyward::function]
async fn length(of: Shared<Bytes>) -> u64 {
    of.len() as u64
}

fn pool(bed: &Bed, nodes: u32) -> skyward::Builder {
    Compute::builder().spec(Spec::on(Ssh::new(config(bed, u32::MAX)))).nodes(nodes)
}

/// One whose hosts keep the program.
fn keeping(bed: &Bed, nodes: u32) -> skyward::Builder {
    let config = ssh::Config { cache: true, ..config(bed, nodes) };
    Compute::builder().spec(Spec::on(Ssh::new(config))).nodes(nodes)
}

fn config(bed: &Bed, hosts: u32) -> ssh::Config {
    let hosts = bed.hosts().iter().take(hosts as usize).map(|it| it.name().into()).collect();
    ssh::Config { hosts, ssh_config: Some(bed.ssh_config()), ..ssh::Config::default() }
}

/// From `start()` to all ready, beside a login at all hosts at once by the `ssh` of this machine. Then the same on two of
/// them, to the first result, where they have kept the program.
pub(crate) async fn start(rounds: usize) -> skyward::Result<Vec<Report>> {
    let Some(bed) = Bed::of(MANY) else { return Ok(Vec::new()) };
    let (mut ours, mut logins) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        let compute = pool(&bed, MANY.into()).start().await?;
        ours.push(began.elapsed());
        compute.stop().await?;
        let began = Instant::now();
        log_in(&bed)?;
        logins.push(began.elapsed());
    }
    let mut again = Vec::new();
    for round in 0..=rounds {
        let began = Instant::now();
        let compute = keeping(&bed, 2).start().await?;
        (nothing() >> &compute).await?;
        // The first leaves the program.
        if round > 0 {
            again.push(began.elapsed());
        }
        compute.stop().await?;
    }
    let seconds = |times| median(times).as_secs_f64();
    Ok(vec![
        Report::beside("hosts-start", seconds(ours), seconds(logins), "s", rounds),
        Report::alone("hosts-start-again", seconds(again), "s", rounds),
    ])
}

fn log_in(bed: &Bed) -> skyward::Result<()> {
    let config = bed.ssh_config();
    let one = |name: &str| {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&config).args([name, "true"]).stdin(Stdio::null()).spawn()
    };
    let logins: Vec<_> = bed.hosts().iter().map(|it| one(it.name())).collect();
    for login in logins {
        if !login?.wait()?.success() {
            return Err("a login failed".into());
        }
    }
    Ok(())
}

/// The program and a large value to all hosts, over narrow wires, beside the same to one of them.
pub(crate) async fn spread() -> skyward::Result<Vec<Report>> {
    let Some(bed) = Bed::of(SPREAD) else { return Ok(Vec::new()) };
    bed.hosts().iter().for_each(|it| it.narrow(BITS_PER_SECOND));
    let mut content = vec![0; LARGE];
    getrandom::fill(&mut content)?;
    let mut took = Vec::new();
    for nodes in [1, SPREAD.into()] {
        // The hosts have nothing of the round before.
        let value = Shared::new(Bytes::from(content.clone()))?;
        let began = Instant::now();
        let compute = pool(&bed, nodes).start().await?;
        let lengths = (length(value).timeout(Duration::from_secs(1200)) * &compute).await?;
        took.push(began.elapsed().as_secs_f64());
        if lengths != vec![LARGE as u64; usize::try_from(nodes)?] {
            return Err("a node has something else".into());
        }
        compute.stop().await?;
    }
    match took[..] {
        [one, all] => Ok(vec![Report::beside("hosts-spread-16", all, one, "s", 1)]),
        _ => Ok(Vec::new()),
    }
}

/// A start where UDP does not get through, beside one where it does.
pub(crate) async fn udp(rounds: usize) -> skyward::Result<Vec<Report>> {
    let Some(bed) = Bed::wired(1) else { return Ok(Vec::new()) };
    let (mut blocked, mut open) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (no_udp, times) in [(true, &mut blocked), (false, &mut open)] {
            bed.host(1).weather(Weather { no_udp, ..Weather::default() });
            let began = Instant::now();
            let compute = pool(&bed, 1).start().await?;
            (nothing() >> &compute).await?;
            times.push(began.elapsed());
            compute.stop().await?;
        }
    }
    let seconds = |times| median(times).as_secs_f64();
    Ok(vec![Report::beside("hosts-udp-blocked", seconds(blocked), seconds(open), "s", rounds)])
}

/// Calls of nothing over a long way, beside what a node may be given ahead in the time of a way there and back.
pub(crate) async fn delay(rounds: usize) -> skyward::Result<Vec<Report>> {
    let Some(bed) = Bed::wired(1) else { return Ok(Vec::new()) };
    let compute = pool(&bed, 1).start().await?;
    bed.host(1).weather(Weather { delay: DELAY, ..Weather::default() });
    let mut times = Vec::new();
    // In the first the link and the queue learn how long the way is.
    for round in 0..=rounds {
        let began = Instant::now();
        (gather((0..CALLS).map(|_| nothing())) >> &compute).await?;
        if round > 0 {
            times.push(began.elapsed());
        }
    }
    bed.host(1).weather(Weather::default());
    compute.stop().await?;
    let (ours, most) = (CALLS as f64 / median(times).as_secs_f64(), GIVEN / (2.0 * DELAY.as_secs_f64()));
    Ok(vec![Report::beside("hosts-delay", ours, most, "calls/s", rounds)])
}
