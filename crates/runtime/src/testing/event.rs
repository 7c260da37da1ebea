//! What can happen in a simulated world: messages that reach a mailbox, steps that end, faults.

use std::time::Duration;

use super::asking::{Answer, Look, Order};
use super::cloud::MachineId;
use super::letter::Letter;
use super::link::LinkId;
use super::node::{LifeId, NodeMessage, Step};
use super::pool::PoolMessage;
use super::worker::{Inside, Of, Work};
use crate::model::{Attempt, Incarnation, InstanceId, Key, Rank, TaskId};
use crate::node::messages::Timer as NodeTimer;
use crate::pool::messages::Timer as PoolTimer;
use crate::retention::{Left, Try};

/// One event.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The pool reads a message.
    Pool(PoolMessage),
    /// A node reads a message.
    Node(LifeId, NodeMessage),
    /// The queue reads a message.
    Queue(Letter),
    /// A timer of the pool goes off.
    PoolTimer(PoolTimer),
    /// A timer of a node goes off, if it is still the one with this number.
    NodeTimer(LifeId, NodeTimer, u64),
    /// A node's step ends.
    Step(LifeId, Step),
    /// A provider answers what changes nothing.
    Cloud(Asked),
    /// A program writes down what it is about to ask a cloud for.
    Intends,
    /// A cloud does what it was asked for.
    Acts(Box<Order>),
    /// A cloud's answer is with the program that asked.
    Answered(Box<Answer>),
    /// It is looked for machines that nobody was told of.
    Looks(Look),
    /// The owner of the pool writes down that it lives.
    Fresh,
    /// A program that attached makes its calls, once it is known what workers keep, or at this time.
    Opens(Duration),
    /// Something happens to a machine.
    Machine(MachineId, Happening),
    /// A link is noticed to be broken.
    LinkBroken(LinkId, &'static str),
    /// A client hears that the worker has closed a link, as there is another.
    Replaced(LinkId),
    /// Something reaches the worker of a link.
    Work(LinkId, Work),
    /// Something happens in the worker of this number.
    Inside(MachineId, u64, Inside),
    /// A client hears under which keys a worker has something.
    Keys(LinkId, Incarnation, Vec<(Key, Left)>),
    /// A worker's word on a call reaches the client.
    Reply(LinkId, Try, Word),
    /// The client says how many outcomes of a link it has.
    Taken(LinkId, u64),
    /// It is looked whether a program's try that has long been over is still kept.
    Audit(u32, Try, Duration),
    /// Something happens to a call.
    Call(TaskId, CallEvent),
    /// The owner of the pool does something.
    Owner(Owner),
}

impl Event {
    /// Whether it happens in the program that planned it, and not outside.
    pub(super) const fn is_inside(&self) -> bool {
        match self {
            Self::Pool(_)
            | Self::Node(..)
            | Self::Queue(_)
            | Self::PoolTimer(_)
            | Self::NodeTimer(..)
            | Self::Step(..)
            | Self::Cloud(_)
            | Self::Intends
            | Self::Answered(_)
            | Self::Looks(_)
            | Self::Fresh
            | Self::Opens(_)
            | Self::Keys(..)
            | Self::Reply(..)
            | Self::Taken(..)
            | Self::Call(..) => true,
            Self::Acts(_)
            | Self::Machine(..)
            | Self::LinkBroken(..)
            | Self::Replaced(_)
            | Self::Work(..)
            | Self::Inside(..)
            | Self::Audit(..) => false,
            Self::Owner(owner) => match owner {
                Owner::Stops
                | Owner::Dies
                | Owner::Leaves
                | Owner::Resizes(_)
                | Owner::Sleeps(_)
                | Owner::Wakes => true,
                Owner::Runs | Owner::Reaps { .. } | Owner::Sets { .. } => false,
            },
        }
    }
}

/// What a provider is asked for that changes nothing.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Offers,
    Keep { rank: Rank, instance: InstanceId },
}

/// What can happen to a machine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    Boots,
    Dies(&'static str),
    /// Its cloud says that it takes it in so long, and does.
    Noticed(Duration),
    /// It looks at its lease.
    Looks,
    /// It is cut off the network.
    Cut(Duration),
    Freezes(Duration),
    /// Its link is reset.
    Reset,
}

/// What can happen to a call.
#[derive(Clone, Debug)]
pub(super) enum CallEvent {
    /// Its caller begins to wait for it.
    Begins,
    /// The queue's decision reaches the caller.
    Decided(Decided),
    /// The list of shares reaches the caller of a broadcast.
    Shares(Vec<TaskId>),
    /// The caller notices that the link of this try is broken.
    Breaks(u64, &'static str),
    /// The worker is asked for this try back.
    Recalled(Attempt),
    /// The caller loses interest.
    Cancelled,
    /// Its time is over.
    TimesOut,
}

/// The queue's decision as a caller gets it.
#[derive(Clone, Debug)]
pub(super) enum Decided {
    Grant {
        attempt: Attempt,
        link: LinkId,
    },
    Resume {
        attempt: Attempt,
        link: LinkId,
    },
    Refuse,
    /// The queue has ended.
    Over,
}

/// What an owner does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// Gives the pool back.
    Stops,
    /// Is killed: everything in its process vanishes.
    Dies,
    /// Leaves the pool to whoever attaches to it.
    Leaves,
    /// Wants so many nodes.
    Resizes(u32),
    /// Its computer sleeps for so long.
    Sleeps(Duration),
    /// It is awake again.
    Wakes,
    /// The program is run.
    Runs,
    /// Somebody gives back what nobody owns; `named`: also what can be attached to.
    Reaps { named: bool },
    /// Somebody sets the clock on the wall.
    Sets { length: Duration, forward: bool },
}

/// A worker's word on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It has ended, and this came of it.
    Ended(Of),
    /// It never came.
    Unknown,
    /// It was not taken.
    Full,
    /// It was not taken, and no other will be.
    Draining,
    /// It is given back; whether it had begun.
    Recalled { begun: bool },
}
