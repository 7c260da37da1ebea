//! Encoded arguments and values: one piece of bytes, or several that travel one after the other and arrive
//! as one. Large raw data stays where it is until it is sent, instead of being copied behind an encoding.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// Bytes in one or more pieces. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    first: Bytes,
    /// What follows the first piece; `None` is the common case.
    rest: Option<Arc<[Bytes]>>,
}

impl Payload {
    /// The pieces one after the other. Without any it is empty.
    pub fn of(first: Bytes, rest: Vec<Bytes>) -> Self {
        Self { first, rest: Some(rest).filter(|it| !it.is_empty()).map(Arc::from) }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.parts().map(Bytes::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces in their order.
    pub fn parts(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(self.rest.iter().flat_map(|it| it.iter()))
    }

    /// SHA-256 of the bytes.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        self.parts().for_each(|it| hasher.update(it));
        hasher.finalize().into()
    }

    /// Everything as one piece. Copies only when there are several.
    pub fn into_bytes(self) -> Bytes {
        if self.rest.is_none() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.len());
        self.parts().for_each(|it| whole.extend_from_slice(it));
        whole.freeze()
    }
}

/// Memory that small pieces of bytes share: one for each costs more than to copy them. The smallest keeps all of it, which
/// is [`Block::SIZE`].
#[derive(Debug, Default)]
pub struct Block {
    free: BytesMut,
}

impl Block {
    /// How much memory it takes at once.
    pub const SIZE: usize = 4 * 1024;

    /// Larger pieces get memory of their own.
    pub const LARGEST: usize = 256;

    /// A copy of these bytes.
    pub fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.is_empty() || bytes.len() > Self::LARGEST {
            return Bytes::copy_from_slice(bytes);
        }
        if self.free.capacity() < bytes.len() {
            self.free = BytesMut::with_capacity(Self::SIZE);
        }
        self.free.extend_from_slice(bytes);
        self.free.split().freeze()
    }
}

/// The name of a shared value: the hash of its encoding, and a number of this process, so that one that is
/// shared anew is not taken for one that is being forgotten.
pub type CommonKey = [u8; 40];

/// An encoded value that many calls need. Made once for each content; when the last one is dropped, whoever
/// was given it is told.
pub struct Common {
    key: CommonKey,
    payload: Payload,
    dropped: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

/// The living ones, by the hash of their content.
static LIVING: Mutex<BTreeMap<[u8; 32], Weak<Common>>> = Mutex::new(BTreeMap::new());

/// The number of the next.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Common {
    /// The one of this content.
    pub fn of(payload: Payload) -> Arc<Self> {
        let hash = payload.hash();
        let mut living = LIVING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = living.get(&hash).and_then(Weak::upgrade) {
            return same;
        }
        let mut key = [0; 40];
        let (first, second) = key.split_at_mut(hash.len());
        first.copy_from_slice(&hash);
        second.copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let common = Arc::new(Self { key, payload, dropped: Mutex::default() });
        living.insert(hash, Arc::downgrade(&common));
        common
    }

    /// The one of this key, if it was made in this process and lives.
    pub fn living(key: &CommonKey) -> Option<Arc<Self>> {
        let hash = key.first_chunk::<32>()?;
        let living = LIVING.lock().unwrap_or_else(PoisonError::into_inner);
        let found = living.get(hash).and_then(Weak::upgrade);
        drop(living);
        found.filter(|it| it.key == *key)
    }

    /// Its key.
    pub const fn key(&self) -> &CommonKey {
        &self.key
    }

    /// Its encoding.
    pub const fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Does something when the last one is dropped.
    pub fn when_dropped(&self, act: impl FnOnce() + Send + 'static) {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(act));
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        if let Some(hash) = self.key.first_chunk::<32>() {
            let mut living = LIVING.lock().unwrap_or_else(PoisonError::into_inner);
            // Another of the same content may have come meanwhile.
            if living.get(hash).is_some_and(|it| it.strong_count() == 0) {
                living.remove(hash);
            }
        }
        let dropped = std::mem::take(&mut *self.dropped.lock().unwrap_or_else(PoisonError::into_inner));
        dropped.into_iter().for_each(|act| act());
    }
}

impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Common({} bytes)", self.payload.len())
    }
}

macro_rules! from {
    ($($from:ty),+) => {
        $(impl From<$from> for Payload {
            fn from(first: $from) -> Self {
                Self { first: first.into(), rest: None }
            }
        })+
    };
}

from!(Bytes, Vec<u8>, String, &'static [u8], &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_one_after_the_other() {
        let (one, two) = (Bytes::from_static(b"one"), Bytes::from_static(b"two"));
        let payload = Payload::of(one.clone(), vec![two]);
        assert_eq!((payload.len(), payload.is_empty()), (6, false));
        assert_eq!(payload.into_bytes(), Bytes::from_static(b"onetwo"));
        assert_eq!(Payload::of(one.clone(), vec![]).into_bytes().as_ptr(), one.as_ptr());
        assert!(Payload::default().is_empty());
    }

    #[test]
    fn small_pieces_lie_beside_each_other_and_large_ones_alone() {
        let mut block = Block::default();
        let pieces: Vec<Bytes> = (0..=255).map(|it| block.copy(&[it; 33])).collect();
        assert!((0..=255).zip(&pieces).all(|(it, piece)| piece[..] == [it; 33]));
        let behind = |pair: &[Bytes]| pair[0].as_ptr() as usize + 33 == pair[1].as_ptr() as usize;
        let blocks = 256_usize.div_ceil(Block::SIZE / 33);
        assert!(pieces.windows(2).filter(|it| behind(it)).count() >= 256 - blocks);
        let large = block.copy(&[7; Block::LARGEST + 1]);
        assert_eq!((large.len(), large.is_unique(), block.copy(&[]).len()), (Block::LARGEST + 1, true, 0));
    }

    #[test]
    fn what_is_shared_is_one_for_each_content_until_the_last_is_dropped() {
        let (one, same) = (Common::of("content".into()), Common::of("content".into()));
        assert!(Arc::ptr_eq(&one, &same));
        let key = *one.key();
        assert!(Common::living(&key).is_some());
        let told = Arc::new(AtomicU64::new(0));
        let tell = Arc::clone(&told);
        one.when_dropped(move || {
            tell.fetch_add(1, Ordering::Relaxed);
        });
        drop(one);
        assert_eq!(told.load(Ordering::Relaxed), 0);
        drop(same);
        assert_eq!(told.load(Ordering::Relaxed), 1);
        assert!(Common::living(&key).is_none());
        assert_ne!(*Common::of("content".into()).key(), key);
    }
}
