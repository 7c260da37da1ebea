//! The process on a node: runs functions for the pool's client and holds the machine's lease. It is
//! the user's own program, started in another role; [`main`] is all that the client's crate calls.
//!
//! ```text
//! started --WorkerStart on stdin--> listening --WorkerUp on stdout--> serving, detached
//! serving --hello of the owner--> linked --link gone--> serving
//! serving --lease lapsed--> draining --> the machine is ended
//! any     --the machine's process vanished--> gone, with every process of ours
//! any     --SIGTERM--> gone, with every process of ours
//! ```

mod calls;
mod control;
mod desk;
mod end;
mod execute;
mod executor;
mod fetch;
mod home;
mod keep;
mod lease;
mod mesh;
mod notice;
mod numbered;
mod output;
mod paces;
mod panics;
mod processes;
mod relay;
mod seat;
mod serve;
mod session;
mod shares;
mod slots;
mod spool;
mod start;
mod streams;
#[cfg(feature = "testing")]
pub mod testing;
mod worker;

use std::process::exit;
use std::sync::Arc;

use skyward_runtime::model::OutputStream;
use skyward_runtime::program::{WorkerStart, WorkerUp};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use output::{Output, TaskEvents};

pub use start::StartError;

/// Runs this process as a worker, to its end. Call it when
/// [`Role::current`](skyward_runtime::program::Role::current) says so, before anything is printed.
pub fn main() -> ! {
    // Fails where the shell that started us has made us the leader already, which is as good.
    let _ = rustix::process::setsid();
    let output = Arc::default();
    log(&output);
    panics::record();
    let failed = match WorkerStart::read(std::io::stdin().lock()) {
        Ok(start) => run(start, output),
        Err(error) => StartError::Input(error),
    };
    tracing::error!(error = %failed, "the worker cannot start");
    let _ = WorkerUp::Failed(failed.to_string()).write(std::io::stdout().lock());
    exit(1)
}

/// Runs this process as one that runs a worker's tasks, to its end. Call it when
/// [`Role::current`](skyward_runtime::program::Role::current) says so, before anything is printed.
pub fn task_main() -> ! {
    executor::task_main()
}

/// Runs this process as one that gets files on a machine that has no worker yet, to its end. Call it when
/// [`Role::current`](skyward_runtime::program::Role::current) says so, before anything is printed.
pub fn fetch_main() -> ! {
    fetch::main()
}

/// Returns only when the worker could not start.
fn run(start: WorkerStart, output: Arc<Output>) -> StartError {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Slots bound the blocking functions; the rest is for small file work of the runtime's own.
    let blocking = usize::try_from(start.slots).unwrap_or(usize::MAX).saturating_add(16);
    let built = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("skyward")
        .max_blocking_threads(blocking)
        .build();
    match built {
        Ok(runtime) => runtime.block_on(serve::serve(start, output)),
        Err(error) => StartError::Runtime(error.to_string()),
    }
}

/// The worker's log is a file on the machine: standard error, as it is at first. Ractor's cluster formats
/// whole payloads below `info`. What tasks say goes to the client too.
fn log(output: &Arc<Output>) {
    let Ok(file) = output::log_file() else { return };
    let own = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(Arc::new(file))
        .with_filter(EnvFilter::new("info,ractor_cluster=info"));
    let output = Arc::clone(output);
    let tasks = TaskEvents::new(move |task, text| {
        // The rest is the worker's own.
        if task.is_some() {
            output.push(task, OutputStream::Log, text);
        }
    });
    // A program that has set up its own keeps it.
    let _ = tracing_subscriber::registry().with(own).with(tasks.with_filter(asked())).try_init();
}

/// What the node's environment asks to hear of tasks; `info` where it does not say.
fn asked() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"))
}
