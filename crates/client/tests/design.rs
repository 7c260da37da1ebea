//! The calls of the design compile as it gives them, and nothing is rented until they are awaited.
#![forbid(unsafe_code)]
#![deny(warnings)]

use serde::{Deserialize, Serialize};
use skyward::prelude::*;

/// Its own error.
#[derive(Debug, Serialize, Deserialize)]
pub enum TrainError {
    /// It went wrong.
    Diverged,
}

/// Documented.
#[skyward::function]
pub async fn train(epochs: u32) -> Result<f64, TrainError> {
    if epochs == 0 {
        return Err(TrainError::Diverged);
    }
    Ok(f64::from(epochs))
}

mod inner {
    #[skyward::function]
    #[inline]
    pub(crate) fn name() -> Result<String, skyward::Failure> {
        Ok("name".to_owned())
    }
}

async fn everything() -> skyward::Result<()> {
    let compute = Compute::builder()
        .spec(Spec::on(Local::default()).nodes(2))
        .nodes(4)
        .image(Image::new().apt(["ffmpeg"]).pip(["torch"]).env("K", "V").include("./data"))
        .worker(Worker { concurrency: 2, ..Worker::default() })
        .timing(Timing::short())
        .queue(100)
        .signals(false)
        .console()
        .start()
        .await?;

    let loss: f64 = (train(10) >> &compute).await?;
    let all: Vec<f64> = (train(10) * &compute).await?;
    let (a, b): (f64, String) = ((train(1) & inner::name()) >> &compute).await?;
    let (c, d) = ((train(1) & inner::name()) >> &compute).settle().await;
    let (e, f) = ((train(1) & inner::name()).settle() >> &compute).await;
    let many: Vec<f64> = (gather((0..100).map(train)) >> &compute).await?;
    let head: f64 = (train(1) >> compute.head()).await?;
    let node = compute.node(2);
    let there: Vec<f64> = (gather((0..100).map(train)) >> &node).await?;
    let timed: Result<f64, CallError<TrainError>> =
        (train(1).timeout(std::time::Duration::from_secs(1)) >> &compute).await;

    let mut live = compute.stream(gather((0..100).map(train)));
    while let Some(result) = live.next().await {
        let _: f64 = result?;
    }
    let mut live = node.stream(gather((0..100).map(train)).ordered()).indexed();
    while let Some((_place, result)) = live.next().await {
        let _: f64 = result?;
    }

    compute.run(train(1)).await?;
    compute.broadcast(train(1)).await?;
    compute.gather((0..2).map(train)).await?;
    compute.map(train, [1, 2]).await?;
    let borrowed = vec![1, 2];
    compute.map(|epochs| train(*epochs), &borrowed).await?;
    node.run(train(1)).await?;
    let spawned = compute.spawn(train(1));
    drop(compute.spawn(broadcast(train(1))));
    compute.spawn(gather([train(1)])).cancel();
    spawned.await?;

    let mut events = compute.events();
    let _ = events.next().await;
    let _ = (compute.id(), compute.nodes());
    let _ = (loss, all, a, b, c, d, e, f, many, head, there, timed);
    compute.stop().await
}

#[test]
fn what_the_design_shows_can_be_spawned() {
    fn free<F: Future + Send + 'static>(_: F) {}
    free(everything());
}
