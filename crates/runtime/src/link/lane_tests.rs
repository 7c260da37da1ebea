//! The client's half of lanes, with a worker that is played by hand over streams in memory.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

use super::*;
use crate::link::calling::Calling;
use crate::link::dialer::Shared;
use crate::link::transport::{Incoming, Outgoing};
use crate::link::{call, shares, wire};
use crate::model::FunctionId;
use crate::payload::Payload;

#[path = "shares_tests.rs"]
mod sharing;

/// A carrier whose streams are pipes in memory; their other ends are given to the test.
#[derive(Debug)]
struct Pipes {
    opened: mpsc::UnboundedSender<DuplexStream>,
    /// How much the last one was opened for that is said to be for much.
    much: Arc<AtomicU64>,
    over: Mutex<Option<LinkError>>,
}

struct Half(tokio::io::WriteHalf<DuplexStream>);
struct OtherHalf(tokio::io::ReadHalf<DuplexStream>);

#[async_trait]
impl Transport for Pipes {
    fn carrier(&self) -> crate::model::Carrier {
        crate::model::Carrier::Quic
    }

    async fn open(&self) -> Result<Stream, LinkError> {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        self.opened.send(theirs).expect("the test is there");
        let (read, write) = tokio::io::split(ours);
        Ok(Stream { outgoing: Box::new(Half(write)), incoming: Box::new(OtherHalf(read)) })
    }

    async fn open_for(&self, bytes: u64) -> Result<Stream, LinkError> {
        self.much.store(bytes, Ordering::Relaxed);
        self.open().await
    }

    async fn accept(&self) -> Result<Stream, LinkError> {
        std::future::pending().await
    }

    async fn closed(&self) -> LinkError {
        std::future::pending().await
    }

    fn over(&self) -> Option<LinkError> {
        self.over.lock().expect("whole").clone()
    }

    fn close(&self, cause: Cause, reason: &str) {
        let by = crate::link::error::Side::Us;
        *self.over.lock().expect("whole") = Some(LinkError::Closed { by, cause, reason: reason.to_owned() });
    }
}

#[async_trait]
impl Outgoing for Half {
    fn reset(&mut self) {}
    fn prioritise(&mut self, _: i32) {}
    fn unwanted(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

impl AsyncWrite for Half {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Incoming for OtherHalf {
    fn stop(&mut self) {}
}

impl AsyncRead for OtherHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

/// A link, and the streams that it opens as its worker sees them.
struct Ends {
    shared: Arc<Shared>,
    opened: mpsc::UnboundedReceiver<DuplexStream>,
    much: Arc<AtomicU64>,
}

/// A lane as its worker has it.
struct Worker {
    stream: DuplexStream,
    frames: Frames,
}

impl Ends {
    fn new() -> Self {
        Self::to(Arc::default())
    }

    /// A link to a worker that was given this.
    fn to(shares: Arc<shares::Shares>) -> Self {
        let (sender, opened) = mpsc::unbounded_channel();
        let much = Arc::default();
        let carrier = Pipes { opened: sender, much: Arc::clone(&much), over: Mutex::default() };
        Self { shared: Arc::new(Shared::of(Arc::new(carrier), shares)), opened, much }
    }

    /// A call that has been sent.
    fn call(&self, arguments: impl Into<Bytes>) -> tokio::task::JoinHandle<Result<Outcome, LinkError>> {
        tokio::spawn(Calling::new(Arc::clone(&self.shared), request(arguments), false))
    }

    /// The next stream that the client opens.
    async fn stream(&mut self) -> DuplexStream {
        let waited = tokio::time::timeout(Duration::from_secs(10), self.opened.recv());
        waited.await.expect("in time").expect("opened")
    }

    async fn lane(&mut self) -> Worker {
        let mut stream = self.stream().await;
        assert_eq!(wire::read_kind(&mut stream).await, Ok(Kind::Lane));
        Worker { stream, frames: Frames::default() }
    }
}

impl Worker {
    async fn hear(&mut self) -> Request {
        loop {
            if let Some(request) = self.frames.request().expect("a frame") {
                return request;
            }
            let read = self.stream.read_buf(self.frames.room());
            let read = tokio::time::timeout(Duration::from_secs(10), read).await.expect("in time");
            assert_ne!(read.expect("readable"), 0, "the client ended the lane");
        }
    }

    async fn number(&mut self) -> u64 {
        loop {
            match self.hear().await {
                Request::Call { number, .. } => return number,
                // A call on a stream of its own was given up.
                Request::Release { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("written");
    }

    async fn answer(&mut self, number: u64, outcome: Outcome) -> Option<Outcome> {
        let mut buffer = Vec::new();
        let fits = Reply::put(&mut buffer, number, Duration::ZERO, &outcome).expect("put");
        self.say(&buffer).await;
        (!fits).then_some(outcome)
    }
}

fn request(arguments: impl Into<Bytes>) -> CallRequest {
    CallRequest {
        task: TaskId(1),
        attempt: Attempt(0),
        function: FunctionId(0),
        turn: 0,
        remaining: None,
        key: None,
        arguments: arguments.into().into(),
    }
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let mut ends = Ends::new();
    let calls: Vec<_> = (0..10_u8).map(|it| ends.call(vec![it])).collect();
    let mut worker = ends.lane().await;
    let mut heard = Vec::new();
    for _ in 0..10 {
        let Request::Call { number, arguments, .. } = worker.hear().await else { panic!("a call") };
        heard.push((number, arguments));
    }
    for (number, arguments) in heard.into_iter().rev() {
        worker.answer(number, Outcome::Returned(arguments.into())).await;
    }
    for (at, call) in (0..10_u8).zip(calls) {
        assert_eq!(call.await.expect("joined"), Ok(Outcome::Returned(vec![at].into())));
    }
}

#[tokio::test]
async fn replies_to_what_is_sent_together_come_to_one_inbox_and_what_nobody_reads_is_cancelled() {
    let mut ends = Ends::new();
    let (inbox, arguments, mut numbers) = (Arc::new(Inbox::default()), Payload::from("some"), Vec::new());
    let (function, turn, remaining) = (FunctionId(0), 0, None);
    let calls = (0..3).map(|it| {
        let it = (TaskId(it), Attempt(0));
        SmallCall { it, function, turn, remaining, arguments: &arguments }
    });
    let mut sent = |_, number: Option<u64>| numbers.push(number.expect("small"));
    ends.shared.lanes.send_all(&inbox, Duration::ZERO, (10..).zip(calls), &mut sent);
    let [first, second, third] = numbers[..] else { panic!("{numbers:?}") };
    let mut worker = ends.lane().await;
    for number in [first, second, third] {
        assert_eq!(worker.number().await, number);
    }
    worker.answer(second, Outcome::Returned("one".into())).await;
    let replies = std::future::poll_fn(|context| {
        let mut replies = Vec::new();
        inbox.take(&mut replies, context);
        if replies.is_empty() { Poll::Pending } else { Poll::Ready(replies) }
    });
    assert!(matches!(&replies.await[..], [(11, Replied::Outcome { .. })]));
    ends.shared.lanes.give_up(third);
    assert_eq!(worker.hear().await, Request::Cancel { number: third });
    assert!(inbox.close().is_empty());
    worker.answer(first, Outcome::Returned(vec![5; 3 * LANE_LIMIT].into())).await;
    assert_eq!(worker.hear().await, Request::Cancel { number: first });
}

#[tokio::test]
async fn garbage_on_a_lane_ends_the_link_and_every_call_on_it() {
    let mut ends = Ends::new();
    let calls: Vec<_> = (0..5).map(|_| ends.call("")).collect();
    let mut worker = ends.lane().await;
    worker.number().await;
    worker.say(&[0, 0, 0, 3, 200, 1, 2]).await;
    for call in calls {
        let error = call.await.expect("joined").expect_err("garbled");
        assert!(matches!(error, LinkError::Garbled(WireError::Undecodable { .. })), "{error}");
    }
    assert!(ends.shared.carrier.over().is_some());
    let error = ends.call("").await.expect("joined").expect_err("over");
    assert!(matches!(error, LinkError::Garbled(_)), "{error}");
}

#[tokio::test]
async fn a_frame_over_the_limit_ends_the_link() {
    let mut ends = Ends::new();
    let call = ends.call("");
    let mut worker = ends.lane().await;
    worker.number().await;
    worker.say(&[255; 4]).await;
    let error = call.await.expect("joined").expect_err("too long");
    assert!(matches!(error, LinkError::Garbled(WireError::Frame { .. })), "{error}");
}

#[tokio::test]
async fn a_link_that_is_lost_with_many_in_flight_ends_each_of_them() {
    let mut ends = Ends::new();
    let calls: Vec<_> = (0..500).map(|_| ends.call("some arguments")).collect();
    let mut worker = ends.lane().await;
    let mut other = ends.lane().await;
    worker.number().await;
    other.number().await;
    drop((worker, other));
    for call in calls {
        call.await.expect("joined").expect_err("lost");
    }
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_and_an_answer_that_comes_all_the_same_is_nobodys() {
    let mut ends = Ends::new();
    let (dropped, other) = (ends.call("one"), ends.call("two"));
    let mut worker = ends.lane().await;
    let (first, second) = (worker.number().await, worker.number().await);
    dropped.abort();
    assert_eq!(worker.hear().await, Request::Cancel { number: first });
    worker.answer(first, Outcome::TimedOut(vec![])).await;
    worker.answer(second, Outcome::Returned("two".into())).await;
    assert_eq!(other.await.expect("joined"), Ok(Outcome::Returned("two".into())));
}

#[tokio::test]
async fn a_large_outcome_is_asked_for_on_a_stream_of_its_own() {
    let mut ends = Ends::new();
    let call = ends.call("");
    let mut worker = ends.lane().await;
    let number = worker.number().await;
    let outcome = Outcome::Returned(vec![5; 3 * LANE_LIMIT].into());
    let large = worker.answer(number, outcome.clone()).await.expect("too large for a lane");
    let mut stream = ends.stream().await;
    assert_eq!(ends.much.load(Ordering::Relaxed), large.length());
    assert_eq!(wire::read_kind(&mut stream).await, Ok(Kind::Outcome));
    let (mut incoming, outgoing) = tokio::io::split(stream);
    let mut asked = [0; 8];
    incoming.read_exact(&mut asked).await.expect("a number");
    assert_eq!(u64::from_be_bytes(asked), number);
    call::write_outcome(&mut Half(outgoing), large, wire::BODY_LIMIT).await.expect("written");
    assert_eq!(call.await.expect("joined"), Ok(outcome));
}

#[tokio::test]
async fn a_large_outcome_of_which_nothing_comes_is_not_waited_for_longer_than_its_call() {
    let mut ends = Ends::new();
    let request = CallRequest { remaining: Some(Duration::ZERO), ..request("") };
    let calling =
        Calling::new(Arc::clone(&ends.shared), request, false).with_patience(Duration::from_millis(50));
    let call = tokio::spawn(calling);
    let mut worker = ends.lane().await;
    let number = worker.number().await;
    worker.answer(number, Outcome::Returned(vec![5; 2 * LANE_LIMIT].into())).await;
    // It is asked for, and the worker says nothing.
    let _stream = ends.stream().await;
    let ended = tokio::time::timeout(Duration::from_secs(30), call).await.expect("it ends");
    assert_eq!(ended.expect("joined"), Ok(Outcome::TimedOut(vec![])));
    assert_eq!(worker.hear().await, Request::Release { it: (TaskId(1), Attempt(0)) });
}

#[tokio::test]
async fn nobody_who_asks_for_a_large_outcome_any_more_has_it_forgotten() {
    let mut ends = Ends::new();
    let call = ends.call("");
    let mut worker = ends.lane().await;
    let number = worker.number().await;
    worker.answer(number, Outcome::Returned(vec![5; 2 * LANE_LIMIT].into())).await;
    ends.stream().await;
    call.abort();
    assert_eq!(worker.hear().await, Request::Cancel { number });
}

#[tokio::test]
async fn a_call_dropped_before_it_hears_that_its_outcome_is_elsewhere_has_it_forgotten() {
    let mut ends = Ends::new();
    let mut call = Box::pin(Calling::new(Arc::clone(&ends.shared), request(""), false));
    assert!(futures_util::poll!(&mut call).is_pending());
    let mut worker = ends.lane().await;
    let number = worker.number().await;
    worker.answer(number, Outcome::Returned(vec![5; 2 * LANE_LIMIT].into())).await;
    let [lane, ..] = &ends.shared.lanes.lanes;
    let is_read = async {
        while !lane.calls().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), is_read).await.expect("in time");
    drop(call);
    assert_eq!(worker.hear().await, Request::Cancel { number });
}

#[tokio::test]
async fn a_call_with_a_key_that_is_dropped_is_released_wherever_its_outcome_is() {
    let mut ends = Ends::new();
    let keyed = CallRequest { key: Some(Key::new("k").expect("fits")), ..request("") };
    let mut call = Box::pin(Calling::new(Arc::clone(&ends.shared), keyed, false));
    assert!(futures_util::poll!(&mut call).is_pending());
    let mut worker = ends.lane().await;
    let number = worker.number().await;
    worker.answer(number, Outcome::Returned("done".into())).await;
    drop(call);
    assert_eq!(worker.hear().await, Request::Release { it: (TaskId(1), Attempt(0)) });
}

#[tokio::test]
async fn large_calls_and_those_over_the_credit_have_streams_of_their_own() {
    let mut ends = Ends::new();
    let large = ends.call(vec![0; LANE_LIMIT + 1]);
    assert_eq!(wire::read_kind(&mut ends.stream().await).await, Ok(Kind::Call));
    large.abort();
    let calls: Vec<_> = (0..CREDIT_CALLS).map(|_| ends.call("")).collect();
    let mut lanes = [ends.lane().await, ends.lane().await];
    for lane in &mut lanes {
        for _ in 0..CREDIT_CALLS / LANES {
            lane.number().await;
        }
    }
    let one_more = ends.call("");
    assert_eq!(wire::read_kind(&mut ends.stream().await).await, Ok(Kind::Call));
    one_more.abort();
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_call_is_asked_for_back_by_its_task_and_attempt() {
    let mut ends = Ends::new();
    let call = ends.call("");
    let mut worker = ends.lane().await;
    let number = worker.number().await;
    ends.shared.lanes.recall(TaskId(1), Attempt(0));
    assert_eq!(worker.hear().await, Request::Recall { number });
    // What is on no lane has a stream of its own, or is over, which the worker knows.
    ends.shared.lanes.recall(TaskId(1), Attempt(9));
    assert_eq!(worker.hear().await, Request::RecallAlone { it: (TaskId(1), Attempt(9)) });
    worker.answer(number, Outcome::Recalled).await;
    assert_eq!(call.await.expect("joined"), Ok(Outcome::Recalled));
}

#[tokio::test]
async fn a_worker_that_does_not_answer_is_not_waited_for_longer_than_its_time_and_patience() {
    let mut ends = Ends::new();
    let request = CallRequest { remaining: Some(Duration::from_secs(5)), ..request("") };
    let calling =
        Calling::new(Arc::clone(&ends.shared), request, false).with_patience(Duration::from_secs(5));
    let call = tokio::spawn(calling);
    let mut worker = ends.lane().await;
    let number = worker.number().await;
    ends.shared.lanes.sweep(Instant::now());
    ends.shared.lanes.sweep(Instant::now() + Duration::from_secs(11));
    assert_eq!(call.await.expect("joined"), Ok(Outcome::TimedOut(vec![])));
    assert_eq!(worker.hear().await, Request::Cancel { number });
}

#[tokio::test]
async fn the_worker_is_told_after_many_outcomes_that_they_are_here_and_of_few_after_a_while() {
    let mut ends = Ends::new();
    let calls: Vec<_> = (0..TAKEN).map(|_| ends.call("")).collect();
    let mut worker = ends.lane().await;
    for _ in 0..TAKEN {
        let number = worker.number().await;
        worker.answer(number, Outcome::TimedOut(vec![])).await;
    }
    assert_eq!(worker.hear().await, Request::Taken { count: TAKEN });
    for call in calls {
        assert_eq!(call.await.expect("joined"), Ok(Outcome::TimedOut(vec![])));
    }
    let one_more = ends.call("");
    let number = worker.number().await;
    worker.answer(number, Outcome::TimedOut(vec![])).await;
    assert_eq!(one_more.await.expect("joined"), Ok(Outcome::TimedOut(vec![])));
    ends.shared.lanes.sweep(Instant::now());
    assert_eq!(worker.hear().await, Request::Taken { count: TAKEN + 1 });
}

#[tokio::test]
async fn a_call_of_a_link_that_broke_is_asked_for_without_its_arguments() {
    let mut ends = Ends::new();
    let resumed = Calling::new(Arc::clone(&ends.shared), request(""), true);
    let call = tokio::spawn(resumed);
    ends.shared.lanes.reconcile(&[(TaskId(1), Attempt(0))]);
    let mut worker = ends.lane().await;
    let mut heard = [worker.hear().await, worker.hear().await];
    heard.sort_by_key(|it| matches!(it, Request::Resume { .. }));
    let waits = Request::Waits { tries: vec![(TaskId(1), Attempt(0))], more: false };
    assert_eq!(heard, [waits, Request::Resume { number: 0, it: (TaskId(1), Attempt(0)) }]);
    worker.answer(0, Outcome::Unknown).await;
    assert_eq!(call.await.expect("joined"), Ok(Outcome::Unknown));
}

#[tokio::test]
async fn keys_that_the_worker_has_are_told_on() {
    let mut ends = Ends::new();
    let (sender, mut told) = mpsc::unbounded_channel();
    ends.shared.lanes.tell_keys(move |keys| sender.send(keys).expect("heard"));
    ends.shared.lanes.reconcile(&[]);
    let mut worker = ends.lane().await;
    let key = |it| Key::new("k").expect("fits").at(it);
    let keys = vec![(key(0), Left::Nothing), (key(1), Left::Running), (key(2), Left::Kept)];
    let mut frame = Vec::new();
    Reply::put_keys(&mut frame, keys.iter().map(|(key, left)| (key, *left)));
    Reply::put_left(&mut frame, &key(1), Left::Kept);
    worker.say(&frame).await;
    for expected in [keys, vec![], vec![(key(1), Left::Kept)]] {
        assert_eq!(told.recv().await, Some(expected));
    }
}
