//! Frames of lanes: what is put is read again however it arrives, and nothing else is.

use proptest::prelude::*;

use super::*;
use crate::link::frames::Frames;
use crate::model::Panic;

fn requests() -> Vec<Request> {
    let call = |number, remaining, arguments: &[u8]| Request::Call {
        number,
        task: TaskId(7),
        attempt: Attempt(2),
        function: FunctionId(3),
        turn: 11,
        remaining,
        key: (number == 2).then(|| Key::new("key").expect("fits")),
        arguments: Bytes::copy_from_slice(arguments),
    };
    vec![
        call(1, None, b"arguments"),
        call(u64::MAX, Some(Duration::from_millis(5)), b""),
        call(2, Some(Duration::ZERO), &[9; LANE_LIMIT]),
        Request::Cancel { number: 4 },
        Request::Recall { number: 5 },
        Request::RecallAlone { it: (TaskId(5), Attempt(6)) },
        Request::Forget { key: [9; 40] },
        Request::Resume { number: 6, it: (TaskId(7), Attempt(8)) },
        Request::Release { it: (TaskId(9), Attempt(10)) },
        Request::Waits { tries: vec![], more: false },
        Request::Waits { tries: (0..WAITS).map(|it| (TaskId(it as u64), Attempt(1))).collect(), more: true },
        Request::Taken { count: 64 },
        Request::Needs { keys: vec![], more: false },
        Request::Needs { keys: vec![[7; 40]; NEEDS], more: true },
    ]
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Returned("value".into()),
        Outcome::Failed(Bytes::from_static(b"error")),
        Outcome::Panicked(Panic { message: "boom".to_owned(), place: None }),
        Outcome::TimedOut(vec![]),
        Outcome::Recalled,
        Outcome::Unencodable("why".to_owned()),
        Outcome::Returned(vec![1; LANE_LIMIT].into()),
    ]
}

/// Reads frames from bytes that arrive in pieces of this size.
fn in_pieces<T>(
    bytes: &[u8],
    size: usize,
    mut next: impl FnMut(&mut Frames) -> Result<Option<T>, WireError>,
) -> Result<Vec<T>, WireError> {
    let (mut frames, mut seen) = (Frames::default(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        frames.room().extend_from_slice(piece);
        while let Some(frame) = next(&mut frames)? {
            seen.push(frame);
        }
    }
    assert!(!frames.is_amid(), "all of it was read");
    Ok(seen)
}

#[test]
fn requests_and_replies_survive_the_wire_however_they_arrive() {
    let (mut asked, mut replied) = (Vec::new(), Vec::new());
    requests().iter().for_each(|it| it.put(&mut asked));
    let took = Duration::from_micros(5);
    for (number, outcome) in (0..).zip(outcomes()) {
        assert_eq!(Reply::put(&mut replied, number, took, &outcome), Ok(true));
    }
    let expected: Vec<Reply> =
        (0..).zip(outcomes()).map(|(number, outcome)| Reply::Outcome { number, took, outcome }).collect();
    for size in [1, 3, 1000, usize::MAX] {
        assert_eq!(in_pieces(&asked, size, Frames::request), Ok(requests()), "{size}");
        assert_eq!(in_pieces(&replied, size, Frames::reply).as_ref(), Ok(&expected), "{size}");
    }
}

#[test]
fn what_is_needed_is_said_in_as_many_frames_as_that_takes() {
    for count in [0, 1, NEEDS, NEEDS + 1, 2 * NEEDS + 1] {
        let keys = vec![[3; 40]; count];
        let mut buffer = Vec::new();
        Request::put_needs(&mut buffer, &keys);
        let said = in_pieces(&buffer, usize::MAX, Frames::request).expect("in order");
        let (mut all, mut follows) = (Vec::new(), true);
        for request in said {
            let Request::Needs { keys, more } = request else { panic!("{request:?}") };
            assert!(follows, "nothing follows the last");
            all.extend(keys);
            follows = more;
        }
        assert_eq!((all, follows), (keys, false));
    }
}

#[test]
fn an_outcome_over_the_lanes_limit_is_said_to_be_elsewhere() {
    let mut buffer = Vec::new();
    for large in [
        Outcome::Returned(vec![1; LANE_LIMIT + 1].into()),
        Outcome::Panicked(Panic { message: "x".repeat(LANE_LIMIT), place: None }),
    ] {
        buffer.clear();
        let took = Duration::from_secs(1);
        assert_eq!(Reply::put(&mut buffer, 9, took, &large), Ok(false));
        let elsewhere = Reply::Elsewhere { number: 9, took, length: large.length() };
        assert_eq!(in_pieces(&buffer, 7, Frames::reply), Ok(vec![elsewhere]));
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_there() {
    let mut frames = Frames::default();
    let length = u32::try_from(FRAME_MOST + 1).expect("small");
    frames.room().extend_from_slice(&length.to_be_bytes());
    assert_eq!(frames.request(), Err(WireError::Frame { length: length.into() }));
}

#[test]
fn a_request_is_no_reply_and_a_reply_no_request() {
    let (mut asked, mut replied) = (Vec::new(), Vec::new());
    requests().iter().take(1).for_each(|it| it.put(&mut asked));
    Reply::put(&mut replied, 1, Duration::ZERO, &Outcome::TimedOut(vec![])).expect("put");
    assert!(in_pieces(&asked, 100, Frames::reply).is_err());
    assert!(in_pieces(&replied, 100, Frames::request).is_err());
}

proptest! {
    #[test]
    fn garbage_is_a_typed_error_or_a_frame_and_never_a_panic(
        kind in 0_u8..16, bytes in proptest::collection::vec(any::<u8>(), 0..60), size in 1_usize..20,
    ) {
        for framed in [true, false] {
            let mut whole = Vec::new();
            if framed {
                whole.extend_from_slice(&(bytes.len() as u32 + 1).to_be_bytes());
                whole.push(kind);
            }
            whole.extend_from_slice(&bytes);
            let (mut frames, mut others) = (Frames::default(), Frames::default());
            for piece in whole.chunks(size) {
                frames.room().extend_from_slice(piece);
                others.room().extend_from_slice(piece);
                while let Ok(Some(_)) = frames.request() {}
                while let Ok(Some(_)) = others.reply() {}
            }
        }
    }
}
