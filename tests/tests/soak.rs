//! A long life: random calls on eight local nodes while workers and machines are killed and frozen at
//! random. `just soak` runs it for an hour; `SKYWARD_SOAK_SECONDS` says for how long, `SKYWARD_SEED` with
//! which dice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use skyward::prelude::*;
use skyward_tests::Ground;

const NODES: u32 = 8;

/// How often something is killed.
const BETWEEN_KILLS: Duration = Duration::from_secs(4);

/// How long nothing at all may happen: a call that is tried again waits for a new machine each time.
const HUNG: Duration = Duration::from_secs(180);

/// How much the client may grow over the second half of its life, in KiB: allocators keep what they
/// once needed, leaks grow with time.
const GROWTH_KIB: u64 = 24 * 1024;

#[skyward::function]
async fn work(id: u64, millis: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    id
}

#[skyward::function]
fn busy(id: u64) -> u64 {
    (0..200_000_u64).fold(id, |sum, it| std::hint::black_box(sum ^ it.rotate_left(7)));
    id
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

/// What this process has in memory, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// Kills or freezes a worker or a machine, whichever the dice say.
fn strike(ground: &Ground, dice: &mut Dice) {
    let role = if dice.roll(2) == 0 { "worker" } else { "machine" };
    let signal = if dice.roll(4) == 0 { Signal::STOP } else { Signal::KILL };
    let there = ground.processes(role);
    let Some(at) = usize::try_from(dice.roll(there.len().max(1) as u64)).ok() else { return };
    let pid = there.get(at).and_then(|it| i32::try_from(*it).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

#[skyward::test]
async fn random_calls_and_kills_lose_nothing_and_leave_nothing() -> skyward::Result<()> {
    let length = Duration::from_secs(setting("SKYWARD_SOAK_SECONDS", 20));
    let mut dice = Dice(setting("SKYWARD_SEED", 1));
    let ground = Ground::new("soak");
    let mut local = Local::default();
    local.directory = Some(ground.path().to_owned());
    // What is killed here is replaced, however often.
    let timing = Timing { lease: Duration::from_secs(15), provision_attempts: u32::MAX, ..Timing::short() };
    let builder = skyward_tests::apart().spec(Spec::on(local)).nodes(NODES).timing(timing);
    let compute = builder.interruptions(20).start().await?;

    let (began, mut struck) = (Instant::now(), Instant::now());
    let (mut next, mut done, mut kills) = (0_u64, 0_u64, 0_u64);
    // What there was in memory when each quarter of the time was over.
    let mut quarters: Vec<u64> = Vec::new();
    eprintln!("begin: {} KiB", resident_kib());
    while began.elapsed() < length {
        let ids: Vec<u64> = (next..next + 100 + dice.roll(400)).collect();
        next += ids.len() as u64;
        let calls: Vec<_> = ids
            .iter()
            .map(|id| if dice.roll(8) == 0 { busy(*id) } else { work(*id, dice.roll(20)) })
            .collect();
        let mut results = compute.stream(gather(calls));
        let mut seen = BTreeSet::new();
        while let Some(result) = tokio::time::timeout(HUNG, results.next()).await.expect("a call hangs") {
            let id = result?;
            assert!(seen.insert(id), "{id} was reported twice");
            if struck.elapsed() > BETWEEN_KILLS {
                struck = Instant::now();
                kills += 1;
                strike(&ground, &mut dice);
            }
        }
        assert!(seen.iter().eq(&ids), "a call was lost");
        done += ids.len() as u64;
        let passed = (4.0 * began.elapsed().as_secs_f64() / length.as_secs_f64()).min(4.0) as usize;
        while quarters.len() < passed {
            quarters.push(resident_kib());
            let quarter = quarters.len();
            eprintln!("quarter {quarter}: {done} calls, {kills} kills, {} KiB", resident_kib());
        }
    }
    let [_, half, _, end] = quarters[..] else { panic!("four quarters, not {quarters:?}") };
    assert!(end <= half + GROWTH_KIB, "memory grew in KiB by quarters: {quarters:?}");
    tokio::time::timeout(HUNG, compute.stop()).await.expect("the teardown hangs")?;
    eprintln!("{done} calls and {kills} kills in {length:.0?}; nothing lost, reported twice or left");
    assert_eq!(ground.left(), Vec::<String>::new());
    Ok(())
}
