//! What the owner of a pool writes down while it lives: that it does, how many nodes it wants, and which its machines
//! have become. What cannot be written is written with the next sign of life.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Transaction, params};
use tokio::task::AbortHandle;

use super::JournalError;
use super::record::{Record, now};
use super::state::KnownNode;
use crate::model::InstanceId;

/// What could not be written down yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Unwritten {
    /// What is to be said of machines: which nodes they are, or that they are none any more.
    pub(super) nodes: BTreeMap<InstanceId, Option<String>>,
    /// How many nodes the owner asked for last.
    size: Option<u32>,
}

impl Record {
    /// Writes down so often that the pool's owner lives, and what could not be written before, until it is aborted.
    /// `told` hears why that fails, once until it does not.
    pub fn kept_fresh(
        self: Arc<Self>,
        every: Duration,
        told: impl Fn(String) + Send + 'static,
    ) -> AbortHandle {
        let writing = tokio::spawn(async move {
            let mut is_told = false;
            loop {
                match self.fresh().await {
                    Ok(()) => is_told = false,
                    Err(error) => {
                        tracing::warn!(%error, "that the pool's owner lives is not in the journal");
                        // Who has the pool by now is told elsewhere.
                        let is_trouble = !matches!(error, JournalError::Superseded { .. });
                        if is_trouble && !std::mem::replace(&mut is_told, true) {
                            told(error.to_string());
                        }
                    }
                }
                tokio::time::sleep(every).await;
            }
        });
        writing.abort_handle()
    }

    pub(super) async fn fresh(self: &Arc<Self>) -> Result<(), JournalError> {
        self.on_thread(|record| {
            let written = record.now(|it, id| {
                let seen = "UPDATE pools SET seen_ms = ?2 WHERE id = ?1 AND seen_ms > 0";
                it.execute(seen, params![id, now()])?;
                // Read here: nobody else is writing.
                let unwritten = record.unwritten().clone();
                for (instance, node) in &unwritten.nodes {
                    write_node(it, id, instance, node.as_deref())?;
                }
                unwritten.size.map_or(Ok(()), |nodes| write_size(it, id, nodes))?;
                Ok(unwritten)
            })?;
            let mut unwritten = record.unwritten();
            unwritten.nodes.retain(|instance, node| written.nodes.get(instance) != Some(node));
            unwritten.size.take_if(|it| written.size == Some(*it));
            Ok(())
        })
        .await
    }

    /// Writes down how many nodes the pool's owner asks for: whoever attaches to a pool that keeps its number goes on
    /// with so many. What cannot be written is written with the next sign of life.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn sized(self: &Arc<Self>, nodes: u32) -> Result<(), JournalError> {
        self.on_thread(move |record| {
            let written = record.now(|it, id| {
                record.unwritten().size = None;
                write_size(it, id, nodes)
            });
            if written.is_err() {
                record.unwritten().size = Some(nodes);
            }
            written
        })
        .await
    }

    /// Writes down which node a machine has become. What cannot be written is written with the next sign of life.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn node(self: &Arc<Self>, instance: &InstanceId, node: &KnownNode) -> Result<(), JournalError> {
        self.say(instance, Some(serde_json::to_string(node).unwrap_or_default())).await
    }

    /// Writes down that a machine is no node any more: it finishes what it has. Whoever attaches gives it back.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn leaves(self: &Arc<Self>, instance: &InstanceId) -> Result<(), JournalError> {
        self.say(instance, None).await
    }

    async fn say(self: &Arc<Self>, instance: &InstanceId, node: Option<String>) -> Result<(), JournalError> {
        let instance = instance.clone();
        self.on_thread(move |record| {
            let written = record.now(|it, id| {
                record.unwritten().nodes.remove(&instance);
                write_node(it, id, &instance, node.as_deref())
            });
            if written.is_err() {
                record.unwritten().nodes.insert(instance, node);
            }
            written
        })
        .await
    }

    pub(super) fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says how many nodes the pool's owner asked for.
fn write_size(change: &Transaction<'_>, pool: &str, nodes: u32) -> rusqlite::Result<()> {
    change.execute("UPDATE pools SET size = ?2 WHERE id = ?1", params![pool, nodes]).map(drop)
}

/// Says which node a machine is, or that it is none any more.
fn write_node(
    change: &Transaction<'_>,
    pool: &str,
    instance: &InstanceId,
    node: Option<&str>,
) -> rusqlite::Result<()> {
    let Some(node) = node else {
        let none = "UPDATE machines SET node = NULL WHERE pool = ?1 AND instance = ?2";
        return change.execute(none, params![pool, instance.as_str()]).map(drop);
    };
    let known = "UPDATE machines SET node = ?3 WHERE pool = ?1 AND instance = ?2 AND gone_ms IS NULL";
    if change.execute(known, params![pool, instance.as_str(), node])? == 0 {
        // That it was rented could not be written then.
        let add = "INSERT OR REPLACE INTO machines (pool, instance, provider, deed, node) \
                   SELECT pool, ?2, provider, seq, ?3 FROM deeds WHERE pool = ?1 AND kind = 'provision' \
                   ORDER BY seq DESC LIMIT 1";
        change.execute(add, params![pool, instance.as_str(), node])?;
    }
    Ok(())
}
