//! The client's side: dialling a worker, and the link that comes of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use quinn::{ConnectError, Endpoint};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::call::{self, CallRequest, Outcome};
use super::calling::{self, Calling, Elsewhere};
use super::error::{Cause, LinkError};
use super::frame::SmallCall;
use super::hello::{self, Hello};
use super::identity::{Identity, dns_name};
use super::inbox::Inbox;
use super::lane::Lanes;
use super::mux::{Mux, Road, Together, Tunnel};
use super::pending::Pending;
use super::quic::{self, Quic};
use super::room::Room;
use super::shares::{self, Shares, Workers};
use super::transport::{Stream, Transport};
use super::wire::{BODY_LIMIT, Kind};
use crate::model::{Attempt, Carrier, Key, TaskId};
use crate::payload::{Common, Payload};
use crate::retention::{Left, Try};
use crate::timing::Timing;

/// Dials the workers of one pool. Clones share its sockets: one per address family, opened when first
/// needed.
#[derive(Clone, Debug)]
pub struct Dialer {
    identity: Identity,
    timing: Timing,
    config: quinn::ClientConfig,
    endpoints: Arc<Mutex<Endpoints>>,
    together: Together,
    workers: Arc<Workers>,
    body_limit: u64,
}

#[derive(Debug, Default)]
struct Endpoints {
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

/// A link to one worker, which has welcomed us. Clones share it; the last one, pending calls counted,
/// closes it.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) carrier: Arc<dyn Transport>,
    pub(super) lanes: Lanes,
    pub(super) shares: Arc<Shares>,
    pub(super) pending: Pending,
    hello: Hello,
    pub(super) body_limit: u64,
    users: watch::Sender<usize>,
}

/// Somebody uses a link for more than calls; dropping it ends that.
#[derive(Debug)]
pub struct InUse {
    shared: Arc<Shared>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.shared.users.send_modify(|it| *it = it.saturating_sub(1));
    }
}

impl Dialer {
    /// A dialer for the client of one pool.
    ///
    /// # Errors
    /// When the identity is not a usable certificate and key.
    pub fn new(identity: &Identity, timing: &Timing) -> Result<Self, LinkError> {
        Ok(Self {
            identity: identity.clone(),
            timing: timing.clone(),
            config: quic::client(identity, timing)?,
            endpoints: Arc::default(),
            together: Together::default(),
            workers: Arc::default(),
            body_limit: BODY_LIMIT,
        })
    }

    /// The same with another limit for the arguments and the outcome of one call, in bytes. Default
    /// [`BODY_LIMIT`]. Outcomes are held in memory whole, so a larger limit lets one call take more.
    #[must_use]
    pub fn with_body_limit(mut self, bytes: u64) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Dials once and says hello. Must be awaited inside a tokio runtime. Dropping the future gives
    /// the dial up.
    ///
    /// # Errors
    /// When the worker cannot be reached, cannot be trusted or does not want us; [`LinkError::Late`]
    /// when all of it together takes longer than `deadline`.
    pub async fn dial(
        &self,
        address: SocketAddr,
        hello: Hello,
        deadline: Duration,
    ) -> Result<Link, LinkError> {
        let dialled = tokio::time::timeout(deadline, self.connect(address, hello));
        dialled.await.unwrap_or(Err(LinkError::Late { address, after: deadline }))
    }

    /// Dials once through a tunnel to the worker's loopback port and says hello, as [`Self::dial`].
    ///
    /// # Errors
    /// As [`Self::dial`]; [`LinkError::NoTunnel`] when there is no way through, also after `deadline`.
    pub async fn dial_through(
        &self,
        tunnel: Arc<dyn Tunnel>,
        hello: Hello,
        deadline: Duration,
    ) -> Result<Link, LinkError> {
        let dialled = tokio::time::timeout(deadline, async {
            let road = Road::new(tunnel, &self.identity, hello.incarnation.as_str())?;
            let carrier = Mux::connect(road, &self.timing, &self.together).await?;
            self.greet(Arc::new(carrier), hello).await
        });
        let late = || LinkError::NoTunnel { reason: format!("no answer within {deadline:?}"), retry: true };
        dialled.await.unwrap_or_else(|_| Err(late()))
    }

    /// Closes every link that was dialled here, and waits a moment so that the workers hear of it. A
    /// process that ends without this leaves them to find out by the silence.
    pub async fn stop(&self, reason: &str) {
        let endpoints = {
            let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            [endpoints.v4.clone(), endpoints.v6.clone()]
        };
        let stopped = endpoints.iter().flatten().map(|it| quic::stop(it, Cause::Done, reason));
        tokio::join!(join_all(stopped), self.together.close(Cause::Done, reason));
    }

    async fn connect(&self, address: SocketAddr, hello: Hello) -> Result<Link, LinkError> {
        let name = dns_name(hello.incarnation.as_str());
        let connecting = self
            .endpoint(address.ip())?
            .connect_with(self.config.clone(), address, &name)
            .map_err(|it| unreachable(address, &it))?;
        let connected = connecting.await.map_err(|it| match quic::link_error(it) {
            LinkError::Silent => LinkError::Unreachable { address, reason: "nothing answers".to_owned() },
            other => other,
        });
        self.greet(Arc::new(Quic::new(connected?)), hello).await
    }

    async fn greet(&self, carrier: Arc<dyn Transport>, hello: Hello) -> Result<Link, LinkError> {
        // From here on the drop closes the connection when anything fails.
        let lanes = Lanes::new(Arc::clone(&carrier));
        let shares = self.workers.shares(&hello.incarnation);
        let (pending, users, body_limit) = (Pending::default(), watch::Sender::default(), self.body_limit);
        let shared = Shared { carrier, lanes, shares, pending, hello, body_limit, users };
        hello::greet(&*shared.carrier, &shared.hello).await?;
        Ok(Link { shared: Arc::new(shared) })
    }

    fn endpoint(&self, to: IpAddr) -> Result<Endpoint, LinkError> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let (slot, any): (_, IpAddr) = match to {
            IpAddr::V4(_) => (&mut endpoints.v4, Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V6(_) => (&mut endpoints.v6, Ipv6Addr::UNSPECIFIED.into()),
        };
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let endpoint = quic::endpoint(SocketAddr::new(any, 0), None)?;
        Ok(slot.insert(endpoint).clone())
    }
}

impl Link {
    /// Calls a function on the worker. The future is lazy; dropping it cancels the task: an async
    /// function at its next await, a blocking one when it returns.
    ///
    /// # Errors
    /// When the link breaks, at once; when arguments or outcome are over the limit.
    pub fn call(&self, request: CallRequest) -> Calling {
        Calling::new(Arc::clone(&self.shared), request, false)
    }

    /// Sends many small calls at once, at most `count`, each with its place in the inbox that its reply comes to.
    /// `sent` is told the number of each; `None` of what does not fit on a lane now. Each that is sent counts as under
    /// way until [`Self::ended`], or until what [`Self::fetch`] gives is over. Must be called inside a tokio runtime.
    pub(crate) fn call_all<'a>(
        &self,
        inbox: &Arc<Inbox>,
        patience: Duration,
        count: usize,
        calls: impl Iterator<Item = (usize, SmallCall<'a>)>,
        mut sent: impl FnMut(usize, Option<u64>),
    ) {
        self.shared.pending.add(count);
        let mut gone = 0;
        self.shared.lanes.send_all(inbox, patience, calls, |place, number| {
            gone += usize::from(number.is_some());
            sent(place, number);
        });
        self.shared.pending.remove(count.saturating_sub(gone));
    }

    /// So many of the calls that were sent together have ended, or are not waited for any more.
    pub(crate) fn ended(&self, count: usize) {
        self.shared.pending.remove(count);
    }

    /// Nobody waits any more for this one of the calls that were sent together, told by its number.
    pub(crate) fn give_up(&self, number: u64) {
        self.shared.lanes.give_up(number);
        self.ended(1);
    }

    /// Nobody wants the outcome of one of them, which is too large for its lane.
    pub(crate) fn forget(&self, number: u64) {
        self.shared.lanes.forget(number);
    }

    /// What one of the calls that were sent together came to, as [`Calling`] says it: how long it ran, and its outcome.
    pub(crate) fn take_in(
        &self,
        took: Duration,
        outcome: Outcome,
    ) -> (Option<Duration>, Result<Outcome, LinkError>) {
        (calling::ran(took, &outcome, false), calling::within(outcome, self.shared.body_limit))
    }

    /// Goes on with one of the calls that were sent together, whose outcome is too large for its lane. `until` is when
    /// its own time is over, and `patience` how much longer it is waited for.
    pub(crate) fn fetch(
        &self,
        it: Try,
        elsewhere: Elsewhere,
        patience: Duration,
        until: Option<Instant>,
    ) -> Calling {
        Calling::elsewhere(Arc::clone(&self.shared), it, elsewhere, patience, until)
    }

    /// Whether this is a clone of the other.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Calls a function on the worker beside its calls, without a slot: whether the node is well. Dropping the future
    /// gives it up. Nothing is kept of it.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn probe(&self, request: CallRequest) -> Result<Outcome, LinkError> {
        call::probe(&*self.shared.carrier, request, self.shared.body_limit).await
    }

    /// The outcome of a call that was sent over a link to the same worker that broke: whether it runs there,
    /// has ended, or never came ([`Outcome::Unknown`](super::Outcome::Unknown)). Its arguments are not sent.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn resume(&self, request: CallRequest) -> Calling {
        let request = CallRequest { arguments: Payload::default(), ..request };
        Calling::new(Arc::clone(&self.shared), request, true)
    }

    /// The worker need not keep the outcome of this call any longer; if it still runs, it is cancelled. Called
    /// of a call with a key when its caller has taken its outcome; without one that is seen to.
    pub fn release(&self, task: TaskId, attempt: Attempt) {
        self.shared.lanes.release((task, attempt));
    }

    /// Tells the worker which calls of links before this one are waited for; what it has besides, and is not
    /// kept for another owner, it cancels and forgets, and so it does with what it was given to share that nobody needs
    /// any more. `tell` hears the keys under which it has something, and what of that another owner has left; after the
    /// last of them none, and then those of which that has changed.
    pub fn reconcile(&self, waits: &[Try], tell: impl Fn(Vec<(Key, Left)>) + Send + Sync + 'static) {
        self.shared.shares.reconcile(&self.shared);
        self.shared.lanes.tell_keys(tell);
        self.shared.lanes.reconcile(waits);
    }

    pub(super) const fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Whether the worker has been given this shared value.
    pub fn has(&self, common: &Common) -> bool {
        self.shared.shares.has(common.key())
    }

    /// Gives the worker a shared value, unless it has it. Those who ask at once wait for one sending.
    ///
    /// # Errors
    /// When the link is over, or the value is over the limit.
    pub fn share(&self, common: Arc<Common>) -> impl Future<Output = Result<(), LinkError>> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move { shares::share(&shared, &common, || shares::send(&shared, &common)).await }
    }

    /// As [`Self::share`], by another way: `send` has the worker have the value.
    ///
    /// # Errors
    /// As [`Self::share`], and what `send` says.
    pub async fn share_by<F: Future<Output = Result<(), LinkError>> + Send>(
        &self,
        common: &Common,
        send: impl FnOnce() -> F + Send,
    ) -> Result<(), LinkError> {
        shares::share(&self.shared, common, send).await
    }

    /// Waits until no call is under way: whoever asked has what became of it. Without a limit of its own.
    pub async fn settled(&self) {
        self.shared.pending.over().await;
    }

    /// Ends the calls that are not waited for any longer; see [`Calling::with_patience`].
    pub fn sweep(&self) {
        self.shared.lanes.sweep(Instant::now());
    }

    /// Asks the worker for a call back: if it has not begun, it ends as
    /// [`Outcome::Recalled`](super::Outcome::Recalled), and never begins; if it has, it goes on.
    pub fn recall(&self, task: TaskId, attempt: Attempt) {
        self.shared.lanes.recall(task, attempt);
    }

    /// How long a message there and back takes, as far as it is known.
    pub fn round_trip(&self) -> Option<Duration> {
        self.shared.carrier.round_trip()
    }

    /// Opens a stream of a kind. For what stands on links; calls have [`Link::call`].
    ///
    /// # Errors
    /// When the link is over.
    pub async fn open(&self, kind: Kind, priority: i32) -> Result<Stream, LinkError> {
        // How large files are is not known yet; most that are worth sending are.
        let bytes = if matches!(kind, Kind::File | Kind::Spread) { u64::MAX } else { 0 };
        let mut stream = self.shared.carrier.open_for(bytes).await?;
        stream.outgoing.prioritise(priority);
        let told = stream.outgoing.write_all(&[kind as u8]).await;
        told.map_err(|it| self.over().unwrap_or(LinkError::Broken { reason: it.to_string() }))?;
        Ok(stream)
    }

    /// Room for a stream of items that comes back.
    pub(super) fn room(&self) -> Room {
        Room::of(self.shared.carrier.rooms())
    }

    /// Resolves when the link is over, with why.
    pub async fn closed(&self) -> LinkError {
        self.shared.carrier.closed().await
    }

    /// Closes the link at once: pending calls resolve with an error.
    pub fn close(&self, reason: &str) {
        self.shared.carrier.close(Cause::Done, reason);
    }

    /// Has the link count as used, also while nothing is called over it.
    pub fn in_use(&self) -> InUse {
        self.shared.users.send_modify(|it| *it = it.saturating_add(1));
        InUse { shared: Arc::clone(&self.shared) }
    }

    /// How many use it for more than calls.
    pub fn users(&self) -> usize {
        *self.shared.users.borrow()
    }

    /// Resolves when nobody does.
    pub async fn unused(&self) {
        // The sender is here.
        let _ = self.shared.users.subscribe().wait_for(|it| *it == 0).await;
    }

    /// Why the link is over, when it is.
    pub fn over(&self) -> Option<LinkError> {
        self.shared.carrier.over()
    }

    /// The largest arguments and outcome of one call, in bytes.
    pub(super) fn body_limit(&self) -> u64 {
        self.shared.body_limit
    }

    /// What it runs over: [`Carrier::Quic`] or [`Carrier::Ssh`].
    pub fn carrier(&self) -> Carrier {
        self.shared.carrier.carrier()
    }

    /// What this link was opened with.
    pub fn hello(&self) -> &Hello {
        &self.shared.hello
    }
}

#[cfg(test)]
impl Shared {
    /// A link over any carrier, to a worker that was given this.
    pub(super) fn of(carrier: Arc<dyn Transport>, shares: Arc<Shares>) -> Self {
        use crate::model::{Epoch, Incarnation, PoolId};
        let hello = Hello {
            protocol: hello::PROTOCOL,
            registry: [0; 32],
            program: None,
            pool: PoolId::new("p"),
            incarnation: Incarnation::new("w"),
            epoch: Epoch(0),
        };
        let lanes = Lanes::new(Arc::clone(&carrier));
        let (pending, users) = (Pending::default(), watch::Sender::default());
        Self { lanes, shares, pending, carrier, hello, body_limit: BODY_LIMIT, users }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The control plane may still hold a stream, which would keep the connection.
        self.carrier.close(Cause::Done, "the link is no longer needed");
    }
}

fn unreachable(address: SocketAddr, error: &ConnectError) -> LinkError {
    LinkError::Unreachable { address, reason: error.to_string() }
}
