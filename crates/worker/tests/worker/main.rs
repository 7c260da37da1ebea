//! Workers as real processes, driven through the real dialer and cluster over loopback. This program
//! is its own worker: started in that role it becomes one, otherwise it runs the tests. With
//! `--measure` it prints two figures instead.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "it is a test, but not one that clippy recognises: it has a main of its own"
)]

mod bytes;
mod calls;
mod functions;
mod identity;
mod keeps;
mod life;
mod measure;
mod node;
mod processes;
mod runner;
mod streams;
mod wire;

use std::process::ExitCode;

use skyward_runtime::program::Role;

fn main() -> ExitCode {
    match Role::current() {
        Role::Worker => skyward_worker::main(),
        Role::Task => skyward_worker::task_main(),
        Role::Client | Role::Machine | Role::Pipe | Role::Fetch | Role::Fingerprint => {}
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if arguments.iter().any(|it| it == "--measure") {
        runtime.block_on(measure::measure());
        return ExitCode::SUCCESS;
    }
    let tests = [
        calls::tests(),
        processes::tests(),
        streams::tests(),
        bytes::tests(),
        wire::tests(),
        identity::tests(),
        keeps::tests(),
        life::tests(),
    ]
    .concat();
    runner::run(&runtime, &tests, &arguments)
}
