//! Who this process is in its pool, when it is a worker, and who else there is.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::model::accelerator::Count;
use crate::model::{Accelerator, Epoch, Incarnation, Mode, Peer, PoolId, Rank, Roster, Standalone};

/// The node that a function runs on, and the pool around it, at the moment of asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceInfo {
    /// The pool. It is also the id of the job for what wants one.
    pub pool: PoolId,
    /// The node's rank.
    pub rank: Rank,
    /// The name of this life of the worker, unlike that of any other.
    pub name: Incarnation,
    /// How many nodes the pool has now: those that take calls, or will again when their link is
    /// dialled anew.
    pub nodes: u32,
    /// What the nodes of the pool are to each other.
    pub mode: Mode,
    /// The address of the node of rank 0, at which the others reach it; `None` while the pool has none, and where
    /// the nodes stand alone.
    pub head: Option<IpAddr>,
    /// The nodes of the pool by rank, this one included. Ranks may be missing while nodes are.
    pub peers: Vec<Peer>,
    /// The accelerators of this node; with [`Executor::Process`](crate::model::Executor) those of this
    /// process's slot alone.
    pub accelerators: Vec<Accelerator>,
    /// Which of the node's devices those are, from 0.
    pub devices: Vec<u32>,
    /// How many calls run on this node at once.
    pub slots: u32,
    /// Which of the slots this process runs the calls of, from 0; `None` where the calls of a node share
    /// one process.
    pub slot: Option<u32>,
}

struct Declared {
    info: InstanceInfo,
    age: (Epoch, u64),
}

static DECLARED: RwLock<Option<Declared>> = RwLock::new(None);

impl InstanceInfo {
    /// What a worker knows of itself before it is told of others: it is alone.
    pub fn alone(pool: PoolId, peer: Peer, accelerators: Vec<Accelerator>, slots: u32) -> Self {
        let (rank, name) = (peer.rank, peer.name.clone());
        // A fraction of a device is seen as one.
        let counts = accelerators.iter().map(|it| it.count.parts().div_ceil(Count::PARTS));
        let devices = (0..counts.fold(0, u32::saturating_add)).collect();
        let (nodes, mode, head, peers, slot) = (0, Mode::default(), None, Vec::new(), None);
        let mut info =
            Self { pool, rank, name, nodes, mode, head, peers, accelerators, devices, slots, slot };
        info.set_peers(mode, vec![peer]);
        info
    }

    /// What the process of one slot knows: these of the node's devices are its own.
    #[must_use]
    pub fn at_slot(self, slot: u32, devices: Vec<u32>) -> Self {
        Self { slot: Some(slot), devices, ..self }
    }

    /// Declares what this process is: a worker, before it takes calls.
    pub fn declare(self) {
        let declared = Declared { info: self, age: (Epoch(0), 0) };
        *DECLARED.write().unwrap_or_else(PoisonError::into_inner) = Some(declared);
    }

    /// Takes in who is in the pool, unless that is older than what is known, or of a pool that this
    /// life is not in. Returns whether it counts now.
    pub fn introduce(roster: Roster) -> bool {
        let mut declared = DECLARED.write().unwrap_or_else(PoisonError::into_inner);
        declared.as_mut().is_some_and(|it| it.take(roster))
    }

    /// The place of this node among those that there are now, from 0, and how many there are. It is the
    /// rank, unless a node of a lower rank is missing.
    pub fn place(&self) -> (usize, usize) {
        let own = self.peers.iter().position(|it| it.rank == self.rank);
        (own.unwrap_or_default(), self.peers.len().max(1))
    }

    fn set_peers(&mut self, mode: Mode, peers: Vec<Peer>) {
        self.nodes = u32::try_from(peers.len()).unwrap_or(u32::MAX);
        let head = peers.iter().find(|it| it.rank == Rank(0) && mode == Mode::Cluster);
        (self.mode, self.head) = (mode, head.map(|it| it.address));
        self.peers = peers;
    }
}

impl Declared {
    fn take(&mut self, roster: Roster) -> bool {
        let is_in = roster.peers.iter().any(|it| it.rank == self.info.rank && it.name == self.info.name);
        if !is_in || roster.age() < self.age {
            return false;
        }
        self.age = roster.age();
        self.info.set_peers(roster.mode, roster.peers);
        true
    }
}

/// The node that this function runs on and the pool around it, as they are now; `None` outside of a
/// worker, as in `.local()` calls. A node that joins or is lost later changes what the next call gives,
/// not what this one gave.
///
/// ```
/// use skyward_runtime::inside::instance_info;
/// match instance_info() {
///     Some(it) => println!("node {} of {}, head at {:?}", it.rank, it.nodes, it.head),
///     None => println!("not on a node"),
/// }
/// ```
pub fn instance_info() -> Option<InstanceInfo> {
    with(InstanceInfo::clone)
}

/// The other nodes of the pool as they are now, by rank, at addresses at which this one reaches them; none outside of
/// a worker.
///
/// # Errors
/// Where the nodes of the pool stand alone: nothing leads from one to another.
///
/// ```
/// use skyward_runtime::inside::peers;
/// // Outside of a worker there are none.
/// assert_eq!(peers().map(|it| it.len()), Ok(0));
/// ```
pub fn peers() -> Result<Vec<Peer>, Standalone> {
    let others = with(|it| {
        let others = it.peers.iter().filter(|peer| peer.rank != it.rank);
        if it.mode == Mode::Cluster { Ok(others.cloned().collect()) } else { Err(Standalone) }
    });
    others.unwrap_or(Ok(Vec::new()))
}

/// [`InstanceInfo::place`] of this process; outside of a worker it is the only one.
pub fn place() -> (usize, usize) {
    with(InstanceInfo::place).unwrap_or((0, 1))
}

/// The rank of this process; `None` outside of a worker.
pub fn rank() -> Option<Rank> {
    with(|it| it.rank)
}

fn with<T>(see: impl FnOnce(&InstanceInfo) -> T) -> Option<T> {
    DECLARED.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|it| see(&it.info))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(rank: u32, name: &str) -> Peer {
        let address = Ipv4Addr::new(10, 0, 0, u8::try_from(rank).unwrap_or(255));
        Peer::new(Rank(rank), Incarnation::new(name), address.into())
    }

    fn roster(epoch: u64, number: u64, peers: Vec<Peer>) -> Roster {
        Roster { epoch: Epoch(epoch), number, mode: Mode::Cluster, peers }
    }

    #[test]
    fn of_two_rosters_the_newer_counts_and_one_without_us_never_does() {
        let info = InstanceInfo::alone(PoolId::new("p"), peer(2, "b"), vec![], 1);
        let mut declared = Declared { info, age: (Epoch(0), 0) };
        assert_eq!((declared.info.place(), declared.info.nodes, declared.info.head), ((0, 1), 1, None));
        let both = vec![peer(0, "a"), peer(2, "b")];
        for (roster, taken, nodes) in [
            (roster(1, 4, both.clone()), true, 2),
            (roster(1, 3, vec![peer(2, "b")]), false, 2),
            (roster(1, 5, vec![peer(0, "a")]), false, 2),
            (roster(1, 5, vec![peer(0, "a"), peer(2, "another life")]), false, 2),
            (roster(1, 5, vec![peer(0, "a"), peer(1, "c"), peer(2, "b")]), true, 3),
            (roster(2, 1, both), true, 2),
            (roster(1, 9, vec![peer(2, "b")]), false, 2),
        ] {
            let told = format!("{roster:?}");
            assert_eq!((declared.take(roster), declared.info.nodes), (taken, nodes), "{told}");
        }
        assert_eq!(declared.info.place(), (1, 2));
        assert_eq!(declared.info.head, Some(Ipv4Addr::new(10, 0, 0, 0).into()));
    }

    #[test]
    fn a_node_that_stands_alone_knows_who_else_there_is_and_no_way_there() {
        let mut info = InstanceInfo::alone(PoolId::new("p"), peer(1, "b"), vec![], 1);
        info.set_peers(Mode::Standalone, vec![peer(0, "a"), peer(1, "b")]);
        assert_eq!((info.mode, info.place(), info.nodes, info.head), (Mode::Standalone, (1, 2), 2, None));
        let said = Standalone.to_string();
        assert!(said.contains("cannot reach each other") && said.contains(".cluster(true)"), "{said}");
    }

    #[test]
    fn outside_of_a_worker_there_is_no_node_and_nothing_to_share_with() {
        assert_eq!((instance_info(), place()), (None, (0, 1)));
    }
}
