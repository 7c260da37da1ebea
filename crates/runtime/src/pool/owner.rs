//! What the PoolActor has to do with its pool's entry in the journal: it hears that another program has the pool, writes
//! down which size it is asked for and that it is being given back, and frees it in the end.

use std::sync::Arc;
use std::time::Instant;

use ractor::ActorRef;
use tokio::task::AbortHandle;

use super::messages::{Heard, PoolMessage};
use super::state::State;
use super::strays;
use crate::journal::{JournalError, Record};
use crate::model::{InvalidRequest, Leftover};
use crate::node::NodeKit;
use crate::timing::Timing;

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

/// Whether the pool may have so many nodes. If so, it is written down before anything is done, so that whoever attaches
/// after a kill wants as many. A disk that is full keeps no pool from giving nodes back: it is written later then.
///
/// # Errors
/// Why not.
pub(super) async fn resize(
    record: Option<&Arc<Record>>,
    state: &State,
    nodes: u32,
    now: Instant,
    timing: &Timing,
) -> Result<(), InvalidRequest> {
    state.resizable(nodes, now, timing)?;
    let Some(record) = record else { return Ok(()) };
    match record.sized(nodes).await {
        Err(by @ JournalError::Superseded { .. }) => Err(InvalidRequest::new("nodes", nodes, by.to_string())),
        Err(error) => {
            tracing::warn!(nodes, %error, "how many nodes the pool is asked for is not in the journal yet");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
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
