//! Which shared values the worker of a link has: each is sent once, on a stream of its own, before the first
//! call that needs it.
//!
//! ```text
//! client: kind, key, length (8), encoding, end
//! worker: one byte when it has it; another when it cannot keep it, and why
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OnceCell;

use super::call::Held;
use super::dialer::Shared;
use super::error::LinkError;
use super::transport::{Incoming, Outgoing};
use super::wire::{self, Kind, WireError};
use crate::payload::{Common, CommonKey};

/// What was sent over one link, or is being sent.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<BTreeMap<CommonKey, Arc<OnceCell<()>>>>);

/// What the worker says when it has a value, and when it cannot keep it.
const HERE: u8 = 1;
const NO_ROOM: u8 = 2;

impl Shares {
    /// What is known of a value, and whether nothing was.
    fn cell(&self, key: &CommonKey) -> (Arc<OnceCell<()>>, bool) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !sent.contains_key(key);
        (Arc::clone(sent.entry(*key).or_default()), is_new)
    }

    /// Whether the worker has it.
    pub(super) fn has(&self, key: &CommonKey) -> bool {
        let sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.get(key).is_some_and(|it| it.initialized())
    }

    /// Whether anything was sent; from now on it has not been.
    pub(super) fn forget(&self, key: &CommonKey) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key).is_some()
    }
}

/// Has the worker have a value, by whatever way `send` is. Those who ask at once wait for the same sending.
pub(super) async fn share<F: Future<Output = Result<(), LinkError>>>(
    shared: &Arc<Shared>,
    common: &Common,
    send: impl FnOnce() -> F,
) -> Result<(), LinkError> {
    let key = *common.key();
    let length = common.payload().len() as u64;
    if length > shared.body_limit {
        return Err(LinkError::TooLarge { what: "a shared value", length, limit: shared.body_limit });
    }
    let (cell, is_new) = shared.shares.cell(&key);
    if is_new {
        // Before anything is sent: of what is given up in the middle something may be there as well.
        let link: Weak<Shared> = Arc::downgrade(shared);
        common.when_dropped(move || {
            if let Some(link) = link.upgrade()
                && link.shares.forget(&key)
            {
                link.lanes.forget_common(key);
            }
        });
    }
    cell.get_or_try_init(send).await.copied()
}

/// Sends it on a stream of its own.
pub(super) async fn send(shared: &Shared, common: &Common) -> Result<(), LinkError> {
    let length = common.payload().len() as u64;
    // Given up in the middle it has to be reset: an end in good order would be one too early.
    let mut held = Held { stream: shared.carrier.open_for(length).await?, ended: false };
    let stream = &mut held.stream;
    let sent = async {
        let mut head = vec![Kind::Shared as u8];
        head.extend_from_slice(common.key());
        head.extend_from_slice(&length.to_be_bytes());
        stream.outgoing.write_all(&head).await?;
        for part in common.payload().parts() {
            stream.outgoing.write_bytes(part.clone()).await?;
        }
        stream.outgoing.shutdown().await?;
        stream.incoming.read_u8().await
    };
    let broken = |it: std::io::Error| LinkError::Broken { reason: it.to_string() };
    let said = sent.await.map_err(|it| shared.carrier.over().unwrap_or(broken(it)))?;
    held.ended = true;
    match said {
        HERE => Ok(()),
        NO_ROOM => {
            let why = wire::read_message(&mut *held.stream.incoming, "why a shared value is not kept").await;
            Err(LinkError::NoRoom { reason: why.map_err(LinkError::Garbled)? })
        }
        other => Err(LinkError::Garbled(WireError::Kind(other))),
    }
}

/// The worker's half: reads a shared value.
///
/// # Errors
/// When the stream fails, or the value is over `limit`.
pub async fn read_common(incoming: &mut dyn Incoming, limit: u64) -> Result<(CommonKey, Bytes), WireError> {
    let mut key = [0; 40];
    let failed = |it: std::io::Error| wire::stopped(&it, "a shared value");
    incoming.read_exact(&mut key).await.map_err(failed)?;
    let length = incoming.read_u64().await.map_err(failed)?;
    let bytes = wire::read_body(incoming, length, limit, "a shared value").await?;
    wire::read_end(incoming).await?;
    Ok((key, bytes))
}

/// The worker's half: says that it has the value.
///
/// # Errors
/// When the stream fails.
pub async fn confirm_common(outgoing: &mut dyn Outgoing) -> Result<(), WireError> {
    let said = async {
        outgoing.write_all(&[HERE]).await?;
        outgoing.shutdown().await
    };
    said.await.map_err(|it| WireError::Interrupted(it.to_string()))
}

/// The worker's half: says why it cannot keep the value.
///
/// # Errors
/// When the stream fails.
pub async fn refuse_common(outgoing: &mut dyn Outgoing, reason: &str) -> Result<(), WireError> {
    let interrupted = |it: std::io::Error| WireError::Interrupted(it.to_string());
    outgoing.write_all(&[NO_ROOM]).await.map_err(interrupted)?;
    wire::write_message(outgoing, &reason).await?;
    outgoing.shutdown().await.map_err(interrupted)
}
