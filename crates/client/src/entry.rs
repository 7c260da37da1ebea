//! The first line of a program that uses Skyward, where it may turn into a worker, and the last, where
//! everything is given back. `#[skyward::main]` and `#[skyward::test]` call these.

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use skyward_runtime::program::{self, Role};
use skyward_runtime::registry::Registry;

use crate::engine::Engine;

/// Makes this program one that can be its own worker. Call it as the first line of a `main` that has
/// no `#[skyward::main]`.
///
/// In the user's process it returns. In a process that was started as a worker, or as a machine of the
/// `Local` or the `Container` provider, it never does: everything after it runs in the user's process only.
///
/// A program whose `main` is written by hand gives its machines back when its `Compute`s are stopped or
/// dropped; one that ends without either leaves them to their leases.
///
/// # Exits
/// With code 1 and a message, when two functions of the program cannot be told apart.
pub fn init() {
    init_with(Vec::new());
}

/// As [`init`], for a test: its workers are this program, told to run that one test.
pub fn init_test(module: &str, name: &str) {
    init_with(test_arguments(module, name).into_iter().map(OsString::from).collect());
}

fn init_with(entry: Vec<OsString>) {
    // Whoever installed one before us has chosen.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Role::current() {
        Role::Worker => skyward_worker::main(),
        Role::Pipe => program::pipe(),
        Role::Fetch => skyward_worker::fetch_main(),
        Role::Task => skyward_worker::task_main(),
        Role::Machine => skyward_providers::local::machine_main(),
        Role::Fingerprint => program::say_fingerprint(),
        Role::Client => {}
    }
    if let Err(duplicate) = Registry::global() {
        fail(&duplicate.to_string());
    }
    program::declare_entry(entry);
}

/// The arguments with which the test harness runs this test and no other. libtest knows a test by its
/// path without the crate's name.
fn test_arguments(module: &str, name: &str) -> [String; 5] {
    let path = match module.split_once("::") {
        Some((_, inner)) => format!("{inner}::{name}"),
        None => name.to_owned(),
    };
    let flag = str::to_owned;
    [flag("--exact"), path, flag("--nocapture"), flag("--include-ignored"), flag("--test-threads=1")]
}

/// Runs an async main on the engine, and gives everything back when it has returned or panicked.
pub fn main_async<F: Future>(main: impl FnOnce() -> F) -> F::Output {
    main_blocking(|| engine().block_on(main()))
}

/// As [`main_async`], for a main that is not async.
pub fn main_blocking<T>(main: impl FnOnce() -> T) -> T {
    let outcome = catch_unwind(AssertUnwindSafe(main));
    if let Some(engine) = Engine::existing() {
        engine.finish();
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs an async test on the engine. Its pools end with their `Compute`s; other tests of this process
/// may have some of their own.
pub fn test<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    engine().block_on(test())
}

fn engine() -> &'static Engine {
    Engine::get().unwrap_or_else(|error| fail(&error.to_string()))
}

/// Ends a program that cannot begin.
#[expect(clippy::print_stderr, reason = "there is nobody yet to return an error to")]
fn fail(reason: &str) -> ! {
    eprintln!("skyward: {reason}");
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_named_as_the_harness_names_it() {
        for (module, path) in [("my_tests", "works"), ("my_crate::calls::tests", "calls::tests::works")] {
            let arguments = test_arguments(module, "works");
            assert_eq!(arguments.get(1).map(String::as_str), Some(path));
        }
    }
}
