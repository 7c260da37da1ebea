//! One connection, both sides of it, without a socket.

use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::*;
use crate::link::error::Cause;
use crate::link::mux::hearing::News;

/// Both sides of a connection.
struct Pair {
    client: State,
    worker: State,
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Brings everything that one side may send to the other; the streams that were opened.
fn bring(from: &mut State, to: &mut State) -> Vec<StreamId> {
    let (mut wire, mut opened) = (BytesMut::new(), Vec::new());
    while let Some(frame) = from.next() {
        wire.extend_from_slice(&frame);
    }
    while let Some(frame) = Frame::take(&mut wire).expect("well formed") {
        if let News::Opened(stream) = to.take_in(frame).expect("allowed") {
            opened.push(stream);
        }
    }
    assert!(wire.is_empty());
    opened
}

impl Pair {
    fn new() -> Self {
        Self { client: State::new(true), worker: State::new(false) }
    }

    fn open(&mut self) -> StreamId {
        let Poll::Ready(Ok(stream)) = self.client.open(&mut cx()) else { panic!("not opened") };
        stream
    }

    /// Until nobody has anything to say.
    fn settle(&mut self) -> Vec<StreamId> {
        let mut opened = Vec::new();
        for _ in 0..100 {
            opened.extend(bring(&mut self.client, &mut self.worker));
            opened.extend(bring(&mut self.worker, &mut self.client));
        }
        opened
    }
}

/// What can be read now; the flag is whether the end was met.
fn read(state: &mut State, stream: StreamId) -> Result<(Vec<u8>, bool), Broken> {
    let mut all = Vec::new();
    loop {
        let mut space = [0; 10_000];
        let mut buffer = ReadBuf::new(&mut space);
        match state.read(stream, &mut buffer, &mut cx()) {
            Poll::Pending => return Ok((all, false)),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Ok((all, true)),
            Poll::Ready(Ok(())) => all.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(error)) => return Err(error),
        }
    }
}

fn write(state: &mut State, stream: StreamId, bytes: &[u8]) -> Result<usize, Broken> {
    match state.write(stream, bytes, &mut cx()) {
        Poll::Ready(written) => written,
        Poll::Pending => Ok(0),
    }
}

#[test]
fn what_is_written_is_read_and_its_end_is_met() {
    let mut pair = Pair::new();
    let stream = pair.open();
    assert_eq!(write(&mut pair.client, stream, b"hello"), Ok(5));
    pair.client.end(stream);
    assert_eq!(pair.settle(), [stream]);
    assert_eq!(read(&mut pair.worker, stream), Ok((b"hello".to_vec(), true)));
    assert_eq!(write(&mut pair.worker, stream, b"back"), Ok(4));
    pair.worker.let_go_sending(stream);
    pair.worker.let_go_receiving(stream);
    pair.settle();
    assert_eq!(read(&mut pair.client, stream), Ok((b"back".to_vec(), true)));
    pair.client.let_go_sending(stream);
    pair.client.let_go_receiving(stream);
    assert!(pair.client.is_unused() && pair.worker.is_unused());
    assert_eq!((pair.client.open_ours, pair.worker.open_theirs), (0, 0));
}

#[test]
fn a_stream_that_was_given_up_is_not_mistaken_for_one_that_ended() {
    let mut pair = Pair::new();
    let stream = pair.open();
    assert_eq!(write(&mut pair.client, stream, b"half of it"), Ok(10));
    pair.settle();
    pair.client.reset(stream);
    pair.settle();
    assert_eq!(read(&mut pair.worker, stream), Err(Broken::GivenUp));
    assert_eq!(write(&mut pair.client, stream, b"more"), Err(Broken::LetGo));
}

#[test]
fn a_reader_that_stops_is_heard_and_the_other_direction_goes_on() {
    let mut pair = Pair::new();
    let stream = pair.open();
    assert_eq!(write(&mut pair.client, stream, b"request"), Ok(7));
    pair.settle();
    assert!(pair.client.unwanted(stream, &mut cx()).is_pending());
    pair.worker.stop(stream);
    pair.settle();
    assert!(pair.client.unwanted(stream, &mut cx()).is_ready());
    assert_eq!(write(&mut pair.client, stream, b"more"), Err(Broken::GivenUp));
    assert_eq!(write(&mut pair.worker, stream, b"no, thanks"), Ok(10));
    pair.worker.end(stream);
    pair.settle();
    assert_eq!(read(&mut pair.client, stream), Ok((b"no, thanks".to_vec(), true)));
    for side in [&mut pair.client, &mut pair.worker] {
        side.let_go_sending(stream);
        side.let_go_receiving(stream);
    }
    pair.settle();
    assert!(pair.client.is_unused() && pair.worker.is_unused());
}

#[test]
fn what_is_more_urgent_goes_first_and_equals_take_turns() {
    let mut pair = Pair::new();
    let streams: Vec<_> = (0..4).map(|_| pair.open()).collect();
    pair.settle();
    let frame = vec![7; CONTENT];
    for _ in 0..3 {
        for stream in &streams {
            assert_eq!(write(&mut pair.client, *stream, &frame), Ok(CONTENT));
        }
    }
    pair.client.prioritise(streams[0], -10);
    pair.client.prioritise(streams[3], 10);
    let order: Vec<StreamId> = std::iter::from_fn(|| pair.client.next())
        .map(|it| match Frame::take(&mut BytesMut::from(&it[..])) {
            Ok(Some(Frame::Data(stream, _))) => stream,
            other => panic!("{other:?}"),
        })
        .collect();
    let [a, b, c, d] = streams[..] else { panic!("four") };
    assert_eq!(order, [d, d, d, b, c, b, c, b, c, a, a, a]);
}

#[test]
fn a_stream_that_nobody_reads_holds_up_its_writer_and_nobody_else() {
    let mut pair = Pair::new();
    let (full, other) = (pair.open(), pair.open());
    let mut sent = 0_u64;
    let chunk = vec![1; 1 << 20];
    loop {
        let written = write(&mut pair.client, full, &chunk).expect("open");
        pair.settle();
        sent += written as u64;
        if written == 0 {
            break;
        }
    }
    assert!((STREAM_WINDOW..STREAM_WINDOW + 2 * SEND_BUFFER as u64).contains(&sent), "{sent}");
    assert_eq!(write(&mut pair.client, other, b"small"), Ok(5));
    pair.settle();
    assert_eq!(read(&mut pair.worker, other), Ok((b"small".to_vec(), false)));
    // Once it is read there is room again.
    let mut got = 0;
    while got < sent {
        let (bytes, _) = read(&mut pair.worker, full).expect("open");
        got += bytes.len() as u64;
        pair.settle();
    }
    assert!(write(&mut pair.client, full, &chunk).expect("open") > 0);
}

#[test]
fn streams_that_nobody_reads_do_not_fill_the_memory() {
    let mut pair = Pair::new();
    let chunk = vec![1; 1 << 20];
    let mut streams = Vec::new();
    for _ in 0..8 {
        let stream = pair.open();
        streams.push(stream);
        while write(&mut pair.client, stream, &chunk).expect("open") > 0 {
            pair.settle();
        }
    }
    let held: u64 =
        pair.worker.streams.values().flat_map(|it| &it.receiving.chunks).map(|it| it.len() as u64).sum();
    assert!(held <= CONNECTION_WINDOW, "{held}");
    // Dropping them gives the room back.
    for stream in streams {
        pair.worker.let_go_receiving(stream);
    }
    pair.settle();
    let stream = pair.open();
    assert_eq!(write(&mut pair.client, stream, b"on"), Ok(2));
    pair.settle();
    assert_eq!(read(&mut pair.worker, stream), Ok((b"on".to_vec(), false)));
}

#[test]
fn streams_of_items_that_nobody_reads_hold_up_no_other() {
    let mut pair = Pair::new();
    let chunk = vec![1; 1 << 20];
    let mut held = 0;
    for count in 1..=8 {
        // Whoever reads it makes room before, or when it has come.
        if count % 2 == 0 {
            pair.worker.widen(count);
        }
        let stream = pair.open();
        while write(&mut pair.client, stream, &chunk).expect("open") > 0 {
            pair.settle();
        }
        pair.worker.widen(count);
        pair.settle();
        let received = |it: &Entry| it.receiving.chunks.iter().map(|it| it.len() as u64).sum::<u64>();
        held = pair.worker.streams.values().map(received).sum();
        assert!(held <= u64::from(count) * STREAM_WINDOW, "{held}");
    }
    assert!(held > CONNECTION_WINDOW, "{held}");
    let beside = pair.open();
    assert_eq!(write(&mut pair.client, beside, b"on"), Ok(2));
    pair.settle();
    assert_eq!(read(&mut pair.worker, beside), Ok((b"on".to_vec(), false)));
}

#[test]
fn one_stream_too_many_waits_until_another_is_over() {
    let mut pair = Pair::new();
    let first = pair.open();
    for _ in 1..STREAMS {
        pair.open();
    }
    assert!(pair.client.open(&mut cx()).is_pending());
    pair.settle();
    pair.client.reset(first);
    pair.settle();
    assert!(pair.client.open(&mut cx()).is_pending(), "the other side may still send on it");
    pair.worker.let_go_sending(first);
    pair.settle();
    assert!(pair.client.open(&mut cx()).is_ready());
}

#[test]
fn what_breaks_the_protocol_is_a_typed_error() {
    let opened = || {
        let mut pair = Pair::new();
        let stream = pair.open();
        pair.settle();
        (pair.worker, stream)
    };
    for frames in [
        vec![Frame::Open(2)],
        vec![Frame::Open(0)],
        vec![Frame::Open(1)],
        vec![Frame::Data(9, Bytes::from_static(b"x"))],
        vec![Frame::End(9)],
        vec![Frame::Reset(2)],
        vec![Frame::Stop(3)],
        vec![Frame::Credit(3, 1)],
        vec![Frame::End(1), Frame::End(1)],
        vec![Frame::End(1), Frame::Data(1, Bytes::from_static(b"x"))],
        vec![Frame::Data(1, Bytes::from(vec![0; CONTENT])); 1 + STREAM_WINDOW as usize / CONTENT],
    ] {
        let (mut worker, _) = opened();
        let shown = format!("{:?}", frames.first().map(Frame::encode).map(|it| it.slice(..HEADER)));
        let (last, before) = frames.split_last().expect("some");
        for frame in before {
            assert_eq!(worker.take_in(frame.clone()), Ok(News::Nothing), "{shown}");
        }
        assert!(worker.take_in(last.clone()).is_err(), "{shown}");
    }
    let (mut worker, _) = opened();
    for stream in 1..STREAMS as u32 {
        assert!(worker.take_in(Frame::Open(1 + 2 * stream)).is_ok());
    }
    assert!(worker.take_in(Frame::Open(3 + 2 * STREAMS as u32)).is_err(), "too many streams");
}

#[test]
fn an_end_reaches_whoever_waits_and_what_has_arrived_is_still_read() {
    let mut pair = Pair::new();
    let (whole, half) = (pair.open(), pair.open());
    for stream in [whole, half] {
        assert_eq!(write(&mut pair.client, stream, b"hello"), Ok(5));
    }
    pair.client.end(whole);
    pair.settle();
    pair.worker.finish("cut".to_owned(), Some(Frame::Close(Cause::Done, "cut".to_owned())));
    assert_eq!(read(&mut pair.worker, whole), Ok((b"hello".to_vec(), true)));
    let mut space = [0; 10];
    let mut buffer = ReadBuf::new(&mut space);
    assert!(matches!(pair.worker.read(half, &mut buffer, &mut cx()), Poll::Ready(Ok(()))));
    assert_eq!(read(&mut pair.worker, half), Err(Broken::Over("cut".to_owned())));
    assert_eq!(write(&mut pair.worker, half, b"x"), Err(Broken::Over("cut".to_owned())));
    assert!(pair.worker.unwanted(half, &mut cx()).is_ready());
    assert!(matches!(pair.worker.open(&mut cx()), Poll::Ready(Err(Broken::Over(_)))));
    // The last word, and nothing after it.
    pair.worker.reset(half);
    assert_eq!(pair.worker.next(), Some(Frame::Close(Cause::Done, "cut".to_owned()).encode()));
    assert_eq!(pair.worker.next(), None);
}

/// What a program may do to a stream.
#[derive(Clone, Debug)]
enum Deed {
    Open,
    Write(u8, u16),
    Read(u8),
    Move,
    End(u8),
    Prioritise(u8, i32),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        Just(Deed::Open),
        (0..8_u8, 0..40_000_u16).prop_map(|(stream, length)| Deed::Write(stream, length)),
        (0..8_u8).prop_map(Deed::Read),
        Just(Deed::Move),
        (0..8_u8).prop_map(Deed::End),
        (0..8_u8, -2..3).prop_map(|(stream, priority)| Deed::Prioritise(stream, priority)),
    ];
    proptest::collection::vec(deed, 0..60)
}

proptest! {
    #[test]
    fn every_stream_carries_its_own_bytes_in_order_whatever_is_done_to_the_others(deeds in deeds()) {
        let mut pair = Pair::new();
        let (mut sent, mut got): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        let id = |at: usize| 1 + 2 * at as StreamId;
        for deed in deeds {
            match deed {
                Deed::Open => {
                    pair.open();
                    sent.push(Vec::new());
                    got.push(Vec::new());
                }
                Deed::Write(at, length) if usize::from(at) < sent.len() => {
                    let at = usize::from(at);
                    let bytes: Vec<u8> = (0..length).map(|it| (it as u8) ^ (at as u8)).collect();
                    if let Ok(written) = write(&mut pair.client, id(at), &bytes) {
                        sent[at].extend_from_slice(&bytes[..written]);
                    }
                }
                Deed::Read(at) if usize::from(at) < sent.len() => {
                    if let Ok((bytes, _)) = read(&mut pair.worker, id(usize::from(at))) {
                        got[usize::from(at)].extend(bytes);
                    }
                }
                Deed::Move => drop(bring(&mut pair.client, &mut pair.worker)),
                Deed::End(at) if usize::from(at) < sent.len() => pair.client.end(id(usize::from(at))),
                Deed::Prioritise(at, priority) => pair.client.prioritise(id(usize::from(at)), priority),
                Deed::Write(..) | Deed::Read(_) | Deed::End(_) => {}
            }
        }
        for at in 0..sent.len() {
            pair.client.end(id(at));
        }
        pair.settle();
        for (at, got) in got.iter_mut().enumerate() {
            let (rest, ended) = read(&mut pair.worker, id(at)).expect("not given up");
            got.extend(rest);
            prop_assert!(ended);
        }
        prop_assert_eq!(sent, got);
    }

    #[test]
    fn no_frames_make_a_side_panic(
        frames in proptest::collection::vec((1..9_u8, 0..6_u32, proptest::collection::vec(any::<u8>(), 0..9)), 0..40),
        is_client: bool,
    ) {
        let mut side = State::new(is_client);
        let _ = side.open(&mut cx());
        for (kind, stream, content) in frames {
            let mut bytes = BytesMut::from(&[kind, 0, 0, content.len() as u8][..]);
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(&content);
            if let Ok(Some(frame)) = Frame::take(&mut bytes)
                && side.take_in(frame).is_err()
            {
                break;
            }
            while side.next().is_some() {}
        }
    }
}
