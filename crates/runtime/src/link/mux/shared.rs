//! One multiplexed connection, as everybody who has a part in it holds it: its streams, whoever opens
//! them, and the driver that moves the bytes.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::frame::Frame;
use super::state::{Broken, STREAMS, State};
use super::stream::stream;
use crate::link::error::{Cause, LinkError, Side};
use crate::link::room::Rooms;
use crate::link::transport::Stream;
use crate::link::wire::WireError;

/// How many streams that the other side opened may wait to be taken: all that may be open, and as many
/// that were opened and given up at once.
pub(super) const ARRIVALS: usize = 2 * STREAMS;

/// How long the last bytes may take to leave.
const FLUSH: Duration = Duration::from_millis(200);

/// One connection.
pub(super) struct Shared {
    state: Mutex<State>,
    over: watch::Sender<Option<LinkError>>,
    gone: watch::Sender<bool>,
    driver: AtomicWaker,
    arrivals: mpsc::Sender<Stream>,
    /// When the other side was last heard, on whichever connection of the link: where a large transfer fills
    /// a slow line, what the others have to say comes late.
    heard: Arc<Mutex<Instant>>,
    /// Further connections of the same link, which end with this one.
    children: Mutex<Vec<Weak<Self>>>,
    /// Whether it ends when it has no stream any more.
    pub(super) is_for_one: bool,
    /// Its streams of items.
    pub(super) rooms: Arc<Rooms>,
}

/// Connections that are to be closed together.
#[derive(Clone, Debug, Default)]
pub(in crate::link) struct Together {
    all: Arc<Mutex<Vec<Weak<Shared>>>>,
}

impl Shared {
    /// The main connection of a link.
    pub(super) fn new(is_client: bool, arrivals: mpsc::Sender<Stream>) -> Arc<Self> {
        Self::with(is_client, false, arrivals, Arc::new(Mutex::new(Instant::now())))
    }

    fn with(
        is_client: bool,
        is_for_one: bool,
        arrivals: mpsc::Sender<Stream>,
        heard: Arc<Mutex<Instant>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            rooms: Self::rooms(this.clone()),
            state: Mutex::new(State::new(is_client)),
            over: watch::channel(None).0,
            gone: watch::channel(false).0,
            driver: AtomicWaker::new(),
            arrivals,
            heard,
            children: Mutex::default(),
            is_for_one,
        })
    }

    fn rooms(this: Weak<Self>) -> Arc<Rooms> {
        Rooms::new(move |count| {
            if let Some(this) = this.upgrade() {
                this.state().widen(count);
                this.wake();
            }
        })
    }

    /// Another connection of the same link as this one.
    pub(super) fn child(&self, is_client: bool) -> Result<Arc<Self>, LinkError> {
        let child = Self::with(is_client, is_client, self.arrivals.clone(), Arc::clone(&self.heard));
        let mut children = lock(&self.children);
        children.retain(|it| it.strong_count() > 0);
        children.push(Arc::downgrade(&child));
        drop(children);
        // Asked last: whoever ends this one after it ends the child.
        self.over().map_or(Ok(child), Err)
    }

    /// Opens a stream.
    pub(super) async fn open(self: &Arc<Self>) -> Result<Stream, LinkError> {
        let opened = poll_fn(|cx| self.state().open(cx)).await;
        opened.map(|id| stream(self, id)).map_err(|it| self.over().unwrap_or(broken(it)))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Has the driver look for something to send.
    pub(super) fn wake(&self) {
        self.driver.wake();
    }

    /// The other side said something.
    pub(super) fn hear(&self) {
        *lock(&self.heard) = Instant::now();
    }

    /// How long the other side has said nothing.
    pub(super) fn silence(&self) -> Duration {
        lock(&self.heard).elapsed()
    }

    pub(super) const fn driver(&self) -> &AtomicWaker {
        &self.driver
    }

    /// A stream that the other side opened.
    ///
    /// # Errors
    /// When too many wait already.
    pub(super) fn arrived(self: &Arc<Self>, id: u32) -> Result<(), WireError> {
        let full = |_| WireError::Undecodable {
            what: "what a connection may say now",
            reason: format!("{ARRIVALS} streams wait to be taken"),
        };
        self.arrivals.try_send(stream(self, id)).map_err(full)
    }

    pub(super) async fn closed(&self) -> LinkError {
        let mut over = self.over.subscribe();
        let ended = over.wait_for(Option::is_some).await.ok().and_then(|it| it.clone());
        // The sender is ours, so there always is one.
        ended.unwrap_or(LinkError::Silent)
    }

    pub(super) fn over(&self) -> Option<LinkError> {
        self.over.borrow().clone()
    }

    /// Ends it from our side.
    pub(super) fn close(&self, cause: Cause, reason: &str) {
        let told = Frame::Close(cause, reason.to_owned());
        self.finish(LinkError::Closed { by: Side::Us, cause, reason: reason.to_owned() }, Some(told));
    }

    /// It is over. The first reason is the one that counts.
    pub(super) fn finish(&self, error: LinkError, told: Option<Frame>) {
        let is_first = self.over.send_if_modified(|over| {
            let is_first = over.is_none();
            over.get_or_insert_with(|| error.clone());
            is_first
        });
        if !is_first {
            return;
        }
        self.state().finish(error.to_string(), told.clone());
        self.wake();
        for child in lock(&self.children).drain(..).filter_map(|it| it.upgrade()) {
            child.finish(error.clone(), told.clone());
        }
    }

    /// The driver has let go of the bytes below.
    pub(super) fn is_gone(&self) {
        self.gone.send_replace(true);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("over", &self.over()).finish_non_exhaustive()
    }
}

impl Together {
    pub(super) fn add(&self, shared: &Arc<Shared>) {
        let mut all = lock(&self.all);
        all.retain(|it| it.strong_count() > 0);
        all.push(Arc::downgrade(shared));
    }

    /// Closes all of them and waits a moment so that the other sides hear of it.
    pub(in crate::link) async fn close(&self, cause: Cause, reason: &str) {
        let all: Vec<_> = lock(&self.all).drain(..).filter_map(|it| it.upgrade()).collect();
        all.iter().for_each(|it| it.close(cause, reason));
        let gone = all.iter().map(|it| {
            let mut gone = it.gone.subscribe();
            async move { drop(gone.wait_for(|it| *it).await) }
        });
        let _ = tokio::time::timeout(FLUSH, futures_util::future::join_all(gone)).await;
    }
}

/// An error of a stream of a connection that may be over.
fn broken(error: Broken) -> LinkError {
    let reason = match error {
        Broken::GivenUp => "the other side gave the stream up".to_owned(),
        Broken::LetGo => "the stream was given up".to_owned(),
        Broken::Over(reason) => reason,
    };
    LinkError::Broken { reason }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
