//! Which shared values the worker of a link has: each is sent once, on a stream of its own, before the first
//! call that needs it.
//!
//! ```text
//! client: kind, key, length (8), encoding, end
//! worker: one byte when it has it
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OnceCell;

use super::dialer::Shared;
use super::error::LinkError;
use super::transport::{Incoming, Outgoing};
use super::wire::{self, Kind, WireError};
use crate::payload::{Common, CommonKey};

/// What was sent over one link, or is being sent.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<BTreeMap<CommonKey, Arc<OnceCell<()>>>>);

/// What the worker says when it has a value.
const HERE: u8 = 1;

impl Shares {
    fn cell(&self, key: &CommonKey) -> Arc<OnceCell<()>> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sent.entry(*key).or_default())
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

/// Has the worker have a value. Those who ask at once wait for the same sending.
pub(super) async fn share(shared: &Arc<Shared>, common: &Common) -> Result<(), LinkError> {
    let key = *common.key();
    let cell = shared.shares.cell(&key);
    cell.get_or_try_init(|| async {
        send(shared, common).await?;
        let link: Weak<Shared> = Arc::downgrade(shared);
        common.when_dropped(move || {
            if let Some(link) = link.upgrade()
                && link.shares.forget(&key)
            {
                link.lanes.forget_common(key);
            }
        });
        Ok(())
    })
    .await
    .copied()
}

async fn send(shared: &Shared, common: &Common) -> Result<(), LinkError> {
    let length = common.payload().len() as u64;
    if length > shared.body_limit {
        return Err(LinkError::TooLarge { what: "a shared value", length, limit: shared.body_limit });
    }
    let mut stream = shared.carrier.open().await?;
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
    match sent.await.map_err(|it| shared.carrier.over().unwrap_or(broken(it)))? {
        HERE => Ok(()),
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
