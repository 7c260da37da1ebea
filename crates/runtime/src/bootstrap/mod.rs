//! What a bare machine must become before it is a node. The node calls these in order:
//!
//! ```text
//! plan ─ pack ─ (rent) ─→ run ─→ deploy ─→ start_worker
//!  │       │               │        │           └ the program runs, detached, and listens
//!  │       │               │        └ the running program, without debug sections, by its hash
//!  │       │               └ env → apt → python → pip → includes → shell, each once per machine
//!  │       └ the included files as one archive
//!  └ Image × Capabilities → ordered steps → script (golden files)
//! ```
//!
//! On the machine everything is below `$HOME/.skyward`: `env` (sourced before each step and the
//! worker), `steps/` (one empty file per step that is done), `work/` (where steps and the worker run,
//! and included files are), `venv/`, `uv/`, `includes/`, `programs/`, `worker.log`.

mod check;
mod deploy;
pub(crate) mod ignores;
mod includes;
mod plan;
mod program;
pub(crate) mod progress;
mod quote;
mod run;
mod script;
#[cfg(test)]
mod shell_tests;
mod slim;
mod steps;
mod unpack;
mod walk;
mod worker;

pub use check::PlanError;
pub use deploy::{Deployed, deploy};
pub use includes::Includes;
pub use plan::{Plan, Step, plan};
pub use program::Program;
pub use progress::Progress;
pub use run::{BootstrapError, run};
pub use script::script;
pub use unpack::unpack;
pub use walk::IncludeError;
pub use worker::{Listening, StartWorkerError, fetch_command, pipe_command, start_worker};
