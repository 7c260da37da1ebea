//! Which shared values a worker has: each is sent once, on a stream of its own, before the first call that needs
//! it. A worker keeps them when a link breaks, and is told over the next one which of them are still needed.
//!
//! ```text
//! client: kind, key, length (8), encoding, end
//! worker: one byte when it has it; another when it cannot keep it, and why
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OnceCell;

use super::call::Held;
use super::dialer::Shared;
use super::error::LinkError;
use super::transport::{Incoming, Outgoing};
use super::wire::{self, Kind, WireError};
use crate::model::Incarnation;
use crate::payload::{Common, CommonKey};

/// What one worker was given, or is being given, whatever links it came over. It is there as long as a link to the
/// worker is, or anything that the worker was given.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<Given>);

#[derive(Debug, Default)]
struct Given {
    sent: BTreeMap<CommonKey, Arc<OnceCell<()>>>,
    /// Those over which the worker is told what is needed no more.
    links: Vec<Weak<Shared>>,
}

/// What each worker was given.
#[derive(Debug, Default)]
pub(super) struct Workers(Mutex<BTreeMap<Incarnation, Weak<Shares>>>);

/// What the worker says when it has a value, and when it cannot keep it.
const HERE: u8 = 1;
const NO_ROOM: u8 = 2;

impl Workers {
    /// What the worker of this name was given.
    pub(super) fn shares(&self, name: &Incarnation) -> Arc<Shares> {
        let mut workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shares) = workers.get(name).and_then(Weak::upgrade) {
            return shares;
        }
        workers.retain(|_, it| it.strong_count() > 0);
        let shares = Arc::default();
        workers.insert(name.clone(), Arc::downgrade(&shares));
        shares
    }
}

impl Shares {
    /// What is known of a value that goes over this link, and whether nothing was.
    fn cell(&self, key: &CommonKey, link: &Arc<Shared>) -> (Arc<OnceCell<()>>, bool) {
        let mut given = self.given();
        given.link(link);
        let is_new = !given.sent.contains_key(key);
        (Arc::clone(given.sent.entry(*key).or_default()), is_new)
    }

    /// Whether the worker has it.
    pub(super) fn has(&self, key: &CommonKey) -> bool {
        self.given().sent.get(key).is_some_and(|it| it.initialized())
    }

    /// Tells the worker over another link what is still needed: of what is not, it may have heard over none.
    pub(super) fn reconcile(&self, link: &Arc<Shared>) {
        let mut given = self.given();
        given.link(link);
        // What was given up in the middle may be there as well.
        let keys: Vec<CommonKey> = given.sent.keys().copied().collect();
        // Under the lock, so that what is forgotten from now on is said behind it.
        link.lanes.needs(&keys);
    }

    /// Nobody needs it any more.
    fn forget(&self, key: CommonKey) {
        let mut given = self.given();
        if given.sent.remove(&key).is_some() {
            given.living().for_each(|it| it.lanes.forget_common(key));
        }
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Given {
    /// The links that are not known to be over.
    fn living(&self) -> impl Iterator<Item = Arc<Shared>> {
        self.links.iter().filter_map(Weak::upgrade).filter(|it| it.carrier.over().is_none())
    }

    fn link(&mut self, link: &Arc<Shared>) {
        let link = Arc::downgrade(link);
        if !self.links.iter().any(|it| it.ptr_eq(&link)) {
            self.links = self.living().map(|it| Arc::downgrade(&it)).chain([link]).collect();
        }
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
    let (cell, is_new) = shared.shares.cell(&key, shared);
    if is_new {
        // Before anything is sent: of what is given up in the middle something may be there as well.
        let shares = Arc::clone(&shared.shares);
        common.when_dropped(move || shares.forget(key));
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
