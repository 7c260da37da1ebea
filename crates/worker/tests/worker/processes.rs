//! What becomes of calls that run in processes of their own.

use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use skyward_runtime::link::{CallRequest, Outcome};
use skyward_runtime::model::{Accelerator, Crash, Executor};
use skyward_runtime::program::WorkerStart;

use crate::node::{Node, as_arguments, call, is_running, request, says, until};
use crate::tests;

tests!(
    a_call_in_a_process_has_the_outcomes_of_one_in_a_thread,
    a_process_that_ends_is_an_outcome_with_its_signal_or_code_and_last_words,
    a_dropped_call_ends_its_process_and_what_that_has_started,
    a_blocking_call_that_hangs_is_killed_when_its_time_is_over_and_its_slot_is_free,
    a_function_hears_that_it_is_cancelled_before_its_process_ends,
    a_process_is_reused_or_not_as_asked,
    an_idle_process_that_was_killed_is_replaced,
    what_an_idle_process_has_started_ends_when_it_is_replaced,
    each_slot_has_its_own_process_and_devices,
    a_killed_workers_processes_end_with_it,
    a_told_workers_processes_end_with_it,
    a_large_call_passes_through_a_process,
);

async fn node() -> Node {
    node_with(|_| {}).await
}

async fn node_with(change: impl FnOnce(&mut WorkerStart)) -> Node {
    Node::start_with(|it| {
        it.executor = Executor::Process;
        it.slots = 1;
        change(it);
    })
    .await
}

/// A returned text.
fn text(outcome: Outcome) -> String {
    let Outcome::Returned(bytes) = outcome else { panic!("{outcome:?}") };
    let bytes = bytes.into_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The two processes that `start_a_stubborn_child` tells of.
fn ids(told: &str) -> Option<[u32; 2]> {
    let (one, other) = told.split_once(' ')?;
    Some([one.parse().ok()?, other.parse().ok()?])
}

async fn a_call_in_a_process_has_the_outcomes_of_one_in_a_thread() {
    let node = node().await;
    let link = node.link().await;
    assert_eq!(call(&link, "echo", "hi").await, Outcome::Returned("hi".into()));
    assert_eq!(call(&link, "double", "hi").await, Outcome::Returned("hihi".into()));
    assert_eq!(call(&link, "fail", "mine").await, Outcome::Failed(Bytes::from_static(b"mine")));
    assert_eq!(call(&link, "undecodable", "").await, Outcome::Undecodable("not what I take".to_owned()));
    let unencodable = Outcome::Unencodable("cannot be written".to_owned());
    assert_eq!(call(&link, "unencodable", "").await, unencodable);
    for (function, message) in [("panic_async", "async boom"), ("panic_blocking", "blocking boom")] {
        let Outcome::Panicked(panic) = call(&link, function, "").await else { panic!("{function}") };
        assert_eq!(panic.message, message);
        assert!(panic.place.expect("known").contains("functions.rs:"), "{function}");
    }
    let own = text(call(&link, "tell_of_place", "").await);
    assert!(!own.starts_with(&format!("{} ", node.worker_pid)), "{own}");
}

async fn a_process_that_ends_is_an_outcome_with_its_signal_or_code_and_last_words() {
    let node = node().await;
    let link = node.link().await;
    for (told, signal, code) in [
        ("abort", Some(6), None),
        ("exit 3", None, Some(3)),
        ("exit 0", None, Some(0)),
        ("signal 11", Some(11), None),
        ("signal 9", Some(9), None),
    ] {
        let Outcome::Crashed(crash) = call(&link, "end_as_told", told).await else { panic!("{told}") };
        let mut output = crash.output.clone();
        output.sort();
        assert_eq!(output, [format!("about to {told}"), "out of luck".to_owned()]);
        assert_eq!(crash, Crash { signal, code, output: crash.output.clone() }, "{told}");
        // The slot has another process.
        assert_eq!(text(call(&link, "echo", told).await), told);
    }
    assert!(is_running(node.worker_pid));
}

async fn a_dropped_call_ends_its_process_and_what_that_has_started() {
    let node = node().await;
    let link = node.link().await;
    let note = node.file("note");
    let running = tokio::spawn(link.call(request("start_a_stubborn_child", as_arguments(&note))));
    until("the task runs", || ids(&says(&note)).is_some()).await;
    let ids = ids(&says(&note)).expect("told");
    assert!(ids.iter().all(|it| is_running(*it)));
    running.abort();
    until("both are gone", || !ids.iter().any(|it| is_running(*it))).await;
    assert_eq!(text(call(&link, "echo", "free").await), "free");
}

async fn a_blocking_call_that_hangs_is_killed_when_its_time_is_over_and_its_slot_is_free() {
    let node = node().await;
    let link = node.link().await;
    let note = node.file("note");
    let pid = text(call(&link, "tell_of_place", "").await).split(' ').next().map(str::to_owned);
    let pid = pid.and_then(|it| it.parse().ok()).expect("a process id");
    let remaining = Some(Duration::from_millis(200));
    let hangs = CallRequest { remaining, ..request("block_until_noted", as_arguments(&note)) };
    assert_eq!(link.call(hangs).await, Ok(Outcome::TimedOut(vec![])));
    assert_eq!(text(call(&link, "echo", "free").await), "free");
    assert!(!is_running(pid), "the slot was free before its process had ended");
    assert_eq!(says(&note), "running");
}

async fn a_function_hears_that_it_is_cancelled_before_its_process_ends() {
    // Long enough for busy cores.
    let node = node_with(|it| it.kill = Duration::from_secs(10)).await;
    let link = node.link().await;
    for (function, last) in [("block_until_cancelled", "cancelled"), ("leave_a_note", "dropped")] {
        let note = node.file(function);
        let running = tokio::spawn(link.call(request(function, as_arguments(&note))));
        until("the task runs", || says(&note) == "running").await;
        running.abort();
        until("it was told", || says(&note) == last).await;
    }
    assert_eq!(text(call(&link, "echo", "free").await), "free");
}

async fn a_process_is_reused_or_not_as_asked() {
    for reuse in [true, false] {
        let node = node_with(|it| it.reuse = reuse).await;
        let link = node.link().await;
        let one = text(call(&link, "tell_of_place", "").await);
        let other = text(call(&link, "tell_of_place", "").await);
        assert_eq!(one == other, reuse, "{one}; {other}");
    }
}

async fn an_idle_process_that_was_killed_is_replaced() {
    let node = node().await;
    let link = node.link().await;
    for _ in 0..3 {
        let told = text(call(&link, "tell_of_place", "").await);
        let pid = told.split(' ').next().and_then(|it| it.parse().ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), Signal::KILL).expect("killed");
        // Whether the worker has noticed or not, the next call is none the wiser.
        assert_eq!(text(call(&link, "echo", "on").await), "on");
    }
}

async fn what_an_idle_process_has_started_ends_when_it_is_replaced() {
    let node = node().await;
    let link = node.link().await;
    let note = node.file("note");
    assert_eq!(text(call(&link, "leave_a_child", as_arguments(&note)).await), "left");
    let [process, child] = ids(&says(&note)).expect("told");
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(process, Signal::KILL).expect("killed");
    assert_eq!(text(call(&link, "echo", "on").await), "on");
    until("what it had started is gone", || !is_running(child)).await;
}

async fn each_slot_has_its_own_process_and_devices() {
    let accelerators = vec![Accelerator::custom("A100").count(4)];
    let node = node_with(|it| (it.slots, it.accelerators) = (2, accelerators)).await;
    let link = node.link().await;
    let go = node.file("go");
    // A closed link gives up its calls, so both go over this one; neither returns before both run, because
    // nobody says go before the second has a process of its own.
    let calls = [0, 1].map(|_| tokio::spawn(link.call(request("tell_of_place", as_arguments(&go)))));
    until("both have a process", || children_of(node.worker_pid) == 2).await;
    std::fs::write(&go, "").expect("written");
    let mut told = Vec::new();
    for call in calls {
        let told_here = text(call.await.expect("joined").expect("an outcome"));
        told.push(told_here.split_once(' ').expect("a process and more").1.to_owned());
    }
    told.sort();
    assert_eq!(told, ["Some(0) [0, 1] 0,1 1", "Some(1) [2, 3] 2,3 1"]);
}

/// How many processes have this parent.
fn children_of(parent: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|it| says(&it.path().join("children")));
    lists.map(|it| it.split_ascii_whitespace().count()).sum()
}

async fn a_killed_workers_processes_end_with_it() {
    let mut node = node().await;
    let link = node.link().await;
    let note = node.file("note");
    let _running = tokio::spawn(link.call(request("start_a_stubborn_child", as_arguments(&note))));
    until("the task runs", || ids(&says(&note)).is_some()).await;
    let ids = ids(&says(&note)).expect("told");
    node.worker.start_kill().expect("killed");
    until("both are gone", || !ids.iter().any(|it| is_running(*it))).await;
}

async fn a_told_workers_processes_end_with_it() {
    let node = node().await;
    let link = node.link().await;
    let note = node.file("note");
    let _running = tokio::spawn(link.call(request("start_a_stubborn_child", as_arguments(&note))));
    until("the task runs", || ids(&says(&note)).is_some()).await;
    let ids = ids(&says(&note)).expect("told");
    let worker = i32::try_from(node.worker_pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(worker, Signal::TERM).expect("told");
    until("all are gone", || !ids.iter().chain([&node.worker_pid]).any(|it| is_running(*it))).await;
}

async fn a_large_call_passes_through_a_process() {
    let node = node().await;
    let link = node.link().await;
    let data = Bytes::from((0..16 << 20).map(|it: u32| it.to_le_bytes()[1]).collect::<Vec<_>>());
    assert_eq!(call(&link, "echo", data.clone()).await, Outcome::Returned(data.into()));
}
