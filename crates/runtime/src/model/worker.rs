//! How a node runs tasks, as its pool's owner asks for it and its worker is told.

use serde::{Deserialize, Serialize};

use super::{InvalidRequest, Retention};

/// How a node runs tasks. Set what differs and leave the rest:
///
/// ```
/// use skyward_runtime::model::{Executor, Worker};
/// let worker = Worker { concurrency: 4, executor: Executor::Process, ..Worker::default() };
/// assert!(worker.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// How many tasks run on a node at once: its slots. Default 1, at least 1.
    pub concurrency: u32,
    /// How many more a node is handed, so that the next one is there when a slot is free. Default 0.
    /// What waits on a node is not given to another that is free sooner.
    pub buffer: u32,
    /// What a task runs in. Default [`Executor::Thread`].
    pub executor: Executor,
    /// Whether a task's process runs the next one too. Default yes, which saves the start of a process
    /// for each task; with no, nothing that a task leaves behind (memory, threads, a changed directory)
    /// reaches the next. Only [`Executor::Process`] can say no.
    pub reuse: bool,
    /// How much it keeps of outcomes that were not taken yet: of calls that ended while their link was broken,
    /// and of calls with a key.
    pub retention: Retention,
}

/// What a task runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Executor {
    /// The worker itself: async functions on its runtime, plain ones on its threads. Nothing is faster,
    /// and all tasks of a node share memory; one that aborts takes the worker and what else runs there
    /// with it.
    #[default]
    Thread,
    /// A process of its own, of the same program, one for each slot. A task that aborts, exits, is killed
    /// for its memory or hangs ends that process alone, and its outcome says so. A call that is dropped
    /// ends its process, and what that has started. Each process has its own share of the node's
    /// accelerators, and its own per-node state.
    Process,
}

impl Worker {
    /// How many tasks a node is handed: those that run and those that wait there.
    pub const fn handed(&self) -> u32 {
        self.concurrency.saturating_add(self.buffer)
    }

    /// Whether a node can be run like this.
    ///
    /// # Errors
    /// When a field has a value that it cannot have: which, and what it may be.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if self.concurrency == 0 || self.concurrency > Self::MOST {
            let allowed = "must be from 1 to 65536";
            return Err(InvalidRequest::new("worker.concurrency", self.concurrency, allowed));
        }
        if self.buffer > Self::MOST {
            return Err(InvalidRequest::new("worker.buffer", self.buffer, "must be from 0 to 65536"));
        }
        if !self.reuse && self.executor == Executor::Thread {
            let allowed = "must be true with Executor::Thread, whose tasks share one process; use \
                           Executor::Process";
            return Err(InvalidRequest::new("worker.reuse", self.reuse, allowed));
        }
        Ok(())
    }

    /// The most tasks at once that a node can be asked for: more is a mistake of units.
    const MOST: u32 = 1 << 16;
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            concurrency: 1,
            buffer: 0,
            executor: Executor::Thread,
            reuse: true,
            retention: Retention::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_cannot_be_is_refused_by_field_value_and_what_is_allowed() {
        let good = Worker::default();
        let process = Worker { executor: Executor::Process, ..good };
        for (worker, told) in [
            (good, None),
            (Worker { concurrency: 65536, buffer: 3, ..process }, None),
            (Worker { reuse: false, ..process }, None),
            (Worker { concurrency: 0, ..good }, Some("worker.concurrency is 0: must be from 1")),
            (Worker { concurrency: 65537, ..good }, Some("worker.concurrency is 65537: ")),
            (Worker { buffer: u32::MAX, ..good }, Some("worker.buffer is 4294967295: ")),
            (Worker { reuse: false, ..good }, Some("worker.reuse is false: must be true with")),
        ] {
            let said = worker.check().err().map(|it| it.to_string()).unwrap_or_default();
            assert!(said.starts_with(told.unwrap_or_default()), "{worker:?}: {said}");
            assert_eq!(said.is_empty(), told.is_none(), "{worker:?}: {said}");
        }
        assert_eq!(Worker { concurrency: 3, buffer: 2, ..good }.handed(), 5);
    }
}
