//! What a caller asks for, and how it can fail.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::model::{Panic, Rank};
use crate::registry::Function;

/// One call to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// The function.
    pub function: &'static Function,
    /// Its arguments, encoded.
    pub arguments: Bytes,
    /// Where it may run.
    pub target: Target,
    /// What it shares its turn with: the calls of one gather take turns as one, so that a single call
    /// never waits behind all of them. `None`: a group of its own.
    pub group: Option<GroupId>,
    /// How long it may take from now, waiting included. `None`: [`crate::timing::Timing::call`],
    /// counted from the moment that a node has it.
    pub timeout: Option<Duration>,
}

/// Where a call may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// On any node.
    Any,
    /// On this node, even if it has to wait for it.
    Rank(Rank),
}

/// Calls that take their turns as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId(pub u64);

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// The function's own error, encoded.
    Failed(Bytes),
    /// The function panicked.
    Panicked(Panic),
    /// It took longer than it was given.
    TimedOut {
        /// What it was given.
        after: Duration,
    },
    /// The node or the link to it was lost, as often as is allowed.
    Lost(Lost),
    /// It was cancelled on the node, because the node is draining.
    Cancelled,
    /// The pool has no such rank.
    NoSuchNode {
        /// The rank that was asked for.
        rank: Rank,
        /// How many ranks the pool has, lost ones included.
        nodes: u32,
    },
    /// Every node of the pool is lost.
    NoNodes,
    /// The value could not be encoded on the node.
    Unencodable(String),
    /// The arguments could not be decoded on the node.
    Undecodable(String),
    /// The pool is being given back, or is already.
    Stopped,
}

/// A task that the infrastructure lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where it ran last.
    pub rank: Option<Rank>,
    /// What happened there.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rank {
            Some(rank) => write!(f, "lost on node {rank} after {} attempts: {}", self.attempts, self.reason),
            None => write!(f, "lost after {} attempts: {}", self.attempts, self.reason),
        }
    }
}
