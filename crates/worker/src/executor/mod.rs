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
mod commons;
mod devices;
mod flow;
mod processes;
mod tail;
mod talk;
mod tap;
mod task;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use skyward_runtime::inside::{self, TaskContext};
use skyward_runtime::link::Outcome;
use skyward_runtime::model::{Attempt, Executor as Kind, FunctionId, Roster, TaskId};
use skyward_runtime::payload::CommonKey;
use skyward_runtime::program::WorkerStart;
use skyward_runtime::registry::{Body, Function};
use tokio::sync::watch;

use crate::execute;
use crate::output::Output;
use crate::slots::Slot;
pub(crate) use processes::Processes;
pub(crate) use tail::Words;
pub(crate) use talk::Talk;

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
    pub(crate) fn new(
        start: &WorkerStart,
        output: &Arc<Output>,
        fate: watch::Receiver<Option<Instant>>,
    ) -> Self {
        match start.executor {
            Kind::Thread => Self::Threads,
            Kind::Process => Self::Processes(Arc::new(Processes::new(start, Arc::clone(output), fate))),
        }
    }

    /// Runs a call in a slot; `words` are what its process says meanwhile. Dropping the future gives the call up; its slot is free when nothing of it
    /// runs any more.
    pub(crate) async fn run(&self, job: Job, slot: Slot, context: &TaskContext, words: &Words) -> Outcome {
        match (self, &job.function.body) {
            (Self::Processes(processes), Body::Async(_) | Body::Blocking(_)) => {
                processes.run(job, slot, &mut Talk::none(), words).await
            }
            // A function of streams does not run: there it is told that this is no call of its kind.
            (Self::Threads, _) | (Self::Processes(_), Body::Stream { .. } | Body::Iterator { .. }) => {
                execute::run(job.function, job.arguments, slot, context).await
            }
        }
    }

    /// The processes, if tasks have some of their own.
    pub(crate) const fn processes(&self) -> Option<&Arc<Processes>> {
        match self {
            Self::Threads => None,
            Self::Processes(processes) => Some(processes),
        }
    }

    /// Keeps a value that calls share, where their functions find it.
    ///
    /// # Errors
    /// When it cannot be written for processes to read.
    pub(crate) async fn keep_common(&self, key: CommonKey, bytes: Bytes) -> std::io::Result<()> {
        match self {
            Self::Threads => inside::keep_common(key, bytes),
            Self::Processes(processes) => processes.commons().keep(&key, &bytes).await?,
        }
        Ok(())
    }

    /// Where it lies, if in a file.
    pub(crate) fn common_file(&self, key: &CommonKey) -> Option<PathBuf> {
        let folder = self.processes()?.commons().folder();
        Some(folder.join(inside::common_name(key)))
    }

    /// Lets go of it.
    pub(crate) fn forget_common(&self, key: &CommonKey) {
        match self {
            Self::Threads => inside::forget_common(key),
            Self::Processes(processes) => processes.commons().forget(key),
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
