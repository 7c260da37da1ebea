//! What is spread, in chunks that can be verified one by one: whoever has its manifest from the client needs to
//! trust nobody else.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::payload::Payload;

/// How long a chunk is: small, because each node of a row waits for one before it can pass it on; large beside what
/// asking and hashing cost. At 100 Mbit/s it takes 84 ms.
pub const CHUNK: u64 = 1 << 20;

/// The most chunks that there are: their hashes travel in one frame. Of what is larger the chunks are longer.
const MOST: u64 = 1024;

/// The longest chunk, in bytes: who receives one holds it before it is verified.
const LONGEST: u64 = 64 << 20;

/// The chunks of something, by their hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    length: u64,
    chunk: u64,
    /// SHA-256 of each chunk, one after the other.
    #[serde(with = "serde_bytes")]
    hashes: Vec<u8>,
}

/// A manifest from outside that does not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a list of chunks does not add up")]
pub struct Absurd;

impl Manifest {
    /// The manifest of these bytes. Hashes all of them.
    pub fn of(payload: &Payload) -> Self {
        let length = payload.len() as u64;
        let chunk = CHUNK * length.div_ceil(CHUNK * MOST).max(1);
        let mut hashes = Vec::new();
        let (mut hash, mut room) = (Sha256::new(), chunk);
        for mut part in payload.parts().cloned() {
            while !part.is_empty() {
                let taken = part.split_to(usize::try_from(room).unwrap_or(usize::MAX).min(part.len()));
                hash.update(&taken);
                room -= taken.len() as u64;
                if room == 0 {
                    hashes.extend_from_slice(&hash.finalize_reset());
                    room = chunk;
                }
            }
        }
        if room < chunk {
            hashes.extend_from_slice(&hash.finalize());
        }
        Self { length, chunk, hashes }
    }

    /// The same, if it adds up and is of at most `limit` bytes.
    ///
    /// # Errors
    /// When it does not.
    pub fn checked(self, limit: u64) -> Result<Self, Absurd> {
        let is_chunk = (1..=LONGEST).contains(&self.chunk) && self.length <= limit;
        let count = if is_chunk { self.length.div_ceil(self.chunk) } else { u64::MAX };
        let told = self.hashes.len() as u64;
        if count <= MOST && told == count * HASH as u64 { Ok(self) } else { Err(Absurd) }
    }

    /// How many bytes all chunks have together.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.hashes.len() / HASH).unwrap_or(u32::MAX)
    }

    /// Where a chunk begins, in bytes.
    pub fn offset(&self, chunk: u32) -> u64 {
        self.chunk.saturating_mul(chunk.into()).min(self.length)
    }

    /// How long a chunk is, in bytes; 0 of one that there is not.
    pub fn size(&self, chunk: u32) -> usize {
        let length = self.offset(chunk.saturating_add(1)) - self.offset(chunk);
        usize::try_from(length).unwrap_or(usize::MAX)
    }

    /// Whether these bytes are that chunk.
    pub fn is(&self, chunk: u32, bytes: &[u8]) -> bool {
        let at = usize::try_from(chunk).unwrap_or(usize::MAX).saturating_mul(HASH);
        let wanted = self.hashes.get(at..at.saturating_add(HASH));
        bytes.len() == self.size(chunk) && wanted.is_some_and(|it| it == Sha256::digest(bytes).as_slice())
    }
}

/// The pieces of these bytes from that place on.
pub(super) fn from(payload: &Payload, mut offset: u64) -> impl Iterator<Item = Bytes> {
    payload.parts().filter_map(move |part| {
        let skipped = offset.min(part.len() as u64);
        offset -= skipped;
        let rest = part.slice(usize::try_from(skipped).unwrap_or(usize::MAX)..);
        Some(rest).filter(|it| !it.is_empty())
    })
}

/// The length of a hash.
const HASH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|it| (it % 251) as u8).collect()
    }

    #[test]
    fn chunks_are_the_same_however_the_bytes_are_cut() {
        let whole = bytes(5 * (CHUNK as usize) / 2);
        let one = Manifest::of(&whole.clone().into());
        let (first, rest) = whole.split_at(700_000);
        let (second, third) = rest.split_at(CHUNK as usize);
        let [first, second, third] = [first, second, third].map(Bytes::copy_from_slice);
        let cut = Payload::of(first, vec![second, Bytes::new(), third]);
        assert_eq!(Manifest::of(&cut), one);
        assert_eq!(
            (one.chunks(), one.length(), one.size(2), one.size(3)),
            (3, whole.len() as u64, 1 << 19, 0)
        );
        let rest: Vec<u8> = from(&cut, one.offset(2)).flatten().collect();
        assert!(one.is(2, &rest) && !one.is(1, &rest));
        assert!(one.is(0, &whole[..CHUNK as usize]) && !one.is(0, &whole[1..=CHUNK as usize]));
        assert_eq!(one.clone().checked(one.length()), Ok(one));
    }

    #[test]
    fn what_is_large_has_longer_chunks_and_what_is_nothing_has_none() {
        let none = Manifest::of(&Payload::default());
        assert_eq!((none.chunks(), none.size(0), none.is(0, &[])), (0, 0, false));
        assert_eq!(none.clone().checked(0), Ok(none));
        let large = Payload::of(Bytes::new(), vec![Bytes::from(vec![7; 1 << 20]); 1025]);
        let large = Manifest::of(&large);
        assert_eq!((large.chunks(), large.size(0), large.size(512)), (513, 2 << 20, 1 << 20));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let right = Manifest::of(&bytes(3).into());
        for wrong in [
            Manifest { length: 2, ..right.clone() }.checked(1),
            Manifest { chunk: 0, ..right.clone() }.checked(9),
            Manifest { chunk: u64::MAX, ..right.clone() }.checked(9),
            Manifest { chunk: 1, ..right.clone() }.checked(9),
            Manifest { hashes: vec![0; 33], ..right.clone() }.checked(9),
            Manifest { length: u64::MAX, chunk: 1, hashes: vec![] }.checked(u64::MAX),
        ] {
            assert_eq!(wrong, Err(Absurd));
        }
        assert!(right.checked(3).is_ok());
    }
}
