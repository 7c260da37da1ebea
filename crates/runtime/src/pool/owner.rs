//! What the PoolActor has to do with its pool's entry in the journal: it hears that another program has the pool, writes
//! down that the pool is being given back, and frees it in the end.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::task::AbortHandle;

use super::messages::{Heard, PoolMessage};
use super::strays;
use crate::journal::{JournalError, Record};
use crate::model::Leftover;
use crate::node::NodeKit;

/// Has the pool hear when another program has it, whatever that is learned by.
pub(super) fn watch(record: Arc<Record>, pool: ActorRef<PoolMessage>) -> AbortHandle {
    let watching = tokio::spawn(async move {
        let by = record.superseded().await;
        tracing::warn!(%by, "the pool is another program's");
        // Fails only when the pool is over.
        let _ = pool.cast(PoolMessage::heard(Heard::Superseded(by)));
    });
    watching.abort_handle()
}

/// That another program has the pool, if that is known.
pub(super) fn lost(record: Option<&Arc<Record>>) -> Option<Heard> {
    record?.lost().map(Heard::Superseded)
}

/// Writes down that the pool is being given back; who has it, if that is another program.
pub(super) async fn close(record: Option<&Arc<Record>>) -> Option<JournalError> {
    let record = record?;
    if let Err(error) = record.close().await {
        tracing::warn!(%error, "that the pool is being given back is not in the journal");
    }
    record.lost()
}

/// The pool is over, and what is left of it is this: its entry goes, if nothing of it stays, and it is free.
pub(super) async fn free(
    record: &Arc<Record>,
    kits: &[Arc<NodeKit>],
    left: Vec<Leftover>,
    stays: bool,
) -> Vec<Leftover> {
    let left = if left.is_empty() && !stays { strays::forget(record, kits).await } else { left };
    record.free();
    left
}
