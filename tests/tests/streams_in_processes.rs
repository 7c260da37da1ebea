//! Functions of streams whose tasks run in processes of their own: both directions, backpressure, cancellation, and
//! a crash in the middle.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stderr, reason = "the last words of a crash are among what is tested")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use skyward::prelude::*;
use skyward::{CallError, Items};
use skyward_tests::{Ground, builder, end, until};

/// What an item of the backpressure tests takes, and how many of them may well be under way.
const ITEM: usize = 64 * 1024;
const AHEAD: u32 = 700;

#[skyward::function]
async fn count(below: u32) -> impl Stream<Item = u32> {
    stream::iter(0..below)
}

#[skyward::function]
fn count_by_hand(below: u32) -> impl Iterator<Item = u32> {
    0..below
}

#[skyward::function]
async fn sum(numbers: Streaming<u64>) -> u64 {
    numbers.fold(0, async |sum, it| sum + it).await
}

#[skyward::function]
fn sum_by_hand(numbers: Streaming<u64>) -> u64 {
    numbers.into_iter().sum()
}

#[skyward::function]
fn added(left: Streaming<u32>, right: Streaming<u32>) -> impl Stream<Item = u32> {
    left.zip(right).map(|(left, right)| left + right)
}

#[skyward::function]
fn doubled(numbers: Streaming<u32>) -> impl Iterator<Item = u32> {
    numbers.into_iter().map(|it| it * 2)
}

/// Writes a note once it has taken all of them.
#[skyward::function]
fn notes_the_whole(numbers: Streaming<u32>, note: String) -> usize {
    let all: Vec<u32> = numbers.into_iter().collect();
    std::fs::write(note, format!("{all:?}")).expect("written");
    all.len()
}

#[skyward::function]
fn fails_at(limit: u32) -> impl Stream<Item = Result<u32, String>> {
    stream::iter(0..).map(move |it| if it < limit { Ok(it) } else { Err(format!("no {it}")) })
}

#[skyward::function]
fn panics_at(at: u32) -> impl Iterator<Item = u32> {
    (0..).map(move |it| if it < at { it } else { panic!("at {it}") })
}

/// Gives three numbers and waits to be let go; on one node it fails before that, and on another its process ends.
#[skyward::function]
async fn ends_on(fails: u32, crashes: u32, gate: String) -> impl Stream<Item = Result<u32, String>> {
    let rank = skyward::instance_info().map(|it| it.rank.0);
    let last = stream::once(async move {
        while rank != Some(fails) && !Path::new(&gate).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match rank {
            Some(rank) if rank == fails => Err(format!("not on {rank}")),
            Some(rank) if rank == crashes => std::process::exit(7),
            _ => Ok(3),
        }
    });
    stream::iter((0..3).map(Ok)).chain(last)
}

/// Gives so many items, says something when it is told that they have arrived, and aborts.
#[skyward::function]
fn aborts_after(items: u32, arrived: Streaming<()>) -> impl Iterator<Item = u32> {
    let mut arrived = arrived.into_iter();
    (0..).inspect(move |it| {
        if *it == items {
            arrived.next();
            eprintln!("that was too much");
            std::process::abort()
        }
    })
}

/// Large items without end; how many were made is the length of this file.
#[skyward::function]
fn large_ones(note: String) -> impl Stream<Item = String> {
    stream::iter(0..).map(move |_: u64| {
        noted(Path::new(&note));
        "x".repeat(ITEM)
    })
}

fn noted(path: &Path) {
    use std::io::Write;
    let file = std::fs::File::options().create(true).append(true).open(path);
    file.expect("opened").write_all(b".").expect("written");
}

/// Takes one item, keeps the rest waiting, and stays.
#[skyward::function]
fn first_and_keep(items: Streaming<String>) -> impl Stream<Item = usize> {
    stream::unfold((items, false), |(mut items, taken)| async move {
        if taken {
            std::future::pending::<()>().await;
        }
        let item = items.next().await?;
        Some((item.len(), (items, true)))
    })
}

/// Takes one item, lets the rest go, and stays.
#[skyward::function]
fn first_and_no_more(items: Streaming<u64>) -> impl Stream<Item = u64> {
    stream::once(items.into_future()).map(|(first, _)| first.unwrap_or_default()).chain(stream::pending())
}

#[skyward::function]
async fn first_of(mut items: Streaming<u64>) -> Option<u64> {
    items.next().await
}

/// The worker of this node.
#[skyward::function]
async fn worker_id() -> Option<i32> {
    rustix::process::getppid().map(|it| it.as_raw_nonzero().get())
}

#[skyward::function]
async fn process() -> u32 {
    std::process::id()
}

#[skyward::function]
fn process_and_wait() -> impl Stream<Item = u32> {
    stream::iter([std::process::id()]).chain(stream::pending())
}

/// Says where it runs and what it has started, and computes on whatever becomes of its stream.
#[skyward::function]
fn computes_on(numbers: Streaming<u64>, note: String) -> u64 {
    let mut started = std::process::Command::new("sleep").arg("600").spawn().expect("started");
    std::fs::write(note, format!("{} {}", std::process::id(), started.id())).expect("written");
    let sum = catch_unwind(AssertUnwindSafe(|| numbers.into_iter().sum()));
    started.wait().expect("ended");
    sum.unwrap_or_default()
}

async fn pool(ground: &Ground) -> skyward::Result<Compute> {
    let worker = Worker { executor: Executor::Process, ..Worker::default() };
    builder(ground).worker(worker).start().await
}

/// What was given out, and the error that ended it.
async fn all<T, E>(mut items: Items<T, E>) -> (Vec<T>, Option<CallError<E>>) {
    let mut got = Vec::new();
    while let Some(item) = items.next().await {
        match item {
            Ok(item) => got.push(item),
            Err(error) => return (got, Some(error)),
        }
    }
    (got, None)
}

/// Asks until the answer has not changed for a while, or is larger than it may be.
async fn settled(mut ask: impl FnMut() -> u32, most: u32) -> u32 {
    let (mut last, mut same) = (ask(), 0);
    while same < 50 && last <= most {
        tokio::time::sleep(Duration::from_millis(4)).await;
        let now = ask();
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
    }
    last
}

async fn soon<T: Send + 'static>(look: impl FnMut() -> Option<T> + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(move || until(Duration::from_secs(20), look)).await.expect("joined")
}

/// One number, and no second, for a reason that is longer than any header.
fn long_words() -> Streaming<u64> {
    let words = "words and ".repeat(1 << 14);
    Streaming::new(stream::iter(0..2).map(move |it| if it < 1 { it } else { panic!("{words}") }))
}

/// Two numbers, and no third, because of this.
fn broken(why: &str) -> Streaming<u32> {
    let why = why.to_owned();
    Streaming::new(stream::iter(0..3).map(move |it| if it < 2 { it } else { panic!("{why}") }))
}

#[skyward::test]
async fn a_plain_function_takes_no_part_for_the_whole_and_what_it_made_comes_first() -> skyward::Result<()> {
    let ground = Ground::new("process-part");
    let compute = pool(&ground).await?;
    for _ in 0..20 {
        let (got, error) = all(doubled(broken("no third")) >> &compute).await;
        assert_eq!(got, [0, 2]);
        let error = error.expect("no third").to_string();
        assert!(error.contains("a stream that it takes panicked: no third"), "{error}");
    }
    let note = ground.path().join("note");
    let whole = notes_the_whole(broken("no third"), note.display().to_string());
    assert!((whole >> &compute).await.is_err());
    // A slot is free when the function has ended.
    assert_eq!((count(1) >> &compute).collect().await?, [0]);
    assert!(!note.exists(), "it took a part for the whole");
    // However long the reason is, the process hears of it.
    let error = (sum_by_hand(long_words()) >> &compute).await.expect_err("no second").to_string();
    assert!(error.contains("words and words") && error.len() < 64 << 10, "{}", error.len());
    end(compute, &ground).await
}

#[skyward::test]
async fn a_node_that_can_start_no_process_says_why_and_its_streams_are_tried_elsewhere() -> skyward::Result<()>
{
    let ground = Ground::new("process-none");
    let worker = Worker { executor: Executor::Process, reuse: false, ..Worker::default() };
    let compute = builder(&ground).nodes(2).worker(worker).start().await?;
    let worker = (worker_id() >> compute.node(1)).await?.and_then(Pid::from_raw).expect("a worker");
    // No file more can be opened there.
    let none = Rlimit { current: Some(3), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(Some(worker), Resource::Nofile, none).expect("limited");
    let error = (count(1).once() >> compute.node(1)).collect().await.expect_err("no process");
    assert!(matches!(error, CallError::Lost(_)), "{error:?}");
    assert!(error.to_string().contains("failed to start a process"), "{error}");
    for _ in 0..4 {
        assert_eq!((count(2) >> &compute).collect().await?, [0, 1]);
    }
    prlimit(Some(worker), Resource::Nofile, before).expect("limited as before");
    end(compute, &ground).await
}

#[skyward::test]
async fn items_go_in_and_out_in_order_and_the_process_goes_on() -> skyward::Result<()> {
    let ground = Ground::new("process-streams");
    let compute = pool(&ground).await?;
    let before = (process() >> &compute).await?;
    for below in [0, 1, 50_000] {
        let expected: Vec<u32> = (0..below).collect();
        assert!((count(below) >> &compute).collect().await? == expected, "{below}");
        assert!((count_by_hand(below) >> &compute).collect().await? == expected, "{below} by hand");
    }
    assert_eq!((sum(Streaming::iter(0..50_000)) >> &compute).await?, 1_249_975_000);
    assert_eq!((sum_by_hand(Streaming::iter(0..50_000)) >> &compute).await?, 1_249_975_000);
    assert_eq!((sum(Streaming::iter([])) >> &compute).await?, 0);
    let sums = added(Streaming::iter(0..10_000), Streaming::iter(1..5_001)) >> &compute;
    assert!(sums.collect().await?.into_iter().eq((0..5_000).map(|it| 2 * it + 1)));

    // Each goes in only after what became of the one before came out.
    let (give, mut numbers) = tokio::sync::mpsc::channel(1);
    let mut doubled = doubled(Streaming::new(stream::poll_fn(move |it| numbers.poll_recv(it)))) >> &compute;
    for number in 0..20 {
        give.send(number).await.expect("wanted");
        assert_eq!(doubled.next().await.transpose()?, Some(number * 2));
    }
    drop(give);
    assert!(doubled.next().await.is_none());
    assert_eq!((process() >> &compute).await?, before, "one process ran them all");
    end(compute, &ground).await
}

#[skyward::test]
async fn errors_panics_and_crashes_come_after_what_came_before() -> skyward::Result<()> {
    let ground = Ground::new("process-stream-ends");
    let compute = pool(&ground).await?;
    let (got, error) = all(fails_at(1000) >> &compute).await;
    assert_eq!(got.len(), 1000);
    assert!(matches!(&error, Some(CallError::Task(it)) if it == "no 1000"), "{error:?}");
    let (got, error) = all(panics_at(3) >> &compute).await;
    assert_eq!(got, [0, 1, 2]);
    assert!(matches!(&error, Some(CallError::Panicked(it)) if it.message == "at 3"), "{error:?}");

    let (arrive, arrived) = tokio::sync::oneshot::channel::<()>();
    let arrived = stream::once(arrived).map(|_| ());
    let mut items = aborts_after(100, Streaming::new(arrived)) >> &compute;
    for number in 0..100 {
        assert_eq!(items.next().await.transpose()?, Some(number));
    }
    arrive.send(()).expect("waited for");
    let (got, error) = all(items).await;
    assert_eq!(got, Vec::<u32>::new());
    let Some(CallError::Crashed(crash)) = error else { panic!("{error:?}") };
    assert_eq!((crash.signal, crash.output.as_slice()), (Some(6), &["that was too much".to_owned()][..]));

    let broken = stream::iter(0..3).map(|it| if it < 2 { it } else { panic!("no third") });
    let error = (sum(Streaming::new(broken)) >> &compute).await.expect_err("no third");
    assert!(error.to_string().contains("a stream that it takes panicked: no third"), "{error}");
    // The one slot is free again after each of them.
    assert_eq!((count(1) >> &compute).collect().await?, [0]);
    end(compute, &ground).await
}

#[skyward::test]
async fn who_computes_on_after_its_stream_broke_shares_its_process_with_nobody() -> skyward::Result<()> {
    let ground = Ground::new("process-stream-broken");
    let compute = pool(&ground).await?;
    let broken = || Streaming::new(stream::iter(0..3).map(|it| if it < 2 { it } else { panic!("no third") }));
    let error = (sum_by_hand(broken()) >> &compute).await.expect_err("no third");
    assert!(error.to_string().contains("a stream that it takes panicked: no third"), "{error}");

    let note = ground.path().join("process");
    let error = (computes_on(broken(), note.display().to_string()) >> &compute).await.expect_err("no third");
    assert!(error.to_string().contains("a stream that it takes panicked: no third"), "{error}");
    let noted = std::fs::read_to_string(&note)?;
    let (shared, started) = noted.split_once(' ').expect("two of them");
    assert_ne!((process() >> &compute).await?.to_string(), shared, "it computes on there");
    for ended in [shared, started] {
        let place = format!("/proc/{ended}/exe");
        soon(move || std::fs::read_link(&place).is_err().then_some(())).await.expect("its process ends");
    }
    assert_eq!((count(1) >> &compute).collect().await?, [0]);
    std::fs::remove_file(&note)?;
    end(compute, &ground).await
}

#[skyward::test]
async fn a_slow_reader_keeps_the_process_waiting_and_one_that_is_gone_ends_it() -> skyward::Result<()> {
    let ground = Ground::new("process-stream-slow");
    let compute = pool(&ground).await?;
    let note = ground.path().join("made");
    let mut items = large_ones(note.display().to_string()) >> &compute;
    for _ in 0..3 {
        assert_eq!(items.next().await.transpose()?.map(|it| it.len()), Some(ITEM));
    }
    let made = || std::fs::metadata(&note).map_or(0, |it| u32::try_from(it.len()).unwrap_or(u32::MAX));
    let waiting = settled(made, AHEAD).await;
    assert!((3..=AHEAD).contains(&waiting), "{waiting} items were made for a reader of 3");
    for _ in 0..waiting {
        assert!(items.next().await.is_some_and(|it| it.is_ok()), "it goes on when it is read");
    }
    drop(items);

    let mut items = process_and_wait() >> &compute;
    let process = items.next().await.transpose()?.expect("it says who it is");
    drop(items);
    let place = format!("/proc/{process}");
    soon(move || (!Path::new(&place).exists()).then_some(())).await.expect("its process ends");
    std::fs::remove_file(&note)?;
    end(compute, &ground).await
}

#[skyward::test]
async fn a_process_that_takes_no_more_keeps_the_source_waiting() -> skyward::Result<()> {
    let ground = Ground::new("process-stream-source");
    let compute = pool(&ground).await?;
    let pulled = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&pulled);
    let source = stream::iter(0..).map(move |_: u64| {
        count.fetch_add(1, Ordering::SeqCst);
        "x".repeat(ITEM)
    });
    let mut items = first_and_keep(Streaming::new(source)) >> &compute;
    assert_eq!(items.next().await.transpose()?, Some(ITEM));
    let waiting = settled(|| pulled.load(Ordering::SeqCst), AHEAD).await;
    assert!((1..=AHEAD).contains(&waiting), "{waiting} items were pulled for one that was taken");
    drop(items);
    // Its source is let go of when nobody takes from it any more.
    let held = Arc::downgrade(&pulled);
    soon(move || (held.strong_count() == 1).then_some(())).await.expect("the source is dropped");

    // And when its function lets go of it, which is no error: it goes on, and its process with it.
    let count = Arc::clone(&pulled);
    let source = stream::iter(0..).inspect(move |_: &u64| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let mut items = first_and_no_more(Streaming::new(source)) >> &compute;
    assert_eq!(items.next().await.transpose()?, Some(0));
    let held = Arc::downgrade(&pulled);
    soon(move || (held.strong_count() == 1).then_some(())).await.expect("the source is dropped");
    drop(items);
    assert_eq!((first_of(Streaming::iter(7..)) >> &compute).await?, Some(7));
    end(compute, &ground).await
}

#[skyward::test]
async fn an_error_a_crash_or_a_lost_node_ends_its_own_stream_of_a_broadcast_and_no_other()
-> skyward::Result<()> {
    let ground = Ground::new("process-stream-all");
    let worker = Worker { executor: Executor::Process, ..Worker::default() };
    let compute = builder(&ground).nodes(4).worker(worker).start().await?;
    let gates = tempfile::tempdir()?;
    let gate = gates.path().join("gate");
    let lost = (worker_id() >> compute.node(3)).await?.and_then(Pid::from_raw).expect("a worker");
    let mut streams = (ends_on(1, 2, gate.display().to_string()) * &compute).await?;
    let (mut got, mut failed) = ([0; 4], Vec::new());
    while let Some((rank, item)) = streams.next().await {
        let of = got.get_mut(rank as usize).expect("of a rank");
        match item {
            Ok(number) => {
                assert_eq!(number, *of);
                *of += 1;
                // Once all of them have given what they have, one is lost.
                if got == [3; 4] {
                    kill_process(lost, Signal::KILL).expect("killed");
                }
            }
            Err(error) => {
                assert_eq!(*of, 3, "an error comes behind what was given: {error:?}");
                failed.push((rank, error));
                // Then another's process ends, and the last goes on.
                if failed.len() == 2 {
                    std::fs::write(&gate, "")?;
                }
            }
        }
    }
    failed.sort_by_key(|it| it.0);
    let [(1, CallError::Task(own)), (2, CallError::Crashed(crash)), (3, CallError::Lost(lost))] = &failed[..]
    else {
        panic!("{failed:?}")
    };
    assert_eq!((own.as_str(), crash.code), ("not on 1", Some(7)));
    assert!(lost.to_string().contains("node 3"), "{lost}");
    assert_eq!(got, [4, 3, 3, 3]);
    end(compute, &ground).await
}
