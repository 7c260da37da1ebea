//! What calls can do, once each, on a pool of two whose machines are real ones.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use skyward::prelude::*;

use crate::desk;

/// Why a number is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The number is not small.
    TooLarge {
        /// What is not small any more.
        limit: u32,
    },
}

/// Where a function runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The name of its machine.
    pub name: String,
    /// Its home.
    pub home: String,
    /// `GREETING`, which the image sets.
    pub greeting: String,
}

/// The rank of the node that it runs on.
#[skyward::function]
pub async fn rank() -> Option<u32> {
    skyward::instance_info().map(|it| it.rank.0)
}

#[skyward::function]
async fn echo(text: String) -> String {
    text
}

/// Twice as much.
#[skyward::function]
pub fn double(number: u64) -> u64 {
    number * 2
}

#[skyward::function]
async fn small(number: u32) -> Result<u32, Refusal> {
    if number < 10 { Ok(number) } else { Err(Refusal::TooLarge { limit: 10 }) }
}

#[skyward::function]
async fn fails_with_a_chain() -> Result<(), Failure> {
    "not a number".parse::<u32>()?;
    Ok(())
}

#[skyward::function]
#[expect(clippy::panic, reason = "that is what it is for")]
async fn panics() -> u32 {
    panic!("out of luck")
}

#[skyward::function]
async fn never() {
    std::future::pending::<()>().await;
}

#[skyward::function]
fn counts(to: u32) -> impl futures_util::Stream<Item = u32> {
    futures_util::stream::iter(0..to)
}

/// Where it runs.
#[skyward::function]
pub fn place() -> Place {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let home = std::env::var("HOME").unwrap_or_default();
    let greeting = std::env::var("GREETING").unwrap_or_default();
    Place { name: name.trim().to_owned(), home, greeting }
}

#[skyward::function]
fn reads(path: String) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The image that [`smoke`] looks for.
pub fn image() -> Image {
    Image::new().env("GREETING", "hello").shell("echo by a step >made")
}

/// Twenty kinds of calls on a pool of two with [`image`]; where its nodes are.
///
/// # Errors
/// When a call fails that should not.
///
/// # Panics
/// When what comes of one is not what it should be.
pub async fn smoke(compute: &Compute) -> skyward::Result<Vec<Place>> {
    assert_eq!((echo("small".into()) >> compute).await?, "small");
    let large = "0123456789abcdef".repeat(1 << 17);
    assert!((echo(large.clone()) >> compute).await? == large);
    assert_eq!((double(21) >> compute).await?, 42);
    assert_eq!((small(3) >> compute).await?, 3);
    let refused = (small(10) >> compute).await;
    assert!(matches!(refused, Err(CallError::Task(Refusal::TooLarge { limit: 10 }))), "{refused:?}");
    let chain = (fails_with_a_chain() >> compute).await.expect_err("it fails").to_string();
    assert!(chain.contains("invalid digit"), "{chain}");
    assert!(matches!((panics() >> compute).await, Err(CallError::Panicked(_))));
    assert_eq!((rank() * compute).await?, [Some(0), Some(1)]);
    assert_eq!((rank() >> compute.node(1)).await?, Some(1));
    assert_eq!((rank() >> compute.head()).await?, Some(0));
    assert_eq!(
        (gather((0..200).map(double)) >> compute).await?,
        (0..200).map(|it| it * 2).collect::<Vec<_>>()
    );
    assert_eq!(((double(1) & small(2)) >> compute).await?, (2, 2));
    assert_eq!(compute.map(double, 0..10).await?, (0..10).map(|it| it * 2).collect::<Vec<_>>());
    let slow = (never().timeout(Duration::from_millis(200)) >> compute).await;
    assert!(matches!(slow, Err(CallError::TimedOut(_))), "{slow:?}");
    let dropped = tokio::time::timeout(Duration::from_millis(50), never() >> compute).await;
    assert!(dropped.is_err());
    let items: Vec<_> = (counts(50) >> compute).collect().await?;
    assert_eq!(items, (0..50).collect::<Vec<_>>());
    let mut live = compute.stream(gather((0..20).map(double)));
    let mut seen = 0;
    while let Some(result) = live.next().await {
        seen += result?;
    }
    assert_eq!(seen, 380);
    let places = (place() * compute).await?;
    assert!(places.iter().all(|it| it.greeting == "hello"), "{places:?}");
    let desk = desk("smoke")?;
    let file = desk.path().join("file");
    std::fs::write(&file, "what is in it")?;
    compute.node(1).upload(&file, "there").await?;
    assert_eq!((reads("there".into()) >> compute.node(1)).await?, "what is in it");
    compute.node(1).download("there", &file).await?;
    assert_eq!(std::fs::read_to_string(&file)?, "what is in it");
    assert_eq!((reads("made".into()) >> compute).await?, "by a step\n");
    Ok(places)
}
