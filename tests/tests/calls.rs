//! Calls on real local machines: values, errors, groups, broadcasts, the queue. `calls_over_ssh` runs them
//! all once more over SSH, `calls_in_processes` with tasks in processes of their own.

#![expect(clippy::panic, reason = "functions that panic are among what is tested")]

use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use skyward::prelude::*;
use skyward_tests::{Ground, builder, end, until};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Refusal {
    TooLarge { limit: u32 },
}

#[skyward::function]
async fn rank() -> Option<u32> {
    skyward::instance_info().map(|it| it.rank.0)
}

#[skyward::function]
async fn echo(text: String) -> String {
    text
}

#[skyward::function]
async fn tagged(tag: u32) -> (u32, Option<u32>) {
    (tag, skyward::instance_info().map(|it| it.rank.0))
}

#[skyward::function]
fn double(number: u64) -> u64 {
    number * 2
}

#[skyward::function]
async fn small(number: u32) -> Result<u32, Refusal> {
    if number < 10 { Ok(number) } else { Err(Refusal::TooLarge { limit: 10 }) }
}

#[skyward::function]
async fn fails_with_a_chain() -> Result<(), Failure> {
    let text = "not a number";
    text.parse::<u32>()?;
    Ok(())
}

#[skyward::function]
async fn panics() -> u32 {
    panic!("out of luck")
}

#[skyward::function]
fn panics_while_blocking() -> u32 {
    panic!("out of luck")
}

#[skyward::function]
async fn sleeps(millis: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    millis
}

#[skyward::function]
async fn marks(path: String, millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    // Reached only when nobody cancelled the call.
    let _ = std::fs::write(path, "done");
}

/// A pool over what this program's links run over.
fn over(ground: &Ground) -> skyward::Builder {
    let over_ssh = env!("CARGO_CRATE_NAME") == "calls_over_ssh";
    builder(ground).carrier(if over_ssh { Carrier::Ssh } else { Carrier::Quic }).worker(worker())
}

/// What this program's tasks run in.
fn worker() -> Worker {
    let in_processes = env!("CARGO_CRATE_NAME") == "calls_in_processes";
    let executor = if in_processes { Executor::Process } else { Executor::Thread };
    Worker { executor, ..Worker::default() }
}

async fn pool(ground: &Ground, nodes: u32) -> skyward::Result<Compute> {
    over(ground).nodes(nodes).start().await
}

#[skyward::test]
async fn calls_return_typed_values_from_one_node_from_every_node_and_from_a_named_one() -> skyward::Result<()>
{
    let ground = Ground::new("values");
    let compute = pool(&ground, 3).await?;
    assert_eq!((echo("héllo".into()) >> &compute).await?, "héllo");
    assert_eq!((double(21) >> &compute).await?, 42);
    assert_eq!((rank() * &compute).await?, [Some(0), Some(1), Some(2)]);
    assert_eq!((rank() >> compute.head()).await?, Some(0));
    assert_eq!((rank() >> compute.node(2)).await?, Some(2));
    assert_eq!(rank().local().await?, None);
    let (a, b, c) = ((double(1) & echo("two".into()) & rank()) >> &compute).await?;
    assert_eq!((a, b.as_str(), c.is_some()), (2, "two", true));
    assert_eq!(compute.map(double, 0..20).await?, (0..20).map(|it| it * 2).collect::<Vec<_>>());
    assert_eq!(
        (gather((0..20).map(double)) >> &compute).await?,
        (0..20).map(|it| it * 2).collect::<Vec<_>>()
    );
    end(compute, &ground).await
}

#[skyward::test]
async fn untargeted_calls_go_round_the_nodes() -> skyward::Result<()> {
    let ground = Ground::new("round");
    let compute = pool(&ground, 2).await?;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push((rank() >> &compute).await?.unwrap_or_default());
    }
    assert!(seen == [0, 1, 0, 1] || seen == [1, 0, 1, 0], "{seen:?}");
    end(compute, &ground).await
}

#[skyward::test]
async fn two_broadcasts_at_once_do_not_swap_results() -> skyward::Result<()> {
    let ground = Ground::new("broadcasts");
    let compute = pool(&ground, 3).await?;
    for round in 0..20 {
        let (one, other) = tokio::join!(tagged(round) * &compute, tagged(1000 + round) * &compute);
        assert_eq!(one?, [0, 1, 2].map(|rank| (round, Some(rank))));
        assert_eq!(other?, [0, 1, 2].map(|rank| (1000 + round, Some(rank))));
    }
    end(compute, &ground).await
}

#[skyward::test]
async fn a_broadcast_is_not_confused_by_a_concurrent_call() -> skyward::Result<()> {
    let ground = Ground::new("confused");
    let compute = pool(&ground, 2).await?;
    for round in 0..20 {
        let (all, one, pinned) =
            tokio::join!(tagged(round) * &compute, tagged(500) >> &compute, tagged(600) >> compute.node(1));
        assert_eq!(all?, [0, 1].map(|rank| (round, Some(rank))));
        assert_eq!(one?.0, 500);
        assert_eq!(pinned?, (600, Some(1)));
    }
    end(compute, &ground).await
}

#[skyward::test]
async fn the_functions_own_error_is_matched_by_the_caller() -> skyward::Result<()> {
    let ground = Ground::new("errors");
    let compute = pool(&ground, 2).await?;
    assert_eq!((small(3) >> &compute).await?, 3);
    match (small(12) >> &compute).await {
        Err(CallError::Task(Refusal::TooLarge { limit })) => assert_eq!(limit, 10),
        other => panic!("{other:?}"),
    }
    match (small(12) * &compute).await {
        Err(CallError::Task(Refusal::TooLarge { limit: 10 })) => {}
        other => panic!("{other:?}"),
    }
    // Through the error that main returns, it is found again.
    let error = skyward::Error::from((small(12) >> &compute).await.expect_err("too large"));
    assert_eq!(error.task::<Refusal>(), Some(&Refusal::TooLarge { limit: 10 }));
    match (fails_with_a_chain() >> &compute).await {
        Err(CallError::Task(failure)) => assert!(failure.to_string().contains("invalid digit"), "{failure}"),
        other => panic!("{other:?}"),
    }
    let settled = ((small(3) & small(12) & double(4)) >> &compute).settle().await;
    assert_eq!(settled.0.ok(), Some(3));
    assert!(matches!(settled.1, Err(CallError::Task(Refusal::TooLarge { .. }))));
    assert_eq!(settled.2.ok(), Some(8));
    end(compute, &ground).await
}

#[skyward::test]
async fn a_panic_is_an_outcome_with_its_message_and_the_node_lives_on() -> skyward::Result<()> {
    let ground = Ground::new("panics");
    let compute = pool(&ground, 1).await?;
    for call in [panics(), panics_while_blocking()] {
        match (call >> &compute).await {
            Err(CallError::Panicked(panic)) => {
                assert_eq!(panic.message, "out of luck");
                assert!(panic.place.as_deref().is_some_and(|it| it.contains("calls.rs")), "{panic:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((double(4) >> &compute).await?, 8);
    end(compute, &ground).await
}

#[skyward::test]
async fn an_absent_rank_fails_at_once_and_says_how_many_there_are() -> skyward::Result<()> {
    let ground = Ground::new("absent");
    let compute = pool(&ground, 2).await?;
    let error = tokio::time::timeout(Duration::from_secs(20), rank() >> compute.node(7))
        .await
        .expect("at once")
        .expect_err("absent");
    assert!(matches!(error, CallError::NoSuchNode { .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.contains('7') && told.contains('2'), "{told}");
    end(compute, &ground).await
}

#[skyward::test]
async fn ten_thousand_calls_pass_through_a_bounded_queue() -> skyward::Result<()> {
    let ground = Ground::new("queue");
    let worker = Worker { concurrency: 4, ..worker() };
    let compute = over(&ground).nodes(2).worker(worker).queue(64).start().await?;
    let doubled = (gather((0..10_000).map(double)) >> &compute).await?;
    assert!(doubled.into_iter().eq((0..10_000).map(|it| it * 2)));
    end(compute, &ground).await
}

#[skyward::test]
async fn results_come_as_they_finish_or_in_order_as_asked() -> skyward::Result<()> {
    let ground = Ground::new("streams");
    let compute = over(&ground).worker(Worker { concurrency: 3, ..worker() }).start().await?;
    let millis = [600, 1, 300];
    let finished: Vec<u64> =
        compute.stream(gather(millis.map(sleeps))).map(Result::unwrap_or_default).collect().await;
    assert_eq!(finished, [1, 300, 600]);
    let ordered: Vec<u64> =
        compute.stream(gather(millis.map(sleeps)).ordered()).map(Result::unwrap_or_default).collect().await;
    assert_eq!(ordered, millis);
    let indexed: Vec<(usize, u64)> = compute
        .stream(gather(millis.map(sleeps)))
        .indexed()
        .map(|(at, it)| (at, it.unwrap_or_default()))
        .collect()
        .await;
    assert_eq!(indexed, [(1, 1), (2, 300), (0, 600)]);
    end(compute, &ground).await
}

#[skyward::test]
async fn the_first_error_of_a_gather_cancels_the_rest() -> skyward::Result<()> {
    let ground = Ground::new("gather");
    let compute = pool(&ground, 2).await?;
    let numbers = [1, 2, 30, 4, 5];
    match (gather(numbers.map(small)) >> &compute).await {
        Err(CallError::Task(Refusal::TooLarge { limit: 10 })) => {}
        other => panic!("{other:?}"),
    }
    end(compute, &ground).await
}

#[skyward::test]
async fn a_call_that_is_not_awaited_in_time_is_cancelled_on_its_node() -> skyward::Result<()> {
    let ground = Ground::new("cancel");
    let compute = pool(&ground, 1).await?;
    let mark = ground.path().join("mark");
    let call = marks(mark.display().to_string(), 300) >> &compute;
    assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
    // The one slot of the one node is free again at once, and stays free of the cancelled call.
    assert_eq!((sleeps(500) >> &compute).await?, 500);
    assert!(!mark.exists(), "the cancelled call went on to its end");
    end(compute, &ground).await
}

#[skyward::test]
async fn a_spawned_call_runs_without_being_awaited() -> skyward::Result<()> {
    let ground = Ground::new("spawn");
    let compute = pool(&ground, 1).await?;
    let mark = ground.path().join("mark");
    drop(compute.spawn(marks(mark.display().to_string(), 1)));
    let spawned = compute.spawn(double(4));
    assert_eq!(spawned.await?, 8);
    let marked = until(Duration::from_secs(10), || std::fs::remove_file(&mark).ok());
    assert!(marked.is_some(), "the detached call never ran");
    end(compute, &ground).await
}

#[skyward::test]
async fn two_pools_in_one_process_do_not_disturb_each_other() -> skyward::Result<()> {
    let (ground_one, ground_two) = (Ground::new("one"), Ground::new("two"));
    let (one, two) = tokio::join!(pool(&ground_one, 2), pool(&ground_two, 1));
    let (one, two) = (one?, two?);
    let (ranks_one, ranks_two) = tokio::join!(rank() * &one, rank() * &two);
    assert_eq!(ranks_one?, [Some(0), Some(1)]);
    assert_eq!(ranks_two?, [Some(0)]);
    end(one, &ground_one).await?;
    assert_eq!((double(1) >> &two).await?, 2);
    end(two, &ground_two).await
}

#[skyward::test]
async fn a_pool_that_was_given_back_refuses_calls_and_says_so() -> skyward::Result<()> {
    let ground = Ground::new("stopped");
    let compute = pool(&ground, 1).await?;
    let late = double(1) >> &compute;
    end(compute, &ground).await?;
    let error = late.await.expect_err("stopped");
    assert!(matches!(error, CallError::Stopped), "{error:?}");
    Ok(())
}

#[skyward::test]
async fn large_arguments_and_results_arrive_whole() -> skyward::Result<()> {
    let ground = Ground::new("large");
    let compute = pool(&ground, 1).await?;
    let text = "0123456789abcdef".repeat(1 << 19);
    assert!((echo(text.clone()) >> &compute).await? == text);
    end(compute, &ground).await
}
