//! Functions that give and take streams, on real local machines: order, backpressure, cancellation both
//! ways, and what comes before a loss. `streams_over_ssh` runs them all once more over SSH.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails where it stands")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use skyward::prelude::*;
use skyward::{CallError, Items};
use skyward_tests::{Ground, until};

#[path = "streams/parts.rs"]
mod parts;

/// How many items a producer has made on this node, and how many producers have been dropped.
static MADE: AtomicU32 = AtomicU32::new(0);
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// What an item of the backpressure tests takes, and how many of them a link may well have under way.
const ITEM: usize = 64 * 1024;
const AHEAD: u32 = 600;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct TooMuch(u32);

#[skyward::function]
async fn count(below: u32) -> impl Stream<Item = u32> {
    stream::iter(0..below)
}

#[skyward::function]
fn count_by_hand(below: u32) -> impl Iterator<Item = u32> {
    0..below
}

#[skyward::function]
fn until_too_much(limit: u32) -> impl Stream<Item = Result<u32, TooMuch>> {
    stream::iter(0..).map(move |it| if it < limit { Ok(it) } else { Err(TooMuch(it)) })
}

#[skyward::function]
fn panics_at(at: u32) -> impl Stream<Item = u32> {
    stream::iter(0..).map(move |it| if it < at { it } else { panic!("at {it}") })
}

#[skyward::function]
fn panics_at_by_hand(at: u32) -> impl Iterator<Item = u32> {
    (0..).map(move |it| if it < at { it } else { panic!("at {it}") })
}

struct Noted;

impl Drop for Noted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

fn large(_: u32) -> String {
    MADE.fetch_add(1, Ordering::SeqCst);
    "x".repeat(ITEM)
}

#[skyward::function]
fn large_ones() -> impl Stream<Item = String> {
    let noted = Noted;
    stream::iter(0..).map(move |it| {
        let _ = &noted;
        large(it)
    })
}

#[skyward::function]
fn large_ones_by_hand() -> impl Iterator<Item = String> {
    let noted = Noted;
    (0..).map(move |it| {
        let _ = &noted;
        large(it)
    })
}

#[skyward::function]
async fn made() -> (u32, u32) {
    (MADE.load(Ordering::SeqCst), DROPPED.load(Ordering::SeqCst))
}

#[skyward::function]
fn three_then_wait() -> impl Stream<Item = u32> {
    stream::iter([1, 2, 3]).chain(stream::pending())
}

#[skyward::function]
async fn process() -> u32 {
    std::process::id()
}

/// The first try says who it is and gives nothing; the next one gives what it found.
#[skyward::function]
async fn second_try(note: String) -> impl Stream<Item = u32> {
    let found = std::fs::read_to_string(&note);
    if found.is_err() {
        std::fs::write(&note, std::process::id().to_string()).expect("written");
        std::future::pending::<()>().await;
    }
    stream::iter([1, 2])
}

#[skyward::function]
fn rank_and_numbers(below: u32) -> impl Stream<Item = (u32, u32)> {
    let rank = skyward::instance_info().map_or(u32::MAX, |it| it.rank.0);
    stream::iter(0..below).map(move |it| (rank, it))
}

#[skyward::function]
async fn sum(mut numbers: Streaming<u64>) -> u64 {
    let mut sum = 0;
    while let Some(number) = numbers.next().await {
        sum += number;
    }
    sum
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

/// Takes one item, lets the rest go, and stays.
#[skyward::function]
fn first_and_stay(items: Streaming<String>) -> impl Stream<Item = usize> {
    items.take(1).map(|it| it.len()).chain(stream::pending())
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

struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it refuses"))
    }
}

impl<'de> Deserialize<'de> for Refuses {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

#[skyward::function]
fn gives_what_refuses() -> impl Stream<Item = Option<Refuses>> {
    stream::iter([None, Some(Refuses)])
}

#[skyward::function]
async fn takes_what_refuses(items: Streaming<Refuses>) -> usize {
    items.count().await
}

async fn pool(ground: &Ground, nodes: u32, concurrency: u32) -> skyward::Result<Compute> {
    let mut local = Local::default();
    local.directory = Some(ground.path().to_owned());
    let (detect, grace, lease) = (Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(30));
    let timing = Timing { detect, grace, lease, ..Timing::short() };
    let worker = Worker { concurrency, ..Worker::default() };
    let over_ssh = env!("CARGO_CRATE_NAME") == "streams_over_ssh";
    let carrier = if over_ssh { Carrier::Ssh } else { Carrier::Quic };
    let builder = skyward_tests::apart().spec(Spec::on(local)).nodes(nodes).worker(worker).timing(timing);
    builder.carrier(carrier).start().await
}

async fn end(compute: Compute, ground: &Ground) -> skyward::Result<()> {
    compute.stop().await?;
    assert_eq!(ground.left(), Vec::<String>::new());
    Ok(())
}

fn kill(process: u32) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::KILL).expect("signalled");
}

/// What was given out, and the error that ended it.
async fn all<T, E>(mut items: Items<T, E>) -> (Vec<T>, Option<CallError<E>>) {
    let mut got = Vec::new();
    while let Some(item) = items.next().await {
        match item {
            Ok(item) => got.push(item),
            Err(error) => {
                assert!(items.next().await.is_none(), "an error is the last");
                return (got, Some(error));
            }
        }
    }
    (got, None)
}

/// Asks until the answer has not changed for a while, or is larger than it may be.
async fn settled(mut ask: impl AsyncFnMut() -> u32, most: u32) -> u32 {
    let (mut last, mut same) = (ask().await, 0);
    while same < 25 && last <= most {
        tokio::time::sleep(Duration::from_millis(4)).await;
        let now = ask().await;
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
    }
    last
}

#[skyward::test]
async fn items_come_in_order_however_many_there_are() -> skyward::Result<()> {
    let ground = Ground::new("stream-order");
    let compute = pool(&ground, 1, 1).await?;
    for below in [0, 1, 100_000] {
        let expected: Vec<u32> = (0..below).collect();
        assert!((count(below) >> &compute).collect().await? == expected, "{below}");
        assert!((count_by_hand(below) >> compute.head()).collect().await? == expected, "{below} by hand");
    }
    assert_eq!(compute.stream(count(2)).collect().await?, [0, 1]);
    assert_eq!(compute.node(0).stream(count(2)).collect().await?, [0, 1]);
    end(compute, &ground).await
}

#[skyward::test]
async fn errors_and_panics_in_the_middle_come_after_what_came_before() -> skyward::Result<()> {
    let ground = Ground::new("stream-errors");
    let compute = pool(&ground, 1, 1).await?;
    let (got, error) = all(until_too_much(1000) >> &compute).await;
    assert_eq!(got.len(), 1000);
    assert!(matches!(error, Some(CallError::Task(TooMuch(1000)))), "{error:?}");
    for call in [panics_at(3), panics_at_by_hand(3)] {
        let (got, error) = all(call >> &compute).await;
        assert_eq!(got, [0, 1, 2]);
        let Some(CallError::Panicked(panic)) = error else { panic!("{error:?}") };
        assert_eq!(panic.message, "at 3");
        assert!(panic.place.as_deref().is_some_and(|it| it.contains("streams.rs")), "{panic:?}");
    }
    let (got, error) = all(gives_what_refuses() >> &compute).await;
    assert_eq!(got.len(), 1);
    assert!(matches!(error, Some(CallError::Unencodable(_))), "{error:?}");
    let input = Streaming::iter([Refuses]);
    let error = (takes_what_refuses(input) >> &compute).await.expect_err("it refuses");
    assert!(matches!(error, CallError::Unencodable(_)), "{error:?}");
    let broken = stream::iter(0..3).map(|it| if it < 2 { it } else { panic!("no third") });
    let error = (sum(Streaming::new(broken)) >> &compute).await.expect_err("no third");
    assert!(error.to_string().contains("a stream that it takes panicked: no third"), "{error}");
    // The one slot is free again after each of them.
    assert_eq!((count(1) >> &compute).collect().await?, [0]);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_slow_reader_keeps_the_producer_waiting_and_one_that_is_gone_ends_it() -> skyward::Result<()> {
    let ground = Ground::new("stream-slow");
    let compute = pool(&ground, 1, 2).await?;
    for (at, call) in (0..).zip([large_ones(), large_ones_by_hand()]) {
        let before = (made() >> &compute).await?.0;
        let mut items = call >> &compute;
        for _ in 0..3 {
            assert_eq!(items.next().await.transpose()?.map(|it| it.len()), Some(ITEM));
        }
        let ahead = async || (made() >> &compute).await.map_or(0, |it| it.0) - before;
        let waiting = settled(ahead, AHEAD).await;
        assert!((3..=AHEAD).contains(&waiting), "{waiting} items were made for a reader of 3");
        // It goes on when it is read.
        for _ in 0..waiting {
            assert!(items.next().await.is_some_and(|it| it.is_ok()));
        }
        drop(items);
        let ended = tokio::time::timeout(Duration::from_secs(10), async {
            while (made() >> &compute).await.is_ok_and(|it| it.1 <= at) {}
        });
        ended.await.expect("the producer is dropped on the node");
    }
    end(compute, &ground).await
}

#[skyward::test]
async fn a_dropped_stream_frees_its_slot_and_one_that_is_never_polled_takes_none() -> skyward::Result<()> {
    let ground = Ground::new("stream-drop");
    let compute = pool(&ground, 1, 1).await?;
    let unpolled = three_then_wait() >> &compute;
    let mut polled = three_then_wait() >> &compute;
    assert_eq!(polled.next().await.transpose()?, Some(1));
    // It has the one slot for as long as it lives.
    let late = (made().timeout(Duration::from_millis(200)) >> &compute).await;
    assert!(matches!(late, Err(CallError::TimedOut(_))), "{late:?}");
    drop(polled);
    (made() >> &compute).await?;
    drop(unpolled);
    end(compute, &ground).await
}

#[skyward::test]
async fn what_came_before_a_loss_is_given_out_and_then_the_loss_once() -> skyward::Result<()> {
    let ground = Ground::new("stream-lost");
    let compute = pool(&ground, 2, 1).await?;
    let worker = (process() >> compute.node(1)).await?;
    let (give, numbers) = tokio::sync::mpsc::channel(4);
    let mut numbers = Some(numbers);
    let mut items = three_then_wait() >> compute.node(1);
    assert_eq!(items.next().await.transpose()?, Some(1));
    kill(worker);
    let (got, error) = all(items).await;
    // The two others were sent with the first.
    assert_eq!(got, [2, 3]);
    let Some(CallError::Lost(lost)) = error else { panic!("{error:?}") };
    assert_eq!((lost.rank, lost.attempts), (Some(skyward::Rank(1)), 1));

    // A call whose input has been asked for is not run a second time either.
    let worker = (process() >> compute.node(0)).await?;
    let taken = numbers.take().map(|mut it| stream::poll_fn(move |context| it.poll_recv(context)));
    let mut doubled = doubled(Streaming::new(taken.expect("once"))) >> compute.node(0);
    give.send(4).await.expect("wanted");
    assert_eq!(doubled.next().await.transpose()?, Some(8));
    kill(worker);
    let (got, error) = all(doubled).await;
    assert_eq!(got, Vec::<u32>::new());
    assert!(matches!(error, Some(CallError::Lost(_))), "{error:?}");
    tokio::time::timeout(Duration::from_secs(10), give.closed()).await.expect("the source is dropped");
    end(compute, &ground).await
}

#[skyward::test]
async fn a_node_that_is_lost_before_the_first_item_has_its_stream_tried_again() -> skyward::Result<()> {
    let ground = Ground::new("stream-retry");
    let compute = pool(&ground, 2, 1).await?;
    let note = ground.path().join("note");
    let items = (second_try(note.display().to_string()) >> &compute).collect();
    let killed = async {
        let noted = async {
            loop {
                if let Some(it) = std::fs::read_to_string(&note).ok().and_then(|it| it.parse().ok()) {
                    return it;
                }
                tokio::task::yield_now().await;
            }
        };
        kill(tokio::time::timeout(Duration::from_secs(20), noted).await.expect("the first try runs"));
    };
    let (items, ()) = tokio::join!(items, killed);
    assert_eq!(items?, [1, 2]);

    // One that may run once is not tried again.
    std::fs::remove_file(&note)?;
    let items = (second_try(note.display().to_string()).once() >> &compute).collect();
    let killed = async {
        while !note.exists() {
            tokio::task::yield_now().await;
        }
        let noted = until(Duration::from_secs(10), || std::fs::read_to_string(&note).ok()?.parse().ok());
        kill(noted.expect("noted"));
    };
    let (items, ()) = tokio::join!(items, killed);
    assert!(matches!(items, Err(CallError::Lost(_))), "{items:?}");
    std::fs::remove_file(&note)?;
    end(compute, &ground).await
}

#[skyward::test]
async fn streams_go_in_and_out_at_once_and_are_consumed_to_the_end() -> skyward::Result<()> {
    let ground = Ground::new("stream-in");
    let compute = pool(&ground, 1, 1).await?;
    assert_eq!((sum(Streaming::iter(0..100_000)) >> &compute).await?, 4_999_950_000);
    assert_eq!((sum_by_hand(Streaming::iter(0..100_000)) >> &compute).await?, 4_999_950_000);
    assert_eq!((sum(Streaming::iter([])) >> compute.head()).await?, 0);
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
    end(compute, &ground).await
}

#[skyward::test]
async fn a_function_that_lets_its_input_go_stops_the_source_and_a_slow_one_keeps_it_waiting()
-> skyward::Result<()> {
    let ground = Ground::new("stream-input");
    let compute = pool(&ground, 1, 1).await?;
    let source = |asked: &Arc<AtomicU32>| {
        let asked = Arc::clone(asked);
        Streaming::new(stream::iter(0..).map(move |_: u32| {
            asked.fetch_add(1, Ordering::SeqCst);
            "x".repeat(ITEM)
        }))
    };
    let asked = Arc::new(AtomicU32::new(0));
    let mut lets_go = first_and_stay(source(&asked)) >> &compute;
    assert_eq!(lets_go.next().await.transpose()?, Some(ITEM));
    let dropped = until(Duration::from_secs(10), || (Arc::strong_count(&asked) == 1).then_some(()));
    assert!(dropped.is_some(), "the source goes on");
    drop(lets_go);

    let asked = Arc::new(AtomicU32::new(0));
    let mut keeps = first_and_keep(source(&asked)) >> &compute;
    assert_eq!(keeps.next().await.transpose()?, Some(ITEM));
    let waiting = settled(async || asked.load(Ordering::SeqCst), AHEAD).await;
    assert!((1..=AHEAD).contains(&waiting), "{waiting} items were asked for by a function of 1");
    drop(keeps);
    let dropped = until(Duration::from_secs(10), || (Arc::strong_count(&asked) == 1).then_some(()));
    assert!(dropped.is_some(), "the source outlives its call");
    end(compute, &ground).await
}

#[skyward::test]
async fn a_broadcast_gives_the_stream_of_every_node_and_a_group_one_of_each_type() -> skyward::Result<()> {
    let ground = Ground::new("stream-all");
    let compute = pool(&ground, 3, 2).await?;
    let mut merged = (rank_and_numbers(100) * &compute).await?;
    let mut of = [0; 3];
    while let Some((rank, item)) = merged.next().await {
        let (told, number) = item?;
        let next = of.get_mut(rank as usize).expect("of a rank");
        assert_eq!((told, number), (rank, *next));
        *next += 1;
    }
    assert_eq!(of, [100; 3]);
    let mut told = Vec::new();
    for items in compute.broadcast_stream(rank_and_numbers(2)).await? {
        told.extend(items.collect().await?);
    }
    assert_eq!(told, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]);

    let (numbers, checked, fed) = (count(3) & until_too_much(1) & doubled(Streaming::iter([4]))) >> &compute;
    let (numbers, checked, fed) = tokio::join!(numbers.collect(), all(checked), fed.collect());
    assert_eq!((numbers?, fed?), (vec![0, 1, 2], vec![8]));
    assert!(matches!(checked, (got, Some(CallError::Task(TooMuch(1)))) if got == [0]));
    end(compute, &ground).await
}

#[skyward::test]
async fn a_stream_over_its_time_or_its_readers_patience_gives_what_came_before() -> skyward::Result<()> {
    let ground = Ground::new("stream-late");
    let compute = pool(&ground, 1, 1).await?;
    let short = Duration::from_millis(300);
    for call in [three_then_wait().timeout(short), three_then_wait().idle(short)] {
        let (got, error) = all(call >> &compute).await;
        assert_eq!(got, [1, 2, 3]);
        assert!(matches!(error, Some(CallError::TimedOut(ref late)) if late.after == short), "{error:?}");
    }
    let (_give, mut numbers) = tokio::sync::mpsc::channel::<u64>(1);
    let never = sum(Streaming::new(stream::poll_fn(move |it| numbers.poll_recv(it)))).timeout(short);
    assert!(matches!((never >> &compute).await, Err(CallError::TimedOut(_))));
    assert_eq!((count(1) >> &compute).collect().await?, [0]);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_pool_that_is_given_back_ends_its_streams_and_says_so() -> skyward::Result<()> {
    let ground = Ground::new("stream-stop");
    let compute = pool(&ground, 1, 1).await?;
    let mut items = three_then_wait() >> &compute;
    assert_eq!(items.next().await.transpose()?, Some(1));
    let late = count(1) >> &compute;
    end(compute, &ground).await?;
    let (got, error) = all(items).await;
    assert_eq!(got, [2, 3]);
    assert!(matches!(error, Some(CallError::Stopped)), "{error:?}");
    assert!(matches!(late.collect().await, Err(CallError::Stopped)));
    Ok(())
}
