//! What tasks run in, on real local machines: processes that end, hang, are given up, are reused or not.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a task prints is among what is tested")]

use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use skyward::prelude::*;
use skyward::{Crash, InstanceInfo, Retention, StartError};
use skyward_tests::{Ground, until};

#[skyward::function]
fn process() -> u32 {
    std::process::id()
}

#[skyward::function]
fn aborts() -> u32 {
    println!("one line");
    eprintln!("and another");
    std::process::abort()
}

#[skyward::function]
async fn exits(code: i32) -> u32 {
    println!("leaving");
    std::process::exit(code)
}

#[skyward::function]
fn is_sent(signal: i32) -> u32 {
    let signal = Signal::from_named_raw(signal).expect("a signal");
    // Rust looks at the first SIGSEGV itself, in case it is a stack that has no room left.
    loop {
        kill_process(getpid(), signal).expect("sent");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Takes more memory than its process may have.
#[skyward::function]
fn takes_much(bytes: usize) -> usize {
    let most = Rlimit { current: Some(bytes as u64), maximum: getrlimit(Resource::As).maximum };
    setrlimit(Resource::As, most).expect("limited");
    vec![1_u8; bytes].len()
}

#[skyward::function]
fn panics() -> u32 {
    panic!("out of luck")
}

/// Says that it runs, as its process and one that it has started, and never returns.
#[skyward::function]
fn hangs(path: String) -> u32 {
    println!("about to hang");
    let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("started");
    std::fs::write(path, format!("{} {}", std::process::id(), child.id())).expect("written");
    child.wait().map_or(1, |_| 0)
}

/// Aborts until it has been tried so often.
#[skyward::function]
fn aborts_until(path: String, tries: usize) -> usize {
    use std::io::Write;
    let mut file = std::fs::File::options().create(true).append(true).open(&path).expect("opened");
    file.write_all(b"x").expect("written");
    let tried = std::fs::read(&path).expect("read").len();
    if tried < tries { std::process::abort() } else { tried }
}

#[skyward::function]
async fn knows(millis: u64) -> (Option<InstanceInfo>, bool, Option<String>, bool) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    let secret = skyward::secret("TOKEN").map(|it| it.reveal().clone());
    (skyward::instance_info(), skyward::is_head(), secret, skyward::cancelled())
}

/// What is built once for each process.
struct Built(u32);

#[skyward::function]
fn built_by() -> u32 {
    skyward::node_state(|| Built(std::process::id())).0
}

#[skyward::function]
fn reads(path: String) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

const PROCESSES: Worker = Worker {
    concurrency: 1,
    buffer: 0,
    executor: Executor::Process,
    reuse: true,
    retention: Retention { memory: 64 << 20, disk: 4 << 30 },
};

fn builder(ground: &Ground, worker: Worker) -> skyward::Builder {
    let mut local = Local::default();
    local.directory = Some(ground.path().to_owned());
    let (grace, lease) = (Duration::from_secs(10), Duration::from_secs(30));
    let timing = Timing { grace, lease, ..Timing::short() };
    skyward_tests::apart().spec(Spec::on(local)).timing(timing).worker(worker)
}

async fn end(compute: Compute, ground: &Ground) -> skyward::Result<()> {
    compute.stop().await?;
    assert_eq!(ground.left(), Vec::<String>::new());
    Ok(())
}

fn crash<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> Crash {
    match outcome {
        Err(CallError::Crashed(crash)) => *crash,
        other => panic!("{other:?}"),
    }
}

fn runs(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|it| !it.is_empty() && !it.starts_with('Z'))
}

/// The processes that `hangs` tells of.
fn told(path: &std::path::Path) -> Option<Vec<u32>> {
    let text = std::fs::read_to_string(path).ok()?;
    let ids: Option<Vec<u32>> = text.split(' ').map(|it| it.parse().ok()).collect();
    ids.filter(|it| it.len() == 2)
}

async fn told_soon(path: std::path::PathBuf) -> Vec<u32> {
    let waiting = move || until(Duration::from_secs(10), || told(&path));
    tokio::task::spawn_blocking(waiting).await.expect("joined").expect("it runs")
}

async fn gone_soon(processes: Vec<u32>) {
    let waiting =
        move || until(Duration::from_secs(10), || (!processes.iter().any(|it| runs(*it))).then_some(()));
    tokio::task::spawn_blocking(waiting).await.expect("joined").expect("they are gone");
}

#[skyward::test]
async fn an_abort_an_exit_and_a_signal_are_outcomes_and_the_node_lives_on() -> skyward::Result<()> {
    let ground = Ground::new("crashes");
    let compute = builder(&ground, PROCESSES).start().await?;
    let mut events = compute.events();
    let mut aborted = crash((aborts() >> &compute).await);
    aborted.output.sort();
    assert_eq!((aborted.signal, aborted.code), (Some(6), None));
    assert_eq!(aborted.output, ["and another", "one line"]);
    let error = (exits(3) >> &compute).await.expect_err("it exits").to_string();
    assert_eq!(
        error,
        "the function's process exited with code 3; a function should return instead of ending its \
         process; its last output:\n  | leaving"
    );
    for signal in [9, 11] {
        let sent = crash((is_sent(signal) >> &compute).await);
        assert_eq!((sent.signal, sent.code), (Some(signal), None));
    }
    match (panics() >> &compute).await {
        Err(CallError::Panicked(panic)) => assert_eq!(panic.message, "out of luck"),
        other => panic!("{other:?}"),
    }
    assert!((process() >> &compute).await? > 0);
    // Not one of them cost more than its own process.
    while let Some(Some(event)) = futures_util::FutureExt::now_or_never(events.next()) {
        let kind = format!("{:?}", event.kind);
        assert!(kind.starts_with("Task"), "{kind}");
    }
    end(compute, &ground).await
}

#[skyward::test]
async fn a_function_that_is_out_of_memory_ends_its_process_alone_and_says_so() -> skyward::Result<()> {
    let ground = Ground::new("memory");
    // A backtrace would be what it says last.
    let image = Image::new().env("RUST_BACKTRACE", "0");
    let compute = builder(&ground, PROCESSES).image(image).start().await?;
    let crash = crash((takes_much(64 << 30) >> &compute).await);
    assert_eq!((crash.signal, crash.code), (Some(6), None));
    let said = |it: &String| it.contains("memory allocation of 68719476736 bytes failed");
    assert!(crash.output.iter().any(said), "{:?}", crash.output);
    assert!((process() >> &compute).await? > 0);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_crash_is_tried_again_only_if_the_call_says_so() -> skyward::Result<()> {
    let ground = Ground::new("retried");
    let notes = tempfile::tempdir()?;
    let compute = builder(&ground, PROCESSES).start().await?;
    let path = |name: &str| notes.path().join(name).display().to_string();
    assert_eq!((aborts_until(path("asked"), 3).retries(2) >> &compute).await?, 3);
    crash((aborts_until(path("asked too little"), 3).retries(1) >> &compute).await);
    crash((aborts_until(path("not asked"), 2) >> &compute).await);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_call_that_hangs_is_killed_when_its_time_is_over_and_its_slot_is_free() -> skyward::Result<()> {
    let ground = Ground::new("hangs");
    let notes = tempfile::tempdir()?;
    let compute = builder(&ground, PROCESSES).start().await?;
    let path = notes.path().join("told");
    let call = hangs(path.display().to_string()).timeout(Duration::from_secs(1));
    let late = match (call >> &compute).await {
        Err(CallError::TimedOut(late)) => late,
        other => panic!("it hangs, and yet it came to {other:?}"),
    };
    assert_eq!((late.after, late.output), (Duration::from_secs(1), vec!["about to hang".to_owned()]));
    let processes = told(&path).expect("it ran");
    // The one slot is free when nothing of it runs any more.
    let next = (process() >> &compute).await?;
    assert!(!processes.iter().any(|it| runs(*it)), "{processes:?}");
    assert!(!processes.contains(&next));
    end(compute, &ground).await
}

#[skyward::test]
async fn a_dropped_call_ends_its_process_and_what_that_has_started() -> skyward::Result<()> {
    let ground = Ground::new("dropped");
    let notes = tempfile::tempdir()?;
    let compute = builder(&ground, PROCESSES).start().await?;
    let path = notes.path().join("told");
    let call = hangs(path.display().to_string()) >> &compute;
    let processes = tokio::select! {
        outcome = call => panic!("{outcome:?}"),
        processes = told_soon(path) => processes,
    };
    gone_soon(processes).await;
    assert!((process() >> &compute).await? > 0);
    end(compute, &ground).await
}

#[skyward::test]
async fn the_end_of_the_pool_ends_what_runs_in_processes() -> skyward::Result<()> {
    let ground = Ground::new("ends");
    let notes = tempfile::tempdir()?;
    let compute = builder(&ground, Worker { concurrency: 2, ..PROCESSES }).start().await?;
    assert!((process() >> &compute).await? > 0);
    let path = notes.path().join("told");
    drop(compute.spawn(hangs(path.display().to_string())));
    let processes = told_soon(path).await;
    end(compute, &ground).await?;
    assert!(!processes.iter().any(|it| runs(*it)), "{processes:?}");
    Ok(())
}

#[skyward::test]
async fn a_killed_workers_processes_end_with_it_and_its_calls_are_tried_again() -> skyward::Result<()> {
    let ground = Ground::new("killed");
    let compute = builder(&ground, PROCESSES).start().await?;
    let before = (process() >> &compute).await?;
    let call = compute.spawn(knows(300));
    for worker in ground.processes("worker") {
        let pid = i32::try_from(worker).ok().and_then(rustix::process::Pid::from_raw).expect("an id");
        kill_process(pid, Signal::KILL).expect("killed");
    }
    gone_soon(vec![before]).await;
    assert!(call.await?.0.is_some());
    end(compute, &ground).await
}

#[skyward::test]
async fn a_function_in_a_process_knows_what_one_in_the_worker_knows() -> skyward::Result<()> {
    let ground = Ground::new("knows");
    let worker = Worker { concurrency: 2, ..PROCESSES };
    let compute = builder(&ground, worker).nodes(2).secret("TOKEN", "hush").start().await?;
    for (rank, (info, is_head, secret, cancelled)) in (0..).zip((knows(1) * &compute).await?) {
        let info = info.expect("a node");
        assert_eq!((info.rank.0, info.nodes, info.slots), (rank, 2, 2));
        assert_eq!(info.peers.iter().map(|it| it.rank.0).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((is_head, secret.as_deref(), cancelled), (rank == 0, Some("hush"), false));
    }
    // Two at once on one node are in two slots.
    let both = (gather([knows(500), knows(500)]) >> compute.head()).await?;
    let mut slots: Vec<_> = both.into_iter().filter_map(|it| it.0?.slot).collect();
    slots.sort_unstable();
    assert_eq!(slots, [0, 1]);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_process_is_reused_with_its_state_or_is_not() -> skyward::Result<()> {
    for reuse in [true, false] {
        let ground = Ground::new("reuse");
        let compute = builder(&ground, Worker { reuse, ..PROCESSES }).start().await?;
        let one = (built_by() >> &compute).await?;
        assert_eq!(one == (built_by() >> &compute).await?, reuse);
        assert_eq!(one == (process() >> &compute).await?, reuse);
        end(compute, &ground).await?;
    }
    Ok(())
}

#[skyward::test]
async fn files_that_were_sent_are_there_for_a_process() -> skyward::Result<()> {
    let ground = Ground::new("files");
    let notes = tempfile::tempdir()?;
    let compute = builder(&ground, PROCESSES).start().await?;
    let here = notes.path().join("here");
    std::fs::write(&here, "content").expect("written");
    compute.upload(&here, "there").await?;
    assert_eq!((reads("there".into()) >> &compute).await?.as_deref(), Some("content"));
    end(compute, &ground).await
}

#[skyward::test]
async fn a_call_that_ends_workers_is_given_up_after_the_crash_limit() -> skyward::Result<()> {
    let ground = Ground::new("limit");
    let notes = tempfile::tempdir()?;
    let compute = builder(&ground, Worker::default()).interruptions(20).crash_limit(1).start().await?;
    let path = notes.path().join("tries");
    match (aborts_until(path.display().to_string(), 100) >> &compute).await {
        Err(CallError::Lost(lost)) => {
            // Busy cores may cost it a link between the two.
            assert!(lost.attempts >= 2, "{lost}");
            assert!(lost.reason.contains("1 workers before ended while it ran"), "{}", lost.reason);
            assert!(lost.reason.contains("Executor::Process"), "{}", lost.reason);
        }
        other => panic!("{other:?}"),
    }
    assert!(std::fs::read(&path).expect("tried").len() >= 2);
    // The node is there again.
    assert!((process() >> &compute).await? > 0);
    end(compute, &ground).await
}

/// Counts itself in, and waits until it may end.
#[skyward::function]
async fn waits(folder: String, number: u32) -> u32 {
    let folder = std::path::Path::new(&folder);
    std::fs::write(folder.join(number.to_string()), "").expect("written");
    while !folder.join("go").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    number
}

#[skyward::test]
async fn a_node_is_handed_more_calls_than_it_runs_as_its_buffer_says() -> skyward::Result<()> {
    for executor in [Executor::Thread, Executor::Process] {
        let ground = Ground::new("buffer");
        let notes = tempfile::tempdir()?;
        let worker = Worker { concurrency: 1, buffer: 2, executor, ..Worker::default() };
        let compute = builder(&ground, worker).start().await?;
        let mut events = compute.events();
        let folder = notes.path().display().to_string();
        let calls = compute.spawn(gather((0..5).map(|it| waits(folder.clone(), it))));
        for _ in 0..3 {
            let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
            let kind = format!("{:?}", event.expect("in time").expect("the pool lives").kind);
            assert!(kind.starts_with("TaskStarted"), "{kind}");
        }
        let path = notes.path().to_owned();
        let running = move || std::fs::read_dir(&path).map(Iterator::count).unwrap_or_default();
        let one = until(Duration::from_secs(10), || (running() > 0).then_some(()));
        assert_eq!((one, running()), (Some(()), 1));
        std::fs::write(notes.path().join("go"), "")?;
        assert_eq!(calls.await?, [0, 1, 2, 3, 4]);
        end(compute, &ground).await?;
    }
    Ok(())
}

#[skyward::test]
async fn a_worker_that_cannot_be_is_refused_before_anything_is_rented() -> skyward::Result<()> {
    for (worker, field) in [
        (Worker { concurrency: 0, ..Worker::default() }, "concurrency"),
        (Worker { reuse: false, ..Worker::default() }, "reuse"),
    ] {
        let ground = Ground::new("refused");
        let error = builder(&ground, worker).start().await.expect_err("refused");
        match error.downcast_ref::<StartError>() {
            Some(StartError::Invalid(invalid)) => assert_eq!(invalid.field, format!("worker.{field}")),
            other => panic!("{other:?}"),
        }
        assert_eq!(ground.left(), Vec::<String>::new());
    }
    Ok(())
}
