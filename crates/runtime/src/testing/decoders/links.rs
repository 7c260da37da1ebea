//! What the two ends of a link say: the hello, the headers of calls and outcomes, and the items of streams.

use bytes::BytesMut;

use super::{again, now, packed, read};
use crate::items::record::{self, Record};
use crate::link::call::{OutcomeHeader, read_outcome};
use crate::link::hello::{Answer, understand};
use crate::link::{
    BODY_LIMIT, FRAME_LIMIT, Hello, InputHeader, OutcomeKind, PROTOCOL, Refusal, RequestHeader, read_message,
};
use crate::model::{Attempt, Crash, Epoch, FunctionId, Incarnation, Key, Line, OutputStream, Panic};
use crate::model::{PoolId, Rank, TaskId};

/// A word, by its first byte which one.
pub(super) fn words(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    match which % 8 {
        0 => {
            let understood = understand(rest);
            if let Ok(Ok(hello)) = &understood {
                assert_eq!(hello.protocol, PROTOCOL);
            }
            assert!(understood.is_ok() || again::<Hello>(rest).is_none());
        }
        1 => drop(again::<Answer>(rest)),
        2 => drop(again::<RequestHeader>(rest)),
        3 => drop(again::<OutcomeHeader>(rest)),
        4 => drop(again::<InputHeader>(rest)),
        5 => drop(again::<Vec<Line>>(rest)),
        6 => drop(now(read_message::<Hello, _>(&mut &*rest, "a hello"))),
        _ => outcome(rest),
    }
}

/// An outcome as it comes over a stream.
fn outcome(bytes: &[u8]) {
    let Ok(outcome) = now(read_outcome(&mut &*bytes, BODY_LIMIT)) else { return };
    let (kind, body) = read(outcome.clone().split());
    assert_eq!(OutcomeKind::try_from(kind as u8), Ok(kind));
    assert_eq!(crate::link::Outcome::join(kind, body.into_bytes()), Ok(outcome));
}

pub(super) fn word_seeds() -> Vec<Vec<u8>> {
    let hello = Hello {
        protocol: PROTOCOL,
        registry: [7; 32],
        program: Some("ab".to_owned()),
        pool: PoolId::new("p"),
        incarnation: Incarnation::new("w-1"),
        epoch: Epoch(3),
    };
    let call = RequestHeader {
        task: TaskId(9),
        attempt: Attempt(1),
        function: FunctionId(4),
        turn: 5,
        remaining: Some(std::time::Duration::from_millis(1500)),
        length: 3,
        key: Key::new("sweep[3]").ok(),
        resumes: false,
    };
    let line = Line { node: Rank(1), task: Some(TaskId(2)), stream: OutputStream::Stderr, text: "é".into() };
    let crash = Crash { signal: Some(6), code: None, output: vec!["why".to_owned()] };
    let panic = Panic { message: "boom".to_owned(), place: Some("a.rs:1:2".to_owned()) };
    let seed = |which: u8, encoded: Vec<Vec<u8>>| {
        encoded.into_iter().map(move |it| [&[which][..], &it].concat()).collect::<Vec<_>>()
    };
    let framed = |content: &[u8]| [&(content.len() as u32).to_be_bytes()[..], content].concat();
    let refusals = [Refusal::Lapsed, Refusal::registry([1; 32], [2; 32]), Refusal::Epoch { owner: Epoch(4) }];
    let answers = refusals.into_iter().map(Answer::Refused).chain([Answer::Welcome]);
    let outcomes = [
        (OutcomeKind::Returned, b"value".to_vec()),
        (OutcomeKind::Panicked, packed([panic]).concat()),
        (OutcomeKind::Crashed, packed([crash]).concat()),
        (OutcomeKind::Unencodable, b"\xffwhy".to_vec()),
    ];
    let outcomes = outcomes.into_iter().map(|(kind, body)| {
        let header = packed([(kind, body.len() as u64)]).concat();
        [framed(&header), body].concat()
    });
    [
        seed(0, packed([hello.clone()])),
        seed(1, packed(answers)),
        seed(2, packed([call])),
        seed(3, packed([(OutcomeKind::Failed, 3_u64)])),
        seed(4, packed([InputHeader { task: TaskId(1), attempt: Attempt(0), index: 2 }])),
        seed(5, packed([vec![line.clone(), Line::missed(Rank(0), 3), line]])),
        seed(6, packed([hello]).iter().map(|it| framed(it)).collect()),
        seed(6, vec![vec![0, 1, 0, 1], (FRAME_LIMIT as u32 + 1).to_be_bytes().to_vec()]),
        seed(7, outcomes.collect()),
    ]
    .concat()
}

/// The records of a stream, in pieces of a size that the first byte says.
pub(super) fn items(bytes: &[u8]) {
    let Some((piece, rest)) = bytes.split_first() else { return };
    let (mut arrived, mut items, mut is_over) = (BytesMut::new(), Vec::new(), false);
    'pieces: for piece in rest.chunks(usize::from(*piece) + 1) {
        arrived.extend_from_slice(piece);
        loop {
            match record::take(&mut arrived) {
                Ok(Some(Record::Item(item))) => items.push(item),
                Ok(Some(Record::End)) => {
                    is_over = true;
                    break 'pieces;
                }
                Ok(None) => break,
                Err(_) => break 'pieces,
            }
        }
    }
    let mut written = Vec::new();
    items.iter().for_each(|it| read(record::put(&mut written, it)));
    if is_over {
        record::put_end(&mut written);
    }
    assert!(rest.starts_with(&written), "what was taken is what was there");
}

pub(super) fn item_seeds() -> Vec<Vec<u8>> {
    let mut whole = vec![3];
    for item in [&b"one"[..], b"", b"three"] {
        read(record::put(&mut whole, item));
    }
    let cut = whole.get(..whole.len() - 2).unwrap_or_default().to_vec();
    record::put_end(&mut whole);
    whole.extend_from_slice(b"rest");
    vec![whole, cut, vec![0, 0xff, 0xff, 0xff, 0xfe], vec![200, 0x40, 0, 0, 1]]
}
