//! What comes over the wire and should not: none of it disturbs anybody else.

use skyward_runtime::link::{CREDIT_CALLS, Cause, Kind, Link, LinkError, Outcome, Request, Side};
use skyward_runtime::model::{Attempt, TaskId};
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;

use crate::node::{Node, as_arguments, call, is_running};
use crate::tests;

tests!(
    garbage_on_a_call_stream_closes_that_link_with_a_reason,
    garbage_on_a_lane_closes_that_link_with_a_reason,
    a_frame_over_the_limit_on_a_lane_closes_that_link_with_a_reason,
    more_calls_than_the_credit_close_that_link_with_a_reason,
    garbage_on_a_file_stream_closes_that_link_with_a_reason,
    a_frame_over_the_limit_closes_that_link_with_a_reason,
    arguments_over_the_limit_close_that_link_with_a_reason,
    a_stream_of_an_unexpected_kind_closes_that_link_with_a_reason,
    a_request_that_ends_too_early_closes_that_link_with_a_reason,
    random_bytes_at_the_port_have_no_effect,
);

/// Sends bytes on a fresh call stream and expects the worker to close the link for it.
pub(crate) async fn closed_by(node: &Node, kind: Kind, bytes: &[u8], expected: &str) {
    let link = node.link().await;
    let mut stream = link.open(kind, 0).await.expect("open");
    stream.outgoing.write_all(bytes).await.expect("written");
    stream.outgoing.shutdown().await.expect("ended");
    match link.closed().await {
        LinkError::Closed { by: Side::Peer, cause: Cause::Protocol, reason } => {
            assert!(reason.contains(expected), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    works(&node.link().await).await;
    assert!(is_running(node.worker_pid));
}

async fn works(link: &Link) {
    // Nobody waits for what the link before has sent.
    link.reconcile(&[], |_| {});
    assert_eq!(call(link, "echo", "on").await, Outcome::Returned("on".into()));
}

async fn garbage_on_a_call_stream_closes_that_link_with_a_reason() {
    let node = Node::start().await;
    closed_by(&node, Kind::Call, &[0, 0, 0, 4, 0xc1, 0xc1, 0xc1, 0xc1], "cannot be decoded").await;
}

async fn garbage_on_a_lane_closes_that_link_with_a_reason() {
    let node = Node::start().await;
    closed_by(&node, Kind::Lane, &[0, 0, 0, 9, 0xc1, 0, 0, 0, 0, 0, 0, 0, 1], "a client does not say this")
        .await;
}

async fn a_frame_over_the_limit_on_a_lane_closes_that_link_with_a_reason() {
    let node = Node::start().await;
    closed_by(&node, Kind::Lane, &[255, 255, 255, 255], "over the limit").await;
}

async fn more_calls_than_the_credit_close_that_link_with_a_reason() {
    let node = Node::start().await;
    let mut frames = Vec::new();
    for number in 0..=u64::try_from(CREDIT_CALLS).expect("small") {
        let request = Request::Call {
            number,
            task: TaskId(number),
            attempt: Attempt(0),
            function: crate::functions::id("leave_a_note"),
            turn: 0,
            remaining: None,
            key: None,
            arguments: as_arguments(&node.file("note")),
        };
        request.put(&mut frames);
    }
    closed_by(&node, Kind::Lane, &frames, "more calls are on the lanes").await;
}

async fn garbage_on_a_file_stream_closes_that_link_with_a_reason() {
    let node = Node::start().await;
    closed_by(&node, Kind::File, &[0, 0, 0, 4, 0xc1, 0xc1, 0xc1, 0xc1], "a request for files").await;
}

async fn a_frame_over_the_limit_closes_that_link_with_a_reason() {
    let node = Node::start().await;
    closed_by(&node, Kind::Call, &[255, 255, 255, 255], "over the limit of 65536").await;
}

async fn arguments_over_the_limit_close_that_link_with_a_reason() {
    let node = Node::start().await;
    let header = (1_u64, 0_u32, crate::functions::id("echo").0, 0_u64, None::<(u64, u32)>, u64::MAX);
    let header = (header.0, header.1, header.2, header.3, header.4, header.5, None::<&str>, false);
    let header = rmp_serde::to_vec(&header).expect("encoded");
    let mut bytes = u32::try_from(header.len()).expect("small").to_be_bytes().to_vec();
    bytes.extend(header);
    closed_by(&node, Kind::Call, &bytes, "over the limit of 2147483648").await;
}

async fn a_stream_of_an_unexpected_kind_closes_that_link_with_a_reason() {
    let node = Node::start().await;
    closed_by(&node, Kind::Hello, b"", "a stream of kind 1 is not expected here").await;
}

async fn a_request_that_ends_too_early_closes_that_link_with_a_reason() {
    let node = Node::start().await;
    closed_by(&node, Kind::Call, &[0, 0, 0, 9, 1], "ended in the middle of a call").await;
}

async fn random_bytes_at_the_port_have_no_effect() {
    let node = Node::start().await;
    let link = node.link().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    // A small generator: the bytes only have to be many and different.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for length in (1..1400).step_by(7) {
        let datagram: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        socket.send_to(&datagram, node.address).await.expect("sent");
    }
    works(&link).await;
    works(&node.link().await).await;
}
