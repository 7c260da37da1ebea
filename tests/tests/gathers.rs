//! Gathers whose calls do not all go the usual way: some are large, fail, or are tried again; and calls that
//! come to a node together. What is common to all calls is in `calls.rs`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skyward::EventKind;
use skyward::prelude::*;
use skyward_tests::{Ground, builder, end, until};

/// Far longer than an outcome may take, on busy cores.
const LONG: Duration = Duration::from_secs(40);

/// More than travels on a lane.
const LARGE: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Odd {
    Number(u32),
    Unwritten(String),
}

#[skyward::function]
async fn even(number: u32) -> Result<u32, Odd> {
    if number.is_multiple_of(2) { Ok(number) } else { Err(Odd::Number(number)) }
}

#[skyward::function]
async fn of_length(length: usize) -> Vec<u8> {
    vec![7; length]
}

#[skyward::function]
async fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

#[skyward::function]
async fn panics_at(number: u32, at: u32) -> u32 {
    assert_ne!(number, at, "that one");
    number
}

/// Fails until the third time, which the file counts.
#[skyward::function]
async fn third_time(counter: PathBuf) -> Result<usize, Odd> {
    let times = std::fs::read(&counter).map_or(0, |it| it.len()) + 1;
    std::fs::write(&counter, vec![b'x'; times]).map_err(|it| Odd::Unwritten(it.to_string()))?;
    if times == 3 { Ok(times) } else { Err(Odd::Number(1)) }
}

/// Says that it is here, and, when it is dropped, that it is gone.
#[skyward::function]
async fn waits(file: PathBuf) {
    struct Gone(PathBuf);
    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = std::fs::write(&self.0, "gone");
        }
    }
    let _gone = Gone(file.with_extension("gone"));
    let _ = std::fs::write(&file, "here");
    std::future::pending().await
}

/// Returns when the note is there.
#[skyward::function]
async fn awaits(note: PathBuf) {
    while !note.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Holds its thread until the note is there. Whether it came in time.
#[skyward::function]
async fn computes(note: PathBuf) -> bool {
    let began = std::time::Instant::now();
    while !note.exists() && began.elapsed() < LONG {
        std::thread::sleep(Duration::from_millis(5));
    }
    note.exists()
}

#[skyward::test]
async fn an_outcome_that_is_there_does_not_wait_for_a_function_that_computes() -> skyward::Result<()> {
    let (ground, notes) = (Ground::new("computes"), tempfile::tempdir()?);
    let (begin, end_of_it) = (notes.path().join("begin"), notes.path().join("end"));
    let worker = Worker { concurrency: 1, buffer: 2, ..Worker::default() };
    let compute = builder(&ground).worker(worker).start().await?;
    let first = awaits(begin.clone()) >> &compute;
    let (second, third) = (even(2) >> &compute, computes(end_of_it.clone()) >> &compute);
    // All three are on their way before the first may end; the others wait for its slot.
    let told = async {
        tokio::task::yield_now().await;
        std::fs::write(&begin, "go")
    };
    let answered = async {
        let second = second.await;
        // Only now may the third end.
        std::fs::write(&end_of_it, "go").map(|()| second)
    };
    let (first, second, third, told) = tokio::join!(first, answered, third, told);
    first?;
    assert_eq!(second??, 2);
    assert!(third?, "the outcome before it waited until it had computed");
    told?;
    end(compute, &ground).await
}

#[skyward::test]
async fn small_and_large_calls_of_one_gather_all_have_their_values() -> skyward::Result<()> {
    let ground = Ground::new("sizes");
    let compute = builder(&ground).nodes(2).start().await?;
    let lengths: Vec<usize> = (0..400).map(|it| if it % 50 == 0 { LARGE } else { it }).collect();
    let values = (gather(lengths.iter().map(|it| of_length(*it))) >> &compute).await?;
    assert_eq!(values.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
    let counted = (gather(lengths.iter().map(|it| length(vec![0; *it]))) >> &compute).await?;
    assert_eq!(counted, lengths);
    end(compute, &ground).await
}

#[skyward::test]
async fn failures_of_a_gather_are_results_of_their_own_at_their_places() -> skyward::Result<()> {
    let ground = Ground::new("failures");
    let compute = builder(&ground).nodes(2).start().await?;
    let mut results = compute.stream(gather((0..1000).map(even)).ordered()).indexed();
    let mut seen = 0;
    while let Some((at, result)) = results.next().await {
        let number = u32::try_from(at)?;
        match result {
            Ok(value) => assert_eq!((value, number % 2), (number, 0)),
            Err(CallError::Task(odd)) => assert_eq!((odd, number % 2), (Odd::Number(number), 1)),
            Err(other) => return Err(other.into()),
        }
        seen += 1;
    }
    assert_eq!(seen, 1000);
    let error = (gather((0..500).map(|it| panics_at(it, 400))) >> &compute).await.expect_err("a panic");
    assert!(matches!(&error, CallError::Panicked(it) if it.message.contains("that one")), "{error}");
    end(compute, &ground).await
}

#[skyward::test]
async fn a_call_of_a_gather_that_may_be_tried_again_is() -> skyward::Result<()> {
    let (ground, folder) = (Ground::new("again"), tempfile::tempdir()?);
    let compute = builder(&ground).nodes(1).start().await?;
    let counters = (0..20).map(|it| folder.path().join(format!("counter {it}")));
    let times = (gather(counters.map(|it| third_time(it).retries(2))) >> &compute).await?;
    assert_eq!(times, [3; 20]);
    end(compute, &ground).await
}

#[skyward::test]
async fn what_runs_of_a_gather_that_is_dropped_is_cancelled_and_what_waits_never_begins()
-> skyward::Result<()> {
    let (ground, folder) = (Ground::new("dropped"), tempfile::tempdir()?);
    let compute = builder(&ground).nodes(1).start().await?;
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let mut events = compute.events();
    let gathered = compute.spawn(gather([one.clone(), two.clone()].map(waits)));
    let is_there = |it: &PathBuf| it.exists().then_some(());
    assert!(until(Duration::from_secs(60), || is_there(&one)).is_some(), "it never began");
    gathered.cancel();
    let gone = one.with_extension("gone");
    assert!(until(Duration::from_secs(60), || is_there(&gone)).is_some(), "it runs on");
    // The slot is free again.
    assert_eq!((length(vec![1, 2]) >> &compute).await?, 2);
    assert!(!two.exists());
    let mut began = Vec::new();
    while began.last().is_none_or(|it: &String| !it.contains("length")) {
        if let EventKind::TaskStarted { function, .. } = events.next().await.ok_or("the pool lives")?.kind {
            began.push(function);
        }
    }
    assert_eq!(began.len(), 2, "no more is said to begin than did: {began:?}");
    end(compute, &ground).await
}
