//! Who is in the pool, and telling it to everybody in it. The PoolActor says when a node is ready or
//! gone; each ready node has a courier that brings its worker the newest roster until it is no member
//! any more, so nobody waits for a node that does not answer.
//!
//! ready | gone → roster (pure) → couriers → each worker's `InstanceInfo`

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::control::Member;
use crate::link::Link;
use crate::model::{Attempt, Epoch, Incarnation, Mode, Peer, Rank, Roster};
use crate::spread::{Door, Spreads};

/// The nodes that there are, and what they have been told.
#[derive(Debug)]
pub(super) struct Rosters {
    nodes: BTreeMap<Rank, Known>,
    /// Lives that finish what they have: nobody is told of them, but they have what was left there.
    leaving: BTreeMap<(Rank, Attempt), Link>,
    mode: Mode,
    /// What nodes pass on among themselves, where they do.
    spreads: Option<Spreads>,
    newest: watch::Sender<Roster>,
}

/// A node that is there.
#[derive(Debug)]
struct Known {
    attempt: Attempt,
    name: Incarnation,
    address: IpAddr,
    link: Link,
    /// The number of the newest roster that its worker has taken in. Closed when the courier is over.
    told: watch::Receiver<u64>,
}

impl Rosters {
    /// Nobody is there.
    pub(super) fn new(mode: Mode, spreads: Option<Spreads>) -> Self {
        let newest = watch::Sender::new(Roster::default());
        Self { nodes: BTreeMap::new(), leaving: BTreeMap::new(), mode, spreads, newest }
    }

    /// A node is ready, for the first time or over a new link. The future is over when everybody knows
    /// everybody, or `within` has passed; a node that did not even learn of itself is made to link again.
    pub(super) fn ready(
        &mut self,
        rank: Rank,
        attempt: Attempt,
        link: &Link,
        member: Member,
        (address, port): (IpAddr, u16),
        within: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let hello = link.hello();
        if let Some(spreads) = self.spreads.as_ref().filter(|_| !address.is_unspecified()) {
            let name = hello.incarnation.clone();
            spreads.here(rank, name.clone(), Door { name, address, port });
        }
        let (teller, told) = watch::channel(0);
        let known = Known {
            attempt,
            name: hello.incarnation.clone(),
            address,
            link: link.clone(),
            told: told.clone(),
        };
        self.nodes.insert(rank, known);
        let number = self.publish(hello.epoch);
        tokio::spawn(bring(member, self.newest.subscribe(), teller, within));
        let all: Vec<_> = self.nodes.values().map(|it| it.told.clone()).collect();
        let link = link.clone();
        async move {
            let everybody = join_all(all.into_iter().map(|it| heard(it, number)));
            if tokio::time::timeout(within, everybody).await.is_err() && *told.borrow() < number {
                link.close("the worker did not answer when it was told who is in the pool");
            }
        }
    }

    /// A node finishes what it has, and counts no more.
    pub(super) fn leaves(&mut self, rank: Rank, attempt: Attempt) {
        let present = self.nodes.get(&rank).filter(|it| it.attempt == attempt);
        if let Some(link) = present.map(|it| it.link.clone()) {
            self.gone(rank, attempt);
            self.leaving.insert((rank, attempt), link);
        }
    }

    /// A node is gone.
    pub(super) fn gone(&mut self, rank: Rank, attempt: Attempt) {
        self.leaving.remove(&(rank, attempt));
        if self.nodes.get(&rank).is_some_and(|it| it.attempt == attempt)
            && let Some(known) = self.nodes.remove(&rank)
        {
            self.publish(known.link.hello().epoch);
            self.spreads.iter().for_each(|it| it.left(&known.name));
        }
    }

    /// Whether this link is the one that the rank has.
    pub(super) fn holds(&self, rank: Rank, link: &Link) -> bool {
        self.nodes.get(&rank).is_some_and(|it| it.name == link.hello().incarnation)
    }

    /// The rank and link of this worker, which may be leaving.
    pub(super) fn of(&self, worker: &Incarnation) -> Option<(Rank, &Link)> {
        let present = self.nodes.iter().map(|(rank, it)| (*rank, &it.link));
        let mut all = present.chain(self.leaving.iter().map(|((rank, _), link)| (*rank, link)));
        all.find(|(_, link)| link.hello().incarnation == *worker)
    }

    /// The link of each node.
    pub(super) fn links(&self) -> Vec<(Rank, Link)> {
        self.nodes.iter().map(|(rank, it)| (*rank, it.link.clone())).collect()
    }

    /// Gives the couriers what there is now, and tells its number.
    fn publish(&self, epoch: Epoch) -> u64 {
        let nodes = self.nodes.iter().map(|(rank, it)| (*rank, (it.name.clone(), it.address))).collect();
        let number = self.newest.borrow().number.saturating_add(1);
        self.newest.send_replace(roster(epoch, number, self.mode, &nodes));
        number
    }
}

/// The roster of these nodes. Pure. They are no cluster where an address leads another node to itself: that of a machine
/// behind another (unspecified), and that of this computer (loopback) among those of others.
fn roster(epoch: Epoch, number: u64, mode: Mode, nodes: &BTreeMap<Rank, (Incarnation, IpAddr)>) -> Roster {
    let peer =
        |(rank, (name, address)): (&Rank, &(Incarnation, IpAddr))| Peer::new(*rank, name.clone(), *address);
    let peers: Vec<Peer> = nodes.iter().map(peer).collect();
    let here = peers.iter().filter(|it| it.address.is_loopback()).count();
    let is_nowhere = peers.iter().any(|it| it.address.is_unspecified());
    let mode = if is_nowhere || (here > 0 && here < peers.len()) { Mode::Standalone } else { mode };
    Roster { epoch, number, mode, peers }
}

/// Brings the newest roster to one worker, as long as it is a member and the pool is there.
async fn bring(
    member: Member,
    mut newest: watch::Receiver<Roster>,
    told: watch::Sender<u64>,
    deadline: Duration,
) {
    loop {
        let roster = newest.borrow_and_update().clone();
        let number = roster.number;
        match member.introduce(roster, deadline).await {
            Ok(()) => {
                told.send_replace(number);
                tokio::select! {
                    changed = newest.changed() => if changed.is_err() { return },
                    () = member.down() => return,
                }
            }
            Err(_) if member.is_down() => return,
            // A session that is breaking fails at once, before it counts as down: without a pause the
            // tries would keep the threads from which that is to be learned.
            Err(error) if error.retry() => {
                tracing::debug!(%error, "a worker did not take in who is in the pool; told again");
                let over = tokio::time::timeout(PAUSE, member.down()).await.is_ok();
                if over || newest.has_changed().is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a worker cannot be told who is in the pool");
                return;
            }
        }
    }
}

/// The pause between two tries to tell a worker. A twentieth of a second is nothing to a pool, and long
/// enough for a broken session to be noticed.
const PAUSE: Duration = Duration::from_millis(50);

/// Resolves when a worker has taken in this roster or a newer one, or will never.
async fn heard(mut told: watch::Receiver<u64>, number: u64) {
    let _ = told.wait_for(|it| *it >= number).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_roster_lists_the_nodes_by_rank() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let name = |it: &str| Incarnation::new(it);
        let nodes = [(Rank(2), (name("c"), address)), (Rank(0), (name("a"), address))].into();
        let expected = Roster {
            epoch: Epoch(1),
            number: 7,
            mode: Mode::Cluster,
            peers: vec![Peer::new(Rank(0), name("a"), address), Peer::new(Rank(2), name("c"), address)],
        };
        assert_eq!(roster(Epoch(1), 7, Mode::Cluster, &nodes), expected);
        assert_eq!(roster(Epoch(1), 8, Mode::Cluster, &BTreeMap::new()).peers, []);
    }

    #[test]
    fn nodes_whose_addresses_lead_others_astray_are_no_cluster() {
        let nodes = |addresses: &[[u8; 4]]| {
            let node = |(rank, it): (u32, &[u8; 4])| (Rank(rank), (Incarnation::new("n"), IpAddr::from(*it)));
            (0..).zip(addresses).map(node).collect()
        };
        let (here, there, nowhere) = ([127, 0, 0, 1], [10, 0, 0, 7], [0, 0, 0, 0]);
        for (addresses, expected) in [
            (&[here, here][..], Mode::Cluster),
            (&[there, there], Mode::Cluster),
            (&[there, here], Mode::Standalone),
            (&[nowhere, there], Mode::Standalone),
            (&[nowhere, nowhere], Mode::Standalone),
        ] {
            assert_eq!(roster(Epoch(1), 1, Mode::Cluster, &nodes(addresses)).mode, expected, "{addresses:?}");
        }
        assert_eq!(roster(Epoch(1), 1, Mode::Standalone, &nodes(&[there])).mode, Mode::Standalone);
    }
}
