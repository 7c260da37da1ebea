//! The machines of one pool, as a program holds them.
//!
//! ```text
//! Builder --start--> Compute --stop, or dropped, or the program ends--> nothing is left
//! ```

mod builder;
mod events;
mod files;
mod node;
mod output;
mod owning;
mod plan;
mod recipe;
mod start;

use std::fmt;

use skyward_runtime::model::{Bill, Leftover, PoolId, Rank};
use skyward_runtime::pool::{Pool, StartError};
use skyward_runtime::status::Explanation;
use skyward_runtime::tasks::Target;

use crate::engine::{Ending, Engine, Keeper};
use crate::error::Error;
use crate::work::{
    Broadcast, Call, Dispatch, Gather, Route, Spawned, StreamBroadcast, StreamCall, StreamWork, Work,
    broadcast, gather,
};

pub use builder::Builder;
pub use events::Events;
pub use node::Node;
pub use output::Output;

/// A pool: machines that were rented, and run what is sent to them until they are given back.
///
/// Give them back with [`stop`](Self::stop), which says whether that worked. Dropping gives them back
/// too, best effort: it blocks the thread until they are gone or the pool's time to end has passed. That is
/// [`Timing::shutdown`](crate::Timing), and longer at clouds that take few requests a minute, or where only the cloud
/// can end its machines. What is left then is said on stderr when `#[skyward::main]` ends. Whatever
/// happens to the program, each machine ends what it runs when its lease lapses, and its own bill where
/// [`Capabilities::ends_itself`](crate::provider::Capabilities) says so. Others are asked for again and again until they
/// are gone, for [`Timing::insist`](crate::Timing), and [`EventKind::Unattended`](crate::EventKind::Unattended) says at
/// the start that they are such.
///
/// Every operator has a method of the same meaning: `call >> &compute` is [`run`](Self::run),
/// `call * &compute` is [`broadcast`](Self::broadcast).
///
/// ```no_run
/// use skyward::prelude::*;
///
/// #[skyward::function]
/// async fn train(epochs: u32) -> f64 {
///     1.0 / f64::from(epochs)
/// }
///
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     let compute = Compute::builder().nodes(4).start().await?;
///     let loss = (train(10) >> &compute).await?;
///     println!("{loss}");
///     compute.stop().await
/// }
/// ```
pub struct Compute {
    engine: &'static Engine,
    pool: Pool,
    keeper: Keeper,
}

/// Why [`Compute::stop`] failed: something may still exist. Found in its [`Error`] by
/// `error.downcast_ref::<StopError>()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopError {
    /// The pool that was stopped.
    pub pool: PoolId,
    /// What could not be given back; empty when the time was up before it was known.
    pub left: Vec<Leftover>,
    /// What all of it has cost until then.
    pub bill: Bill,
    words: String,
}

impl Compute {
    /// Describes a pool to start.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Goes on with the pool of this name that another program has left: links its nodes again, and replaces those that do
    /// not answer. What the pool is, the journal says. [`Builder::attach`] is the same with settings.
    ///
    /// # Errors
    /// As [`Builder::attach`].
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # #[skyward::function]
    /// # async fn train(epochs: u32) -> f64 { f64::from(epochs) }
    /// # async fn run() -> skyward::Result<()> {
    /// let compute = Compute::attach("sweep").await?;
    /// let losses = (gather((1..=100).map(train)).key("losses") >> &compute).await?;
    /// # drop(losses);
    /// # compute.stop().await
    /// # }
    /// ```
    pub async fn attach(name: impl Into<String>) -> Result<Self, Error> {
        Self::builder().name(name).attach().await
    }

    pub(crate) const fn new(engine: &'static Engine, pool: Pool, keeper: Keeper) -> Self {
        Self { engine, pool, keeper }
    }

    /// Gives every machine back. What all of it has cost is in the event
    /// [`Stopped`](crate::EventKind::Stopped), which the console prints, and in what
    /// [`stop_with_bill`](Self::stop_with_bill) returns. Calls that are on their way end with
    /// [`CallError::Stopped`](crate::CallError::Stopped).
    ///
    /// Dropping the future does not interrupt it: the thread blocks until it is done, as when a
    /// `Compute` is dropped.
    ///
    /// # Errors
    /// When something may still exist after [`Timing::shutdown`](crate::Timing) (360 s by default), or after
    /// [`Timing::insist`](crate::Timing) where nothing but its cloud can end it: a [`StopError`] names it. When the pool had ended by itself, with the
    /// reason: Skyward failed, or another program has the pool
    /// ([`CallError::Superseded`](crate::CallError::Superseded)).
    pub async fn stop(self) -> Result<(), Error> {
        self.stop_with_bill().await.map(drop)
    }

    /// Gives every machine back, like [`stop`](Self::stop), and returns the bill. Prices in another currency
    /// were converted by their provider's rate, which the bill shows.
    ///
    /// # Errors
    /// As [`stop`](Self::stop); the bill is in the [`StopError`] then.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # async fn end(compute: Compute) -> skyward::Result<()> {
    /// let bill = compute.stop_with_bill().await?;
    /// println!("{bill}");
    /// for function in &bill.functions {
    ///     println!("{} x {}: {}", function.calls, function.function, function.cost);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stop_with_bill(self) -> Result<Bill, Error> {
        self.keeper.stop();
        let ending = self.keeper.ended().await;
        self.keeper.said(self.engine, &ending);
        let bill = self.pool.bill();
        let left = match &*ending {
            Ending::GaveBack(left) if left.is_empty() => return Ok(bill),
            Ending::Failed(failure, left) if left.is_empty() => {
                let ended = match failure {
                    // It says whose they are.
                    StartError::Journal(_) => format!("pool {} ended by itself", self.id()),
                    _ => format!("pool {} ended by itself, and everything was given back", self.id()),
                };
                return Err(Error::from(failure.clone()).context(ended));
            }
            Ending::GaveBack(left) | Ending::Failed(_, left) => left.clone(),
            Ending::OutOfTime { .. } | Ending::Unknown { .. } => Vec::new(),
        };
        let words = ending.words().join("; ");
        Err(StopError { pool: self.id().clone(), left, bill, words }.into())
    }

    /// Leaves the pool as it is, for a program that attaches to it by its [name](Builder::name): its machines live on
    /// for [`Spec::ttl`](crate::Spec::ttl), and what runs under a [key](Call::key) runs on. Other calls that are on
    /// their way end with [`CallError::Stopped`](crate::CallError::Stopped).
    ///
    /// Machines of clouds where a machine cannot end its own bill are paid for until a program attaches to the pool, or
    /// `sky reap` gives it back; [`EventKind::Unattended`](crate::EventKind::Unattended) says so.
    ///
    /// # Errors
    /// When the pool has no name, or is in no journal: nobody could find it again. When it has a
    /// [`max_total_cost`](Builder::max_total_cost) that nothing would keep: machines that cannot end their own bill.
    /// Then it is given back.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # async fn run() -> skyward::Result<()> {
    /// let compute = Compute::builder().name("sweep").start().await?;
    /// compute.detach().await // and run this program again within ten minutes
    /// # }
    /// ```
    pub async fn detach(self) -> Result<(), Error> {
        if !self.pool.can_be_left() {
            self.stop().await?;
            let words = "a pool that has no name, or is in no journal, cannot be left: it was given back";
            return Err(Error::from(words));
        }
        let unattended = self.pool.unattended().await;
        if let Some(cap) = self.pool.max_total_cost().filter(|_| !unattended.is_empty()) {
            self.stop().await?;
            let words = format!(
                "a pool that may cost {cap} cannot be left with machines that cannot end their own bill ({}): it was \
                 given back; leave `max_total_cost` out, or rent where machines end themselves",
                Vec::from_iter(unattended).join(", ")
            );
            return Err(Error::from(words));
        }
        let left = self.pool.detach().await;
        self.keeper.stop();
        let ending = self.keeper.ended().await;
        self.keeper.said(self.engine, &ending);
        left.failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// What the pool has cost until now: for tasks, idle, and until its machines were ready, by machine and
    /// by function. Asking is cheap and asks no cloud.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # fn look(compute: &Compute) {
    /// let bill = compute.cost();
    /// println!("{} so far, {} of it idle", bill.total, bill.idle);
    /// # }
    /// ```
    pub fn cost(&self) -> Bill {
        self.pool.bill()
    }

    /// The pool's id, which is part of the name or the tags of everything that is rented for it.
    pub fn id(&self) -> &PoolId {
        self.pool.id()
    }

    /// How many nodes the pool has, or wants to have, now.
    pub fn nodes(&self) -> u32 {
        self.pool.nodes()
    }

    /// Has the pool want so many nodes from now on. Returns when that is decided; the nodes come when they are ready,
    /// as [`explain`](Self::explain) and [`events`](Self::events) tell.
    ///
    /// Those that are given up take no new calls; what runs there may go on for [`Timing::retire`](crate::Timing) and is
    /// tried elsewhere after that, which costs no try; a call that says [`once`](Call::once) is lost. The idle ones go first, then the highest ranks, and the
    /// head only with the last. A pool that scales by itself goes on to do so from there.
    ///
    /// In a pool that keeps its number this one stands until it is resized again, or ends: it is written down before
    /// anything is done, and a program that [attaches](Builder::attach), or is run again with the same name and the
    /// same specs, goes on with it and not with what those say. A pool that scales goes on with the nodes that it has then.
    ///
    /// # Errors
    /// When the number is not between `min` and `max` of its [`Nodes`](crate::Nodes), where it scales, or not from 1 to
    /// [`Nodes::MOST`](crate::Nodes::MOST), where it does not; when more than now are asked for than `max_hourly_cost` or
    /// what is left of `max_total_cost` pays for, with how many those are; and when the pool has ended. Nothing changes then.
    ///
    /// # Cancellation
    /// What was asked for is done, heard of or not.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # async fn resize(compute: &Compute) -> skyward::Result<()> {
    /// compute.resize(6).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resize(&self, nodes: u32) -> Result<(), Error> {
        self.pool.resize(nodes).await.map_err(Error::from)
    }

    /// Node 0, as a place to send work to.
    pub fn head(&self) -> Node {
        self.node(0)
    }

    /// One node by its rank, from 0, as a place to send work to. What is sent to a rank that the pool
    /// does not have fails with [`CallError::NoSuchNode`](crate::CallError::NoSuchNode).
    pub fn node(&self, rank: u32) -> Node {
        Node::new(self.engine, self.pool.clone(), Rank(rank))
    }

    /// What happens in the pool from now on.
    pub fn events(&self) -> Events {
        Events::new(self.pool.events())
    }

    /// The lines that functions on the nodes write: standard output and error, and `tracing` events, with
    /// node, task and stream. From when it is first asked for, with what the nodes still hold from before;
    /// what is never asked for is never sent. Of the lines of [`Builder::show`] and
    /// [`Call::show`](crate::Call::show) those that both let through.
    ///
    /// With [`Executor::Process`](crate::Executor) each line of standard output and error has its task; a
    /// task that crashes has its last lines here before its outcome is known. With
    /// [`Executor::Thread`](crate::Executor) such lines have their node alone. `tracing` events at the level
    /// that `RUST_LOG` on the node says (default `info`) have their task either way, unless the program has
    /// a subscriber of its own on the node.
    ///
    /// ```no_run
    /// # async fn watch(compute: &skyward::Compute) {
    /// let mut output = compute.output();
    /// while let Some(line) = output.next().await {
    ///     println!("{line}"); // [2] loading
    /// }
    /// # }
    /// ```
    pub fn output(&self) -> Output {
        Output::new(self.pool.output())
    }

    /// Why the pool is waiting: where it, each of its nodes and its calls are, for how long, and what was
    /// last heard of them. Its `Display` says it in words.
    pub async fn explain(&self) -> Explanation {
        self.pool.explain().await
    }

    /// Sends work (a call, a group, a gather) to whichever nodes are free, like `work >> &compute`.
    /// Nothing happens until the future is polled, and dropping it cancels.
    pub fn run<W: Work>(&self, work: W) -> Dispatch<W> {
        Dispatch::new(work, self.route())
    }

    /// Sends a call to every ready node, like `call * &compute`: the values in rank order, or the first
    /// error, which cancels the rest.
    pub fn broadcast<T, E>(&self, call: Call<T, E>) -> Dispatch<Broadcast<T, E>>
    where
        Broadcast<T, E>: Work,
    {
        self.run(broadcast(call))
    }

    /// Sends many calls, like `gather(calls) >> &compute`: the values in the calls' order, or the first
    /// error, which cancels the rest.
    pub fn gather<T, E>(&self, calls: impl IntoIterator<Item = Call<T, E>>) -> Dispatch<Gather<T, E>>
    where
        Gather<T, E>: Work,
    {
        self.run(gather(calls))
    }

    /// Calls a function for each item and sends the calls: the values in the items' order, or the first
    /// error, which cancels the rest.
    pub fn map<I: IntoIterator, T, E>(
        &self,
        function: impl FnMut(I::Item) -> Call<T, E>,
        items: I,
    ) -> Dispatch<Gather<T, E>>
    where
        Gather<T, E>: Work,
    {
        self.gather(items.into_iter().map(function))
    }

    /// Sends what gives a stream.
    ///
    /// Of `gather(calls)` that is each result as it is there, or in the calls' order for
    /// `gather(calls).ordered()`: the [`Results`](crate::Results). An error is one item and does not stop
    /// the others. Of a call of a function that gives a stream it is its [`Items`](crate::Items), and of a
    /// group of them a tuple, like `call >> &compute`. Dropping the stream cancels what is on its way.
    pub fn stream<W: StreamWork>(&self, work: W) -> W::Stream {
        work.start(&self.route())
    }

    /// Sends a call of a function that gives a stream to every ready node, like `call * &compute`: the
    /// streams of all of them.
    pub fn broadcast_stream<T, E>(&self, call: StreamCall<T, E>) -> Dispatch<StreamBroadcast<T, E>>
    where
        StreamBroadcast<T, E>: Work,
    {
        self.run(StreamBroadcast::new(call))
    }

    /// Starts work now, in the background. It goes on when the handle is dropped, until it is over or
    /// the pool is stopped.
    pub fn spawn<W: Work>(&self, work: W) -> Spawned<W> {
        Spawned::start(self.run(work), self.engine.handle())
    }

    pub(crate) fn route(&self) -> Route {
        Route::Pool { tasks: self.pool.tasks().clone(), target: Target::Any, group: None, meter: None }
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        self.keeper.stop_and_wait(self.engine);
    }
}

impl fmt::Debug for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compute({}, {} nodes)", self.id(), self.nodes())
    }
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not give back everything of pool {}: {}", self.pool, self.words)
    }
}

impl std::error::Error for StopError {}
