//! The client's side of a pool whose nodes pass on what they share: who listens where, and who has what from whom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
        self.converse(&thing, name, Offer { key, manifest }, payload, streams).await
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
        given.map_err(broken)
    }

    /// Gives a node what it lacks, or tells it from whom it has it, until it has all of it.
    async fn converse<R, W>(
        &self,
        thing: &Thing,
        name: &Incarnation,
        offer: Offer,
        payload: &Payload,
        (from_node, to_node): (&mut R, &mut W),
    ) -> Result<(), WireError>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let mut place = Place { tree: &thing.tree, name, kept: false };
        write_message(to_node, &offer).await?;
        for _ in 0..ROUNDS {
            match read_message(from_node, "what a node lacks").await? {
                Said::Have => {
                    place.kept = true;
                    self.has(thing, name, payload.len() as u64);
                    return Ok(());
                }
                Said::Next { from, failed } => {
                    let turn = self.turn(thing, name, &offer.manifest, failed);
                    write_message(to_node, &turn).await?;
                    if turn == Turn::Mine {
                        let interrupted = |it: std::io::Error| WireError::Interrupted(it.to_string());
                        for piece in manifest::from(payload, offer.manifest.offset(from)) {
                            to_node.write_all(&piece).await.map_err(interrupted)?;
                        }
                        to_node.flush().await.map_err(interrupted)?;
                    }
                }
            }
        }
        Err(WireError::Interrupted("a node asked for the same again and again".to_owned()))
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
                Fault::Unreachable => lock(&self.0.reach).failed(source),
                // It was linked to.
                Fault::Stopped | Fault::Lied => lock(&self.0.reach).reached(),
            }
            if let (Some((rank, _)), Some((peer, _))) = (doors.get(name), doors.get(source)) {
                let (rank, peer, reason) = (*rank, *peer, reason.clone());
                self.0.events.emit(EventKind::PeerFailed { rank, peer, reason });
            }
        }
        let alone = lock(&self.0.reach).is_in_vain();
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
