//! Functions that give or take streams, run in this process: the encoding, the outcomes and the shapes,
//! without a pool.

#![expect(clippy::panic, reason = "functions that panic are among what is tested")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use skyward::{CallError, Failure, Fed, Items, StreamCall, Streaming};

#[derive(Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{0} is too much")]
struct TooMuch(u32);

/// Keeps its documentation.
#[skyward::function]
fn count(below: u32) -> impl Stream<Item = u32> {
    stream::iter(0..below)
}

#[skyward::function]
async fn count_later(below: u32) -> impl Stream<Item = u32> + Send {
    tokio::task::yield_now().await;
    stream::iter(0..below).then(|it| async move {
        tokio::task::yield_now().await;
        it
    })
}

#[skyward::function]
fn count_by_hand(below: u32) -> impl Iterator<Item = u32> {
    0..below
}

#[skyward::function]
fn until_too_much(limit: u32) -> impl Stream<Item = Result<u32, TooMuch>> {
    stream::iter(0..10).map(move |it| if it < limit { Ok(it) } else { Err(TooMuch(it)) })
}

#[skyward::function]
fn until_too_much_by_hand(limit: u32) -> impl Iterator<Item = Result<u32, TooMuch>> {
    (0..10).map(move |it| if it < limit { Ok(it) } else { Err(TooMuch(it)) })
}

#[skyward::function]
fn panics_at(at: u32) -> impl Stream<Item = u32> {
    stream::iter(0..10).map(move |it| if it < at { it } else { panic!("at {it}") })
}

#[skyward::function]
fn panics_at_by_hand(at: u32) -> impl Iterator<Item = u32> {
    (0..10).map(move |it| if it < at { it } else { panic!("at {it}") })
}

#[skyward::function]
fn one_then_never() -> impl Stream<Item = u32> {
    stream::iter([1]).chain(stream::pending())
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
fn sum_by_hand(numbers: Streaming<u64>, factor: u64) -> u64 {
    numbers.into_iter().map(|it| it * factor).sum()
}

#[skyward::function]
async fn first(mut numbers: Streaming<u64>) -> Option<u64> {
    numbers.next().await
}

#[skyward::function]
async fn checked_sum(mut numbers: Streaming<Result<u64, Failure>>) -> Result<u64, Failure> {
    let mut sum = 0;
    while let Some(number) = numbers.next().await {
        sum += number?;
    }
    Ok(sum)
}

#[skyward::function]
fn zipped(
    left: Streaming<u32>,
    by: u32,
    right: skyward::Streaming<String>,
) -> impl Stream<Item = (u32, String)> {
    left.map(move |it| it * by).zip(right)
}

#[skyward::function]
fn doubled(numbers: Streaming<u64>) -> impl Iterator<Item = u64> {
    numbers.into_iter().map(|it| it * 2)
}

#[derive(Debug, Deserialize)]
struct Refuses(bool);

impl Serialize for Refuses {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0 {
            Err(serde::ser::Error::custom("it refuses"))
        } else {
            to.serialize_newtype_struct("Refuses", &false)
        }
    }
}

#[skyward::function]
fn gives_what_refuses() -> impl Stream<Item = Refuses> {
    stream::iter([Refuses(false), Refuses(true), Refuses(false)])
}

#[skyward::function]
async fn takes_what_refuses(items: Streaming<Refuses>) -> usize {
    items.count().await
}

#[skyward::function]
fn takes_what_refuses_by_hand(items: Streaming<Refuses>) -> usize {
    items.into_iter().count()
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
    assert!(items.next().await.is_none(), "the end stays the end");
    (got, None)
}

#[skyward::test]
async fn items_come_in_order_however_many_there_are() -> skyward::Result<()> {
    for below in [0, 1, 2, 100_000] {
        let expected: Vec<u32> = (0..below).collect();
        assert_eq!(count(below).local().collect().await?, expected);
        assert_eq!(count_by_hand(below).local().collect().await?, expected);
        assert_eq!(count_later(below.min(100)).local().collect().await?.len(), expected.len().min(100));
    }
    Ok(())
}

#[skyward::test]
async fn the_functions_own_error_comes_after_what_came_before_and_ends_the_stream() {
    for call in [until_too_much(3), until_too_much_by_hand(3)] {
        let (got, error) = all(call.local()).await;
        assert_eq!(got, [0, 1, 2]);
        assert!(matches!(error, Some(CallError::Task(TooMuch(3)))), "{error:?}");
    }
    assert_eq!(all(until_too_much(10).local()).await.0.len(), 10);
    let error = skyward::Error::from(until_too_much(0).local().collect().await.expect_err("too much"));
    assert_eq!(error.to_string(), "0 is too much");
}

#[skyward::test]
async fn a_panic_comes_after_what_came_before() {
    for call in [panics_at(2), panics_at_by_hand(2)] {
        let (got, error) = all(call.local()).await;
        assert_eq!(got, [0, 1]);
        let Some(CallError::Panicked(panic)) = error else { panic!("{error:?}") };
        assert_eq!(panic.message, "at 2");
    }
}

#[skyward::test]
async fn an_item_that_cannot_be_encoded_ends_the_stream_and_is_said() {
    let (got, error) = all(gives_what_refuses().local()).await;
    assert_eq!(got.len(), 1);
    let Some(CallError::Unencodable(reason)) = error else { panic!("{error:?}") };
    assert_eq!(reason, "an item: it refuses; see its Serialize implementation");
}

#[skyward::test]
async fn the_time_of_a_stream_and_the_patience_for_an_item_end_it() {
    let short = Duration::from_millis(20);
    for call in [one_then_never().timeout(short), one_then_never().idle(short)] {
        let (got, error) = all(call.local()).await;
        assert_eq!(got, [1]);
        assert!(matches!(error, Some(CallError::TimedOut(ref late)) if late.after == short), "{error:?}");
    }
}

#[skyward::test]
async fn a_streaming_argument_is_consumed_by_async_and_plain_functions() -> skyward::Result<()> {
    assert_eq!(sum(Streaming::iter(0..1000)).local().await?, 499_500);
    assert_eq!(sum(Streaming::new(stream::iter(Vec::new()))).local().await?, 0);
    assert_eq!(sum_by_hand(Streaming::iter([1, 2, 3]), 10).local().await?, 60);
    let bad = [Ok(1), Err(Failure::new("lost a number"))];
    let error = checked_sum(Streaming::iter(bad)).local().await.expect_err("lost");
    assert_eq!(error.to_string(), "lost a number");
    Ok(())
}

#[skyward::test]
async fn streams_go_in_and_out_at_once() -> skyward::Result<()> {
    let names = ["a", "b", "c"].map(str::to_owned);
    let got = zipped(Streaming::iter([1, 2, 3, 4]), 10, Streaming::iter(names)).local().collect().await?;
    assert_eq!(got, [(10, "a".to_owned()), (20, "b".to_owned()), (30, "c".to_owned())]);
    assert_eq!(doubled(Streaming::iter([1, 2])).local().collect().await?, [2, 4]);

    // Each number goes in only after what became of the one before came out.
    let (give, mut numbers) = tokio::sync::mpsc::channel(1);
    let mut doubled = doubled(Streaming::new(stream::poll_fn(move |it| numbers.poll_recv(it)))).local();
    for number in 0..5 {
        give.send(number).await.expect("wanted");
        assert_eq!(doubled.next().await.transpose()?, Some(number * 2));
    }
    drop(give);
    assert!(doubled.next().await.is_none());
    Ok(())
}

#[skyward::test]
async fn a_function_that_drops_its_input_early_is_no_error_and_stops_the_source() -> skyward::Result<()> {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let numbers = stream::iter(7..).inspect(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(first(Streaming::new(numbers)).local().await?, Some(7));
    assert_eq!((Arc::strong_count(&asked), asked.load(Ordering::Relaxed)), (1, 1));
    Ok(())
}

#[skyward::test]
async fn an_input_that_breaks_fails_the_call_and_is_never_taken_for_a_short_one() {
    let items = || Streaming::iter([Refuses(false), Refuses(true)]);
    for call in [takes_what_refuses(items()), takes_what_refuses_by_hand(items())] {
        let Err(CallError::Unencodable(reason)) = call.local().await else { panic!("it refuses") };
        assert!(reason.starts_with("an item of a stream that it takes: it refuses"), "{reason}");
    }
    let broken = stream::iter(0..3).map(|it| if it < 2 { it } else { panic!("no third") });
    let Err(CallError::Unencodable(reason)) = sum(Streaming::new(broken)).local().await else {
        panic!("it panics")
    };
    assert_eq!(reason, "a stream that it takes panicked: no third");
}

#[skyward::test]
async fn a_group_of_streams_gives_a_tuple_of_streams() -> skyward::Result<()> {
    let (numbers, checked, fed) = (count(3) & until_too_much(1) & doubled(Streaming::iter([4]))).local();
    assert_eq!(numbers.collect().await?, [0, 1, 2]);
    assert!(matches!(all(checked).await, (got, Some(CallError::Task(TooMuch(1)))) if got == [0]));
    assert_eq!(fed.collect().await?, [8]);
    Ok(())
}

/// Polled here by a runtime that is not Skyward's.
#[test]
fn items_can_be_polled_on_any_runtime() {
    skyward::init();
    let other = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    other.block_on(async {
        assert_eq!(
            count_later(3).idle(Duration::from_secs(60)).local().collect().await.expect("runs"),
            [0, 1, 2]
        );
        assert_eq!(sum(Streaming::iter([1, 2])).local().await.expect("runs"), 3);
    });
}

#[test]
fn streams_can_be_spawned_and_moved_and_calls_without_inputs_cloned() {
    fn free<T: Send + Unpin + 'static>(_: &T) {}
    fn value<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    free(&count(1).local());
    free(&until_too_much(1).local());
    free(&doubled(Streaming::iter([1])).local());
    free(&sum(Streaming::iter([1])).local());
    value(&count(1));
    let call: StreamCall<u32, TooMuch> = until_too_much(1).timeout(Duration::from_secs(1)).once().retries(1);
    assert_eq!(call.name(), "streams::until_too_much");
    let fed: Fed<StreamCall<u64>> = doubled(Streaming::iter([1])).once().idle(Duration::from_secs(1));
    assert_eq!(format!("{fed:?}"), "StreamCall(streams::doubled, 3 bytes) with 1 streams");
}
