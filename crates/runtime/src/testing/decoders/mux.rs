//! What comes over a multiplexed connection: its frames, and a peer that says any of them in any order.

use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;

use super::read;
use crate::link::Cause;
use crate::link::mux::frame::{CONTENT, Frame};
use crate::link::mux::hearing::News;
use crate::link::mux::state::State;

/// The longest reason that arrives as it was written.
const REASON: usize = 1024;

/// Frames in pieces of a size that the first byte says.
pub(super) fn frames(bytes: &[u8]) {
    let Some((piece, rest)) = bytes.split_first() else { return };
    let in_pieces = taken(rest.chunks(usize::from(*piece) + 1));
    assert_eq!(in_pieces, taken(std::iter::once(rest)), "where it is cut does not matter");
    for frame in in_pieces {
        let is_long = matches!(&frame, Frame::Close(_, reason) if reason.len() > REASON);
        if !is_long {
            assert_eq!(taken(std::iter::once(&*frame.encode())), [frame]);
        }
    }
}

fn taken<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Frame> {
    let (mut arrived, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        arrived.extend_from_slice(piece);
        loop {
            match Frame::take(&mut arrived) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// A side that hears frames while its own user opens, writes, reads and lets go: the first byte says which side,
/// and each that follows a deed of the user's, between two frames.
pub(super) fn peer(bytes: &[u8]) {
    let Some(([first, deeds], said)) = bytes.split_first_chunk() else { return };
    let (mut state, mut cx) = (State::new(first % 2 == 1), Context::from_waker(Waker::noop()));
    let (mut arrived, mut streams, mut deed) = (BytesMut::from(said), Vec::new(), *deeds);
    let mut memory = [0; 64];
    loop {
        let Ok(Some(frame)) = Frame::take(&mut arrived) else { break };
        match state.take_in(frame) {
            Ok(News::Opened(stream)) => streams.push(stream),
            Ok(News::Nothing) => {}
            Ok(News::Closed(..)) | Err(_) => break,
        }
        deed = deed.wrapping_mul(5).wrapping_add(first | 1);
        let stream = streams.get(usize::from(deed) % streams.len().max(1)).copied().unwrap_or(1);
        match deed % 8 {
            0 => {
                if let Poll::Ready(Ok(stream)) = state.open(&mut cx) {
                    streams.push(stream);
                }
            }
            1 => drop(state.write(stream, &memory, &mut cx)),
            2 => drop(state.read(stream, &mut ReadBuf::new(&mut memory), &mut cx)),
            3 => state.end(stream),
            4 => state.reset(stream),
            5 => state.stop(stream),
            6 => state.let_go_sending(stream),
            _ => state.let_go_receiving(stream),
        }
        // The network takes what there is: each frame is one, and understood by the other side.
        while let Some(sent) = state.next() {
            let mut sent = BytesMut::from(&*sent);
            assert!(read(Frame::take(&mut sent)).is_some() && sent.is_empty());
        }
    }
}

pub(super) fn frame_seeds() -> Vec<Vec<u8>> {
    let frames = [
        Frame::Open(1),
        Frame::Data(1, Bytes::from_static(b"hello")),
        Frame::Credit(0, 1 << 20),
        Frame::Credit(1, 7),
        Frame::Ping,
        Frame::Stop(1),
        Frame::Open(3),
        Frame::Data(3, Bytes::new()),
        Frame::Reset(3),
        Frame::End(1),
        Frame::Close(Cause::Ended, "the lease has lapsed".to_owned()),
    ];
    let encoded: Vec<_> = frames.iter().flat_map(|it| it.encode().to_vec()).collect();
    let large = Frame::Data(1, Bytes::from(vec![7; CONTENT])).encode();
    vec![
        [&[2, 0][..], &encoded].concat(),
        [&[3, 9][..], &encoded].concat(),
        [&[0, 4][..], &Frame::Open(1).encode(), &large].concat(),
        vec![0, 0, 2, 0xff, 0xff, 0xff, 0, 0, 0, 1],
    ]
}
