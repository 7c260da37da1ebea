//! The `Local` provider with real processes, and the SSH client against its machines. This program
//! becomes a machine itself, so it brings its own `main` in place of the test harness.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing
)]

#[path = "local/bootstrap.rs"]
mod bootstrap;
#[path = "local/harness.rs"]
mod harness;
#[path = "local/life.rs"]
mod life;
#[path = "local/ssh.rs"]
mod ssh;
#[path = "local/stage.rs"]
mod stage;

use skyward_providers::local::machine_main;
use skyward_runtime::program::{Role, declare_entry};

fn main() {
    if Role::current() == Role::Machine {
        machine_main();
    }
    if Role::current() == Role::Worker {
        bootstrap::worker_main();
    }
    declare_entry(Vec::new());
    let mut tests = harness::Tests::default();
    bootstrap::register(&mut tests);
    life::register(&mut tests);
    ssh::register(&mut tests);
    tests.run();
}
