//! How a node runs tasks, as its pool's owner asks for it and its worker is told.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a node runs tasks. Set what differs and leave the rest:
///
/// ```
/// use skyward_runtime::model::{Executor, Worker};
/// let worker = Worker { concurrency: 4, executor: Executor::Process, ..Worker::default() };
/// assert!(worker.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A [`Worker`] that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidWorker {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What it may be.
    pub allowed: &'static str,
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
    pub fn check(&self) -> Result<(), InvalidWorker> {
        let invalid = |field, value: String, allowed| Err(InvalidWorker { field, value, allowed });
        if self.concurrency == 0 || self.concurrency > Self::MOST {
            return invalid("concurrency", self.concurrency.to_string(), "it must be from 1 to 65536");
        }
        if self.buffer > Self::MOST {
            return invalid("buffer", self.buffer.to_string(), "it must be from 0 to 65536");
        }
        if !self.reuse && self.executor == Executor::Thread {
            return invalid(
                "reuse",
                self.reuse.to_string(),
                "it must be true with `Executor::Thread`, whose tasks share one process; use \
                 `Executor::Process`",
            );
        }
        Ok(())
    }

    /// The most tasks at once that a node can be asked for: more is a mistake of units.
    const MOST: u32 = 1 << 16;
}

impl fmt::Display for InvalidWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`Worker::{}` is {}, but {}", self.field, self.value, self.allowed)
    }
}

impl std::error::Error for InvalidWorker {}

impl Default for Worker {
    fn default() -> Self {
        Self { concurrency: 1, buffer: 0, executor: Executor::Thread, reuse: true }
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
            (Worker { concurrency: 0, ..good }, Some("`Worker::concurrency` is 0, but it must be from 1")),
            (Worker { concurrency: 65537, ..good }, Some("`Worker::concurrency` is 65537, but")),
            (Worker { buffer: u32::MAX, ..good }, Some("`Worker::buffer` is 4294967295, but")),
            (Worker { reuse: false, ..good }, Some("`Worker::reuse` is false, but it must be true with")),
        ] {
            let said = worker.check().err().map(|it| it.to_string()).unwrap_or_default();
            assert!(said.starts_with(told.unwrap_or_default()), "{worker:?}: {said}");
            assert_eq!(said.is_empty(), told.is_none(), "{worker:?}: {said}");
        }
        assert_eq!(Worker { concurrency: 3, buffer: 2, ..good }.handed(), 5);
    }
}
