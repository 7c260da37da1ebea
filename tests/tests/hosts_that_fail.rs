//! What becomes of calls that are under way when something befalls the hosts that they run on, or the net between.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails where it stands")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skyward::prelude::*;
use skyward::{Array, EventKind, Executor, Shared, ssh};
use skyward_tests::hosts::{self, PATIENCE, State, expect_all_as_before, expect_as_before};
use skyward_tests::smoke::rank;
use skyward_tests::testbed::{Bed, Host, Weather};
use skyward_tests::until;

/// How long a machine of a host that is gone outlives its client, where a test waits for its end.
const LEASE: Duration = Duration::from_secs(12);

fn timing() -> Timing {
    let (detect, grace) = (Duration::from_secs(3), Duration::from_secs(60));
    Timing { detect, grace, ..hosts::timing() }
}

fn config(bed: &Bed) -> ssh::Config {
    ssh::Config { connect_timeout: Duration::from_secs(5), ..hosts::config(bed) }
}

fn pool(bed: &Bed) -> skyward::Builder {
    skyward_tests::apart().spec(Spec::on(Ssh::new(config(bed)))).timing(timing())
}

/// A pool, and everything that it has told.
struct Watched {
    compute: Compute,
    told: Arc<Mutex<Vec<EventKind>>>,
}

impl Watched {
    fn new(compute: Compute) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (mut events, telling) = (compute.events(), Arc::clone(&told));
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                telling.lock().unwrap_or_else(PoisonError::into_inner).push(event.kind);
            }
        });
        Self { compute, told }
    }

    fn has(&self, is_it: impl Fn(&EventKind) -> bool) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).iter().any(is_it)
    }

    /// Waits until something was told.
    async fn expect(&self, is_it: impl Fn(&EventKind) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !self.has(&is_it) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if waited.await.is_err() {
            panic!("in vain: {:#?}", self.told.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// What was told of calls that were tried again or lost, and of links and nodes, which says why.
    fn ran_twice(&self) -> Option<Vec<EventKind>> {
        let is_it = |it: &EventKind| matches!(it, EventKind::TaskRetried { .. } | EventKind::TaskLost { .. });
        let of_task =
            |it: &EventKind| matches!(it, EventKind::TaskStarted { .. } | EventKind::TaskFinished { .. });
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().any(is_it).then(|| told.iter().filter(|it| !of_task(it)).cloned().collect())
    }
}

/// Writes down that it ran, where only its node can, and takes its time.
#[skyward::function]
async fn works(number: u32, millis: u64) -> u32 {
    let path = std::env::var("HOME").unwrap_or_default() + "/ran";
    let line = format!("{number}\n");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = file {
        let _ = std::io::Write::write_all(&mut file, line.as_bytes());
    }
    tokio::time::sleep(Duration::from_millis(millis)).await;
    number
}

#[skyward::function]
fn ran() -> Vec<u32> {
    let text =
        std::fs::read_to_string(std::env::var("HOME").unwrap_or_default() + "/ran").unwrap_or_default();
    text.lines().filter_map(|it| it.parse().ok()).collect()
}

/// Has so many calls under way, lets something happen, and waits for all outcomes.
async fn under_way(
    pool: &Watched,
    count: u32,
    millis: u64,
    happens: impl AsyncFnOnce(),
) -> skyward::Result<()> {
    let calls = gather((0..count).map(|it| works(it, millis)));
    let running = pool.compute.spawn(calls);
    pool.expect(|it| matches!(it, EventKind::TaskStarted { .. })).await;
    happens().await;
    let came = tokio::time::timeout(PATIENCE, running).await.expect("in time")?;
    assert_eq!(came, (0..count).collect::<Vec<_>>());
    Ok(())
}

/// How often each call ran, on all nodes together.
async fn runs(pool: &Watched) -> skyward::Result<Vec<u32>> {
    let mut all: Vec<u32> = (ran() * &pool.compute).await?.into_iter().flatten().collect();
    all.sort_unstable();
    Ok(all)
}

#[skyward::test]
async fn calls_pass_a_net_that_loses_a_fifth_is_slow_or_narrow() -> skyward::Result<()> {
    let Some(bed) = Bed::wired(2) else { return Ok(()) };
    let before = State::all(&bed);
    let worker = Worker { concurrency: 8, ..Worker::default() };
    let pool = Watched::new(pool(&bed).nodes(2).worker(worker).start().await?);
    let plain = Weather::default();
    for weather in [
        Weather { delay: Duration::from_millis(150), ..plain },
        Weather { bits_per_second: 8_000_000, ..plain },
        Weather { loss_percent: 20, ..plain },
    ] {
        under_way(&pool, 40, 200, async || {
            for host in bed.hosts() {
                host.weather(weather);
            }
        })
        .await?;
    }
    bed.hosts().iter().for_each(|it| it.weather(plain));
    assert_eq!(pool.ran_twice(), None);
    assert_eq!(runs(&pool).await?.len(), 120);
    pool.compute.stop().await?;
    expect_all_as_before(&bed, &before);
    Ok(())
}

#[skyward::test]
async fn a_cable_that_is_pulled_for_five_seconds_costs_no_call_and_none_runs_twice() -> skyward::Result<()> {
    let Some(bed) = Bed::of(2) else { return Ok(()) };
    let before = State::all(&bed);
    let worker = Worker { concurrency: 4, ..Worker::default() };
    let pool = Watched::new(pool(&bed).nodes(2).worker(worker).start().await?);
    under_way(&pool, 16, 3000, async || {
        bed.host(1).cut();
        bed.host(2).cut();
        // As long as the cable is out; nothing is waited for.
        tokio::time::sleep(Duration::from_secs(5)).await;
        bed.host(1).heal();
        bed.host(2).heal();
    })
    .await?;
    assert!(pool.has(|it| matches!(it, EventKind::LinkLost { .. })));
    assert_eq!(pool.ran_twice(), None);
    assert_eq!(runs(&pool).await?, (0..16).collect::<Vec<_>>());
    pool.compute.stop().await?;
    expect_all_as_before(&bed, &before);
    Ok(())
}

/// One of two nodes is gone for good with calls on it: another host takes its place, and the calls.
async fn replaced(
    strike: impl FnOnce(&Host),
    restore: impl FnOnce(&Host),
    is_reachable: bool,
) -> skyward::Result<()> {
    let Some(bed) = Bed::of(3) else { return Ok(()) };
    let before = State::all(&bed);
    let short = Timing { grace: Duration::from_secs(6), lease: LEASE, ttl: LEASE, ..timing() };
    let worker = Worker { concurrency: 2, ..Worker::default() };
    let starting = pool(&bed).nodes(2).worker(worker).timing(short).start();
    let pool = Watched::new(starting.await?);
    let struck = bed.hosts().iter().find(|it| !it.processes().is_empty()).expect("a host that is used");
    under_way(&pool, 8, 2000, async || strike(struck)).await?;
    assert!(pool.has(|it| matches!(it, EventKind::NodeLost { .. })));
    let ready = tokio::time::timeout(PATIENCE, async {
        while (rank() * &pool.compute).await.is_ok_and(|it| it.len() < 2) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    ready.await.expect("two nodes again");
    let stopped = pool.compute.stop().await.map_err(|it| it.to_string());
    assert_eq!(stopped.is_ok(), is_reachable, "what cannot be reached is named: {stopped:?}");
    assert!(stopped.err().is_none_or(|it| it.contains(struck.name())));
    restore(struck);
    let of = |host: &Host| bed.hosts().iter().position(|it| it.name() == host.name());
    for (host, before) in bed.hosts().iter().zip(&before) {
        if of(host) != of(struck) || host.processes() != before.processes {
            expect_as_before(host, before);
        }
    }
    // What a host without power could not clear away goes with the next machine there.
    let mut again = config(&bed);
    again.hosts = vec![struck.name().into()];
    skyward_tests::apart().spec(Spec::on(Ssh::new(again))).timing(timing()).start().await?.stop().await?;
    expect_as_before(struck, before.get(of(struck).expect("there")).expect("seen"));
    Ok(())
}

#[skyward::test]
async fn a_host_that_is_cut_off_for_good_is_replaced_and_ends_its_machine_by_itself() -> skyward::Result<()> {
    replaced(Host::cut, Host::heal, false).await
}

#[skyward::test]
async fn a_host_that_loses_power_is_replaced() -> skyward::Result<()> {
    replaced(Host::power_cut, Host::power_on, false).await
}

#[skyward::test]
async fn a_host_that_stands_still_is_replaced_and_ends_its_machine_when_it_goes_on() -> skyward::Result<()> {
    replaced(Host::freeze, Host::thaw, false).await
}

/// A server that carries the calls under way is changed, and they outlive it.
async fn outlived(happens: impl FnOnce(&Host)) -> skyward::Result<()> {
    let Some(bed) = Bed::of(1) else { return Ok(()) };
    let worker = Worker { concurrency: 4, ..Worker::default() };
    let pool = Watched::new(pool(&bed).carrier(Carrier::Ssh).worker(worker).start().await?);
    under_way(&pool, 8, 1500, async || happens(bed.host(1))).await?;
    assert_eq!(pool.ran_twice(), None);
    assert_eq!(runs(&pool).await?, (0..8).collect::<Vec<_>>());
    assert!(pool.has(|it| matches!(it, EventKind::LinkLost { .. })));
    pool.compute.stop().await?;
    until(PATIENCE, || bed.host(1).processes().is_empty().then_some(())).expect("nothing runs there");
    let of_ours = bed.host(1).files().into_iter().filter(|it| it.contains("skyward")).collect::<Vec<_>>();
    assert_eq!(of_ours, Vec::<String>::new());
    Ok(())
}

#[skyward::test]
async fn calls_outlive_the_restart_of_the_ssh_server_that_carries_them() -> skyward::Result<()> {
    outlived(Host::restart_sshd).await
}

#[skyward::test]
async fn calls_outlive_that_the_ssh_server_which_carries_them_forwards_no_more() -> skyward::Result<()> {
    outlived(Host::refuse_forwarding).await
}

#[skyward::test]
async fn calls_go_on_while_a_disk_is_full_and_nothing_of_them_stays() -> skyward::Result<()> {
    let Some(bed) = Bed::of(1) else { return Ok(()) };
    let before = State::of(bed.host(1));
    let pool = Watched::new(pool(&bed).start().await?);
    under_way(&pool, 4, 1000, async || bed.host(1).fill_disk()).await?;
    assert_eq!(pool.ran_twice(), None);
    pool.compute.stop().await?;
    expect_as_before(bed.host(1), &before);
    // What the machine had is free again.
    bed.host(1).free_disk();
    bed.host(1).fill_disk();
    let start = skyward_tests::apart().spec(Spec::on(Ssh::new(config(&bed)))).timing(timing()).start().await;
    let refused = start.expect_err("there is no room for a program").to_string();
    assert!(refused.contains("disk") || refused.contains("room"), "{refused}");
    bed.host(1).free_disk();
    expect_as_before(bed.host(1), &before);
    Ok(())
}

/// The sum of a value that is large enough to be kept on a disk.
#[skyward::function]
fn total(of: Shared<Array<u64>>) -> u64 {
    of.iter().sum()
}

#[skyward::test]
async fn a_value_that_a_full_disk_has_no_room_for_fails_its_calls_with_that_reason() -> skyward::Result<()> {
    let Some(bed) = Bed::of(2) else { return Ok(()) };
    let before = State::all(&bed);
    for cluster in [true, false] {
        let worker = Worker { concurrency: 2, executor: Executor::Process, ..Worker::default() };
        let pool = Watched::new(pool(&bed).nodes(2).cluster(cluster).worker(worker).start().await?);
        under_way(&pool, 4, 3000, async || {
            bed.hosts().iter().for_each(Host::fill_disk);
            let table = Shared::new(Array::from((0..500_000).collect::<Vec<u64>>())).expect("shared");
            let lost = (total(table) >> &pool.compute).await.expect_err("there is no room").to_string();
            assert!(lost.contains("for want of room") && lost.contains("No space left"), "{lost}");
        })
        .await?;
        bed.hosts().iter().for_each(Host::free_disk);
        let table = Shared::new(Array::from(vec![7_u64; 500_000]))?;
        assert_eq!((total(table) * &pool.compute).await?, [3_500_000; 2]);
        pool.compute.stop().await?;
        expect_all_as_before(&bed, &before);
    }
    Ok(())
}

/// The clock that people set, in seconds since 1970.
#[skyward::function]
fn clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

#[skyward::test]
async fn clocks_that_are_an_hour_off_end_no_call_and_no_lease() -> skyward::Result<()> {
    let Some(bed) = Bed::of(2) else { return Ok(()) };
    bed.host(1).set_clock_wrong(3600);
    bed.host(2).set_clock_wrong(-3600);
    let before = State::all(&bed);
    let short = Timing { lease: LEASE, ttl: LEASE, ..timing() };
    let pool = Watched::new(pool(&bed).nodes(2).timing(short).start().await?);
    let mut clocks = (clock() * &pool.compute).await?;
    clocks.sort_unstable();
    let [behind, ahead] = clocks[..] else { panic!("{clocks:?}") };
    assert!((7000..7400).contains(&(ahead - behind)), "{clocks:?}");
    // Longer than the lease, one after the other on each node.
    under_way(&pool, 4, 7000, async || {}).await?;
    assert_eq!(pool.ran_twice(), None);
    assert_eq!(runs(&pool).await?, (0..4).collect::<Vec<_>>());
    pool.compute.stop().await?;
    expect_all_as_before(&bed, &before);
    Ok(())
}

#[skyward::test]
async fn where_udp_is_lost_the_link_falls_to_ssh() -> skyward::Result<()> {
    let Some(bed) = Bed::wired(1) else { return Ok(()) };
    let before = State::all(&bed);
    bed.host(1).block_udp();
    let pool = Watched::new(pool(&bed).start().await?);
    under_way(&pool, 4, 100, async || {}).await?;
    // Whatever it was linked over is what it is linked over again.
    bed.host(1).restart_sshd();
    pool.expect(|it| matches!(it, EventKind::Linked { carrier: Carrier::Ssh, .. })).await;
    pool.compute.stop().await?;
    expect_all_as_before(&bed, &before);
    Ok(())
}

#[skyward::test]
async fn a_host_whose_key_changes_is_refused_and_its_calls_are_not_given_to_it() -> skyward::Result<()> {
    let Some(bed) = Bed::of(1) else { return Ok(()) };
    let before = State::of(bed.host(1));
    let short = Timing { grace: Duration::from_secs(6), lease: LEASE, ttl: LEASE, ..timing() };
    let starting = pool(&bed).carrier(Carrier::Ssh).timing(short).start();
    let pool = Watched::new(starting.await?);
    let running = pool.compute.spawn(works(1, 30_000));
    pool.expect(|it| matches!(it, EventKind::TaskStarted { .. })).await;
    bed.host(1).change_host_key();
    let refused = |text: &String| text.contains("refused to log in") && text.contains("another machine");
    pool.expect(|it| match it {
        EventKind::NodeLost { reason, .. } | EventKind::ProvisionFailed { reason, .. } => refused(reason),
        _ => false,
    })
    .await;
    drop(running);
    let stopped = pool.compute.stop().await.expect_err("nobody can end what is there").to_string();
    assert!(stopped.contains("h1"), "{stopped}");
    // Its lease does.
    expect_as_before(bed.host(1), &before);
    Ok(())
}
