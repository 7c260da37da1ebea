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

mod control;
mod end;
mod execute;
mod executor;
mod lease;
mod panics;
mod processes;
mod seat;
mod serve;
mod session;
mod slots;
mod start;
mod worker;

use std::process::exit;

use skyward_runtime::program::{WorkerStart, WorkerUp};
use tracing_subscriber::EnvFilter;

pub use start::StartError;

/// Runs this process as a worker, to its end. Call it when
/// [`Role::current`](skyward_runtime::program::Role::current) says so, before anything is printed.
pub fn main() -> ! {
    // Fails where the shell that started us has made us the leader already, which is as good.
    let _ = rustix::process::setsid();
    log();
    panics::record();
    let failed = match WorkerStart::read(std::io::stdin().lock()) {
        Ok(start) => run(start),
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

/// Returns only when the worker could not start.
fn run(start: WorkerStart) -> StartError {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Slots bound the blocking functions; the rest is for small file work of the runtime's own.
    let blocking = usize::try_from(start.slots).unwrap_or(usize::MAX).saturating_add(16);
    let built = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("skyward")
        .max_blocking_threads(blocking)
        .build();
    match built {
        Ok(runtime) => runtime.block_on(serve::serve(start)),
        Err(error) => StartError::Runtime(error.to_string()),
    }
}

/// Standard error is a file on the machine. Ractor's cluster formats whole payloads below `info`.
fn log() {
    let filter = EnvFilter::new("info,ractor_cluster=info");
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr);
    // A program that has set up its own keeps it.
    let _ = subscriber.try_init();
}
