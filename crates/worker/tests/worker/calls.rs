//! What becomes of calls.

use std::time::{Duration, Instant};

use bytes::Bytes;
use skyward_runtime::link::{CallRequest, Cause, LANE_LIMIT, LinkError, Outcome, Side};
use skyward_runtime::model::{Attempt, FunctionId, TaskId};

use crate::node::{Node, SOON, as_arguments, call, request, says, until};
use crate::tests;

tests!(
    a_call_returns_its_value,
    a_functions_own_error_is_an_outcome,
    a_panic_is_an_outcome_with_its_message_and_place,
    what_cannot_be_decoded_encoded_or_found_is_an_outcome,
    dropping_a_call_drops_the_async_function,
    a_dropped_blocking_call_keeps_its_slot_until_it_returns,
    a_call_that_is_dropped_while_it_waits_for_a_slot_never_starts,
    a_call_whose_time_is_over_is_told_so,
    a_thousand_calls_at_once_each_get_their_own_answer,
    a_large_call_does_not_hold_up_a_small_one,
    a_slow_task_does_not_hold_up_the_others_on_its_lane,
    a_large_value_of_a_small_call_arrives,
    a_call_that_has_not_begun_is_given_back_and_never_begins,
    a_large_call_that_has_not_begun_is_given_back_too,
    a_call_that_has_begun_is_not_given_back,
    arguments_over_the_limit_are_refused_before_they_are_sent,
    an_outcome_over_the_limit_is_an_error,
    a_closed_link_resolves_every_pending_call_at_once,
);

async fn a_call_returns_its_value() {
    let node = Node::start().await;
    let link = node.link().await;
    assert_eq!(call(&link, "echo", "hi").await, Outcome::Returned("hi".into()));
    assert_eq!(call(&link, "echo", "").await, Outcome::Returned("".into()));
    assert_eq!(call(&link, "double", "hi").await, Outcome::Returned("hihi".into()));
}

async fn a_functions_own_error_is_an_outcome() {
    let node = Node::start().await;
    let link = node.link().await;
    assert_eq!(call(&link, "fail", "mine").await, Outcome::Failed(Bytes::from_static(b"mine")));
}

async fn a_panic_is_an_outcome_with_its_message_and_place() {
    let node = Node::start().await;
    let link = node.link().await;
    for (function, message) in [("panic_async", "async boom"), ("panic_blocking", "blocking boom")] {
        let Outcome::Panicked(panic) = call(&link, function, "").await else { panic!("{function}") };
        assert_eq!(panic.message, message);
        assert!(panic.place.expect("known").contains("functions.rs:"), "{function}");
    }
    assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
}

async fn what_cannot_be_decoded_encoded_or_found_is_an_outcome() {
    let node = Node::start().await;
    let link = node.link().await;
    let undecodable = Outcome::Undecodable("not what I take".to_owned());
    assert_eq!(call(&link, "undecodable", "").await, undecodable);
    let unencodable = Outcome::Unencodable("cannot be written".to_owned());
    assert_eq!(call(&link, "unencodable", "").await, unencodable);
    // The answer comes although the arguments are never read.
    let unknown = CallRequest { function: FunctionId(999), ..request("echo", vec![0; 32 << 20]) };
    assert_eq!(link.call(unknown).await, Ok(Outcome::UnknownFunction));
}

async fn dropping_a_call_drops_the_async_function() {
    let node = Node::start().await;
    let link = node.link().await;
    let note = node.file("note");
    let running = tokio::spawn(link.call(request("leave_a_note", as_arguments(&note))));
    until("the task runs", || says(&note) == "running").await;
    running.abort();
    until("the task is dropped", || says(&note) == "dropped").await;
}

async fn a_dropped_blocking_call_keeps_its_slot_until_it_returns() {
    let node = Node::start_with(|it| it.slots = 1).await;
    let link = node.link().await;
    let note = node.file("note");
    let running = tokio::spawn(link.call(request("block_until_noted", as_arguments(&note))));
    until("the task runs", || says(&note) == "running").await;
    running.abort();
    let next = link.call(CallRequest { remaining: Some(Duration::from_millis(100)), ..request("echo", "") });
    assert_eq!(next.await, Ok(Outcome::TimedOut(vec![])));
    std::fs::write(&note, "go").expect("written");
    assert_eq!(call(&link, "echo", "free").await, Outcome::Returned("free".into()));
}

async fn a_call_that_is_dropped_while_it_waits_for_a_slot_never_starts() {
    let node = Node::start_with(|it| it.slots = 1).await;
    let link = node.link().await;
    let (first, second) = (node.file("first"), node.file("second"));
    let running = tokio::spawn(link.call(request("leave_a_note", as_arguments(&first))));
    until("the first runs", || says(&first) == "running").await;
    let waiting = tokio::spawn(link.call(request("leave_a_note", as_arguments(&second))));
    tokio::task::yield_now().await;
    waiting.abort();
    running.abort();
    until("the first is dropped", || says(&first) == "dropped").await;
    // The slot is free, so the second would be the next to get it.
    assert_eq!(call(&link, "echo", "").await, Outcome::Returned("".into()));
    assert_ne!(says(&second), "running");
}

async fn a_call_whose_time_is_over_is_told_so() {
    let node = Node::start().await;
    let link = node.link().await;
    let (note, blocked) = (node.file("note"), node.file("blocked"));
    let remaining = Some(Duration::from_millis(100));
    let call = |function, path| {
        let request = CallRequest { remaining, ..request(function, as_arguments(path)) };
        link.call(request)
    };
    assert_eq!(call("leave_a_note", &note).await, Ok(Outcome::TimedOut(vec![])));
    until("the task is dropped", || says(&note) == "dropped").await;
    assert_eq!(call("block_until_noted", &blocked).await, Ok(Outcome::TimedOut(vec![])));
    assert_eq!(says(&blocked), "running");
    std::fs::write(&blocked, "go").expect("written");
}

async fn a_thousand_calls_at_once_each_get_their_own_answer() {
    let node = Node::start().await;
    let link = node.link().await;
    let calls = (0..1000_u32).map(|number| {
        let function = if number % 4 == 0 { "double" } else { "echo" };
        tokio::spawn(link.call(request(function, number.to_be_bytes().to_vec())))
    });
    for (number, call) in (0..1000_u32).zip(calls.collect::<Vec<_>>()) {
        let bytes = number.to_be_bytes();
        let expected = if number % 4 == 0 { bytes.repeat(2) } else { bytes.to_vec() };
        assert_eq!(call.await.expect("joined"), Ok(Outcome::Returned(expected.into())));
    }
}

async fn a_large_call_does_not_hold_up_a_small_one() {
    let node = Node::start().await;
    let link = node.link().await;
    let data = Bytes::from((0..48 << 20).map(|it: u32| it.to_le_bytes()[1]).collect::<Vec<_>>());
    let large = tokio::spawn(link.call(request("echo", data.clone())));
    let mut small = 0;
    while !large.is_finished() {
        assert_eq!(call(&link, "echo", "small").await, Outcome::Returned("small".into()));
        small += 1;
    }
    assert!(small >= 3, "the small ones had to wait for the large one: {small}");
    assert_eq!(large.await.expect("joined"), Ok(Outcome::Returned(data.into())));
}

async fn arguments_over_the_limit_are_refused_before_they_are_sent() {
    let node = Node::start().await;
    let dialer = node.dialer().with_body_limit(1000);
    let link = dialer.dial(node.address, node.hello.clone(), SOON).await.expect("welcome");
    let refused = link.call(request("echo", vec![0; 1001])).await.expect_err("too large");
    assert_eq!(refused, LinkError::TooLarge { what: "arguments", length: 1001, limit: 1000 });
    assert!(!refused.retry());
    assert_eq!(link.call(request("echo", vec![0; 1000])).await, Ok(Outcome::Returned(vec![0; 1000].into())));
}

async fn an_outcome_over_the_limit_is_an_error() {
    let node = Node::start().await;
    let dialer = node.dialer().with_body_limit(1000);
    let link = dialer.dial(node.address, node.hello.clone(), SOON).await.expect("welcome");
    let refused = link.call(request("double", vec![0; 501])).await.expect_err("too large");
    assert_eq!(refused, LinkError::TooLarge { what: "an outcome", length: 1002, limit: 1000 });
    assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
}

async fn a_closed_link_resolves_every_pending_call_at_once() {
    let node = Node::start().await;
    let link = node.link().await;
    let note = node.file("note");
    let pending: Vec<_> =
        (0..4).map(|_| tokio::spawn(link.call(request("leave_a_note", as_arguments(&note))))).collect();
    until("they run", || says(&note) == "running").await;
    let started = Instant::now();
    link.close("enough");
    for call in pending {
        let reason = "enough".to_owned();
        let closed = LinkError::Closed { by: Side::Us, cause: Cause::Done, reason };
        assert_eq!(call.await.expect("joined"), Err(closed));
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(matches!(link.closed().await, LinkError::Closed { .. }));
    // They run on, until the next link says that nobody waits for them.
    let link = node.link().await;
    assert_eq!(says(&note), "running");
    link.reconcile(&[], |_| {});
    until("the worker drops them", || says(&note) == "dropped").await;
}

async fn a_slow_task_does_not_hold_up_the_others_on_its_lane() {
    let node = Node::start_with(|it| it.slots = 2).await;
    let link = node.link().await;
    let note = node.file("note");
    let slow = tokio::spawn(link.call(request("block_until_noted", as_arguments(&note))));
    until("the task runs", || says(&note) == "running").await;
    for _ in 0..100 {
        assert_eq!(call(&link, "echo", "fast").await, Outcome::Returned("fast".into()));
    }
    std::fs::write(&note, "go").expect("written");
    assert_eq!(slow.await.expect("joined"), Ok(Outcome::Returned("".into())));
}

async fn a_large_value_of_a_small_call_arrives() {
    let node = Node::start().await;
    let link = node.link().await;
    let half = vec![7; LANE_LIMIT];
    for _ in 0..3 {
        let expected = Outcome::Returned([half.clone(), half.clone()].concat().into());
        assert_eq!(call(&link, "double", half.clone()).await, expected);
    }
}

async fn a_call_that_has_not_begun_is_given_back_and_never_begins() {
    let node = Node::start_with(|it| it.slots = 1).await;
    let link = node.link().await;
    let (first, second) = (node.file("first"), node.file("second"));
    let running = tokio::spawn(link.call(request("block_until_noted", as_arguments(&first))));
    until("the task runs", || says(&first) == "running").await;
    let waiting = CallRequest { task: TaskId(2), ..request("leave_a_note", as_arguments(&second)) };
    let mut waiting = Box::pin(link.call(waiting));
    // Polled once, so that it is sent.
    assert!(futures_util::poll!(&mut waiting).is_pending());
    link.recall(TaskId(2), Attempt(0));
    assert_eq!(waiting.await, Ok(Outcome::Recalled));
    std::fs::write(&first, "go").expect("written");
    assert_eq!(running.await.expect("joined"), Ok(Outcome::Returned("".into())));
    assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
    assert_eq!(says(&second), "");
}

async fn a_large_call_that_has_not_begun_is_given_back_too() {
    let node = Node::start_with(|it| it.slots = 1).await;
    let link = node.link().await;
    let first = node.file("first");
    let running = tokio::spawn(link.call(request("block_until_noted", as_arguments(&first))));
    until("the task runs", || says(&first) == "running").await;
    let large = vec![7; LANE_LIMIT + 1];
    let waiting = CallRequest { task: TaskId(2), ..request("echo", large.clone()) };
    let waiting = tokio::spawn(link.call(waiting));
    // It has a stream of its own, so nobody knows when it is there: it is asked for until it comes.
    until("it comes back", || {
        link.recall(TaskId(2), Attempt(0));
        waiting.is_finished()
    })
    .await;
    assert_eq!(waiting.await.expect("joined"), Ok(Outcome::Recalled));
    // The next try of it is none that nobody wants.
    std::fs::write(&first, "go").expect("written");
    assert_eq!(running.await.expect("joined"), Ok(Outcome::Returned("".into())));
    let again = CallRequest { task: TaskId(2), attempt: Attempt(1), ..request("echo", large.clone()) };
    assert_eq!(link.call(again).await, Ok(Outcome::Returned(large.into())));
}

async fn a_call_that_has_begun_is_not_given_back() {
    let node = Node::start_with(|it| it.slots = 1).await;
    let link = node.link().await;
    let note = node.file("note");
    let call = CallRequest { task: TaskId(1), ..request("block_until_noted", as_arguments(&note)) };
    let running = tokio::spawn(link.call(call));
    until("the task runs", || says(&note) == "running").await;
    link.recall(TaskId(1), Attempt(0));
    std::fs::write(&note, "go").expect("written");
    assert_eq!(running.await.expect("joined"), Ok(Outcome::Returned("".into())));
}
