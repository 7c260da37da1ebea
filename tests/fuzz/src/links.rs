//! What a link carries for many calls: frames of its lanes, and messages of the control plane.

use std::time::Duration;

use bytes::Bytes;
use ractor::BytesConvertable;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skyward_runtime::control::{DrainOrder, Drained, LeaseState, Packed, Renewal};
use skyward_runtime::link::{Frames, LANE_LIMIT, Outcome, Reply, Request, WireError};
use skyward_runtime::model::{
    Attempt, Crash, Epoch, FunctionId, Incarnation, Key, Mode, Panic, Peer, Rank, Roster, TaskId,
};
use skyward_runtime::testing::{again, read};

/// Frames of one side, in pieces: the first byte says whose, the second how large the pieces are.
pub(crate) fn lanes(bytes: &[u8]) {
    let Some(([side, piece], rest)) = bytes.split_first_chunk() else { return };
    let piece = usize::from(*piece) + 1;
    if side % 2 == 0 {
        let requests = taken(rest, piece, Frames::request);
        assert_eq!(
            requests,
            taken(rest, rest.len().max(1), Frames::request),
            "where it is cut does not matter"
        );
        for request in requests {
            let mut written = Vec::new();
            request.put(&mut written);
            assert_eq!(taken(&written, written.len(), Frames::request), [request]);
        }
    } else {
        let replies = taken(rest, piece, Frames::reply);
        assert_eq!(replies, taken(rest, rest.len().max(1), Frames::reply), "where it is cut does not matter");
        replies.into_iter().for_each(reply);
    }
}

fn reply(reply: Reply) {
    let Reply::Outcome { number, took, outcome } = reply.clone() else { return };
    let mut written = Vec::new();
    let length = outcome.length();
    let fits = read(Reply::put(&mut written, number, took, &outcome));
    // What grew over the limit while it was read travels on a stream of its own.
    let expected = if fits { reply } else { Reply::Elsewhere { number, took, length } };
    assert_eq!(taken(&written, written.len(), Frames::reply), [expected]);
}

fn taken<T>(bytes: &[u8], piece: usize, next: fn(&mut Frames) -> Result<Option<T>, WireError>) -> Vec<T> {
    let (mut frames, mut taken) = (Frames::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        frames.room().extend_from_slice(piece);
        loop {
            match next(&mut frames) {
                Ok(Some(frame)) => taken.push(frame),
                Ok(None) => break,
                Err(_) => return taken,
            }
        }
    }
    taken
}

pub(crate) fn lane_seeds() -> Vec<Vec<u8>> {
    let call = |remaining, arguments: &'static [u8]| Request::Call {
        number: 7,
        task: TaskId(9),
        attempt: Attempt(1),
        function: FunctionId(4),
        turn: 5,
        remaining,
        key: Key::new("sweep[3]").ok(),
        arguments: Bytes::from_static(arguments),
    };
    let requests = [
        call(None, b""),
        call(Some(Duration::from_secs(1)), b"arguments"),
        Request::Cancel { number: 7 },
        Request::Recall { number: 8 },
        Request::RecallAlone { it: (TaskId(9), Attempt(3)) },
        Request::Forget { key: [3; 40] },
        Request::Resume { number: 9, it: (TaskId(9), Attempt(1)) },
        Request::Release { it: (TaskId(9), Attempt(2)) },
        Request::Waits { tries: vec![(TaskId(9), Attempt(1))], more: true },
        Request::Taken { count: 64 },
        Request::Needs { keys: vec![[3; 40], [4; 40]], more: true },
    ];
    let mut asked = vec![0, 4];
    requests.iter().for_each(|it| it.put(&mut asked));
    let crash = Crash { signal: Some(6), code: None, output: vec!["why".to_owned()] };
    let outcomes = [
        Outcome::Returned("value".into()),
        Outcome::Returned(vec![0; LANE_LIMIT + 1].into()),
        Outcome::Failed(Bytes::from_static(b"error")),
        Outcome::Panicked(Panic { message: "boom".to_owned(), place: None }),
        Outcome::Crashed(crash),
        Outcome::Undecodable("why".to_owned()),
        Outcome::Draining,
    ];
    let mut answered = vec![1, 9];
    for outcome in outcomes {
        read(Reply::put(&mut answered, 7, Duration::from_millis(3), &outcome));
    }
    vec![
        asked,
        answered,
        vec![0, 0, 0xff, 0xff, 0xff, 0xff],
        vec![1, 0, 0, 0, 0, 9, 4, 0, 0, 0, 0, 0, 0, 0, 1],
    ]
}

/// A message, by its first byte which one.
pub(crate) fn control(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    match which % 6 {
        0 => packed::<Renewal>(rest),
        1 => packed::<LeaseState>(rest),
        2 => packed::<DrainOrder>(rest),
        3 => packed::<Drained>(rest),
        4 => packed::<Roster>(rest),
        _ => packed::<u64>(rest),
    }
}

fn packed<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let opened = Packed::<T>::from_bytes(bytes.to_vec()).open();
    assert_eq!(opened.as_ref().ok(), again(bytes).as_ref());
    if let Ok(value) = opened {
        let written = Packed::new(value).into_bytes();
        assert!(Packed::<T>::from_bytes(written).open().is_ok());
    }
}

pub(crate) fn control_seeds() -> Vec<Vec<u8>> {
    let peer = Peer::new(Rank(0), Incarnation::new("a"), std::net::Ipv4Addr::LOCALHOST.into());
    vec![
        [&[0][..], &Packed::new(Renewal { epoch: Epoch(1), number: 2 }).into_bytes()].concat(),
        [&[1][..], &Packed::new(LeaseState::NotOwner { owner: Epoch(3) }).into_bytes()].concat(),
        [
            &[2][..],
            &Packed::new(DrainOrder { epoch: Epoch(1), within: Duration::from_millis(1500), taken: None })
                .into_bytes(),
        ]
        .concat(),
        [&[3][..], &Packed::new(Drained { unfinished: 1 }).into_bytes()].concat(),
        [
            &[4][..],
            &Packed::new(Roster { epoch: Epoch(1), number: 2, mode: Mode::Cluster, peers: vec![peer] })
                .into_bytes(),
        ]
        .concat(),
        vec![5, 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ]
}
