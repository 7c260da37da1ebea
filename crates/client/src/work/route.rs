//! Where work runs: on the nodes of a pool, or in this process.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use skyward_runtime::model::Rank;
use skyward_runtime::payload::Common;
use skyward_runtime::tasks::{GroupId, Meter, OnLost, Order, Running, Target, Tasks, Undone};

use super::local;

/// Where work runs. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Route {
    /// On a pool.
    Pool {
        /// Its queue.
        tasks: Tasks,
        /// Which of its nodes.
        target: Target,
        /// What its calls take their turns as; `None`: each by itself.
        group: Option<GroupId>,
        /// What its calls cost is added to this.
        meter: Option<Meter>,
    },
    /// In this process, as a worker would run it.
    Here,
}

/// The most calls of one gather that are in flight at once, if the nodes can be given so many: more would
/// only wait, each at the cost of being woken twice. This bounds the memory of a gather.
const IN_FLIGHT: usize = 1 << 16;

/// As many are always in flight, so that nodes which become ready find some that wait.
const FEWEST: usize = 256;

impl Route {
    /// The order as one that goes this way.
    pub(super) fn along(&self, order: Order) -> Order {
        match self {
            Self::Pool { target, group, meter, .. } => {
                Order { target: *target, group: *group, meter: meter.clone(), ..order }
            }
            Self::Here => order,
        }
    }

    /// The queue of the pool that it leads to.
    pub(super) const fn tasks(&self) -> Option<&Tasks> {
        match self {
            Self::Pool { tasks, .. } => Some(tasks),
            Self::Here => None,
        }
    }

    /// Runs one order. Nothing happens until the future is polled; dropping it cancels.
    pub(super) fn run(&self, order: Order) -> Run {
        match self {
            Self::Pool { tasks, .. } => Run::Pool(tasks.run(self.along(order))),
            Self::Here => Run::Here { _shared: order.shared.clone(), run: Box::pin(local::run(order)) },
        }
    }

    /// The same way for calls that take their turns as one, so that a single call beside them does not
    /// wait behind them all.
    pub(super) fn as_one(&self) -> Self {
        match self {
            Self::Pool { tasks, target, meter, .. } => Self::Pool {
                tasks: tasks.clone(),
                target: *target,
                group: Some(tasks.group()),
                meter: meter.clone(),
            },
            Self::Here => Self::Here,
        }
    }

    /// The same way, with what it costs counted.
    pub(super) fn metered(self, counter: &Meter) -> Self {
        match self {
            Self::Pool { tasks, target, group, .. } => {
                Self::Pool { tasks, target, group, meter: Some(counter.clone()) }
            }
            Self::Here => Self::Here,
        }
    }

    /// Runs one order on every ready node; the runs come in rank order. This process counts as a pool
    /// of one.
    pub(super) async fn run_everywhere(
        self,
        mut order: Order,
        lost: OnLost,
    ) -> Result<Vec<(Rank, Run)>, Undone> {
        match &self {
            Self::Pool { tasks, meter, .. } => {
                order.meter.clone_from(meter);
                let runs = tasks.broadcast(order, lost)?;
                Ok(runs.into_iter().map(|(rank, it)| (rank, Run::Pool(it))).collect())
            }
            Self::Here => Ok(vec![(Rank(0), self.run(order))]),
        }
    }

    /// How many calls of a gather may be in flight.
    pub(super) fn in_flight(&self) -> usize {
        match self {
            Self::Pool { tasks, .. } => tasks.places().clamp(FEWEST, IN_FLIGHT),
            Self::Here => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}

/// One order on its way.
#[expect(clippy::large_enum_variant, reason = "the large one is the common one, and costs no allocation")]
pub(super) enum Run {
    Pool(Running),
    Here {
        run: BoxFuture<'static, Result<Bytes, Undone>>,
        /// What it was given, and may return.
        _shared: Vec<Arc<Common>>,
    },
}

impl Future for Run {
    type Output = Result<Bytes, Undone>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Pool(run) => Pin::new(run).poll(context),
            Self::Here { run, .. } => run.as_mut().poll(context),
        }
    }
}
