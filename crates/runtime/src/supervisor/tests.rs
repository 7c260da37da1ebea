//! A pool under its supervisor, with a cloud that never answers.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::Supervisor;
use crate::events::Events;
use crate::model::{
    Capabilities, Carrier, Image, Instance, InstanceId, Leftover, Nodes, Offer, PoolId, Selection,
};
use crate::output::Hub;
use crate::pool::{PoolRequest, Spec, Worker};
use crate::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request};
use crate::timing::Timing;

/// A cloud that never answers.
struct Silent;

fn nothing() -> ProviderError {
    ProviderError::new(ProviderErrorKind::Transient, "nobody asks for that here")
}

#[async_trait]
impl Provider for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ends_itself: true, udp: true, same_computer: true, ..Capabilities::NONE }
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        stream::pending().boxed()
    }

    async fn prepare(&self, _: &Request) -> Result<(), ProviderError> {
        Err(nothing())
    }

    async fn provision(&self, _: &Request, _: u32) -> Result<Provisioned, ProviderError> {
        Err(nothing())
    }

    async fn describe(&self, _: &Request, _: &InstanceId) -> Result<Instance, ProviderError> {
        Err(nothing())
    }

    async fn terminate(&self, _: &Request, _: &[InstanceId]) -> Result<(), ProviderError> {
        Err(nothing())
    }

    async fn teardown(&self, _: &Request) -> Result<Vec<Leftover>, ProviderError> {
        Err(nothing())
    }
}

#[tokio::test]
async fn the_end_of_its_queue_ends_a_pool_with_the_reason() {
    let supervisor = Supervisor::start().await.expect("started");
    let request = PoolRequest {
        specs: vec![Spec::on(Silent)],
        carrier: Carrier::default(),
        nodes: Nodes::default(),
        selection: Selection::default(),
        max_hourly_cost: None,
        max_total_cost: None,
        image: Image::default(),
        worker: Worker::default(),
        probe: None,
        scaling: crate::model::Scaling::default(),
        cluster: None,
        timing: Timing::short(),
        secrets: [].into(),
        queue: 1,
        interruptions: 0,
        crash_limit: 2,
        output: Hub::default(),
        events: Events::new(PoolId::new("p")),
        record: None,
        adopted: None,
        holds: false,
    };
    let pool = supervisor.open(request).await.expect("opened");
    // A queue that answers is one that the pool has heard of.
    pool.tasks().explain().expect("alive");
    while pool.explain().await.status.pool.is_none() {
        tokio::task::yield_now().await;
    }
    pool.tasks().kill();
    let started = tokio::time::timeout(Duration::from_secs(10), pool.started()).await;
    let failure = started.expect("in time").expect_err("failed").to_string();
    assert!(failure.contains("queue of calls failed"), "{failure}");
    assert_eq!(pool.stop().await.left, []);
}
