//! What a task runs in: this process, or a process of its own for each slot.
//!
//! ```text
//! slot, with a child or without --call--> child started if there is none --Run--> running
//! running --outcome--> idle, for the slot's next call     (not reused: ended)
//! running --the process ended--> Crashed, and what it had started is killed
//! running --call dropped, time over, drained--> SIGTERM to its process group, SIGKILL after a while
//!                                               and only then is the slot free
//! worker gone --> each child notices on its socket and kills its group
//! ```

mod child;
mod devices;
mod processes;
mod tail;
mod tap;
mod task;

use std::sync::Arc;

use bytes::Bytes;
use skyward_runtime::inside::TaskContext;
use skyward_runtime::link::Outcome;
use skyward_runtime::model::{Attempt, Executor as Kind, FunctionId, Roster, TaskId};
use skyward_runtime::program::WorkerStart;
use skyward_runtime::registry::Function;

use crate::execute;
use crate::output::Output;
use crate::slots::Slot;
use processes::Processes;

pub(crate) use task::main as task_main;

/// One call, as the worker has it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) task: TaskId,
    pub(crate) attempt: Attempt,
    pub(crate) id: FunctionId,
    pub(crate) function: &'static Function,
    pub(crate) arguments: Bytes,
}

/// What tasks run in.
#[derive(Debug)]
pub(crate) enum Executor {
    /// This process.
    Threads,
    /// A process for each slot.
    Processes(Arc<Processes>),
}

impl Executor {
    pub(crate) fn new(start: &WorkerStart, output: &Arc<Output>) -> Self {
        match start.executor {
            Kind::Thread => Self::Threads,
            Kind::Process => Self::Processes(Arc::new(Processes::new(start, Arc::clone(output)))),
        }
    }

    /// Whether tasks have processes of their own.
    pub(crate) const fn has_processes(&self) -> bool {
        matches!(self, Self::Processes(_))
    }

    /// Runs a call in a slot. Dropping the future gives the call up; its slot is free when nothing of it
    /// runs any more.
    pub(crate) async fn run(&self, job: Job, slot: Slot, context: &TaskContext) -> Outcome {
        match self {
            Self::Threads => execute::run(job.function, job.arguments, slot, context).await,
            Self::Processes(processes) => processes.run(job, slot).await,
        }
    }

    /// Tells the processes who is in the pool.
    pub(crate) fn introduce(&self, roster: &Roster) {
        if let Self::Processes(processes) = self {
            processes.introduce(roster);
        }
    }

    /// Ends the processes that wait for a call, and from now on each that has run one. Returns when no
    /// idle one is left.
    pub(crate) async fn end(&self) {
        if let Self::Processes(processes) = self {
            processes.end().await;
        }
    }
}
