//! What a caller asks for, and how it can fail.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::meter::Meter;
use crate::journal::JournalError;
use crate::model::{Crash, FunctionId, Key, KeyError, Panic, Rank, Timeout};
use crate::output::Show;
use crate::payload::{Common, Payload};
use crate::registry::{Function, Registry};

/// One call to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// The function.
    pub function: &'static Function,
    /// Its arguments, encoded.
    pub arguments: Payload,
    /// The shared values that its arguments name.
    pub shared: Vec<Arc<Common>>,
    /// Where it may run.
    pub target: Target,
    /// What it shares its turn with: the calls of one gather take turns as one, so that a single call
    /// never waits behind all of them. `None`: a group of its own.
    pub group: Option<GroupId>,
    /// How often it may be tried again after a failure of its own.
    pub retries: u32,
    /// How often it may be tried again after the node or the link under it was lost. `None`: what the
    /// pool says.
    pub interruptions: Option<u32>,
    /// How long it may take from now, waiting included. `None`: [`crate::timing::Timing::call`],
    /// counted from the moment that a node has it.
    pub timeout: Option<Duration>,
    /// What is shown of its output, at most. `None`: what the pool shows.
    pub show: Option<Show>,
    /// What its tries cost is added to this.
    pub meter: Option<Meter>,
    /// What its worker keeps its outcome under, until its caller has taken it.
    pub key: Option<Key>,
}

impl Order {
    /// The function's number. A function of this program is always in its registry; a number that no
    /// registry has is answered by the worker with a clear outcome.
    pub(super) fn function_id(&self) -> FunctionId {
        Registry::global().ok().and_then(|it| it.id(self.function)).unwrap_or(FunctionId(u32::MAX))
    }
}

/// How often a call may be tried again after its first try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// After a failure of its own: an error that it returned, a panic, or the end of its process. Default 0: only who wrote the
    /// function knows whether that can help.
    pub own: u32,
    /// After the node or the link under it was lost. Default 3. With 0 a call is never run twice.
    pub infrastructure: u32,
    /// Of those, after its worker's process ended while the machine lived: the call itself may be what
    /// ended it. Default 2. At least 1; a call whose workers have ended so often is not tried again when
    /// it is lost once more.
    pub crashes: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { own: 0, infrastructure: 3, crashes: 2 }
    }
}

/// What becomes of a broadcast when one of its nodes is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLost {
    /// The broadcast fails, and what still runs is cancelled.
    #[default]
    FailFast,
    /// The lost node's share is run on the machine that replaces it.
    Replace,
    /// The broadcast goes on without it: its result is missing from the list.
    Ignore,
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
    /// The function's process ended before it did.
    Crashed(Crash),
    /// It took longer than it was given.
    TimedOut(Timeout),
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
    /// Its key cannot be used.
    Key(KeyError),
    /// The pool is being given back, or is already.
    Stopped,
    /// Another program has the pool: this one may do nothing more with it.
    Superseded(Box<JournalError>),
}

impl Undone {
    /// Whether it is the function's own failure: an error that it returned, a panic, or the end of its process.
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Panicked(_) | Self::Crashed(_))
    }

    /// What happened, for the log and the events of a retry.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Failed(_) => "the function returned an error".to_owned(),
            Self::Panicked(panic) => panic.to_string(),
            Self::Crashed(crash) => format!("its process {crash}"),
            Self::Lost(lost) => lost.to_string(),
            Self::TimedOut(_)
            | Self::Cancelled
            | Self::NoSuchNode { .. }
            | Self::NoNodes
            | Self::Unencodable(_)
            | Self::Undecodable(_)
            | Self::Key(_)
            | Self::Stopped
            | Self::Superseded(_) => "it could not be run".to_owned(),
        }
    }
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
