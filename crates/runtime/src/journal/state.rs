//! What the journal knows of a pool, and what follows from it: whether it is owned, can be attached to, or is to
//! be given back, and with which requests. Pure.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::inputs::Inputs;
use super::lock::Holder;
use crate::model::{Attempt, End, Epoch, Incarnation, InstanceId, KeyPrint, PoolId, Rank, SshEndpoint};
use crate::provider::Request;

/// What was read, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The pools, the oldest first.
    pub pools: Vec<KnownPool>,
    /// What could not be read, in words.
    pub damage: Vec<String>,
}

/// A pool that was begun and is not given back, as far as anybody has written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPool {
    /// Its id.
    pub id: PoolId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What tells the program that began it from others: its functions and its content.
    pub program: String,
    /// What tells its specs from others.
    pub specs: String,
    /// What it was given beside them.
    pub inputs: Inputs,
    /// What it was asked to be, as a program that attaches by its name reads it.
    pub recipe: String,
    /// How many nodes an owner asked for last, if one did.
    pub size: Option<u32>,
    /// How often it has had an owner.
    pub epoch: Epoch,
    /// How long its machines live on without their owner.
    pub ttl: Duration,
    /// When it was begun, since 1970.
    pub begun: Duration,
    /// When its owner was last known to live, since 1970.
    pub seen: Duration,
    /// What clouds were asked for, in order.
    pub deeds: Vec<Deed>,
    /// The machines that were rented and are not certainly gone.
    pub machines: Vec<Machine>,
    /// The machines that were rented and are gone.
    pub past: Vec<PastMachine>,
    /// All of it could be read. What could not may be something that is still there.
    pub whole: bool,
}

/// Something that a cloud was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Its number.
    pub number: i64,
    /// What it was asked to do.
    pub kind: DeedKind,
    /// Which cloud.
    pub provider: String,
    /// The settings with which that provider can be made again.
    pub settings: String,
    /// Which account's key asked, where that was known.
    pub account: Option<KeyPrint>,
    /// What it was told.
    pub request: Request,
    /// What the pool wants to know again when it is attached to.
    pub terms: String,
    /// When it was asked, since 1970.
    pub begun: Duration,
    /// Whether an answer came.
    pub ended: bool,
}

/// What a cloud can be asked to do that changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeedKind {
    /// To set up what machines share.
    Prepare,
    /// To rent machines.
    Provision,
    /// To give machines back.
    Terminate,
    /// To remove everything of the pool.
    Teardown,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// What its cloud calls it.
    pub instance: InstanceId,
    /// Which cloud.
    pub provider: String,
    /// The deed that rented it.
    pub deed: i64,
    /// The node that it became, if it came so far.
    pub node: Option<KnownNode>,
}

/// A machine that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastMachine {
    /// What its cloud called it.
    pub instance: InstanceId,
    /// The deed that rented it.
    pub deed: i64,
    /// When its cloud confirmed that it is gone, since 1970.
    pub gone: Duration,
}

/// How a worker is found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownNode {
    /// Its rank.
    pub rank: Rank,
    /// Which life of that.
    pub attempt: Attempt,
    /// Which life of the worker.
    pub incarnation: Incarnation,
    /// The machine's SSH server, with the key that it showed.
    pub ssh: SshEndpoint,
    /// Where the worker is reached.
    pub address: IpAddr,
    /// Where other machines of the pool reach it, if that is elsewhere.
    #[serde(default)]
    pub private: Option<IpAddr>,
    /// How the machine ends itself.
    pub end: End,
    /// The worker's UDP port.
    pub port: u16,
    /// The worker's TCP port on the machine's loopback.
    pub tcp: u16,
    /// The worker's process.
    pub pid: u32,
}

/// What may be done with a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A living program has it.
    Owned(Holder),
    /// Nobody has it, and its machines live for about so long yet: it can be attached to.
    Attachable(Duration),
    /// Nobody has it, and nobody can attach to it: it has no name, or its machines, if they can, have ended.
    Lapsed,
}

/// What a start does that finds a pool of its name, which nobody owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It becomes the pool's next owner.
    Attach,
    /// It gives the pool back first: its machines have ended, or there is nothing to attach to.
    GiveBack,
    /// It leaves the pool alone: something that the journal says of it cannot be read.
    Unreadable,
    /// It leaves the pool alone, because its program is another one, and why.
    Differs(&'static str),
}

impl KnownPool {
    /// What a start of this program with these specs does with it, when so much time has passed since 1970.
    pub fn found(&self, program: &str, specs: &str, now: Duration) -> Found {
        if self.whole && !matches!(self.standing(None, now), Standing::Attachable(_)) {
            return Found::GiveBack;
        }
        self.found_living(program, specs)
    }

    /// The same when its machines live, however long ago its owner was seen.
    pub fn found_living(&self, program: &str, specs: &str) -> Found {
        if !self.whole {
            Found::Unreadable
        } else if self.program != program {
            Found::Differs("it was begun by another build of the program")
        } else if self.specs != specs {
            Found::Differs("its specs, nodes, image, worker, carrier or `cluster` are others")
        } else {
            Found::Attach
        }
    }

    /// Whether its machines may live although its owner was not seen for longer than they live alone: that it lived could
    /// not be written, or the clock was set forward. Not when it was being given back.
    pub fn may_live(&self) -> bool {
        self.whole && self.name.is_some() && self.has_nodes() && !self.seen.is_zero()
    }

    /// What may be done with it, when this one holds its lock, and so much time has passed since 1970.
    pub fn standing(&self, holder: Option<Holder>, now: Duration) -> Standing {
        if let Some(holder) = holder {
            return Standing::Owned(holder);
        }
        // A third of its life may have passed since it was last renewed, and was not written down.
        let until = self.seen.saturating_add(self.ttl * 4 / 3);
        match until.checked_sub(now).filter(|it| !it.is_zero()) {
            Some(left) if self.name.is_some() && self.has_nodes() => Standing::Attachable(left),
            _ => Standing::Lapsed,
        }
    }

    /// Whether any of its machines has become a node.
    pub fn has_nodes(&self) -> bool {
        self.machines.iter().any(|it| it.node.is_some())
    }

    /// The requests whose teardown undoes all of it: one for each preparation or renting, the last first.
    pub fn undos(&self) -> Vec<&Deed> {
        let makes = |it: &&Deed| it.kind.makes();
        let mut undos: Vec<&Deed> = Vec::new();
        for deed in self.deeds.iter().rev().filter(makes) {
            if !undos.iter().any(|it| it.is_undone_with(deed)) {
                undos.push(deed);
            }
        }
        undos
    }

    /// The deed of this number.
    pub fn deed(&self, number: i64) -> Option<&Deed> {
        self.deeds.iter().find(|it| it.number == number)
    }

    /// What it is called.
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(self.id.as_str())
    }
}

impl Deed {
    /// Whether one teardown undoes both: for how long machines may live alone makes no difference to it.
    pub fn is_undone_with(&self, other: &Self) -> bool {
        let Request { pool, offer, market, disk_gb, volumes, ssh_key, lease: _ } = &self.request;
        let it = &other.request;
        (&self.provider, &self.settings, &self.account) == (&other.provider, &other.settings, &other.account)
            && (pool, offer, market) == (&it.pool, &it.offer, &it.market)
            && (disk_gb, volumes, ssh_key) == (&it.disk_gb, &it.volumes, &it.ssh_key)
    }

    /// Whether it was to rent machines, and nobody heard what came of it.
    pub fn is_unheard(&self) -> bool {
        self.kind == DeedKind::Provision && !self.ended
    }

    /// For how long it may yet bring machines that no list has now, though nobody lives to hear of it. `now` is since
    /// 1970.
    pub fn may_yet_bring(&self, now: Duration) -> Option<Duration> {
        let left = (self.begun + BRINGS).checked_sub(now)?;
        (self.is_unheard() && !left.is_zero()).then_some(left.min(BRINGS))
    }

    /// Whether a provider that asks with this key can undo it. To another account's key there is nothing to undo.
    pub fn is_of(&self, account: Option<&KeyPrint>) -> bool {
        self.account.is_none() || self.account.as_ref() == account
    }
}

impl DeedKind {
    /// Whether something comes to be by it that has to be undone.
    pub(crate) const fn makes(self) -> bool {
        matches!(self, Self::Prepare | Self::Provision)
    }

    pub(super) const ALL: [Self; 4] = [Self::Prepare, Self::Provision, Self::Terminate, Self::Teardown];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Provision => "provision",
            Self::Terminate => "terminate",
            Self::Teardown => "teardown",
        }
    }
}

/// How long a request for machines may take at a cloud, and its machines until they are listed.
pub(crate) const BRINGS: Duration = Duration::from_secs(180);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{InstanceType, Market, Offer, Price};
    use crate::usd;

    fn request(region: &str) -> Request {
        let kind = InstanceType::named("small");
        let offer = Offer { region: Some(region.into()), ..Offer::of("c", kind, Price::on_demand(usd!(1))) };
        Request {
            pool: PoolId::new("p"),
            offer,
            market: Market::OnDemand,
            disk_gb: None,
            volumes: Vec::new(),
            ssh_key: String::new(),
            lease: Duration::from_secs(60),
        }
    }

    fn pool(deeds: &[(DeedKind, &str)], nodes: bool) -> KnownPool {
        let deed = |(number, (kind, region)): (i64, &(DeedKind, &str))| Deed {
            number,
            kind: *kind,
            provider: "c".into(),
            settings: "{}".into(),
            account: None,
            request: request(region),
            terms: String::new(),
            begun: Duration::ZERO,
            ended: true,
        };
        let node = KnownNode {
            rank: Rank(0),
            attempt: Attempt(0),
            incarnation: Incarnation::new("w"),
            ssh: SshEndpoint {
                host: "h".into(),
                port: 22,
                user: "u".into(),
                host_key: crate::model::HostKey::PinOnFirstUse,
                login: Box::default(),
            },
            address: IpAddr::from([127, 0, 0, 1]),
            private: None,
            end: End::Outside,
            port: 1,
            tcp: 2,
            pid: 3,
        };
        let machine = Machine {
            instance: InstanceId::new("i"),
            provider: "c".into(),
            deed: 1,
            node: nodes.then_some(node),
        };
        KnownPool {
            id: PoolId::new("p"),
            name: Some("train".into()),
            program: String::new(),
            specs: String::new(),
            inputs: Inputs::default(),
            recipe: String::new(),
            size: None,
            epoch: Epoch(1),
            ttl: Duration::from_secs(600),
            begun: Duration::from_secs(1000),
            seen: Duration::from_secs(2000),
            deeds: (0..).zip(deeds).map(deed).collect(),
            machines: vec![machine],
            past: Vec::new(),
            whole: true,
        }
    }

    #[test]
    fn a_pool_is_owned_then_attachable_as_long_as_its_machines_live_then_lapsed() {
        let holder = Holder {
            pid: 1,
            host: "h".into(),
            program: "p".into(),
            since: std::time::SystemTime::UNIX_EPOCH,
        };
        let at = |nodes, held: bool, now| {
            pool(&[], nodes).standing(held.then(|| holder.clone()), Duration::from_secs(now))
        };
        assert_eq!(at(true, true, 9000), Standing::Owned(holder.clone()));
        assert_eq!(at(true, false, 2100), Standing::Attachable(Duration::from_secs(700)));
        assert_eq!(at(true, false, 2800), Standing::Lapsed);
        // What never had a worker has nothing to attach to.
        assert_eq!(at(false, false, 2100), Standing::Lapsed);
        let nameless = KnownPool { name: None, ..pool(&[], true) };
        assert_eq!(nameless.standing(None, Duration::from_secs(2100)), Standing::Lapsed);
        // A clock that was set back makes nothing older.
        assert_eq!(at(true, false, 1000), Standing::Attachable(Duration::from_secs(1800)));
    }

    #[test]
    fn a_start_attaches_to_its_own_pool_gives_back_what_has_ended_and_leaves_what_it_cannot_judge() {
        let found = |pool: &KnownPool, program, now| pool.found(program, "", Duration::from_secs(now));
        let living = pool(&[], true);
        assert_eq!(found(&living, "", 2100), Found::Attach);
        assert_eq!(found(&living, "", 2800), Found::GiveBack);
        assert!(matches!(found(&living, "other", 2100), Found::Differs(_)));
        assert_eq!(found(&pool(&[], false), "", 2100), Found::GiveBack);
        // What lived when somebody looked is no older for what is written, but what was being given back is.
        assert_eq!((living.found_living("", ""), living.may_live()), (Found::Attach, true));
        assert!(matches!(living.found_living("other", ""), Found::Differs(_)));
        assert!(!KnownPool { seen: Duration::ZERO, ..pool(&[], true) }.may_live());
        let unread = KnownPool { whole: false, ..pool(&[], true) };
        assert_eq!(found(&unread, "", 2800), Found::Unreadable);
    }

    #[test]
    fn a_request_that_nobody_heard_of_may_bring_machines_for_some_minutes() {
        let of = |kind, ended| Deed {
            ended,
            begun: Duration::from_secs(1000),
            ..pool(&[(kind, "a")], true).deeds.remove(0)
        };
        let at = |deed: &Deed, now| deed.may_yet_bring(Duration::from_secs(now));
        let unheard = of(DeedKind::Provision, false);
        assert_eq!(at(&unheard, 1010), Some(Duration::from_secs(170)));
        assert_eq!((at(&unheard, 1180), at(&unheard, 900)), (None, Some(BRINGS)));
        assert_eq!(at(&of(DeedKind::Provision, true), 1010), None);
        assert_eq!(at(&of(DeedKind::Prepare, false), 1010), None);
    }

    #[test]
    fn each_request_is_undone_once_and_the_last_first() {
        use DeedKind::{Prepare, Provision, Terminate};
        let pool = pool(&[(Prepare, "a"), (Provision, "a"), (Terminate, "a"), (Prepare, "b")], true);
        let regions: Vec<_> = pool.undos().iter().map(|it| it.request.offer.region.clone()).collect();
        assert_eq!(regions, [Some("b".to_owned()), Some("a".to_owned())]);
    }
}
