//! One stream on its way: over a pool, or in this process as a worker would run it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use skyward_runtime::inside::TaskContext;
use skyward_runtime::items::{Finish, Here, Producer};
use skyward_runtime::model::{Panic, Rank, Timeout};
use skyward_runtime::payload::Common;
use skyward_runtime::registry::{BoxSource, Fault, Input, Inputs, Trouble};
use skyward_runtime::tasks::{Flow, Order, Undone};

use super::Route;

impl Route {
    /// Runs one order of a function of streams, or with streams that it takes. Nothing happens until it
    /// is polled; dropping it cancels.
    pub(super) fn flow(&self, mut order: Order, idle: Option<Duration>, inputs: Vec<BoxSource>) -> Flowing {
        match self {
            Self::Pool { tasks, target, group, meter } => {
                order.target = *target;
                order.group = *group;
                order.meter.clone_from(meter);
                Flowing::Pool(tasks.flow(order, idle, inputs))
            }
            Self::Here => Flowing::Here(here(order, idle, inputs)),
        }
    }

    /// The same on every ready node, in rank order. This process counts as a pool of one.
    pub(super) async fn flow_everywhere(
        self,
        order: Order,
        idle: Option<Duration>,
    ) -> Result<Vec<(Rank, Flowing)>, Undone> {
        match &self {
            Self::Pool { tasks, .. } => {
                let flows = tasks.flow_everywhere(order, idle)?;
                Ok(flows.into_iter().map(|(rank, it)| (rank, Flowing::Pool(it))).collect())
            }
            Self::Here => Ok(vec![(Rank(0), self.flow(order, idle, Vec::new()))]),
        }
    }
}

/// Encoded items; an error is the last.
pub(super) enum Flowing {
    Pool(Flow),
    Here(BoxStream<'static, Result<Bytes, Undone>>),
}

impl Stream for Flowing {
    type Item = Result<Bytes, Undone>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::Pool(flow) => Pin::new(flow).poll_next(context),
            Self::Here(flow) => flow.poll_next_unpin(context),
        }
    }
}

/// A function of streams that runs here.
struct Local {
    items: Here,
    trouble: Trouble,
    idle: Option<Duration>,
    whole: Option<(Duration, Instant)>,
    /// Its arguments are decoded when it is first polled, and its items may name them.
    _shared: Vec<Arc<Common>>,
    /// Says when it is dropped that nobody waits any more.
    _context: TaskContext,
}

/// Starts when first polled. Must be polled with the engine's runtime entered.
fn here(
    order: Order,
    idle: Option<Duration>,
    inputs: Vec<BoxSource>,
) -> BoxStream<'static, Result<Bytes, Undone>> {
    let started = stream::once(async move { Local::start(order, idle, inputs) });
    let items = started.flat_map(|started| match started {
        Err(undone) => stream::iter([Err(undone)]).boxed(),
        Ok(local) => stream::unfold(Some(local), |local| async {
            let mut local = local?;
            match local.next().await {
                Ok(item) => Some((Ok(item), Some(local))),
                Err(None) => None,
                Err(Some(undone)) => Some((Err(undone), None)),
            }
        })
        .boxed(),
    });
    items.boxed()
}

impl Local {
    fn start(order: Order, idle: Option<Duration>, inputs: Vec<BoxSource>) -> Result<Self, Undone> {
        let (context, trouble) = (TaskContext::new(), Trouble::default());
        let inputs = Inputs::new(inputs.into_iter().map(input).collect(), trouble.clone());
        let body = &order.function.body;
        let producer =
            Producer::start(body, order.arguments.into_bytes(), inputs, &context, (), Panic::caught);
        let not_one = || Undone::Undecodable("this is not a function of streams".to_owned());
        Ok(Self {
            items: Here::new(producer.ok_or_else(not_one)?),
            trouble,
            idle,
            whole: order.timeout.and_then(until),
            _shared: order.shared,
            _context: context,
        })
    }

    /// The next item, or how it ended.
    async fn next(&mut self) -> Result<Bytes, Option<Undone>> {
        let idle = self.idle.and_then(until);
        let late = [idle, self.whole].into_iter().flatten().min_by_key(|(_, at)| *at);
        let late = async {
            match late {
                Some((after, at)) => {
                    tokio::time::sleep_until(at.into()).await;
                    after
                }
                None => std::future::pending().await,
            }
        };
        let items = &mut self.items;
        let ended = tokio::select! {
            biased;
            fault = self.trouble.told() => Some(match fault {
                Fault::Unencodable(reason) => Undone::Unencodable(reason),
                Fault::Undecodable(reason) => Undone::Undecodable(reason),
            }),
            item = std::future::poll_fn(|context| items.poll_next(context)) => {
                return item.map_err(|it| match it {
                    Finish::Complete => None,
                    Finish::Failed(error) => Some(Undone::Failed(error)),
                    Finish::Panicked(panic) => Some(Undone::Panicked(panic)),
                    Finish::Unencodable(reason) => Some(Undone::Unencodable(reason)),
                    Finish::Undecodable(reason) => Some(Undone::Undecodable(reason)),
                });
            }
            after = late => Some(Undone::TimedOut(Timeout::new(after))),
        };
        // What was made before comes first.
        self.items.made().ok_or(ended)
    }
}

/// So long, and when it is over. A time too far to be told is none.
fn until(after: Duration) -> Option<(Duration, Instant)> {
    Some((after, Instant::now().checked_add(after)?))
}

/// What a call takes, as its function does.
fn input(source: BoxSource) -> Input {
    let items = Here::new(Producer::of(source, Panic::caught));
    let items = stream::unfold(Some(items), |items| async {
        let mut items = items?;
        let fault = match std::future::poll_fn(|context| items.poll_next(context)).await {
            Ok(item) => return Some((Ok(item), Some(items))),
            Err(Finish::Complete) => return None,
            Err(Finish::Unencodable(reason)) => Fault::Unencodable(reason),
            Err(Finish::Panicked(panic)) => Fault::Unencodable(format!("a stream that it takes {panic}")),
            Err(Finish::Failed(_) | Finish::Undecodable(_)) => {
                Fault::Undecodable("a stream that it takes has no end of its own".to_owned())
            }
        };
        Some((Err(fault), None))
    });
    items.boxed()
}
