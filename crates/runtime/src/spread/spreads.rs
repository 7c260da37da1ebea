//! The client's side of a pool whose nodes pass on what they share: who listens where, and who has what from whom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::OnceCell;

use super::manifest::{self, CHUNK, Manifest};
use super::state::{Fault, Reach, Source, Tree, width};
use super::wire::{Door, Offer, Said, Turn};
use crate::events::Events;
use crate::link::{Held, Kind, Link, LinkError, WireError, read_message, write_message};
use crate::model::{EventKind, Incarnation, Rank};
use crate::payload::{Common, CommonKey, Payload};

/// What the nodes of a pool pass on among themselves. Clones are the same.
#[derive(Clone, Debug)]
pub struct Spreads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    events: Events,
    doors: Mutex<BTreeMap<Incarnation, (Rank, Door)>>,
    things: Mutex<BTreeMap<CommonKey, Arc<Thing>>>,
    reach: Mutex<Reach>,
}

/// One thing, and who has it.
#[derive(Debug, Default)]
struct Thing {
    manifest: OnceCell<Manifest>,
    tree: Mutex<Tree>,
}

/// How often one node may ask for more of one thing. Two nodes in vain and then the client are three times; more is no
/// sane node.
const ROUNDS: u32 = 16;

impl Spreads {
    /// Nobody is there yet.
    pub fn new(events: Events) -> Self {
        Self(Arc::new(Inner {
            events,
            doors: Mutex::default(),
            things: Mutex::default(),
            reach: Mutex::default(),
        }))
    }

    /// A node of this name is there, and listens there for the others. The life of its rank before it is over.
    pub fn here(&self, rank: Rank, name: Incarnation, door: Door) {
        let mut doors = lock(&self.0.doors);
        let is_before = |(before, (of, _)): &(&Incarnation, &(Rank, Door))| *of == rank && **before != name;
        let before: Vec<_> = doors.iter().filter(is_before).map(|(name, _)| name.clone()).collect();
        doors.insert(name, (rank, door));
        drop(doors);
        before.iter().for_each(|it| self.left(it));
    }

    /// A node is there no more.
    pub fn left(&self, name: &Incarnation) {
        lock(&self.0.doors).remove(name);
        let things: Vec<_> = lock(&self.0.things).values().cloned().collect();
        things.iter().for_each(|it| lock(&it.tree).gone(name));
        lock(&self.0.reach).left(name);
    }

    /// Whether the worker of this link is given a value better by way of other nodes than by the client alone: it is
    /// more than one chunk, and there are others.
    pub fn takes(&self, link: &Link, common: &Common) -> bool {
        let doors = lock(&self.0.doors);
        common.payload().len() as u64 > CHUNK
            && doors.len() > 1
            && doors.contains_key(&link.hello().incarnation)
    }

    /// Has a worker have a shared value, from another node if one has begun to get it.
    ///
    /// # Errors
    /// As [`Link::share`].
    pub async fn share(self, link: Link, common: Arc<Common>) -> Result<(), LinkError> {
        link.share_by(&common, || self.give(&link, &common)).await
    }

    /// Gives one node a file, over the streams of what gets it there. What all of them are given under this key is the
    /// same.
    ///
    /// # Errors
    /// When the other side is gone, or breaks the protocol.
    pub async fn give_file<R, W>(
        &self,
        name: &Incarnation,
        key: CommonKey,
        payload: &Payload,
        streams: (&mut R, &mut W),
    ) -> Result<(), WireError>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let (thing, _) = self.thing(key);
        let manifest = thing.manifest(payload).await?;
        match self.converse(&thing, name, Offer { key, manifest }, payload, streams).await? {
            Some(reason) => Err(WireError::Interrupted(reason)),
            None => Ok(()),
        }
    }

    /// Whether another node is getting that from this one.
    pub fn is_asked(&self, key: CommonKey, name: &Incarnation) -> bool {
        lock(&self.thing(key).0.tree).is_asked(name)
    }

    async fn give(&self, link: &Link, common: &Arc<Common>) -> Result<(), LinkError> {
        let key = *common.key();
        let (thing, is_new) = self.thing(key);
        if is_new {
            let all = Arc::downgrade(&self.0);
            common.when_dropped(move || {
                if let Some(all) = all.upgrade() {
                    lock(&all.things).remove(&key);
                }
            });
        }
        let broken = |it: WireError| match it {
            WireError::Interrupted(reason) => link.over().unwrap_or(LinkError::Broken { reason }),
            other => link.over().unwrap_or(LinkError::Garbled(other)),
        };
        let manifest = thing.manifest(common.payload()).await.map_err(broken)?;
        let offer = Offer { key, manifest };
        let mut held = Held { stream: link.open(Kind::Spread, 0).await?, ended: false };
        let (from_node, to_node) = (&mut *held.stream.incoming, &mut *held.stream.outgoing);
        let name = link.hello().incarnation.clone();
        let given = self.converse(&thing, &name, offer, common.payload(), (from_node, to_node)).await;
        held.ended = given.is_ok();
        match given.map_err(broken)? {
            Some(reason) => Err(LinkError::NoRoom { reason }),
            None => Ok(()),
        }
    }

    /// Gives a node what it lacks, or tells it from whom it has it, until it has all of it. Why it cannot keep it, if so.
    async fn converse<R, W>(
        &self,
        thing: &Thing,
        name: &Incarnation,
        offer: Offer,
        payload: &Payload,
        (from_node, to_node): (&mut R, &mut W),
    ) -> Result<Option<String>, WireError>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let mut place = Place { tree: &thing.tree, name, kept: false };
        write_message(to_node, &offer).await?;
        let mut rounds = 0;
        while rounds < ROUNDS {
            match read_message(from_node, "what a node lacks").await? {
                Said::Have => {
                    place.kept = true;
                    self.has(thing, name, payload.len() as u64);
                    return Ok(None);
                }
                Said::NoRoom(reason) => return Ok(Some(reason)),
                Said::At { from } => {
                    let turn = self.faster(thing, name, from).map_or(Turn::Stay, Turn::Ask);
                    write_message(to_node, &turn).await?;
                }
                Said::Next { from, failed } => {
                    rounds += 1;
                    let turn = self.turn(thing, name, &offer.manifest, failed);
                    write_message(to_node, &turn).await?;
                    if turn == Turn::Mine {
                        self.give_rest(thing, name, (&offer.manifest, from), payload, to_node).await?;
                    }
                }
            }
        }
        Err(WireError::Interrupted("a node asked for the same again and again".to_owned()))
    }

    /// Gives a node the chunks from this one on.
    async fn give_rest<W: AsyncWrite + Unpin + ?Sized>(
        &self,
        thing: &Thing,
        name: &Incarnation,
        (manifest, from): (&Manifest, u32),
        payload: &Payload,
        to_node: &mut W,
    ) -> Result<(), WireError> {
        let interrupted = |it: std::io::Error| WireError::Interrupted(it.to_string());
        let (start, chunk) = (manifest.offset(from), manifest.size(0).max(1) as u64);
        let mut written = start;
        for piece in manifest::from(payload, start) {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let at = u32::try_from(written / chunk).unwrap_or(u32::MAX);
                lock(&thing.tree).at(name, at, Instant::now());
                let (now, later) = rest.split_at(rest.len().min(CHUNK as usize));
                to_node.write_all(now).await.map_err(interrupted)?;
                (written, rest) = (written + now.len() as u64, later);
            }
        }
        to_node.flush().await.map_err(interrupted)?;
        lock(&thing.tree).at(name, manifest.chunks(), Instant::now());
        Ok(())
    }

    /// Where a node that has the chunks before this one has the rest faster.
    fn faster(&self, thing: &Thing, name: &Incarnation, from: u32) -> Option<Door> {
        let (doors, mut tree, now) = (lock(&self.0.doors), lock(&thing.tree), Instant::now());
        tree.at(name, from, now);
        let before = tree.source(name).cloned();
        let door = doors.get(&tree.faster(name, now)?).map(|(_, door)| door.clone())?;
        if let (Some((rank, _)), Some(Source::Node(slow))) = (doors.get(name), &before)
            && let Some((peer, _)) = doors.get(slow)
        {
            let reason = "it is far slower than another, which is asked in its place".to_owned();
            self.0.events.emit(EventKind::PeerFailed { rank: *rank, peer: *peer, reason });
        }
        Some(door)
    }

    /// From whom a node has the rest.
    fn turn(
        &self,
        thing: &Thing,
        name: &Incarnation,
        manifest: &Manifest,
        failed: Option<(Fault, String)>,
    ) -> Turn {
        let (doors, mut tree) = (lock(&self.0.doors), lock(&thing.tree));
        if let (Some((fault, reason)), Some(Source::Node(source))) = (&failed, tree.source(name)) {
            match fault {
                Fault::Unreachable => lock(&self.0.reach).failed(source, Instant::now()),
                // It was linked to.
                Fault::Stopped | Fault::Lied => lock(&self.0.reach).reached(),
            }
            if let (Some((rank, _)), Some((peer, _))) = (doors.get(name), doors.get(source)) {
                let (rank, peer, reason) = (*rank, *peer, reason.clone());
                self.0.events.emit(EventKind::PeerFailed { rank, peer, reason });
            }
        }
        let alone = lock(&self.0.reach).is_in_vain(Instant::now());
        let width = width(manifest.chunks(), doors.len());
        let mut fault = failed.map(|(fault, _)| fault);
        loop {
            let Source::Node(source) = tree.ask(name, fault, width, alone) else { return Turn::Mine };
            if let Some((_, door)) = doors.get(&source) {
                return Turn::Ask(door.clone());
            }
            // It has left meanwhile.
            fault = Some(Fault::Stopped);
        }
    }

    /// A node has all of it.
    fn has(&self, thing: &Thing, name: &Incarnation, bytes: u64) {
        let doors = lock(&self.0.doors);
        let rank = |it: &Incarnation| doors.get(it).map(|(rank, _)| *rank);
        let from = match lock(&thing.tree).whole(name) {
            // It had it before.
            None => return,
            Some(Source::Client) => None,
            Some(Source::Node(source)) => {
                lock(&self.0.reach).reached();
                rank(&source)
            }
        };
        if let Some(rank) = rank(name) {
            self.0.events.emit(EventKind::Given { rank, from, bytes });
        }
    }

    /// What is known of the thing of this key, and whether nothing was.
    fn thing(&self, key: CommonKey) -> (Arc<Thing>, bool) {
        let mut things = lock(&self.0.things);
        let is_new = !things.contains_key(&key);
        (Arc::clone(things.entry(key).or_default()), is_new)
    }
}

impl Thing {
    async fn manifest(&self, payload: &Payload) -> Result<Manifest, WireError> {
        let hashed = self.manifest.get_or_try_init(|| {
            let payload = payload.clone();
            tokio::task::spawn_blocking(move || Manifest::of(&payload))
        });
        hashed.await.cloned().map_err(|it| WireError::Interrupted(it.to_string()))
    }
}

/// A node's place in a tree, for as long as it goes on.
struct Place<'a> {
    tree: &'a Mutex<Tree>,
    name: &'a Incarnation,
    kept: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.kept {
            lock(self.tree).gone(self.name);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "spreads_tests.rs"]
mod tests;
