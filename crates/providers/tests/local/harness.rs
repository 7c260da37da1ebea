//! As much of a test harness as these tests need: names, a filter, `--list`, one line each.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::exit;
use std::time::Duration;

use futures_util::FutureExt;

type Check = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>>>;

/// The tests, by name.
#[derive(Default)]
pub(crate) struct Tests(Vec<(&'static str, Check)>);

impl Tests {
    pub(crate) fn add<F: Future<Output = ()> + 'static>(
        &mut self,
        name: &'static str,
        check: impl FnOnce() -> F + 'static,
    ) {
        self.0.push((name, Box::new(move || Box::pin(check()))));
    }

    /// Runs what the arguments ask for and exits.
    pub(crate) fn run(self) -> ! {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let has = |flag: &str| arguments.iter().any(|it| it == flag);
        let exact = has("--exact");
        let mut wanted: Vec<&String> = Vec::new();
        let mut each = arguments.iter();
        while let Some(argument) = each.next() {
            match argument.as_str() {
                "--format" | "--color" | "--test-threads" | "--skip" => drop(each.next()),
                flag if flag.starts_with('-') => {}
                _ => wanted.push(argument),
            }
        }
        let picked = |name: &str| {
            wanted.is_empty()
                || wanted.iter().any(|it| if exact { *it == name } else { name.contains(it.as_str()) })
        };
        let none_ignored = has("--ignored");
        let tests: Vec<_> = self.0.into_iter().filter(|it| picked(it.0) && !none_ignored).collect();
        if has("--list") {
            for (name, _) in tests {
                println!("{name}: test");
            }
            exit(0);
        }
        println!("\nrunning {} tests", tests.len());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (mut passed, mut failed) = (0, 0);
        for (name, check) in tests {
            let bounded = async move { tokio::time::timeout(Duration::from_secs(60), check()).await };
            // A future that panics is not looked at again.
            let ended = runtime.block_on(AssertUnwindSafe(bounded).catch_unwind());
            let ok = matches!(ended, Ok(Ok(())));
            println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
            if ok { passed += 1 } else { failed += 1 }
        }
        let result = if failed == 0 { "ok" } else { "FAILED" };
        println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured\n");
        exit(i32::from(failed > 0));
    }
}
