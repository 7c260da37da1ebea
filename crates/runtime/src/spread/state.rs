//! Who has what from whom: the tree along which one thing is spread. Pure.
//!
//! A node that asks is given a place below one that has begun, with as few below it as there may be; when that fails
//! it asks again, with what it has already, and is given another place that is not below itself, or the client. One that
//! is far slower than another could be, because whom it has it from is slow, is put below that other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::model::Incarnation;

/// From whom a node has, or will have, what it lacks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The client, who has all of it.
    Client,
    /// Another node, also while it has only begun.
    Node(Incarnation),
}

/// What was wrong with a source, as the node says that asked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// No link to it could be made.
    Unreachable,
    /// It had nothing, or stopped in the middle.
    Stopped,
    /// What it gave is not what was asked for.
    Lied,
}

/// Who has one thing, who is getting it, and from whom.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<Incarnation, Place>,
    /// How often each was asked in vain.
    vain: BTreeMap<Incarnation, u32>,
    /// Never asked again.
    liars: BTreeSet<Incarnation>,
}

/// A node's place in it.
#[derive(Debug, Default)]
struct Place {
    source: Option<Source>,
    whole: bool,
    /// Whom it has asked in vain.
    failed: BTreeSet<Incarnation>,
    pace: Option<Pace>,
    /// How often it was put below a faster node.
    moved: usize,
}

/// How fast it comes to a node.
#[derive(Clone, Copy, Debug)]
struct Pace {
    began: Instant,
    /// What was there then.
    first: u32,
    /// When it was last heard of, and what was there.
    heard: Instant,
    chunks: u32,
    /// When the time began over which it is judged, and what was there.
    mark: Instant,
    at_mark: u32,
}

/// Whether nodes reach each other at all, as far as is known.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    reached: bool,
    /// Those that could not be linked to, and when that was last so.
    failed: BTreeMap<Incarnation, Instant>,
}

/// How many other nodes a node asks in vain before it asks the client.
const TRIES: usize = 2;

/// When so many nodes could not be linked to, and not one could, no node asks another any more.
const FAILURES: usize = 3;

/// How long that is remembered: networks are mended, and nodes are replaced.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The most that are below one node at once.
const WIDEST: usize = 2;

/// A node is judged by so long a time.
const JUDGED: Duration = Duration::from_secs(3);

/// It is moved to one that has so many chunks more, and has got them so many times as fast; and so often at most.
const LEAD: u32 = 3;
const FAR: f64 = 4.0;
const MOVES: usize = 2;

/// How many nodes are to be below one. In a row everything passes each wire once, at its full speed, and the last
/// node waits for a chunk from each before it; in a tree of twos each wire carries everything twice, and the last
/// one waits for fewer. A row is faster for what has more chunks than there are nodes.
pub(crate) const fn width(chunks: u32, nodes: usize) -> usize {
    if chunks as usize >= nodes { 1 } else { WIDEST }
}

impl Tree {
    /// A node asks for what it lacks. `failed`: what was wrong with the source that it had. `alone`: it is not to ask
    /// other nodes.
    pub(crate) fn ask(
        &mut self,
        node: &Incarnation,
        failed: Option<Fault>,
        width: usize,
        alone: bool,
    ) -> Source {
        let place = self.nodes.entry(node.clone()).or_default();
        place.whole = false;
        if let (Some(Source::Node(source)), Some(fault)) = (place.source.take(), failed) {
            if fault == Fault::Lied {
                self.liars.insert(source.clone());
            }
            let vain = self.vain.entry(source.clone()).or_default();
            *vain = vain.saturating_add(1);
            place.failed.insert(source);
        }
        let given_up = alone || place.failed.len() >= TRIES;
        let source = if given_up { None } else { self.free(node, width) };
        let source = source.map_or(Source::Client, Source::Node);
        if let Some(place) = self.nodes.get_mut(node) {
            place.source = Some(source.clone());
        }
        source
    }

    /// So many chunks are at a node now.
    pub(crate) fn at(&mut self, node: &Incarnation, chunks: u32, now: Instant) {
        let place = self.nodes.entry(node.clone()).or_default();
        let fresh = Pace { began: now, first: chunks, heard: now, chunks, mark: now, at_mark: chunks };
        let pace = place.pace.get_or_insert(fresh);
        if chunks > pace.chunks {
            (pace.heard, pace.chunks) = (now, chunks);
        }
    }

    /// The node that another is put below, because it has it from one that is far slower.
    pub(crate) fn faster(&mut self, node: &Incarnation, now: Instant) -> Option<Incarnation> {
        let place = self.nodes.get_mut(node)?;
        let pace = place.pace.as_mut()?;
        let took = now.saturating_duration_since(pace.mark);
        if took < JUDGED {
            return None;
        }
        let own = per_second(pace.chunks.saturating_sub(pace.at_mark), took);
        (pace.mark, pace.at_mark) = (now, pace.chunks);
        let (chunks, source) = (pace.chunks, place.source.clone());
        let Some(Source::Node(source)) = source else { return None };
        if place.moved >= MOVES {
            return None;
        }
        let is_far_ahead = |it: &Incarnation| {
            let pace = self.nodes.get(it).and_then(|it| it.pace);
            pace.is_some_and(|it| it.chunks >= chunks.saturating_add(LEAD) && it.average() > own * FAR)
        };
        let faster = self.best(node, WIDEST, |it| *it != source && is_far_ahead(it))?;
        if let Some(place) = self.nodes.get_mut(node) {
            place.source = Some(Source::Node(faster.clone()));
            place.moved += 1;
        }
        Some(faster)
    }

    /// From whom a node has it now.
    pub(crate) fn source(&self, node: &Incarnation) -> Option<&Source> {
        self.nodes.get(node)?.source.as_ref()
    }

    /// A node has all of it. From whom it had the rest, if it lacked any.
    pub(crate) fn whole(&mut self, node: &Incarnation) -> Option<Source> {
        let place = self.nodes.entry(node.clone()).or_default();
        place.whole = true;
        place.source.take()
    }

    /// A node is not there any more, or does not go on. Those below it will ask again.
    pub(crate) fn gone(&mut self, node: &Incarnation) {
        self.nodes.remove(node);
    }

    /// The best node that another can be put below.
    fn free(&self, node: &Incarnation, width: usize) -> Option<Incarnation> {
        self.best(node, width, |_| true)
    }

    /// The best of those that another can be put below, and that are wanted.
    fn best(
        &self,
        node: &Incarnation,
        width: usize,
        is_wanted: impl Fn(&Incarnation) -> bool,
    ) -> Option<Incarnation> {
        let place = self.nodes.get(node)?;
        let is_free = |it: &&Incarnation| {
            *it != node
                && !place.failed.contains(*it)
                && !self.liars.contains(*it)
                && self.below(it).count() < width
                && !self.is_below(it, node)
                && is_wanted(it)
        };
        let candidates = self.nodes.keys().filter(is_free);
        let vain = |it: &Incarnation| self.vain.get(it).copied().unwrap_or_default();
        candidates.min_by_key(|it| (vain(it), self.depth(it), self.below(it).count())).cloned()
    }

    /// Whether another node is getting it from this one.
    pub(crate) fn is_asked(&self, node: &Incarnation) -> bool {
        self.below(node).next().is_some()
    }

    /// Those that are getting it from this node.
    fn below<'a>(&'a self, node: &'a Incarnation) -> impl Iterator<Item = &'a Incarnation> {
        let from = move |it: &Place| matches!(&it.source, Some(Source::Node(source)) if source == node);
        self.nodes.iter().filter(move |(_, it)| from(it)).map(|(name, _)| name)
    }

    /// Whether what this node has comes by way of the other, directly or not.
    fn is_below(&self, node: &Incarnation, of: &Incarnation) -> bool {
        self.way(node).any(|it| it == of)
    }

    /// How many nodes it has come through when it is here; 0 where all of it is.
    fn depth(&self, node: &Incarnation) -> usize {
        if self.nodes.get(node).is_some_and(|it| it.whole) { 0 } else { 1 + self.way(node).count() }
    }

    /// The nodes that it comes through, from the nearest on. No node is on it twice: nobody is put below itself.
    fn way<'a>(&'a self, node: &'a Incarnation) -> impl Iterator<Item = &'a Incarnation> {
        let source = |it: &Incarnation| match &self.nodes.get(it)?.source {
            Some(Source::Node(source)) => Some(source),
            Some(Source::Client) | None => None,
        };
        std::iter::successors(source(node), move |it| source(it)).take(self.nodes.len())
    }
}

impl Pace {
    /// How fast it came to it, from its first chunk to its last.
    fn average(&self) -> f64 {
        let took = self.heard.saturating_duration_since(self.began);
        per_second(self.chunks.saturating_sub(self.first), took)
    }
}

/// So much in a second. What took no time that can be told is fast.
fn per_second(chunks: u32, took: Duration) -> f64 {
    f64::from(chunks) / took.as_secs_f64().max(0.001)
}

impl Reach {
    /// A node could not link to this one now.
    pub(crate) fn failed(&mut self, source: &Incarnation, now: Instant) {
        self.failed.insert(source.clone(), now);
    }

    /// A node is there no more, and says nothing of those that are.
    pub(crate) fn left(&mut self, node: &Incarnation) {
        self.failed.remove(node);
    }

    /// A node could link to another.
    pub(crate) const fn reached(&mut self) {
        self.reached = true;
    }

    /// Whether nodes are not to ask each other now.
    pub(crate) fn is_in_vain(&self, now: Instant) -> bool {
        let is_fresh = |it: &&Instant| now.saturating_duration_since(**it) < REMEMBERED;
        !self.reached && self.failed.values().filter(is_fresh).count() >= FAILURES
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
