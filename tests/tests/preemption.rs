//! Machines whose cloud says that it takes them, with real processes: who hears of it, what goes on, what comes instead.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream, StreamExt};
use skyward::prelude::*;
use skyward::{Bytes, CallError, EventKind, Loss, NodePhase};
use skyward_providers::local::Faults;
use skyward_tests::{Ground, end, patient, until_said};

/// Long enough for another machine to become a node while cores are busy.
const NOTICE: &str = "90";

/// Some time on its way, also on an idle computer.
const MUCH: usize = 96 << 20;

#[skyward::function]
async fn name() -> Option<String> {
    skyward::instance_info().map(|it| it.name.to_string())
}

#[skyward::function]
async fn nodes() -> Option<u32> {
    skyward::instance_info().map(|it| it.nodes)
}

#[skyward::function]
async fn home() -> String {
    std::env::var("HOME").unwrap_or_default()
}

/// Waits for a notice, and then until it is let go; how long it was told that there is left.
#[skyward::function]
async fn lingers(heard: String, until: String) -> (Option<String>, Duration) {
    let deadline = skyward::preemption().await;
    let left = deadline.saturating_duration_since(Instant::now());
    assert_eq!(skyward::preempted(), Some(deadline));
    let _ = std::fs::write(heard, "");
    while !Path::new(&until).exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (skyward::instance_info().map(|it| it.name.to_string()), left)
}

/// The same without an await.
#[skyward::function]
fn asks(heard: String) -> Duration {
    loop {
        if let Some(deadline) = skyward::preempted() {
            let _ = std::fs::write(heard, "");
            return deadline.saturating_duration_since(Instant::now());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[skyward::function]
async fn works() -> u32 {
    tokio::time::sleep(Duration::from_millis(20)).await;
    1
}

/// Says that it runs, waits for a notice, and gives back more than a lane carries.
#[skyward::function]
async fn gives_much(heard: String) -> Bytes {
    skyward::preemption().await;
    let _ = std::fs::write(heard, "");
    Bytes::from(vec![7; MUCH])
}

/// Gives one number, or none, and waits for ever; on the next machine of its rank it ends.
#[skyward::function]
async fn stays(first: bool, note: String) -> impl Stream<Item = u32> {
    let is_again = Path::new(&note).exists();
    let _ = std::fs::write(note, "");
    let some = stream::iter(first.then_some(1));
    if is_again { some.chain(stream::iter([2])).boxed() } else { some.chain(stream::pending()).boxed() }
}

fn spec(ground: &Ground) -> Spec {
    let faults = Faults { notices: Some(Duration::from_millis(50)), ..Faults::default() };
    Spec::on(Local::default().directory(ground.path()).faults(faults))
}

async fn until(events: &mut skyward::Events, what: impl Fn(&EventKind) -> bool) {
    until_said(events, Duration::from_secs(60), what).await;
}

/// Gives a machine notice, as its cloud would.
async fn give_notice(compute: &Compute, rank: u32) -> skyward::Result<()> {
    let home = (home() >> compute.node(rank)).await?;
    // In one go: half a notice is none.
    let draft = Path::new(&home).join("draft");
    std::fs::write(&draft, NOTICE)?;
    std::fs::rename(draft, Path::new(&home).join("notice"))?;
    Ok(())
}

#[skyward::test]
async fn a_notice_is_heard_by_the_task_and_the_replacement_is_ready_before_the_node_is_gone()
-> skyward::Result<()> {
    let ground = Ground::new("notice");
    let files = tempfile::tempdir()?;
    let path = |name: &str| files.path().join(name).to_string_lossy().into_owned();
    let compute = skyward_tests::apart().spec(spec(&ground)).nodes(2).timing(patient()).start().await?;
    let mut events = compute.events();
    let before = (name() >> compute.node(1)).await?;
    let home = (home() >> compute.node(1)).await?;
    let running = tokio::spawn(lingers(path("heard"), path("go")) >> compute.node(1));
    until(
        &mut events,
        |it| matches!(it, EventKind::TaskStarted { function, .. } if function.contains("lingers")),
    )
    .await;
    std::fs::write(Path::new(&home).join("notice"), NOTICE)?;
    until(&mut events, |it| matches!(it, EventKind::Preempting { rank, .. } if rank.0 == 1)).await;
    let replaced = |it: &EventKind| matches!(it, EventKind::Node { rank, attempt, phase: NodePhase::Ready } if (rank.0, attempt.0) == (1, 1));
    until(&mut events, replaced).await;
    // The rank has another node, while the task still runs on the first.
    let after = (name() >> compute.node(1)).await?;
    assert_ne!(before, after);
    assert!(Path::new(&path("heard")).exists() && !running.is_finished());
    assert_eq!((nodes() * &compute).await?, [Some(2), Some(2)]);
    std::fs::write(path("go"), "")?;
    let (on, left) = running.await.expect("joined")?;
    assert_eq!(on, before);
    assert!(left > Duration::from_secs(30) && left <= Duration::from_secs(90), "{left:?}");
    let lost = |it: &EventKind| matches!(it, EventKind::NodeLost { rank, attempt, loss: Some(Loss::Preempted), .. } if (rank.0, attempt.0) == (1, 0));
    until(&mut events, lost).await;
    end(compute, &ground).await
}

#[skyward::test]
async fn a_plain_function_in_a_process_of_its_own_can_ask_for_a_notice() -> skyward::Result<()> {
    let ground = Ground::new("notice-process");
    let files = tempfile::tempdir()?;
    let heard = files.path().join("heard").to_string_lossy().into_owned();
    let worker = Worker { executor: Executor::Process, ..Worker::default() };
    let compute = skyward_tests::apart().spec(spec(&ground)).worker(worker).timing(patient()).start().await?;
    let mut events = compute.events();
    let home = (home() >> compute.head()).await?;
    let running = compute.spawn(asks(heard));
    until(
        &mut events,
        |it| matches!(it, EventKind::TaskStarted { function, .. } if function.contains("asks")),
    )
    .await;
    std::fs::write(Path::new(&home).join("notice"), NOTICE)?;
    let left = running.await?;
    assert!(left > Duration::from_secs(30) && left <= Duration::from_secs(90), "{left:?}");
    // A head is replaced like any other.
    assert!((name() >> compute.head()).await?.is_some());
    end(compute, &ground).await
}

#[skyward::test]
async fn calls_that_may_run_once_are_not_lost_by_a_notice() -> skyward::Result<()> {
    let ground = Ground::new("notice-load");
    let compute = skyward_tests::apart().spec(spec(&ground)).nodes(2).timing(patient()).start().await?;
    let mut events = compute.events();
    let calls = compute.spawn(gather((0..200).map(|_| works().once())));
    give_notice(&compute, 0).await?;
    until(&mut events, |it| matches!(it, EventKind::Preempting { rank, .. } if rank.0 == 0)).await;
    assert_eq!(calls.await?.into_iter().sum::<u32>(), 200);
    assert!((name() >> compute.head()).await?.is_some());
    end(compute, &ground).await
}

#[skyward::test]
async fn a_stream_on_a_machine_that_is_taken_is_lost_after_its_first_item_and_tried_again_before()
-> skyward::Result<()> {
    let ground = Ground::new("notice-stream");
    let files = tempfile::tempdir()?;
    let path = |name: &str| files.path().join(name).to_string_lossy().into_owned();
    let worker = Worker { concurrency: 2, ..Worker::default() };
    let compute = skyward_tests::apart().spec(spec(&ground)).worker(worker).timing(patient()).start().await?;
    let home = (home() >> compute.head()).await?;
    let mut begun = stays(true, path("begun")) >> compute.head();
    assert_eq!(begun.next().await.and_then(Result::ok), Some(1));
    let waits = tokio::spawn((stays(false, path("waits")) >> compute.head()).collect());
    let runs = || Path::new(&path("waits")).exists().then_some(());
    assert!(skyward_tests::until(Duration::from_secs(20), runs).is_some(), "both run");
    let draft = Path::new(&home).join("draft");
    std::fs::write(&draft, "4")?;
    std::fs::rename(draft, Path::new(&home).join("notice"))?;
    // Its items are not repeated; what has given none is another's to run.
    let error = begun.next().await.expect("an end").expect_err("a loss");
    assert!(matches!(error, CallError::Lost(_)), "{error:?}");
    assert!(begun.next().await.is_none());
    assert_eq!(waits.await.expect("joined")?, [2]);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_large_outcome_that_may_not_be_made_twice_is_taken_before_its_node_is_gone() -> skyward::Result<()>
{
    let ground = Ground::new("notice-large");
    let files = tempfile::tempdir()?;
    let heard = files.path().join("heard").to_string_lossy().into_owned();
    let compute = skyward_tests::apart().spec(spec(&ground)).nodes(1).timing(patient()).start().await?;
    let mut events = compute.events();
    let home = (home() >> compute.head()).await?;
    let running = compute.spawn(gives_much(heard).once());
    until(
        &mut events,
        |it| matches!(it, EventKind::TaskStarted { function, .. } if function.contains("gives_much")),
    )
    .await;
    std::fs::write(Path::new(&home).join("notice"), NOTICE)?;
    assert_eq!(running.await?.len(), MUCH);
    end(compute, &ground).await
}
