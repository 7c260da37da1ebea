//! Runs a call in this process: through the same registry entry, encoding and outcomes as on a worker.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures_util::FutureExt;
use skyward_runtime::inside::TaskContext;
use skyward_runtime::model::{Panic, Timeout};
use skyward_runtime::registry::{Answer, Body};
use skyward_runtime::tasks::{Lost, Order, Undone};

use crate::engine::Engine;

/// Runs one order here. An async function runs where this future is polled; a plain one on a thread
/// that may block, which goes on to its end when the future is dropped.
pub(super) async fn run(order: Order) -> Result<Bytes, Undone> {
    let engine =
        Engine::get().map_err(|it| Undone::Lost(Lost { rank: None, reason: it.to_string(), attempts: 0 }))?;
    let arguments = order.arguments.into_bytes();
    let context = TaskContext::new();
    let run = async {
        match order.function.body {
            Body::Async(start) => {
                let body = start(arguments).map_err(Undone::Undecodable)?;
                AssertUnwindSafe(context.surround(body))
                    .catch_unwind()
                    .await
                    .map_err(|it| Undone::Panicked(Panic::caught(&*it)))
            }
            Body::Blocking(start) => {
                let cancellation = context.cancellation();
                let plain = move || cancellation.surround(|| start(arguments));
                match engine.handle().spawn_blocking(plain).await {
                    Ok(answer) => answer.map_err(Undone::Undecodable),
                    Err(error) => Err(match error.try_into_panic() {
                        Ok(payload) => Undone::Panicked(Panic::caught(&*payload)),
                        Err(_) => Undone::Cancelled,
                    }),
                }
            }
            Body::Stream { .. } | Body::Iterator { .. } => {
                Err(Undone::Undecodable("a function of streams has calls of its own kind".to_owned()))
            }
        }
    };
    let answer = match order.timeout {
        Some(after) => {
            tokio::time::timeout(after, run).await.map_err(|_| Undone::TimedOut(Timeout::new(after)))??
        }
        None => run.await?,
    };
    match answer {
        Answer::Returned(value) => Ok(value.into_bytes()),
        Answer::Failed(error) => Err(Undone::Failed(error)),
        Answer::Unencodable(reason) => Err(Undone::Unencodable(reason)),
    }
}
