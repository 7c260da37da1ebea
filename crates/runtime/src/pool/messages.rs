//! What the PoolActor hears.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ractor_cluster::RactorMessage;
use tokio::sync::oneshot;

use super::adopting::Adoption;
use super::error::StartError;
use super::key_file::KeyFile;
use super::plan::Plan;
use super::request::PoolRequest;
use super::strays::Step;
use crate::journal::JournalError;
use crate::link::{InUse, Link};
use crate::model::{
    Attempt, Capabilities, Incarnation, InstanceId, InvalidRequest, KeptMachine, Leftover, Rank, Scaling, Usd,
};
use crate::node::{NodeKit, NodeReport};
use crate::provider::{ProviderErrorKind, ProviderRef};
use crate::tasks::Demand;

/// Messages of the PoolActor: the results of its own steps, its nodes' reports, and one order.
#[derive(Debug, RactorMessage)]
pub(super) enum PoolMessage {
    /// A step ended.
    Heard(Heard),
    /// What came of a request for machines, and what they were rented with.
    Provisioned {
        /// With this.
        kit: Arc<NodeKit>,
        /// Which request.
        request: Attempt,
        /// The machines.
        instances: Vec<InstanceId>,
        /// Why there are fewer than asked for.
        shortfall: Option<Shortfall>,
    },
    /// The provider is set up; this is what the nodes are given.
    Prepared(Arc<NodeKit>),
    /// What another program had set up is ready to be gone on with: with what its machines were rented.
    Readopted {
        /// The machines of each.
        kits: Vec<(Arc<NodeKit>, Vec<InstanceId>)>,
        /// Those with which something was asked for that nobody heard an answer to.
        unheard: Vec<Arc<NodeKit>>,
    },
    /// Machines that nobody was told of are looked for.
    Strays(Step),
    /// The provider is not set up, or not entirely: what is there has to be undone with this.
    Unprepared(Arc<NodeKit>, StartError),
    /// A node says what became of it.
    Node(NodeReport),
    /// A node that became ready knows its peers, and they know it.
    Introduced {
        /// Its rank.
        rank: Rank,
        /// Which life of it.
        attempt: Attempt,
        /// Its link.
        link: Link,
    },
    /// A machine that failed lives on for a while, and this is the way there; or why it does not.
    Kept {
        /// Which.
        instance: InstanceId,
        /// Its key's file goes with the machine.
        kept: Result<(KeptMachine, KeyFile), String>,
    },
    /// Somebody wants the links of the nodes that there are.
    Links(oneshot::Sender<Vec<(Rank, Link, InUse)>>),
    /// Somebody wants the link of this worker, which may be leaving.
    LinkOf(Incarnation, oneshot::Sender<Option<(Rank, Link, InUse)>>),
    /// Somebody wants to know whose machines nothing ends but their cloud.
    Unattended(oneshot::Sender<BTreeSet<String>>),
    /// The owner wants so many nodes.
    Resize(u32, oneshot::Sender<Result<(), InvalidRequest>>),
    /// Give everything back.
    Stop,
    /// Leave everything as it is.
    Detach,
}

impl PoolMessage {
    pub(super) const fn heard(heard: Heard) -> Self {
        Self::Heard(heard)
    }

    pub(super) const fn woke(timer: Timer) -> Self {
        Self::heard(Heard::Woke(timer))
    }
}

/// What a pool may cost, how it scales, and what its providers can.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most that it may cost in all.
    pub(crate) total: Option<Usd>,
    /// The most that all its nodes together may cost an hour.
    pub(crate) hourly: Option<Usd>,
    pub(crate) scaling: Scaling,
    /// How many calls a node runs at once.
    pub(crate) slots: u32,
    /// What the providers can, by name.
    pub(crate) clouds: BTreeMap<String, Capabilities>,
}

impl Limits {
    /// What is asked for, of these providers: of two of one name what both can.
    pub(super) fn of(request: &PoolRequest, providers: &[ProviderRef]) -> Self {
        let mut clouds: BTreeMap<String, Capabilities> = BTreeMap::new();
        for provider in providers.iter().map(ProviderRef::provider) {
            let can = provider.capabilities();
            let both = match clouds.get(provider.name()) {
                Some(other) => Capabilities {
                    ends_itself: can.ends_itself && other.ends_itself,
                    boot: can.boot.max(other.boot),
                    arrival: can.arrival.max(other.arrival),
                    pace: can.pace.max(other.pace),
                    ..can
                },
                None => can,
            };
            clouds.insert(provider.name().to_owned(), both);
        }
        Self {
            total: request.max_total_cost,
            hourly: request.max_hourly_cost,
            scaling: request.scaling,
            slots: request.worker.concurrency,
            clouds,
        }
    }
}

/// What a pool hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Said before it begins: another program has left this.
    Adopted(Box<Adoption>),
    /// The owner leaves everything as it is, for another program.
    Detach,
    /// It begins.
    Born { limits: Limits },
    /// What the specs' providers offer, filtered and ranked.
    Offered(Plan),
    /// Whether the image is possible, its files are packed and the provider is set up.
    Prepared(Result<(), StartError>),
    /// What an owner before may have rented was looked for, and given back.
    Looked,
    /// What came of a request for machines.
    Provisioned { request: Attempt, instances: Vec<InstanceId>, shortfall: Option<Shortfall> },
    /// A node takes tasks.
    NodeReady { rank: Rank, attempt: Attempt },
    /// A node's link is being dialled again.
    NodePaused { rank: Rank, attempt: Attempt },
    /// A node will end in so long: its machine will be taken, or it is not well.
    NodeNoticed { rank: Rank, attempt: Attempt, within: Duration, reason: String },
    /// A node has ended. `retry`: another machine may do better.
    NodeGone { rank: Rank, attempt: Attempt, reason: String, retry: bool },
    /// Whether a machine that failed lives on for a while.
    Kept { instance: InstanceId, kept: Result<KeptMachine, String> },
    /// What the queue has and wants has changed.
    Demanded(Demand),
    /// The owner wants so many nodes; this is what the queue has.
    Resized { nodes: u32, demand: Demand },
    /// Whether the queue closed a node because it was idle.
    NodeClosed { rank: Rank, attempt: Attempt, closed: bool },
    /// The queue's actor has ended, which only a defect of Skyward's can do before the pool ends.
    QueueEnded { reason: String },
    /// The owner wants everything given back.
    Stop,
    /// Another program has the pool.
    Superseded(JournalError),
    /// A timer went off.
    Woke(Timer),
    /// Machines were given back while the pool goes on, or not.
    Released { instances: Vec<InstanceId>, result: Result<(), String> },
    /// The machines are given back, or not.
    Terminated(Result<(), String>),
    /// What the provider could not remove.
    TornDown(Result<Vec<Leftover>, String>),
}

/// Why there are fewer machines than were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortfall {
    pub(crate) reason: String,
    pub(crate) kind: ProviderErrorKind,
    /// How long the cloud wants to be left alone, if it said so.
    pub(crate) after: Option<Duration>,
    /// There may be machines that nobody was told of.
    pub(crate) unsure: bool,
}

/// Why a pool wakes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Time to ask for the missing machines again.
    Provision,
    /// Time to look at what is spent.
    Budget,
    /// Time to look whether there are too many nodes, or too few.
    Scale,
    /// Time to give machines back again whose clouds did not do so, or what else is left.
    Release,
    /// A machine has been kept for as long as it was to be.
    Keep,
    /// Giving everything back has taken too long.
    Shutdown,
}
