//! One node of a pool as a place to send work to.

use skyward_runtime::model::Rank;
use skyward_runtime::pool::Pool;
use skyward_runtime::tasks::Target;

use crate::engine::Engine;
use crate::work::{Dispatch, Route, Spawned, StreamWork, Work};

/// One node of a pool, from [`Compute::head`](crate::Compute::head) or
/// [`Compute::node`](crate::Compute::node): a place to send work to. What is sent to it waits for this
/// node, even when others are free.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) engine: &'static Engine,
    pub(super) pool: Pool,
    pub(super) rank: Rank,
}

impl Node {
    pub(super) const fn new(engine: &'static Engine, pool: Pool, rank: Rank) -> Self {
        Self { engine, pool, rank }
    }

    /// Its rank, from 0.
    pub const fn rank(&self) -> u32 {
        self.rank.0
    }

    /// Sends work to this node, like `work >> node`. Nothing happens until the future is polled, and
    /// dropping it cancels.
    pub fn run<W: Work>(&self, work: W) -> Dispatch<W> {
        Dispatch::new(work, self.route())
    }

    /// Sends what gives a stream to this node; see [`Compute::stream`](crate::Compute::stream).
    pub fn stream<W: StreamWork>(&self, work: W) -> W::Stream {
        work.start(&self.route())
    }

    /// Starts work on this node now, in the background; see [`Compute::spawn`](crate::Compute::spawn).
    pub fn spawn<W: Work>(&self, work: W) -> Spawned<W> {
        Spawned::start(self.run(work), self.engine.handle())
    }

    pub(crate) fn route(&self) -> Route {
        Route::Pool {
            tasks: self.pool.tasks().clone(),
            target: Target::Rank(self.rank),
            group: None,
            meter: None,
        }
    }
}
