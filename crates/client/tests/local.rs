//! Calls run in this process: the encoding, the outcomes and the ways to combine calls, without a pool.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skyward::{CallError, Error, Failure, broadcast, gather, group};

#[derive(Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
enum TrainError {
    #[error("diverged at epoch {epoch}")]
    Diverged { epoch: u32 },
}

/// Keeps its documentation.
#[skyward::function]
async fn train(epochs: u32) -> Result<f64, TrainError> {
    if epochs > 100 {
        return Err(TrainError::Diverged { epoch: epochs / 2 });
    }
    Ok(1.0 / f64::from(epochs))
}

#[skyward::function]
fn blocking(n: u64) -> u64 {
    n * 2
}

#[skyward::function]
async fn nothing() {}

#[skyward::function]
#[expect(clippy::panic, reason = "it is what it is for")]
fn panics(message: String) -> Result<(), TrainError> {
    panic!("{message}")
}

#[skyward::function]
#[expect(clippy::panic, reason = "it is what it is for")]
async fn panics_later() -> u32 {
    tokio::task::yield_now().await;
    std::panic::panic_any(7_u8)
}

#[skyward::function]
async fn forever() -> u32 {
    std::future::pending().await
}

#[skyward::function]
async fn any_failure(text: String) -> Result<u32, Failure> {
    if text.is_empty() {
        return Err("nothing to parse")?;
    }
    if text == "anyhow" {
        return Err(anyhow::anyhow!("inner").context("outer"))?;
    }
    Ok(text.parse::<u32>()?)
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Settings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    rate: f64,
    #[serde(flatten)]
    more: BTreeMap<String, String>,
}

#[skyward::function]
#[allow(clippy::too_many_arguments)]
async fn many(
    a: u8,
    mut b: Vec<String>,
    (c, d): (i64, char),
    e: Option<bool>,
    f: Settings,
    _: (),
    g: i128,
    h: f32,
    i: Box<[u16]>,
) -> (u8, Vec<String>, i64, char, Option<bool>, Settings, i128, f32, Box<[u16]>) {
    b.push("added".into());
    (a, b, c, d, e, f, g, h, i)
}

#[skyward::function]
pub(crate) fn reversed(bytes: serde_bytes::ByteBuf) -> serde_bytes::ByteBuf {
    bytes.iter().rev().copied().collect::<Vec<u8>>().into()
}

#[derive(Debug, Deserialize)]
struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it refuses"))
    }
}

#[skyward::function]
fn takes_what_refuses(_: u8, refuses: Refuses) {
    let _ = refuses;
}

#[skyward::function]
fn gives_what_refuses() -> Refuses {
    Refuses
}

#[skyward::test]
async fn async_and_blocking_functions_give_their_values() -> skyward::Result<()> {
    assert_eq!(train(4).local().await?, 0.25);
    assert_eq!(blocking(4).local().await?, 8);
    nothing().local().await?;
    Ok(())
}

#[skyward::test]
async fn arguments_of_many_kinds_arrive_as_they_were() -> skyward::Result<()> {
    let settings =
        Settings { rate: 0.5, more: BTreeMap::from([("k".into(), "v".into())]), ..Settings::default() };
    let got = many(
        1,
        vec!["x".into()],
        (-2, 'é'),
        Some(true),
        settings.clone(),
        (),
        i128::MIN,
        0.1,
        Box::new([1, 2]),
    )
    .local()
    .await?;
    let expected = (
        1,
        vec!["x".to_owned(), "added".to_owned()],
        -2,
        'é',
        Some(true),
        settings,
        i128::MIN,
        0.1,
        Box::from([1, 2]),
    );
    assert_eq!(got, expected);
    let bytes = serde_bytes::ByteBuf::from((0..=255).collect::<Vec<u8>>());
    let reversed = reversed(bytes.clone()).local().await?;
    assert!(reversed.iter().eq(bytes.iter().rev()));
    Ok(())
}

#[skyward::test]
async fn the_functions_own_error_is_matched_by_the_caller_and_kept_by_error() {
    let Err(CallError::Task(own)) = train(200).local().await else { panic!("it diverges") };
    assert_eq!(own, TrainError::Diverged { epoch: 100 });
    let error = Error::from(CallError::Task(own));
    assert_eq!(error.task::<TrainError>(), Some(&TrainError::Diverged { epoch: 100 }));
    assert_eq!(error.to_string(), "diverged at epoch 100");
    assert_eq!(format!("{error:?}"), "diverged at epoch 100");
}

#[skyward::test]
async fn a_failure_brings_the_words_of_its_causes() {
    for (text, words) in
        [("", "nothing to parse"), ("anyhow", "outer: inner"), ("x", "invalid digit found in string")]
    {
        let Err(error) = any_failure(text.into()).local().await else { panic!("{text:?} is no number") };
        assert_eq!(Error::from(error).to_string(), words);
    }
}

#[skyward::test]
async fn a_panic_is_an_outcome_with_its_message() {
    let Err(CallError::Panicked(panic)) = panics("boom".into()).local().await else { panic!("it panics") };
    assert_eq!(panic.message, "boom");
    let Err(CallError::Panicked(panic)) = panics_later().local().await else { panic!("it panics") };
    assert_eq!(panic.message, "the panic's message is not text");
}

#[skyward::test]
async fn a_call_that_takes_too_long_times_out() {
    let after = Duration::from_millis(10);
    let Err(CallError::TimedOut(said)) = forever().timeout(after).local().await else { panic!("it hangs") };
    assert_eq!(said.after, after);
}

#[skyward::test]
async fn what_cannot_be_encoded_is_said_when_the_call_is_run() {
    let call = takes_what_refuses(1, Refuses);
    assert!(format!("{call:?}").ends_with(
        "takes_what_refuses, unencodable: argument `refuses`: it refuses; see its Serialize implementation)"
    ));
    let Err(CallError::Unencodable(reason)) = call.local().await else { panic!("it refuses") };
    assert_eq!(reason, "argument `refuses`: it refuses; see its Serialize implementation");
    let Err(CallError::Unencodable(reason)) = gives_what_refuses().local().await else {
        panic!("it refuses")
    };
    assert_eq!(reason, "the value: it refuses; see its Serialize implementation");
}

#[skyward::test]
async fn a_gather_keeps_the_order_and_the_first_error_ends_it() -> skyward::Result<()> {
    let doubled = gather((0..100).map(blocking)).local().await?;
    assert_eq!(doubled, (0..100).map(|it| it * 2).collect::<Vec<_>>());
    let outcome = gather([1, 500, 2].map(train)).local().await;
    assert!(matches!(outcome, Err(CallError::Task(TrainError::Diverged { epoch: 250 }))));
    Ok(())
}

#[skyward::test]
async fn a_stream_gives_every_result_with_its_place_and_goes_on_after_an_error() {
    let calls = || gather([1, 500, 2].map(train));
    let mut results = calls().ordered().local_stream();
    let mut ok = Vec::new();
    while let Some(result) = results.next().await {
        ok.push(result.is_ok());
    }
    assert_eq!(ok, [true, false, true]);

    let mut results = calls().local_stream().indexed();
    let mut places = BTreeMap::new();
    while let Some((place, result)) = results.next().await {
        places.insert(place, result.is_ok());
    }
    assert_eq!(places, BTreeMap::from([(0, true), (1, false), (2, true)]));
}

#[skyward::test]
async fn a_group_gives_a_typed_tuple_of_up_to_eight() -> skyward::Result<()> {
    let (a, b) = (train(1) & blocking(2)).local().await?;
    assert_eq!((a, b), (1.0, 4));
    let one = || blocking(1);
    let eight = one() & one() & one() & one() & one() & one() & one() & train(2);
    assert_eq!(eight.local().await?, (2, 2, 2, 2, 2, 2, 2, 0.5));
    assert_eq!(group((train(1), nothing())).and(blocking(3)).local().await?, (1.0, (), 6));
    Ok(())
}

#[skyward::test]
async fn the_first_error_of_a_group_cancels_the_rest_and_says_which_call_it_was() {
    let error = (forever() & train(500)).local().await.expect_err("one diverges");
    assert_eq!(error.task::<TrainError>(), Some(&TrainError::Diverged { epoch: 250 }));
    assert_eq!(error.to_string(), "`local::train` in a group of calls: diverged at epoch 250");
}

#[skyward::test]
async fn a_settled_group_gives_each_call_its_own_result() {
    let (a, b, c) = (train(500) & panics("boom".into()) & blocking(1)).local().settle().await;
    assert!(matches!(a, Err(CallError::Task(TrainError::Diverged { .. }))));
    assert!(matches!(b, Err(CallError::Panicked(_))));
    assert!(matches!(c, Ok(2)));
}

#[skyward::test]
async fn a_group_that_runs_can_still_be_settled() {
    let mut running = (train(500) & train(1) & forever().timeout(Duration::from_millis(50))).local();
    let polled = futures_util::poll!(&mut running);
    assert!(polled.is_ready(), "the first error ends a group that is not settled");

    let mut running = (forever().timeout(Duration::from_millis(50)) & train(1)).local();
    assert!(futures_util::poll!(&mut running).is_pending());
    let (slow, quick) = running.settle().await;
    assert!(matches!(slow, Err(CallError::TimedOut(_))));
    assert!(matches!(quick, Ok(1.0)));
}

#[skyward::test]
#[should_panic(expected = "as in any test")]
async fn a_test_may_be_expected_to_panic() {
    panic!("as in any test");
}

#[skyward::test]
#[ignore = "shows that attributes are kept"]
async fn a_test_may_be_ignored() {
    panic!("it is ignored");
}

/// Calls are polled here by a runtime that is not Skyward's, or none.
#[test]
fn a_dispatch_can_be_polled_without_any_runtime() {
    skyward::init();
    let mut timed = Box::pin(forever().timeout(Duration::from_millis(10)).local());
    let (told, tell) = std::sync::mpsc::channel();
    struct Tell(std::sync::mpsc::Sender<()>);
    impl std::task::Wake for Tell {
        fn wake(self: std::sync::Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let waker = std::sync::Arc::new(Tell(told)).into();
    let mut context = std::task::Context::from_waker(&waker);
    let outcome = loop {
        match timed.as_mut().poll(&mut context) {
            std::task::Poll::Ready(outcome) => break outcome,
            std::task::Poll::Pending => tell.recv().expect("the waker lives"),
        }
    };
    assert!(matches!(outcome, Err(CallError::TimedOut(_))));
}

/// What tokio::spawn and join_all ask for, whatever the value and error types are.
#[test]
fn what_is_on_its_way_can_be_spawned_moved_and_joined() {
    fn free<T: Future + Send + Unpin + 'static>(_: &T) {}
    fn value<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    free(&train(1).local());
    free(&group((train(1), nothing())).local());
    free(&group((train(1), nothing())).local().settle());
    free(&gather([train(1)]).local());
    value(&train(1));
    value(&broadcast(train(1)));
    value(&gather([train(1)]));
    value(&group((train(1), nothing())).settle());
    assert_eq!(train(1).name(), "local::train");
}
