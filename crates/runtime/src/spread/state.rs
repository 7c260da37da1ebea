//! Who has what from whom: the tree along which one thing is spread. Pure.
//!
//! A node that asks is given a place below one that has begun, with as few below it as there may be; when that fails
//! it asks again, with what it has already, and is given another place that is not below itself, or the client.

use std::collections::{BTreeMap, BTreeSet};

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
}

/// Whether nodes reach each other at all, as far as is known.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    reached: bool,
    /// Those that could not be linked to.
    failed: BTreeSet<Incarnation>,
}

/// How many other nodes a node asks in vain before it asks the client.
const TRIES: usize = 2;

/// When so many nodes could not be linked to, and not one could, no node asks another any more.
const FAILURES: usize = 3;

/// The most that are below one node at once.
const WIDEST: usize = 2;

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
        let place = self.nodes.get(node)?;
        let is_free = |it: &&Incarnation| {
            *it != node
                && !place.failed.contains(*it)
                && !self.liars.contains(*it)
                && self.below(it).count() < width
                && !self.is_below(it, node)
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

impl Reach {
    /// A node could not link to this one.
    pub(crate) fn failed(&mut self, source: &Incarnation) {
        self.failed.insert(source.clone());
    }

    /// A node could link to another.
    pub(crate) const fn reached(&mut self) {
        self.reached = true;
    }

    /// Whether nodes are not to ask each other.
    pub(crate) fn is_in_vain(&self) -> bool {
        !self.reached && self.failed.len() >= FAILURES
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
