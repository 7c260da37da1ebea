//! Calls of functions of streams, and what comes over their streams and should not.

use bytes::Bytes;
use skyward_runtime::link::{
    CallRequest, Cause, Inflow, InputHeader, Kind, Link, LinkError, Outcome, Piece, Side,
};
use skyward_runtime::model::{Attempt, TaskId};
use tokio::io::AsyncWriteExt;

use crate::node::{Node, call, is_running, request, until};
use crate::tests;
use crate::wire::closed_by;

tests!(
    items_come_in_order_and_then_the_end,
    an_input_is_taken_to_its_end_whichever_comes_first,
    garbage_before_items_closes_that_link_with_a_reason,
    garbage_among_the_items_of_an_input_closes_that_link_with_a_reason,
    an_input_that_is_given_up_fails_its_call_and_nothing_else,
    two_inputs_of_one_name_close_that_link,
    an_input_that_no_call_asks_for_disturbs_nobody,
    a_call_of_the_wrong_kind_is_an_outcome,
    dropping_a_stream_drops_its_function,
);

/// Everything that comes back.
async fn all(mut inflow: Inflow) -> (Vec<Bytes>, Result<Outcome, LinkError>) {
    let mut items = Vec::new();
    loop {
        match std::future::poll_fn(|context| inflow.poll_next(context)).await {
            Ok(Piece::Item(item)) => items.push(item),
            Ok(Piece::End(outcome)) => return (items, Ok(outcome)),
            Err(error) => return (items, Err(error)),
        }
    }
}

async fn stream(link: &Link, function: &str, arguments: &str) -> Inflow {
    let request = CallRequest { task: TaskId(1), ..request(function, arguments.to_owned()) };
    link.stream(request).await.expect("open")
}

/// The first input of the one task, with these bytes after its header.
async fn feed(link: &Link, bytes: &[u8]) -> skyward_runtime::link::Stream {
    let header = InputHeader { task: TaskId(1), attempt: Attempt(0), index: 0 };
    let header = rmp_serde::to_vec(&header).expect("encoded");
    let mut stream = link.open(Kind::Input, 0).await.expect("open");
    let length = u32::try_from(header.len()).expect("small").to_be_bytes();
    stream.outgoing.write_all(&[&length[..], &header, bytes].concat()).await.expect("written");
    stream
}

fn items(count: u8) -> Vec<u8> {
    (0..count).flat_map(|it| [0, 0, 0, 1, it]).collect()
}

/// What a good end looks like: the mark, then the outcome's header, `[Returned, 0]`, and no body.
fn end() -> Vec<u8> {
    let header = rmp_serde::to_vec(&("Returned", 0_u64)).expect("encoded");
    let length = u32::try_from(header.len()).expect("small").to_be_bytes();
    [&[0xff; 4][..], &length, &header].concat()
}

fn complete() -> Result<Outcome, LinkError> {
    Ok(Outcome::Returned("".into()))
}

async fn items_come_in_order_and_then_the_end() {
    let node = Node::start().await;
    let link = node.link().await;
    for count in [0_u32, 1, 20_000] {
        let (items, end) = all(stream(&link, "numbers", &count.to_string()).await).await;
        assert!(items.iter().map(|it| it.to_vec()).eq((0..count).map(|it| it.to_string().into_bytes())));
        assert_eq!(end, complete(), "{count}");
    }
}

async fn an_input_is_taken_to_its_end_whichever_comes_first() {
    let node = Node::start().await;
    let link = node.link().await;
    for is_call_first in [true, false] {
        let mut early = None;
        if !is_call_first {
            early = Some(feed(&link, &[items(3), end()].concat()).await);
            assert_eq!(call(&link, "echo", "").await, Outcome::Returned("".into()));
        }
        let inflow = stream(&link, "swallow", "").await;
        let mut input = match early {
            Some(input) => input,
            None => feed(&link, &[items(3), end()].concat()).await,
        };
        input.outgoing.shutdown().await.expect("ended");
        assert_eq!(all(inflow).await, (vec![Bytes::from_static(b"3")], complete()), "{is_call_first}");
    }
}

async fn garbage_before_items_closes_that_link_with_a_reason() {
    let node = Node::start().await;
    for kind in [Kind::Stream, Kind::Input] {
        closed_by(&node, kind, &[0, 0, 0, 4, 0xc1, 0xc1, 0xc1, 0xc1], "cannot be decoded").await;
        closed_by(&node, kind, &[255, 255, 255, 255], "over the limit of 65536").await;
        closed_by(&node, kind, &[0, 0], "ended in the middle").await;
    }
}

async fn garbage_among_the_items_of_an_input_closes_that_link_with_a_reason() {
    let node = Node::start().await;
    for (garbage, expected) in [
        (&[0xff, 0xff, 0xff, 0xfe][..], "over the limit of 1073741824"),
        (&[0x40, 0, 0, 1], "over the limit of 1073741824"),
        (&[0, 0, 0, 9, 1], "ended in the middle of its items"),
        (&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0xc1], "cannot be decoded as an outcome"),
        (&[0xff, 0xff, 0xff, 0xff], "ended in the middle of an outcome"),
    ] {
        let link = node.link().await;
        let reading = tokio::spawn(all(stream(&link, "swallow", "").await));
        let mut input = feed(&link, &[&items(2)[..], garbage].concat()).await;
        input.outgoing.shutdown().await.expect("ended");
        match link.closed().await {
            LinkError::Closed { by: Side::Peer, cause: Cause::Protocol, reason } => {
                assert!(reason.contains(expected), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        let (items, end) = reading.await.expect("read");
        assert!(items.is_empty() && end != complete(), "{items:?} {end:?}");
        assert!(is_running(node.worker_pid));
    }
}

async fn an_input_that_is_given_up_fails_its_call_and_nothing_else() {
    let node = Node::start().await;
    let link = node.link().await;
    let reading = tokio::spawn(all(stream(&link, "swallow", "").await));
    let mut input = feed(&link, &items(2)).await;
    // What was written before this call has arrived before its answer.
    assert_eq!(call(&link, "echo", "").await, Outcome::Returned("".into()));
    input.outgoing.reset();
    let (items, end) = reading.await.expect("read");
    assert!(items.is_empty(), "{items:?}");
    assert!(matches!(end, Ok(Outcome::Undecodable(_))), "{end:?}");
    assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
}

async fn two_inputs_of_one_name_close_that_link() {
    let node = Node::start().await;
    let link = node.link().await;
    let inputs = (feed(&link, &items(2)).await, feed(&link, &items(2)).await);
    match link.closed().await {
        LinkError::Closed { by: Side::Peer, cause: Cause::Protocol, .. } => {}
        other => panic!("{other:?}"),
    }
    drop(inputs);
}

async fn an_input_that_no_call_asks_for_disturbs_nobody() {
    let node = Node::start().await;
    let link = node.link().await;
    let _input = feed(&link, &items(2)).await;
    assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
    let (items, end) = all(stream(&link, "numbers", "1").await).await;
    assert_eq!((items.len(), end), (1, complete()));
}

async fn a_call_of_the_wrong_kind_is_an_outcome() {
    let node = Node::start().await;
    let link = node.link().await;
    let (_, end) = all(stream(&link, "echo", "").await).await;
    assert!(matches!(end, Ok(Outcome::Undecodable(_))), "{end:?}");
    assert!(matches!(call(&link, "numbers", "1").await, Outcome::Undecodable(_)));
    let (_, end) = all(stream(&link, "numbers", "no number").await).await;
    assert_eq!(end, Ok(Outcome::Undecodable("not a number".to_owned())));
}

async fn dropping_a_stream_drops_its_function() {
    let node = Node::start_with(|it| it.slots = 1).await;
    let link = node.link().await;
    let mut inflow = stream(&link, "numbers", "4000000000").await;
    let first = std::future::poll_fn(|context| inflow.poll_next(context)).await;
    assert_eq!(first, Ok(Piece::Item(Bytes::from_static(b"0"))));
    drop(inflow);
    // Its slot is free again.
    assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
    until("the worker lives", || is_running(node.worker_pid)).await;
}
