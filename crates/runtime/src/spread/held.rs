//! What a node has of things that are spread: chunk by chunk while they come, readable from the first chunk on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::manifest::Manifest;
use crate::payload::CommonKey;

/// Something that a node has, or is getting.
#[derive(Debug)]
pub struct Held {
    pub(super) key: CommonKey,
    pub(super) manifest: Manifest,
    content: Mutex<Content>,
    progress: watch::Sender<Progress>,
    /// Whoever fills it, one at a time.
    pub(super) filling: tokio::sync::Mutex<()>,
}

/// Where it is.
#[derive(Debug)]
enum Content {
    /// In memory, growing.
    Growing(Vec<u8>),
    /// In memory, all of it.
    Whole(Bytes),
    /// In a file.
    File(File),
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// How many chunks are here, from the first on.
    pub(super) chunks: u32,
    /// Nobody fills it.
    pub(super) stopped: bool,
}

/// What a node has.
#[derive(Debug, Default)]
pub struct Store(Mutex<BTreeMap<CommonKey, Arc<Held>>>);

/// How many things that nobody fills any more are kept for the client to go on with.
const HALVES: usize = 4;

impl Held {
    fn new(key: CommonKey, manifest: Manifest) -> Self {
        Self {
            key,
            manifest,
            content: Mutex::new(Content::Growing(Vec::new())),
            progress: watch::Sender::new(Progress { chunks: 0, stopped: true }),
            filling: tokio::sync::Mutex::new(()),
        }
    }

    /// What it is called.
    pub const fn key(&self) -> &CommonKey {
        &self.key
    }

    /// How many chunks are here, from the first on.
    pub fn chunks(&self) -> u32 {
        self.progress.borrow().chunks
    }

    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        self.chunks() == self.manifest.chunks()
    }

    /// All of it as one piece, once it is whole and in memory.
    pub fn whole(&self) -> Option<Bytes> {
        if !self.is_whole() {
            return None;
        }
        let mut content = self.content();
        if let Content::Growing(grown) = &mut *content {
            *content = Content::Whole(Bytes::from(std::mem::take(grown)));
        }
        match &*content {
            Content::Whole(bytes) => Some(bytes.clone()),
            Content::Growing(_) | Content::File(_) => None,
        }
    }

    /// From now on it is read from this file, which has all of it.
    pub fn rest_in(&self, file: File) {
        *self.content() = Content::File(file);
    }

    /// Takes in the next chunk, which has been verified.
    pub(super) fn add(&self, chunk: &[u8]) -> io::Result<()> {
        let mut content = self.content();
        if let Content::Growing(grown) = &mut *content {
            let length = usize::try_from(self.manifest.length()).unwrap_or(usize::MAX);
            // At once, because growing would copy again and again; what is not written to takes no memory.
            grown.try_reserve_exact(length.saturating_sub(grown.len())).map_err(io::Error::other)?;
            grown.extend_from_slice(chunk);
        }
        drop(content);
        self.progress.send_modify(|it| it.chunks = it.chunks.saturating_add(1));
        Ok(())
    }

    /// One of the chunks that are here. Reads from a disk where it lies there.
    pub(super) fn chunk(&self, number: u32) -> io::Result<Bytes> {
        let (offset, size) = (self.manifest.offset(number), self.manifest.size(number));
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = at.saturating_add(size);
        let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
        match &*self.content() {
            Content::Growing(grown) => grown.get(at..end).map(Bytes::copy_from_slice).ok_or_else(missing),
            Content::Whole(bytes) if end <= bytes.len() => Ok(bytes.slice(at..end)),
            Content::Whole(_) => Err(missing()),
            Content::File(file) => {
                let mut chunk = vec![0; size];
                file.read_exact_at(&mut chunk, offset)?;
                Ok(chunk.into())
            }
        }
    }

    pub(super) fn begun(&self) {
        self.progress.send_modify(|it| it.stopped = false);
    }

    pub(super) fn stopped(&self) {
        self.progress.send_modify(|it| it.stopped = true);
    }

    pub(super) fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// What is here of something that is offered, to be filled.
    pub fn offered(&self, key: CommonKey, manifest: Manifest) -> Arc<Held> {
        let mut all = self.all();
        if let Some(held) = all.get(&key)
            && held.manifest == manifest
        {
            return Arc::clone(held);
        }
        let halves = all.values().filter(|it| !it.is_whole() && it.progress.borrow().stopped);
        let halves: Vec<_> = halves.map(|it| it.key).collect();
        for key in halves.iter().skip(HALVES - 1) {
            all.remove(key);
        }
        let held = Arc::new(Held::new(key, manifest));
        all.insert(key, Arc::clone(&held));
        held
    }

    /// Something that is here, at least in part.
    pub fn find(&self, key: &CommonKey) -> Option<Arc<Held>> {
        self.all().get(key).cloned()
    }

    /// Lets go of something. Whoever is reading it goes on.
    pub fn forget(&self, key: &CommonKey) {
        let forgotten = self.all().remove(key);
        drop(forgotten);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<CommonKey, Arc<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
