//! The pieces of raw data of one body: gathered while it is encoded, offered while it is decoded. Which body
//! that is, a value that is being encoded knows by its thread.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::LocalKey;

use bytes::{BufMut, Bytes};
use skyward_runtime::payload::{Common, Payload};

/// The raw pieces of one body.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    /// In the order in which they were found.
    pieces: Vec<Bytes>,
    /// The shared values that the body names.
    shared: Vec<Arc<Common>>,
}

/// What a body with segments begins with: the one byte that MessagePack never uses.
const MARK: u8 = 0xc1;

/// Mark, zeros, count and the encoding's length.
const HEAD: usize = 16;

/// Where segments begin: a multiple of what every allocation is aligned to, so that numbers in them can be
/// read where they are.
const ALIGNMENT: usize = 16;

/// Data below this size is encoded in place: a segment's entry and its padding would cost as much.
const LEAST: usize = 1024;

static ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];

thread_local! {
    static COLLECTED: RefCell<Option<Segments>> = const { RefCell::new(None) };
    static OFFERED: RefCell<Option<Segments>> = const { RefCell::new(None) };
}

/// Encodes something and gathers its raw pieces into `segments`.
pub(crate) fn collecting<T>(segments: &mut Segments, encode: impl FnOnce() -> T) -> T {
    with(&COLLECTED, segments, encode)
}

/// Decodes something whose raw pieces are `segments`.
pub(crate) fn offering<T>(segments: &mut Segments, decode: impl FnOnce() -> T) -> T {
    with(&OFFERED, segments, decode)
}

type Place = LocalKey<RefCell<Option<Segments>>>;

/// Does something with `segments` in a place of this thread. A body may have a shared value within, which is a
/// body of its own, so what the place had before is put back.
fn with<T>(place: &'static Place, segments: &mut Segments, act: impl FnOnce() -> T) -> T {
    let before = Before { place, segments: place.replace(Some(std::mem::take(segments))) };
    let done = act();
    *segments = place.take().unwrap_or_default();
    drop(before);
    done
}

/// What a place is given back when it is dropped, also by a panic of a user's encoding.
struct Before {
    place: &'static Place,
    segments: Option<Segments>,
}

impl Drop for Before {
    fn drop(&mut self) {
        self.place.replace(self.segments.take());
    }
}

/// Whether a body with segments is being decoded on this thread.
pub(super) fn is_offering() -> bool {
    OFFERED.with(|it| it.borrow().is_some())
}

/// Takes data as a segment of the body that is being encoded. `None` when there is none or it is not worth
/// it: then it is encoded in place.
pub(super) fn collect(data: &Bytes) -> Option<u32> {
    if data.len() < LEAST {
        return None;
    }
    COLLECTED.with(|it| {
        let mut collected = it.borrow_mut();
        let pieces = &mut collected.as_mut()?.pieces;
        let index = u32::try_from(pieces.len()).ok()?;
        pieces.push(data.clone());
        Some(index)
    })
}

/// Notes a shared value that the body that is being encoded names.
pub(super) fn need(common: &Arc<Common>) {
    COLLECTED.with(|it| {
        if let Some(segments) = it.borrow_mut().as_mut() {
            segments.shared.push(Arc::clone(common));
        }
    });
}

impl Segments {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether there is no raw piece.
    pub(crate) const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The shared values that were named.
    pub(crate) fn take_shared(&mut self) -> Vec<Arc<Common>> {
        std::mem::take(&mut self.shared)
    }
}

/// A segment of the body that is being decoded.
pub(super) fn offered(index: u64) -> Option<Bytes> {
    OFFERED.with(|it| it.borrow().as_ref()?.pieces.get(usize::try_from(index).ok()?).cloned())
}

/// An encoding with its segments as one body.
pub(crate) fn pack(encoded: Vec<u8>, segments: Segments) -> Payload {
    let segments = segments.pieces;
    if segments.is_empty() {
        return encoded.into();
    }
    let mut first = Vec::with_capacity(HEAD + segments.len() * 8 + encoded.len() + ALIGNMENT);
    first.put_slice(&[MARK, 0, 0, 0]);
    first.put_u32(u32::try_from(segments.len()).unwrap_or(u32::MAX));
    first.put_u64(encoded.len() as u64);
    segments.iter().for_each(|it| first.put_u64(it.len() as u64));
    first.extend_from_slice(&encoded);
    first.extend_from_slice(padding(first.len()));
    let mut rest = Vec::with_capacity(segments.len() * 2);
    for segment in segments {
        let padding = padding(segment.len());
        rest.push(segment);
        if !padding.is_empty() {
            rest.push(Bytes::from_static(padding));
        }
    }
    Payload::of(first.into(), rest)
}

/// The encoding and the segments of a body.
pub(crate) fn unpack(body: &Bytes) -> Result<(&[u8], Segments), String> {
    if body.first() != Some(&MARK) {
        return Ok((body, Segments::new()));
    }
    divide(body).ok_or_else(|| "its raw data is cut off".to_owned())
}

fn divide(body: &Bytes) -> Option<(&[u8], Segments)> {
    let count = usize::try_from(u32::from_be_bytes(*body.get(4..8)?.first_chunk()?)).ok()?;
    let encoded = usize::try_from(u64::from_be_bytes(*body.get(8..HEAD)?.first_chunk()?)).ok()?;
    let lengths = body.get(HEAD..HEAD.checked_add(count.checked_mul(8)?)?)?;
    let begin = HEAD + lengths.len();
    let end = begin.checked_add(encoded)?;
    let encoded = body.get(begin..end)?;
    let mut at = end.checked_add(padding(end).len())?;
    let mut cut = |length: usize| {
        let end = at.checked_add(length).filter(|it| *it <= body.len())?;
        let part = body.slice(at..end);
        at = end.checked_add(padding(end).len())?;
        Some(part)
    };
    let mut pieces = Vec::with_capacity(count);
    for length in lengths.chunks_exact(8) {
        pieces.push(cut(usize::try_from(u64::from_be_bytes(*length.first_chunk()?)).ok()?)?);
    }
    Some((encoded, Segments { pieces, shared: Vec::new() }))
}

/// What has to follow so many bytes to reach the next multiple of [`ALIGNMENT`].
fn padding(length: usize) -> &'static [u8] {
    let over = length % ALIGNMENT;
    ZEROS.get(over..).filter(|_| over > 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(piece: &'static [u8]) -> Segments {
        Segments { pieces: vec![Bytes::from_static(piece)], shared: Vec::new() }
    }

    #[test]
    fn a_body_within_a_body_leaves_the_outer_one_its_segments_also_when_it_panics() {
        let (mut outer, mut inner) = (of(b"outer"), of(b"inner"));
        offering(&mut outer, || {
            assert_eq!(offering(&mut inner, || offered(0)).as_deref(), Some(&b"inner"[..]));
            assert_eq!(offered(0).as_deref(), Some(&b"outer"[..]));
            let broken = std::panic::catch_unwind(|| offering(&mut of(b"broken"), || panic!("by a user")));
            assert!(broken.is_err());
            assert_eq!(offered(0).as_deref(), Some(&b"outer"[..]));
        });
        assert_eq!((outer.pieces.len(), inner.pieces.len(), is_offering()), (1, 1, false));
    }

    #[test]
    fn what_is_encoded_within_something_else_gathers_for_itself() {
        let (first, second) = (Bytes::from(vec![1; LEAST]), Bytes::from(vec![2; LEAST]));
        let (mut outer, mut inner) = (Segments::new(), Segments::new());
        collecting(&mut outer, || {
            assert_eq!(collect(&first), Some(0));
            assert_eq!(collecting(&mut inner, || collect(&second)), Some(0));
            assert_eq!(collect(&second), Some(1));
        });
        assert_eq!((outer.pieces, inner.pieces), (vec![first, second.clone()], vec![second]));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_and_every_segment_is_aligned(
            encoded in proptest::collection::vec(0_u8..0xc1, 1..60),
            segments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..5),
        ) {
            let pieces: Vec<Bytes> = segments.into_iter().map(Bytes::from).collect();
            let segments = Segments { pieces: pieces.clone(), shared: Vec::new() };
            let body = pack(encoded.clone(), segments).into_bytes();
            let (unpacked, found) = unpack(&body).expect("whole");
            prop_assert_eq!(unpacked, encoded);
            for segment in found.pieces.iter().filter(|it| !it.is_empty()) {
                prop_assert_eq!((segment.as_ptr() as usize - body.as_ptr() as usize) % ALIGNMENT, 0);
            }
            prop_assert_eq!(found.pieces, pieces);
        }

        #[test]
        fn garbage_is_refused_or_read_and_never_a_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 1..80), small: bool,
        ) {
            bytes[0] = MARK;
            if small {
                // Lengths that could be true.
                bytes.iter_mut().skip(4).take(3).for_each(|it| *it = 0);
                bytes.iter_mut().skip(8).take(7).for_each(|it| *it = 0);
            }
            let _ = unpack(&Bytes::from(bytes));
        }
    }
}
