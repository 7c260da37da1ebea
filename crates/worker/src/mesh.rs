//! The other nodes of a cluster: links to them, opened when one of them has what is needed here, and what they want of
//! this node when they open one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use skyward_runtime::inside;
use skyward_runtime::link::{
    Cause, Dialer, Hello, Identity, Incoming, Kind, Link, LinkError, Outgoing, Session, Stream, WireError,
};
use skyward_runtime::model::{Incarnation, Mode};
use skyward_runtime::spread::{self, Door, FetchError, Held, Offer, Open, Store, read_offer};
use skyward_runtime::timing::Timing;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use crate::desk::Desk;
use crate::worker::Worker;

/// What nodes pass on among themselves, as one node has it.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) store: Store,
    dialer: Dialer,
    links: Mutex<BTreeMap<Incarnation, Link>>,
    /// What this node says to others first; only the name is another each time.
    hello: Hello,
    dial: Duration,
    stall: Duration,
    giving: Semaphore,
}

/// How many others are given something at once; more wait. The client puts one or two below each node.
const GIVING: usize = 16;

/// How many times the silence by which a link counts as broken a source may give nothing: whoever it has it from may
/// have fallen silent, and have been replaced.
const STALLS: u32 = 4;

impl Mesh {
    /// `hello` is what is said to others; only its name is another each time.
    pub(crate) fn new(identity: &Identity, hello: Hello, timing: &Timing) -> Result<Self, LinkError> {
        Ok(Self {
            store: Store::default(),
            dialer: Dialer::new(identity, timing)?,
            links: Mutex::default(),
            hello,
            dial: timing.quic,
            stall: timing.detect.saturating_mul(STALLS),
            giving: Semaphore::new(GIVING),
        })
    }

    /// How long a source may give nothing.
    pub(crate) const fn stall(&self) -> Duration {
        self.stall
    }

    async fn link(&self, door: &Door) -> Result<Link, LinkError> {
        let there = |links: &BTreeMap<Incarnation, Link>| {
            links.get(&door.name).filter(|it| it.over().is_none()).cloned()
        };
        if let Some(link) = there(&self.links()) {
            return Ok(link);
        }
        let hello = Hello { incarnation: door.name.clone(), ..self.hello.clone() };
        let link = self.dialer.dial(SocketAddr::new(door.address, door.port), hello, self.dial).await?;
        let mut links = self.links();
        links.retain(|_, it| it.over().is_none());
        // Two that dial at once may both be let in; the first is kept.
        Ok(links.entry(door.name.clone()).or_insert(link).clone())
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<Incarnation, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open for Mesh {
    fn open<'a>(&'a self, door: &'a Door, said: Vec<u8>) -> BoxFuture<'a, Result<Box<dyn Incoming>, String>> {
        async move {
            let link = self.link(door).await.map_err(|it| it.to_string())?;
            let mut stream = link.open(Kind::Chunks, 0).await.map_err(|it| it.to_string())?;
            let told = async {
                stream.outgoing.write_all(&said).await?;
                stream.outgoing.shutdown().await
            };
            told.await.map_err(|it: io::Error| it.to_string())?;
            Ok(stream.incoming)
        }
        .boxed()
    }
}

/// The workers that may link to this one: those of its cluster, as the client has last said.
pub(crate) fn peers() -> Vec<Incarnation> {
    let info = inside::instance_info().filter(|it| it.mode == Mode::Cluster);
    info.map(|it| it.peers.into_iter().map(|it| it.name).collect()).unwrap_or_default()
}

/// Serves the link of another node until it is over, or that may not ask any more.
pub(crate) async fn serve(mesh: Arc<Mesh>, session: Session, may_ask: impl Fn() -> bool) {
    let session = Arc::new(session);
    while let Ok(stream) = session.accept().await {
        if !may_ask() {
            session.close(Cause::Done, "it is no node of the pool any more");
            return;
        }
        tokio::spawn(give(Arc::clone(&mesh), Arc::clone(&session), stream));
    }
}

async fn give(mesh: Arc<Mesh>, session: Arc<Session>, mut stream: Stream) {
    let given = match Session::kind(&mut stream).await {
        Ok(Kind::Chunks) => spread::serve(&mesh.store, &mut stream, &mesh.giving, mesh.stall).await,
        // Nothing else is another node's to ask.
        Ok(kind) => Err(WireError::Kind(kind as u8)),
        Err(error) => Err(error),
    };
    if let Err(error) = given
        && error.is_violation()
    {
        tracing::warn!(%error, "another node broke the protocol; its link is closed");
        session.close(Cause::Protocol, &error.to_string());
    }
}

/// Takes in a value that calls to come share, from wherever the client says.
pub(crate) async fn take(worker: &Worker, desk: &Desk, stream: &mut Stream) -> Result<(), WireError> {
    let Stream { outgoing, incoming } = stream;
    let Offer { key, manifest } = read_offer(&mut **incoming).await?;
    if !desk.share_comes(key) {
        outgoing.reset();
        return Ok(());
    }
    let (mesh, held) = (&worker.mesh, worker.mesh.store.offered(key, manifest));
    let client = (&mut **incoming, &mut **outgoing);
    match spread::fetch(&held, client, &**mesh, mesh.stall).await {
        Ok(()) => {}
        Err(FetchError::Wire(error)) => return Err(error),
        Err(FetchError::Keep(error)) => return refuse(worker, &held, &error, &mut **outgoing).await,
        Err(error) => return Err(WireError::Interrupted(error.to_string())),
    }
    if let Some(bytes) = held.whole() {
        let kept = worker.executor.keep_common(key, bytes).await;
        let kept = kept.and_then(|()| worker.executor.common_file(&key).map(File::open).transpose());
        match kept {
            // It need not be in memory as well.
            Ok(file) => file.into_iter().for_each(|it| held.rest_in(it)),
            Err(error) => return refuse(worker, &held, &error, &mut **outgoing).await,
        }
    }
    if !worker.share_is_here(&key) {
        outgoing.reset();
        return Ok(());
    }
    held.have(&mut **outgoing).await?;
    outgoing.shutdown().await.map_err(|it| WireError::Interrupted(it.to_string()))
}

/// Lets go of a value that cannot be kept, and says why.
async fn refuse(
    worker: &Worker,
    held: &Held,
    error: &io::Error,
    to_client: &mut dyn Outgoing,
) -> Result<(), WireError> {
    tracing::error!(%error, "a shared value cannot be kept");
    worker.executor.forget_common(held.key());
    worker.mesh.store.forget(held.key());
    held.cannot(to_client, error.to_string()).await?;
    to_client.shutdown().await.map_err(|it| WireError::Interrupted(it.to_string()))
}
