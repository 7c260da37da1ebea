//! The time that calls, groups and gathers are given, on real local machines: what it covers, and what
//! becomes of what is still waiting or running when it is over.

use std::time::{Duration, Instant};

use skyward::prelude::*;
use skyward_tests::{Ground, builder, end};

/// Far longer than any of these calls may take, on busy cores.
const SOON: Duration = Duration::from_secs(20);

#[skyward::function]
async fn sleeps(millis: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    millis
}

#[skyward::function]
fn double(number: u64) -> u64 {
    number * 2
}

#[skyward::function]
async fn marks(path: String, millis: u64) -> u32 {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    // Reached only when nobody cancelled the call.
    let _ = std::fs::write(path, "done");
    1
}

/// Is there until it is let go, whatever it is told.
#[skyward::function]
fn stays(gate: String) -> u32 {
    while !std::path::Path::new(&gate).exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    1
}

#[skyward::function]
async fn size(of: skyward::Bytes) -> usize {
    of.len()
}

#[skyward::function]
fn below(most: u32) -> impl Iterator<Item = u32> {
    0..most
}

fn is_late<T, E>(result: &Result<T, CallError<E>>) -> bool {
    matches!(result, Err(CallError::TimedOut(_)))
}

#[skyward::test]
async fn a_call_over_its_time_is_an_error_that_says_how_long_it_had() -> skyward::Result<()> {
    let ground = Ground::new("late");
    let compute = builder(&ground).start().await?;
    let limit = Duration::from_millis(50);
    match (sleeps(10_000).timeout(limit) >> &compute).await {
        Err(error @ CallError::TimedOut(_)) => assert!(error.to_string().contains("50ms"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!((double(4) >> &compute).await?, 8);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_plain_function_that_outlives_its_call_swallows_none_of_those_that_another_node_could_run()
-> skyward::Result<()> {
    let (ground, gates) = (Ground::new("outlives"), tempfile::tempdir()?);
    let compute = builder(&ground).nodes(2).start().await?;
    for round in ["late", "dropped"] {
        let gate = gates.path().join(round);
        let hung = stays(gate.display().to_string());
        if round == "late" {
            assert!(is_late(&(hung.timeout(Duration::from_secs(1)) >> &compute).await));
        } else {
            let dropped = tokio::time::timeout(Duration::from_secs(1), hung >> &compute).await;
            assert!(dropped.is_err(), "{dropped:?}");
        }
        let ten = async {
            for number in 0..5 {
                assert_eq!((double(number) >> &compute).await?, number * 2);
            }
            // Those on streams of their own as well.
            for _ in 0..3 {
                assert_eq!((size(vec![7; 1 << 20].into()) >> &compute).await?, 1 << 20);
                assert_eq!((below(3) >> &compute).collect().await?, [0, 1, 2]);
            }
            let five = gather((5..10).map(double)) >> &compute;
            Ok::<_, skyward::Error>(five.await?)
        };
        let doubled = tokio::time::timeout(SOON, ten).await.expect("no call waits for the hung function")?;
        assert_eq!(doubled, [10, 12, 14, 16, 18]);
        std::fs::write(gate, "")?;
    }
    end(compute, &ground).await
}

#[skyward::test]
async fn the_time_in_the_queue_counts_for_a_calls_time_out() -> skyward::Result<()> {
    let ground = Ground::new("queue-late");
    let compute = builder(&ground).start().await?;
    let mark = ground.path().join("mark");
    let busy = compute.spawn(sleeps(6_000));
    let runs = async { while compute.explain().await.calls.is_none_or(|it| it.running == 0) {} };
    tokio::time::timeout(SOON, runs).await.expect("the slot is taken");
    let began = Instant::now();
    // It never gets the only slot, and must not run when that is free.
    let queued = marks(mark.display().to_string(), 1).timeout(Duration::from_millis(300)) >> &compute;
    assert!(is_late(&queued.await));
    assert!(began.elapsed() < Duration::from_millis(5_500), "{:?}", began.elapsed());
    assert_eq!(busy.await?, 6_000);
    assert_eq!((double(4) >> &compute).await?, 8);
    assert!(!mark.exists(), "what was given up in the queue has run");
    end(compute, &ground).await
}

#[skyward::test]
async fn a_gather_over_its_time_ends_whatever_its_calls_were_given() -> skyward::Result<()> {
    let ground = Ground::new("gather-late");
    let compute = builder(&ground).start().await?;
    // One slot: the third would begin after the time of all of them.
    let calls = [1, 400, 60_000].map(|millis| sleeps(millis).timeout(Duration::from_secs(60)));
    let began = Instant::now();
    assert!(is_late(&(gather(calls.clone()).timeout(Duration::from_secs(3)) >> &compute).await));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let mut results = compute.stream(gather(calls).timeout(Duration::from_secs(3)).ordered());
    assert_eq!(
        (results.next().await.and_then(Result::ok), results.next().await.and_then(Result::ok)),
        (Some(1), Some(400))
    );
    assert!(matches!(results.next().await, Some(Err(CallError::TimedOut(_)))));
    end(compute, &ground).await
}

#[skyward::test]
async fn a_group_over_its_time_ends_like_a_gather_and_its_running_calls_are_cancelled() -> skyward::Result<()>
{
    let ground = Ground::new("group-late");
    let compute = builder(&ground).start().await?;
    let mark = ground.path().join("mark");
    let long = || marks(mark.display().to_string(), 1_500).timeout(Duration::from_secs(60));
    let began = Instant::now();
    // Whichever has the only slot runs out of time on the node, the other one in the queue.
    let limit = Duration::from_millis(400);
    let together = (long() & sleeps(1_500)).timeout(limit) >> &compute;
    let error = together.await.expect_err("late");
    let words = error.to_string();
    assert!(words.contains("in a group of calls") && words.contains("400ms"), "{words}");
    let (one, two) = ((long() & sleeps(1_500)).timeout(limit) >> &compute).settle().await;
    assert!(is_late(&one) && is_late(&two), "{one:?} {two:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // The slot is free at once, and what ran before does not go on to its end.
    assert_eq!((sleeps(1_600) >> &compute).await?, 1_600);
    assert!(!mark.exists(), "a call of the group went on to its end");
    end(compute, &ground).await
}

#[skyward::test]
async fn what_a_settled_group_has_when_its_time_is_over_is_kept() -> skyward::Result<()> {
    let ground = Ground::new("group-settled");
    let compute = builder(&ground).start().await?;
    let group = (double(4) & sleeps(60_000) & double(5).timeout(Duration::from_secs(60)))
        .timeout(Duration::from_secs(2));
    let settled = (group >> &compute).settle().await;
    assert_eq!(settled.0.ok(), Some(8));
    assert!(is_late(&settled.1), "{:?}", settled.1);
    // In this process as on nodes, and a call's own shorter time counts.
    let own = sleeps(60_000).timeout(Duration::from_millis(50));
    let (short, long) = (own & sleeps(60_000)).timeout(Duration::from_millis(200)).local().settle().await;
    assert!(matches!(&short, Err(error @ CallError::TimedOut(_)) if error.to_string().contains("50ms")));
    assert!(matches!(&long, Err(error @ CallError::TimedOut(_)) if error.to_string().contains("200ms")));
    end(compute, &ground).await
}
