//! Typed functions on machines that exist only while you need them.
//!
//! A program describes work and machines, and sends one to the other. The machines are rented, given
//! this very program over SSH, joined over QUIC, used, and given back, whatever happens.
//!
//! # A first program
//!
//! ```no_run
//! use skyward::prelude::*;
//!
//! #[skyward::function]
//! async fn train(epochs: u32) -> Result<f64, Failure> {
//!     if epochs == 0 {
//!         return Err("nothing to train")?;
//!     }
//!     Ok(1.0 / f64::from(epochs))
//! }
//!
//! #[skyward::main]
//! async fn main() -> skyward::Result<()> {
//!     let compute = Compute::builder().nodes(4).console().start().await?;
//!
//!     let loss = (train(10) >> &compute).await?;                 // on one node
//!     let all = (train(10) * &compute).await?;                   // on every node, in rank order
//!     let (a, b) = ((train(1) & train(2)) >> &compute).await?;   // side by side
//!     let many = (gather((1..100).map(train)) >> &compute).await?; // many, in order
//!     let head = (train(1) >> compute.head()).await?;            // on a node of your choice
//!     println!("{loss} {all:?} {a} {b} {} {head}", many.len());
//!
//!     let mut live = compute.stream(gather((1..100).map(train))); // as they are there
//!     while let Some(result) = live.next().await {
//!         println!("{}", result?);
//!     }
//!     compute.stop().await
//! }
//! ```
//!
//! Without a [`Spec`] the machines are processes on your own computer, which take the same road as a
//! cloud's: SSH, the upload of the program, the join, the lease. `.spec(Spec::on(RunPod::default()))` rents them of a
//! cloud instead: [`DigitalOcean`], [`Lambda`], [`RunPod`], [`VastAi`], [`Verda`] or, with the feature
//! `aws`, `Aws`. They may also be hosts that you already have ([`Ssh`]), containers ([`Container`]), or machines of a
//! [`Provider`] of your own.
//!
//! # Functions and calls
//!
//! [`#[skyward::function]`](function) makes a function one that can run elsewhere. Calling it gives a
//! [`Call`], which is a value; `>>` and `*` send it and give a [`Dispatch`], which is a future. Like
//! every future it does nothing until it is awaited, and dropping it cancels. [`Compute::spawn`] starts
//! work in the background instead. Every operator is a method too: [`Compute::run`],
//! [`Compute::broadcast`], [`Compute::gather`], [`Compute::map`].
//!
//! [`Call::local`] runs a call here, without any machine:
//!
//! ```
//! #[skyward::function]
//! fn greet(name: String) -> String {
//!     format!("hello {name}")
//! }
//!
//! #[skyward::main]
//! async fn main() -> skyward::Result<()> {
//!     assert_eq!(greet("world".into()).local().await?, "hello world");
//!     Ok(())
//! }
//! ```
//!
//! # Streams
//!
//! A function that returns `impl Stream<Item = X>`, or a plain one that returns `impl Iterator<Item = X>`,
//! gives a [`StreamCall`]: `>>` gives its [`Items`] as they are made, `*` the [`Streams`] of every node,
//! and `(a & b) >> &compute` a tuple of them. A function takes streams by arguments of type [`Streaming`].
//! A slow side keeps the other one waiting, and dropping either end stops the other.
//!
//! ```
//! use futures_util::{Stream, StreamExt};
//! use skyward::Streaming;
//!
//! #[skyward::function]
//! fn running_sum(numbers: Streaming<i64>) -> impl Stream<Item = i64> {
//!     numbers.scan(0, |sum, number| {
//!         *sum += number;
//!         std::future::ready(Some(*sum))
//!     })
//! }
//!
//! #[skyward::main]
//! async fn main() -> skyward::Result<()> {
//!     let mut sums = running_sum(Streaming::iter([1, 2, 3])).local(); // or `>> &compute`
//!     while let Some(sum) = sums.next().await {
//!         println!("{}", sum?);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Inside a function
//!
//! A function can ask where it runs: [`instance_info`] knows the pool as it is now, [`is_head`] is true on
//! one node, [`peers`] are the ways to the others, [`shard`] gives this node its part of the data. [`node_state`] keeps what is built once for
//! each node, [`secret`] what the pool was given and nothing else sees, and [`cancelled`] tells a plain
//! function that runs long whether anybody still waits. In a `.local()` call there is no node: the share
//! is everything, and there are no secrets.
//!
//! ```
//! struct Model(f64);
//!
//! #[skyward::function]
//! fn score(data: Vec<f64>) -> f64 {
//!     let model = skyward::node_state(|| Model(2.0)); // loaded by the first call on each node
//!     skyward::shard(&data).iter().take_while(|_| !skyward::cancelled()).map(|it| it * model.0).sum()
//! }
//!
//! #[skyward::main]
//! async fn main() -> skyward::Result<()> {
//!     assert_eq!(score(vec![1.0, 2.0]).local().await?, 6.0);
//!     Ok(())
//! }
//! ```
//!
//! Files go to nodes by [`Compute::upload`] and come back by [`Compute::download`]; a function that leaves
//! a file for its caller returns an [`Artifact`].
//!
//! # What functions run in
//!
//! [`Worker`] says how many calls a node runs at once, and in what: [`Executor::Thread`] runs them in the
//! worker's own process; [`Executor::Process`] gives each slot a process of this program, so that one that
//! aborts, exits, runs out of memory or hangs is an outcome and no lost node, and each has its own share of
//! the node's accelerators. Streams go in and out of either, and a [`Shared`] value is sent to a node once for
//! either; a process decodes it once.
//!
//! ```no_run
//! # use skyward::prelude::*;
//! # async fn start() -> skyward::Result<()> {
//! let worker = Worker { concurrency: 2, executor: Executor::Process, ..Worker::default() };
//! let compute = Compute::builder().worker(worker).start().await?;
//! # compute.stop().await
//! # }
//! ```
//!
//! # When a link breaks
//!
//! A node whose link breaks runs its calls on, and keeps what comes of them until the link is dialled again
//! ([`Timing::grace`]): nothing is run twice because of it. [`Retention`] says how much is kept, in memory and on disk.
//! A call is only run again, and counted, when its node or its worker has ended. A [key](Call::key) has the
//! outcome kept until its caller has taken it.
//!
//! ```no_run
//! # use skyward::prelude::*;
//! # use skyward::Retention;
//! # #[skyward::function]
//! # async fn train(epochs: u32) -> f64 { f64::from(epochs) }
//! # async fn start() -> skyward::Result<()> {
//! let retention = Retention { memory: 256 << 20, ..Retention::default() };
//! let compute = Compute::builder().worker(Worker { retention, ..Worker::default() }).start().await?;
//! let losses = (gather((1..=100).map(train)).key("sweep") >> &compute).await?;
//! # drop(losses);
//! # compute.stop().await
//! # }
//! ```
//!
//! # Errors
//!
//! A call ends in `Result<T, CallError<E>>`, where `E` is the function's own error type: match
//! [`CallError::Task`] for it, the other arms for panics, time-outs and lost machines. `?` turns any
//! [`CallError`] into [`Error`], which `main` can return. A function without an error type of its own
//! returns [`Failure`], into which `?` turns every other error.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use skyward::CallError;
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! enum TrainError {
//!     Diverged { epoch: u32 },
//! }
//!
//! #[skyward::function]
//! async fn train(epochs: u32) -> Result<f64, TrainError> {
//!     Err(TrainError::Diverged { epoch: epochs / 2 })
//! }
//!
//! #[skyward::main]
//! async fn main() {
//!     match train(10).local().await {
//!         Err(CallError::Task(TrainError::Diverged { epoch })) => assert_eq!(epoch, 5),
//!         other => panic!("unexpected: {other:?}"),
//!     }
//! }
//! ```
//!
//! # Tests
//!
//! [`#[skyward::test]`](test) is a `#[test]` whose workers are the test program itself.
//!
//! ```no_run
//! # use skyward::prelude::*;
//! # #[skyward::function]
//! # async fn square(n: u64) -> u64 { n * n }
//! #[skyward::test]
//! async fn squares() -> skyward::Result<()> {
//!     let compute = Compute::builder().nodes(2).timing(Timing::short()).start().await?;
//!     assert_eq!((square(3) * &compute).await?, [9, 9]);
//!     compute.stop().await
//! }
//! ```
//!
//! # Where it runs
//!
//! Skyward has one tokio runtime of its own in each process. It keeps machines alive and gives them
//! back even when the program blocks or its own runtime is gone; the futures that Skyward gives out can
//! be polled on any runtime. [`#[skyward::main]`](main) and [`#[skyward::test]`](test) run the program
//! on it, so a task that is spawned there and computes for long without awaiting should use
//! `tokio::task::spawn_blocking`.

// The macros' output names the crate; in its own tests and examples too.
extern crate self as skyward;

mod bounds;
mod codec;
mod compute;
mod engine;
mod entry;
mod error;
mod inside;
mod never;
mod raw;
mod work;

/// The README's programs are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;

pub mod catalog;
pub mod journal;
pub mod provider;

pub use bounds::{Argument, Fallible, TaskFailure, TaskValue};
pub use compute::{Builder, Compute, Events, Node, Output, StopError};
pub use entry::init;
pub use error::{CallError, Error, Failure, Result};
pub use inside::{
    Column, Shard, ShardError, Shardable, is_head, node_state, node_state_async, shard, try_node_state,
    try_node_state_async,
};
pub use never::Never;
pub use provider::Provider;
pub use raw::{Array, Bytes, Shared};
pub use skyward_macros::{function, main, test};
#[cfg(feature = "aws")]
pub use skyward_providers::aws::{self, Aws};
pub use skyward_providers::container::{self, Container};
pub use skyward_providers::digitalocean::{self, DigitalOcean};

pub use skyward_providers::lambda::{self, Lambda};
pub use skyward_providers::local::{self, Local};
pub use skyward_providers::runpod::{self, RunPod};
pub use skyward_providers::ssh::{self, Ssh};
pub use skyward_providers::vastai::{self, VastAi};
pub use skyward_providers::verda::{self, Verda};
pub use skyward_runtime::backoff::Backoff;
pub use skyward_runtime::files::{Artifact, FileError, FileTrouble, Transferred};
pub use skyward_runtime::inside::{
    Cancellation, InstanceInfo, cancellation, cancelled, instance_info, peers, preempted, preemption, secret,
};
pub use skyward_runtime::model::{
    Accelerator, Allocation, Architecture, Bill, Carrier, Choice, Crash, Event, EventKind, FunctionCost,
    Health, Image, Incarnation, InvalidRequest, InvalidUsd, KeptMachine, Key, KeyError, Leftover, Line, Loss,
    MachineCost, Mode, NodePhase, Nodes, OutputStream, Panic, Peer, PipIndex, PoolId, PoolPhase, Rank,
    Rented, Requirements, Retention, ScaledBecause, Scaling, Secret, Selection, Standalone, Tariff, Timeout,
    Usd, Volume, accelerator, accelerators,
};
pub use skyward_runtime::output::Show;
pub use skyward_runtime::pool::{
    Candidate, Executor, Filter, NearMiss, Plan, Spec, SpecReport, StartError, Worker,
};
pub use skyward_runtime::status::{Explanation, NodeStatus, Scaled, Status, Waits};
pub use skyward_runtime::tasks::{Lost, OnLost};
pub use skyward_runtime::timing::Timing;
pub use skyward_runtime::usd;
pub use work::{
    Blocking, Broadcast, Call, Costed, Destination, Dispatch, Fed, Gather, Group, GroupMember, Indexed,
    Items, Results, Settled, Spawned, StreamBroadcast, StreamCall, StreamGroup, StreamWork, Streaming,
    Streams, Work, broadcast, gather, group,
};

/// What most programs use: `use skyward::prelude::*;`. The attributes are used by path, as
/// `#[skyward::function]`.
pub mod prelude {
    #[cfg(feature = "aws")]
    pub use crate::Aws;
    pub use crate::{
        Allocation, Call, CallError, Carrier, Compute, Container, DigitalOcean, Executor, Failure, Image,
        Lambda, Local, Nodes, OnLost, RunPod, Scaling, Selection, Shared, Spec, Ssh, Streaming, Timing, Usd,
        VastAi, Verda, Worker, accelerators, broadcast, gather, group, usd,
    };
}

/// What the macros expand to. Not part of the public interface: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use bytes::Bytes;
    pub use futures_util::Stream;
    pub use futures_util::future::BoxFuture;
    pub use futures_util::stream::once;
    pub use inventory;
    pub use skyward_runtime::registry::{Answer, Body, BoxSource, Ending, Function, Inputs, Outlet};

    pub use crate::codec::{Codec, Decoder, Decoding, Encoded, Encoder, Outcome, argument, fallible, plain};
    pub use crate::entry::{init_test, main_async, main_blocking, test};
    pub use crate::error::{Words, tiers as words};
    pub use crate::work::sealed::{Member, Start};
    pub use crate::work::stream_work::sealed::Start as StartStream;
    pub use crate::work::{
        Collected, Crew, Decoded, OnlyItem, Route, Runs, Starts, Taken, ToRoute, Together, TogetherSettled,
        Window,
    };
    pub use crate::work::{call, fed, give, stream_call, take};

    /// Boxes a function's future, where the compiler says whether it is `Send`.
    pub fn boxed<F: Future + Send + 'static>(future: F) -> BoxFuture<'static, F::Output> {
        Box::pin(future)
    }
}
