//! One item after the other in a buffer. The end is a record too, so that a stream which merely stops is
//! known to be broken.
//!
//! ```text
//! record = length (4 bytes, big endian, at most ITEM_LIMIT), then that many bytes
//!        | END (4 bytes), then whatever the end has to say
//! ```

use bytes::{Buf, Bytes, BytesMut};

/// The largest item in bytes: 1 GiB. Each is held in memory whole by both sides, and the next one waits
/// for it; larger ones would only be cut by hand into several.
pub const ITEM_LIMIT: usize = 1 << 30;

/// Where a length would be, there is the end.
const END: u32 = u32::MAX;

/// How many bytes a length takes.
const LENGTH: usize = size_of::<u32>();

/// What stands at the beginning of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An item.
    Item(Bytes),
    /// The end; what follows is not a record.
    End,
}

/// An item that is too large, by its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge(pub u64);

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an item of {} bytes is over the limit of {ITEM_LIMIT}", self.0)
    }
}

/// Begins an item at the end of the buffer; its bytes are appended by whoever has them. Returns where it
/// begins, for [`close`].
pub fn open(buffer: &mut Vec<u8>) -> usize {
    let at = buffer.len();
    buffer.extend_from_slice(&[0; LENGTH]);
    at
}

/// Ends the item that begins at `at`. One that is too large is taken out again.
pub fn close(buffer: &mut Vec<u8>, at: usize) -> Result<(), TooLarge> {
    let length = buffer.len().saturating_sub(at).saturating_sub(LENGTH);
    let written = u32::try_from(length).ok().filter(|_| length <= ITEM_LIMIT);
    match (written, buffer.get_mut(at..).and_then(|it| it.first_chunk_mut::<LENGTH>())) {
        (Some(written), Some(place)) => {
            *place = written.to_be_bytes();
            Ok(())
        }
        _ => {
            buffer.truncate(at);
            Err(TooLarge(length as u64))
        }
    }
}

/// Appends a whole item.
pub fn put(buffer: &mut Vec<u8>, item: &[u8]) -> Result<(), TooLarge> {
    let at = open(buffer);
    if item.len() <= ITEM_LIMIT {
        buffer.extend_from_slice(item);
        return close(buffer, at);
    }
    buffer.truncate(at);
    Err(TooLarge(item.len() as u64))
}

/// Appends the end.
pub fn put_end(buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(&END.to_be_bytes());
}

/// Takes the record at the beginning of the buffer; `None` while it is not there as a whole.
pub fn take(buffer: &mut BytesMut) -> Result<Option<Record>, TooLarge> {
    let Some(length) = buffer.first_chunk::<LENGTH>().map(|it| u32::from_be_bytes(*it)) else {
        return Ok(None);
    };
    if length == END {
        buffer.advance(LENGTH);
        return Ok(Some(Record::End));
    }
    let whole = usize::try_from(length).unwrap_or(usize::MAX);
    if whole > ITEM_LIMIT {
        return Err(TooLarge(length.into()));
    }
    if buffer.len() - LENGTH < whole {
        return Ok(None);
    }
    buffer.advance(LENGTH);
    Ok(Some(Record::Item(buffer.split_to(whole).freeze())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(mut buffer: BytesMut) -> (Vec<Record>, Result<BytesMut, TooLarge>) {
        let mut records = Vec::new();
        loop {
            match take(&mut buffer) {
                Ok(Some(Record::End)) => {
                    records.push(Record::End);
                    return (records, Ok(buffer));
                }
                Ok(Some(record)) => records.push(record),
                Ok(None) => return (records, Ok(buffer)),
                Err(error) => return (records, Err(error)),
            }
        }
    }

    #[test]
    fn an_item_over_the_limit_is_refused_by_its_announced_length() {
        let (records, rest) = all(BytesMut::from(&[0xff, 0xff, 0xff, 0xfe, 1, 2][..]));
        assert_eq!((records, rest), (vec![], Err(TooLarge(0xffff_fffe))));
        let (records, rest) = all(BytesMut::from(&[0x40, 0, 0, 1][..]));
        assert_eq!((records, rest), (vec![], Err(TooLarge(ITEM_LIMIT as u64 + 1))));
    }

    #[test]
    fn a_record_that_is_not_whole_is_waited_for() {
        for bytes in [&[][..], &[0], &[0, 0, 0], &[0, 0, 0, 2], &[0, 0, 0, 2, 7]] {
            assert_eq!(take(&mut BytesMut::from(bytes)), Ok(None), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken_again_wherever_it_is_cut(
            items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20),
            cut in 0..2000_usize,
        ) {
            let mut buffer = Vec::new();
            for item in &items {
                put(&mut buffer, item).expect("small");
            }
            put_end(&mut buffer);
            buffer.extend_from_slice(b"rest");
            let (first, second) = buffer.split_at(cut.min(buffer.len()));
            let mut arriving = BytesMut::from(first);
            let mut got = Vec::new();
            for more in [&[][..], second] {
                if got.last() == Some(&Record::End) {
                    arriving.extend_from_slice(more);
                    break;
                }
                arriving.extend_from_slice(more);
                let (records, rest) = all(arriving);
                got.extend(records);
                arriving = rest.expect("within the limit");
            }
            let expected: Vec<_> =
                items.into_iter().map(|it| Record::Item(it.into())).chain([Record::End]).collect();
            prop_assert_eq!(got, expected);
            prop_assert_eq!(&arriving[..], b"rest");
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = all(BytesMut::from(&bytes[..]));
        }
    }
}
