//! One function with its arguments, as a value.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use skyward_runtime::model::{Health, Key, KeyError};
use skyward_runtime::node::{Probe, Words};
use skyward_runtime::output::Show;
use skyward_runtime::registry::{Function, Registry};
use skyward_runtime::tasks::{Order, Target, Undone};

use super::route::Run;
use super::{Dispatch, Route, sealed};
use crate::codec::{Decoding, Encoded};
use crate::error::CallError;
use crate::{Group, Never};

/// What a `#[skyward::function]` gives when it is called: the function with its arguments, already
/// encoded. It is a value; nothing has run. Send it somewhere: `call >> &compute`, `call * &compute`,
/// `call >> compute.node(2)`, or run it here with [`local`](Self::local).
///
/// Clones share the encoded arguments. A call whose arguments could not be encoded says so when it is
/// run, as [`CallError::Unencodable`].
#[must_use = "a call does nothing until it is sent: `call >> &compute`"]
pub struct Call<T, E = Never> {
    function: &'static Function,
    arguments: Result<Encoded, String>,
    timeout: Option<Duration>,
    retries: u32,
    interruptions: Option<u32>,
    show: Option<Show>,
    key: Option<Result<Key, KeyError>>,
    decoding: Decoding<T, E>,
}

/// Makes a call; what the expansion of `#[skyward::function]` ends in.
pub fn call<T, E>(
    function: &'static Function,
    arguments: Result<Encoded, String>,
    decoding: Decoding<T, E>,
) -> Call<T, E> {
    Call {
        function,
        arguments,
        timeout: None,
        retries: 0,
        interruptions: None,
        show: None,
        key: None,
        decoding,
    }
}

impl<T, E> Call<T, E> {
    /// Gives up after this long, counted from when the call is sent, waiting in the queue included.
    /// Without it a call may run for [`Timing::call`](crate::Timing::call) (300 s by default) from when
    /// a node has it, however long it waits before.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    /// Tries the call again, up to this often, when the function itself fails: when it returns an error,
    /// panics, or its process ends. Default 0: only who wrote the function knows whether that can help. Each try may run on
    /// another node; the time-out counts over all of them. The last failure is the one that is reported.
    pub const fn retries(mut self, tries: u32) -> Self {
        self.retries = tries;
        self
    }

    /// Never runs the call a second time, not even when the node that it ran on is lost: then nobody
    /// knows how far it came, and it ends with [`CallError::Lost`]. By default such a call is tried again
    /// up to three times, see [`Builder::interruptions`](crate::Builder::interruptions).
    pub const fn once(mut self) -> Self {
        self.retries = 0;
        self.interruptions = Some(0);
        self
    }

    /// Gives the call a name that means the same to every process of the pool's owner: text of 1 to 512 bytes. A
    /// node that runs a call under this key, or has its outcome, is asked for that outcome instead of running it
    /// again; and it keeps the outcome until its caller has taken it, where a plain one is kept until it has
    /// arrived in this process. One pool has one call at a time under a key.
    ///
    /// Each share of a broadcast has a key of its own, with its rank behind it; see [`Gather::key`] for
    /// gathers. A call that takes streams keeps nothing, so that its key changes nothing.
    ///
    /// When the call is run: [`CallError::Key`] for a key that is empty or too long, that another call has
    /// which is not over, or under which a node has something of another function or other arguments.
    ///
    /// [`Gather::key`]: crate::Gather::key
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # #[skyward::function]
    /// # async fn train(epochs: u32) -> f64 { f64::from(epochs) }
    /// # async fn run(compute: &Compute) -> skyward::Result<()> {
    /// let loss = (train(10).key("train/10 epochs") >> compute).await?;
    /// # drop(loss);
    /// # Ok(()) }
    /// ```
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(Key::new(key));
        self
    }

    /// The call with this key, unless it has one.
    pub(super) fn or_key(mut self, key: Option<Result<Key, KeyError>>) -> Self {
        self.key = self.key.or(key);
        self
    }

    /// Shows less of what this call writes: lines that the pool shows and that this does not are not shown.
    /// It is about standard output and error of calls in processes
    /// ([`Executor::Process`](crate::Executor)), and about `tracing` events of every call. What a call in the
    /// worker's own process writes to standard output is nobody's in particular, so only
    /// [`Builder::show`](crate::Builder::show) can leave it out.
    ///
    /// ```
    /// # #[skyward::function]
    /// # fn train(epochs: u32) -> u32 { epochs }
    /// use skyward::{OutputStream, Show};
    /// let (once, quietly) = (train(10).show(Show::Head), train(10).silent());
    /// let no_errors = train(10).show(Show::only(|line| line.stream != OutputStream::Stderr));
    /// # drop((once, quietly, no_errors));
    /// ```
    pub fn show(mut self, show: Show) -> Self {
        self.show = Some(show);
        self
    }

    /// Shows nothing of what this call writes: `show(Show::Nothing)`.
    pub fn silent(self) -> Self {
        self.show(Show::Nothing)
    }

    /// The two calls as a group, like `self & other`.
    pub fn and<T2, E2>(self, other: Call<T2, E2>) -> Group<(Self, Call<T2, E2>)> {
        super::group((self, other))
    }

    /// The function's path, such as `my_crate::train`.
    pub const fn name(&self) -> &'static str {
        self.function.name
    }

    /// The call with at most this long, however long it was given before; `None` changes nothing.
    pub(super) fn at_most(mut self, most: Option<Duration>) -> Self {
        self.timeout = match (self.timeout, most) {
            (Some(own), Some(most)) => Some(own.min(most)),
            (own, most) => own.or(most),
        };
        self
    }

    pub(super) fn order(self) -> Result<Order, CallError<E>> {
        let Encoded { payload, shared } = self.arguments.map_err(CallError::Unencodable)?;
        let key = self.key.transpose().map_err(CallError::Key)?;
        Ok(Order {
            meter: None,
            function: self.function,
            arguments: payload,
            shared,
            target: Target::Any,
            group: None,
            retries: self.retries,
            interruptions: self.interruptions,
            timeout: self.timeout,
            show: self.show,
            key,
        })
    }

    /// The call as what a pool asks its nodes to see whether they are well.
    pub(crate) fn into_probe(self, terms: Health) -> Result<Probe, String>
    where
        T: 'static,
        E: Send + Sync + 'static,
    {
        let Encoded { payload: arguments, shared } = self.arguments?;
        if !shared.is_empty() {
            return Err(
                "a shared value reaches nodes with their calls, so a probe cannot take one".to_owned()
            );
        }
        let registry = Registry::global().map_err(|error| error.to_string())?;
        let function = registry.id(self.function).ok_or("it is not registered")?;
        let decoding = self.decoding;
        let words: Words = Arc::new(move |error: &Bytes| {
            CallError::new(Undone::Failed(error.clone()), decoding).words().join(": ")
        });
        Ok(Probe { function, arguments, terms, words })
    }

    pub(super) const fn decoding(&self) -> Decoding<T, E> {
        self.decoding
    }
}

impl<T: Send + 'static, E: Send + 'static> Call<T, E> {
    /// Runs the call in this process, encoded and decoded as if it had travelled, and with the same
    /// outcomes. No machine and no pool is needed, so this is how a function is tested.
    ///
    /// An async function runs where the future is polled, a plain one on a thread of its own. Dropping
    /// the future cancels an async function at its next await; a plain one goes on to its end.
    ///
    /// # Errors
    /// As on a node; without a pool there is nothing to lose, stop or cancel. The panic hook of this
    /// process prints panics, and [`Panic::place`](crate::Panic::place) is not known.
    ///
    /// ```
    /// #[skyward::function]
    /// async fn add(a: u32, b: u32) -> u32 {
    ///     a + b
    /// }
    ///
    /// #[skyward::main]
    /// async fn main() -> skyward::Result<()> {
    ///     assert_eq!(add(2, 3).local().await?, 5);
    ///     Ok(())
    /// }
    /// ```
    pub fn local(self) -> Dispatch<Self> {
        Dispatch::new(self, Route::Here)
    }
}

impl<T: Send + 'static, E: Send + 'static> sealed::Start for Call<T, E> {
    type Output = Result<T, CallError<E>>;
    type Future = Decoded<T, E>;

    fn start(self, route: &Route) -> Self::Future {
        let decoding = self.decoding();
        Decoded { run: self.order().map(|it| route.run(it)).map_err(Some), decoding }
    }
}

/// A run whose outcome is decoded.
pub struct Decoded<T, E> {
    run: Result<Run, Option<CallError<E>>>,
    decoding: Decoding<T, E>,
}

impl<T, E> Decoded<T, E> {
    pub(super) const fn new(run: Run, decoding: Decoding<T, E>) -> Self {
        Self { run: Ok(run), decoding }
    }
}

/// No field is ever pinned.
impl<T, E> Unpin for Decoded<T, E> {}

impl<T, E> Future for Decoded<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let decoding = self.decoding;
        match &mut self.run {
            Ok(run) => Pin::new(run).poll(context).map(|it| decode(it, decoding)),
            Err(error) => error.take().map_or(Poll::Pending, |it| Poll::Ready(Err(it))),
        }
    }
}

/// The value of what came back.
pub(super) fn decode<T, E>(
    outcome: Result<Bytes, Undone>,
    decoding: Decoding<T, E>,
) -> Result<T, CallError<E>> {
    match outcome {
        Ok(bytes) => decoding.value(&bytes).map_err(CallError::Undecodable),
        Err(undone) => Err(CallError::new(undone, decoding)),
    }
}

impl<T, E> Clone for Call<T, E> {
    fn clone(&self) -> Self {
        Self {
            function: self.function,
            arguments: self.arguments.clone(),
            timeout: self.timeout,
            retries: self.retries,
            interruptions: self.interruptions,
            show: self.show.clone(),
            key: self.key.clone(),
            decoding: self.decoding,
        }
    }
}

impl<T, E> fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.arguments {
            Ok(it) => write!(f, "Call({}, {} bytes)", self.function.name, it.payload.len()),
            Err(reason) => write!(f, "Call({}, unencodable: {reason})", self.function.name),
        }
    }
}
