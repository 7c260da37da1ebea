//! What happens to calls and nodes when workers and machines are killed or frozen, with real processes.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use skyward::prelude::*;
use skyward::{EventKind, OnLost};
use skyward_tests::{Ground, end, send, until_said};

#[skyward::function]
async fn sleeps(millis: u64) -> Option<u32> {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    skyward::instance_info().map(|it| it.rank.0)
}

#[skyward::function]
async fn name() -> Option<String> {
    skyward::instance_info().map(|it| it.name.to_string())
}

#[skyward::function]
async fn fails_until(path: String, tries: usize) -> Result<usize, String> {
    use std::io::Write;
    let mut file =
        std::fs::File::options().create(true).append(true).open(&path).map_err(|it| it.to_string())?;
    file.write_all(b"x").map_err(|it| it.to_string())?;
    let tried = std::fs::read(&path).map_err(|it| it.to_string())?.len();
    if tried < tries { Err(format!("try {tried}")) } else { Ok(tried) }
}

fn timing() -> Timing {
    Timing { grace: Duration::from_secs(3), lease: Duration::from_secs(30), ..Timing::short() }
}

async fn pool(ground: &Ground, nodes: u32) -> skyward::Result<Compute> {
    let mut local = Local::default();
    local.directory = Some(ground.path().to_owned());
    skyward_tests::apart().spec(Spec::on(local)).nodes(nodes).timing(timing()).start().await
}

/// The worker's process of one rank, and its machine's.
async fn processes_of(compute: &Compute, ground: &Ground, rank: u32) -> skyward::Result<(u32, u32)> {
    let worker = (process() >> compute.node(rank)).await?;
    let home = (home() >> compute.node(rank)).await?;
    let machine = ground.processes("machine").into_iter().find(|it| {
        let log = std::fs::read_link(format!("/proc/{it}/fd/2")).unwrap_or_default();
        log.starts_with(&home)
    });
    Ok((worker, machine.expect("its machine")))
}

#[skyward::function]
async fn process() -> u32 {
    std::process::id()
}

#[skyward::function]
async fn home() -> String {
    std::env::var("HOME").unwrap_or_default()
}

#[skyward::test]
async fn a_killed_workers_calls_finish_and_it_is_restarted_on_its_machine() -> skyward::Result<()> {
    let ground = Ground::new("worker-killed");
    let compute = pool(&ground, 2).await?;
    let before = (name() >> compute.node(1)).await?;
    let (worker, machine) = processes_of(&compute, &ground, 1).await?;
    let pinned = compute.spawn(sleeps(300).retries(0));
    let calls = compute.spawn(gather((0..4).map(|_| sleeps(300))));
    send(worker, Signal::KILL)?;
    assert!(pinned.await?.is_some());
    assert!(calls.await?.into_iter().all(|it| it.is_some()));
    // The rank is there again, as another life of the worker on the same machine.
    let after = (name() >> compute.node(1)).await?;
    assert_ne!(before, after);
    let (restarted, same) = processes_of(&compute, &ground, 1).await?;
    assert!(restarted != worker && same == machine);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_killed_machines_calls_finish_elsewhere_and_its_rank_is_replaced() -> skyward::Result<()> {
    let ground = Ground::new("machine-killed");
    let compute = pool(&ground, 2).await?;
    let (_, machine) = processes_of(&compute, &ground, 1).await?;
    let calls = compute.spawn(gather((0..4).map(|_| sleeps(300))));
    send(machine, Signal::KILL)?;
    assert_eq!(calls.await?.len(), 4);
    // A call for the rank waits for its replacement.
    assert_eq!((sleeps(1) >> compute.node(1)).await?, Some(1));
    let (_, replaced) = processes_of(&compute, &ground, 1).await?;
    assert_ne!(replaced, machine);
    end(compute, &ground).await
}

#[skyward::test]
async fn the_end_of_a_machine_is_noticed_long_before_its_silence_would_tell() -> skyward::Result<()> {
    let ground = Ground::new("machine-noticed");
    // Whoever waits for silence waits for longer than this test does.
    let timing = Timing { detect: Duration::from_secs(120), ..timing() };
    let local = Local::default().directory(ground.path());
    let compute = skyward_tests::apart().spec(Spec::on(local)).nodes(2).timing(timing).start().await?;
    let (_, machine) = processes_of(&compute, &ground, 1).await?;
    let mut events = compute.events();
    send(machine, Signal::KILL)?;
    let lost = |it: &EventKind| matches!(it, EventKind::NodeLost { rank, reason, .. } if rank.0 == 1 && reason.contains("ended"));
    until_said(&mut events, Duration::from_secs(10), lost).await;
    assert_eq!((sleeps(1) >> compute.node(1)).await?, Some(1));
    end(compute, &ground).await
}

#[skyward::test]
async fn a_frozen_machine_is_replaced_within_detect_and_grace_and_three_seconds() -> skyward::Result<()> {
    let ground = Ground::new("frozen");
    let began = Instant::now();
    let compute = pool(&ground, 2).await?;
    // The three seconds are for a new machine, which takes as long as the first ones where cores are busy.
    let machine_time = Duration::from_secs(3).max(began.elapsed() * 2);
    let (worker, machine) = processes_of(&compute, &ground, 1).await?;
    let mut events = compute.events();
    send(worker, Signal::STOP)?;
    send(machine, Signal::STOP)?;
    let began = Instant::now();
    let limit = timing().detect + timing().grace + machine_time;
    until_said(&mut events, limit * 2, |it| matches!(it, EventKind::NodeLost { rank, .. } if rank.0 == 1))
        .await;
    assert_eq!((sleeps(1) >> compute.node(1)).await?, Some(1));
    let took = began.elapsed();
    assert!(took <= limit, "replaced after {took:?}, not {limit:?}");
    end(compute, &ground).await
}

#[skyward::test]
async fn a_machine_that_dies_while_it_boots_is_replaced_and_the_pool_starts() -> skyward::Result<()> {
    let ground = Ground::new("boot-killed");
    let mut local = Local::default();
    local.directory = Some(ground.path().to_owned());
    local.faults.boot_delay = Duration::from_millis(700);
    let starting = skyward_tests::apart().spec(Spec::on(local)).nodes(2).timing(timing()).start();
    let compute =
        while_starting(starting, &ground, |ground| ground.processes("machine").first().copied()).await?;
    assert_eq!((sleeps(1) * &compute).await?, [Some(0), Some(1)]);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_machine_that_dies_while_it_is_bootstrapped_is_replaced_and_the_pool_starts() -> skyward::Result<()>
{
    let ground = Ground::new("bootstrap-killed");
    let mut local = Local::default();
    local.directory = Some(ground.path().to_owned());
    let image = Image::new().shell("sleep 1");
    let starting =
        skyward_tests::apart().spec(Spec::on(local)).nodes(2).image(image).timing(timing()).start();
    let compute = while_starting(starting, &ground, |ground| {
        let bootstrapping = ground.commands().iter().any(|it| it.contains("sleep 1"));
        ground.processes("machine").first().copied().filter(|_| bootstrapping)
    })
    .await?;
    assert_eq!((sleeps(1) * &compute).await?, [Some(0), Some(1)]);
    end(compute, &ground).await
}

/// Starts a pool and kills the first process that is found meanwhile.
async fn while_starting(
    starting: impl Future<Output = skyward::Result<Compute>>,
    ground: &Ground,
    find: impl Fn(&Ground) -> Option<u32>,
) -> skyward::Result<Compute> {
    let killing = async {
        loop {
            if let Some(process) = find(ground) {
                send(process, Signal::KILL).expect("signalled");
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (started, ()) = tokio::join!(starting, killing);
    started
}

#[skyward::test]
async fn a_pool_says_what_its_calls_and_nodes_wait_for() -> skyward::Result<()> {
    let ground = Ground::new("explain");
    let compute = pool(&ground, 1).await?;
    let mut events = compute.events();
    let running = compute.spawn(sleeps(3_000));
    until_said(&mut events, Duration::from_secs(5), |it| matches!(it, EventKind::TaskStarted { .. })).await;
    let waiting = compute.spawn(sleeps(1));
    let pinned = compute.spawn(sleeps(1));
    let busy = loop {
        let told = compute.explain().await;
        if told.calls.as_ref().is_some_and(|it| it.for_slot == 2) {
            break told.to_string();
        }
        tokio::task::yield_now().await;
    };
    for part in ["the pool is ready", "node 0 is ready", "1 running", "2 waiting for a free slot"] {
        assert!(busy.contains(part), "{part:?} is not in:\n{busy}");
    }
    drop((running, waiting, pinned));
    end(compute, &ground).await
}

#[skyward::test]
async fn the_head_is_replaced_like_any_other() -> skyward::Result<()> {
    let ground = Ground::new("head-killed");
    let compute = pool(&ground, 1).await?;
    let (_, machine) = processes_of(&compute, &ground, 0).await?;
    send(machine, Signal::KILL)?;
    assert_eq!((sleeps(1) >> compute.head()).await?, Some(0));
    end(compute, &ground).await
}

#[skyward::test]
async fn a_broadcast_does_with_a_lost_node_what_it_was_told() -> skyward::Result<()> {
    let ground = Ground::new("lost-shares");
    let local = Local::default().directory(ground.path());
    // Three machines of a rank are killed.
    let timing = Timing { provision_attempts: 9, ..timing() };
    let compute = skyward_tests::apart().spec(Spec::on(local)).nodes(2).timing(timing).start().await?;
    for (lost, expected) in [
        (OnLost::FailFast, None),
        (OnLost::Ignore, Some(vec![Some(0)])),
        (OnLost::Replace, Some(vec![Some(0), Some(1)])),
    ] {
        // The rank is back before the next round begins.
        assert_eq!((sleeps(1) * &compute).await?, [Some(0), Some(1)]);
        let (_, machine) = processes_of(&compute, &ground, 1).await?;
        let mut events = compute.events();
        let sent = compute.spawn(broadcast(sleeps(700)).on_lost(lost));
        until_said(
            &mut events,
            Duration::from_secs(5),
            |it| matches!(it, EventKind::TaskStarted { rank, .. } if rank.0 == 1),
        )
        .await;
        send(machine, Signal::KILL)?;
        let outcome = sent.await;
        match expected {
            Some(expected) => assert_eq!(outcome?, expected, "{lost:?}"),
            None => assert!(matches!(outcome, Err(CallError::Lost(_))), "{outcome:?}"),
        }
        assert_eq!((sleeps(1) >> compute.node(1)).await?, Some(1));
    }
    end(compute, &ground).await
}

#[skyward::test]
async fn a_call_that_may_run_once_is_not_run_again_when_its_node_is_lost() -> skyward::Result<()> {
    let ground = Ground::new("once");
    let compute = pool(&ground, 2).await?;
    let (worker, _) = processes_of(&compute, &ground, 1).await?;
    let mut events = compute.events();
    let call = compute.spawn(sleeps(5_000).once());
    let other = compute.spawn(sleeps(5_000).once());
    until_said(
        &mut events,
        Duration::from_secs(5),
        |it| matches!(it, EventKind::TaskStarted { rank, .. } if rank.0 == 1),
    )
    .await;
    send(worker, Signal::KILL)?;
    let outcomes = [call.await, other.await];
    let lost = outcomes.iter().filter(|it| matches!(it, Err(CallError::Lost(lost)) if lost.attempts == 1));
    assert_eq!(lost.count(), 1, "{outcomes:?}");
    end(compute, &ground).await
}

#[skyward::test]
async fn a_functions_own_failure_is_tried_again_as_often_as_asked() -> skyward::Result<()> {
    let ground = Ground::new("retries");
    let compute = pool(&ground, 1).await?;
    let file = |name: &str| ground.path().join(name).display().to_string();
    match (fails_until(file("a"), 3) >> &compute).await {
        Err(CallError::Task(error)) => assert_eq!(error, "try 1"),
        other => assert!(other.is_err(), "{other:?}"),
    }
    assert_eq!((fails_until(file("b"), 3).retries(2) >> &compute).await?, 3);
    match (fails_until(file("c"), 5).retries(2) >> &compute).await {
        Err(CallError::Task(error)) => assert_eq!(error, "try 3"),
        other => assert!(other.is_err(), "{other:?}"),
    }
    for name in ["a", "b", "c"] {
        std::fs::remove_file(file(name))?;
    }
    end(compute, &ground).await
}
