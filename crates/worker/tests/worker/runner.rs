//! Runs the tests one after the other, each within a deadline, and reports like libtest.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;

/// A test: its name and what it does.
pub(crate) type Test = (&'static str, fn() -> BoxFuture<'static, ()>);

/// The tests of a module, by the names of their functions.
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub(crate) fn tests() -> Vec<$crate::runner::Test> {
            vec![$((stringify!($name), || Box::pin($name()))),+]
        }
    };
}

/// No test takes longer, whatever hangs.
const DEADLINE: Duration = Duration::from_secs(30);

/// Options of libtest whose value is an argument of its own, and no filter.
const WITH_VALUE: [&str; 5] = ["--test-threads", "--skip", "--format", "--color", "--logfile"];

/// Runs those whose name contains one of the filters, all without any.
pub(crate) fn run(runtime: &Runtime, tests: &[Test], arguments: &[String]) -> ExitCode {
    let follows_option = |at: usize| at > 0 && WITH_VALUE.contains(&arguments[at - 1].as_str());
    let filters: Vec<_> = arguments
        .iter()
        .enumerate()
        .filter(|(at, it)| !it.starts_with('-') && !follows_option(*at))
        .map(|(_, it)| it)
        .collect();
    if arguments.iter().any(|it| it == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let exact = arguments.iter().any(|it| it == "--exact");
    let wanted = |name: &str| {
        filters.is_empty() || filters.iter().any(|it| if exact { name == *it } else { name.contains(*it) })
    };
    let selected: Vec<_> = tests.iter().filter(|(name, _)| wanted(name)).collect();
    println!("\nrunning {} tests", selected.len());
    let started = std::time::Instant::now();
    let mut failed = Vec::new();
    for (name, test) in &selected {
        let ended = runtime.block_on(async {
            tokio::time::timeout(DEADLINE, std::panic::AssertUnwindSafe(test()).catch_unwind()).await
        });
        let verdict = match ended {
            Ok(Ok(())) => "ok",
            Ok(Err(_)) => "FAILED",
            Err(_) => "FAILED (it did not end in time)",
        };
        println!("test {name} ... {verdict}");
        if verdict != "ok" {
            failed.push(name);
        }
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        selected.len() - failed.len(),
        failed.len(),
        tests.len() - selected.len(),
        started.elapsed().as_secs_f64()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
