//! The journal on a disk and the one of a simulated world, told the same, say the same.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::*;
use crate::journal::{Asking, Journal, NewPool, Record, Recorded};
use crate::model::{
    Attempt, Capabilities, End, Incarnation, Instance, InstanceState, InstanceType, Leftover, Market, Offer,
    Price, Rank,
};
use crate::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned};
use crate::testing::cloud::endpoint;
use crate::testing::dice::Dice;

/// A cloud that does next what it is told.
#[derive(Default)]
struct Told(Mutex<Next>);

/// What a cloud gives, with which key it is asked, and why it gives no more, or nothing.
#[derive(Clone, Debug, Default)]
struct Next {
    machines: Option<Vec<InstanceId>>,
    account: Option<KeyPrint>,
    why: Option<ProviderErrorKind>,
}

impl Told {
    fn next(&self) -> Next {
        self.0.lock().expect("there").clone()
    }

    fn answer(&self) -> Result<Vec<InstanceId>, ProviderError> {
        let Next { machines, why, .. } = self.next();
        machines.ok_or_else(|| ProviderError::new(why.unwrap_or(ProviderErrorKind::Transient), "busy"))
    }
}

#[async_trait]
impl Provider for Told {
    fn name(&self) -> &str {
        "c"
    }
    fn account(&self) -> Option<KeyPrint> {
        self.next().account
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }
    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        Box::pin(futures_util::stream::empty())
    }
    async fn prepare(&self, _: &Request) -> Result<(), ProviderError> {
        self.answer().map(drop)
    }
    async fn provision(&self, _: &Request, _: u32) -> Result<Provisioned, ProviderError> {
        let instance = |id| Instance { id, state: InstanceState::Pending };
        let instances = self.answer()?.into_iter().map(instance).collect();
        let shortfall = self.next().why.map(|it| ProviderError::new(it, "busy"));
        Ok(Provisioned { instances, shortfall })
    }
    async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        Ok(Instance { id: id.clone(), state: InstanceState::Pending })
    }
    async fn terminate(&self, _: &Request, _: &[InstanceId]) -> Result<(), ProviderError> {
        self.answer().map(drop)
    }
    async fn teardown(&self, _: &Request) -> Result<Vec<Leftover>, ProviderError> {
        self.answer().map(|_| Vec::new())
    }
}

fn request(region: u64) -> Request {
    let offer = Offer::of("c", InstanceType::named("small"), Price::on_demand(crate::usd!(1)));
    Request {
        pool: PoolId::new("p"),
        offer: Offer { region: Some(format!("r{region}")), ..offer },
        market: Market::OnDemand,
        disk_gb: None,
        volumes: Vec::new(),
        ssh_key: String::new(),
        lease: Duration::from_secs(60 + region),
    }
}

fn node(instance: &InstanceId, rank: u32) -> KnownNode {
    KnownNode {
        rank: Rank(rank),
        attempt: Attempt(1),
        incarnation: Incarnation::new(format!("w-{instance}")),
        ssh: endpoint(instance),
        address: [127, 0, 0, 1].into(),
        private: None,
        end: End::Outside,
        port: 1,
        tcp: 2,
        pid: 3,
    }
}

/// What both know, but for the times, which are their clocks'.
fn same(pool: Option<KnownPool>) -> Option<KnownPool> {
    pool.map(|mut it| {
        it.deeds.iter_mut().for_each(|it| it.begun = Duration::ZERO);
        it.past.iter_mut().for_each(|it| it.gone = Duration::ZERO);
        let seen = Duration::from_secs(u64::from(!it.seen.is_zero()));
        KnownPool { begun: Duration::ZERO, seen, ..it }
    })
}

#[tokio::test]
async fn the_journal_of_the_simulated_world_is_the_journal() {
    for seed in 0..12 {
        let (mut dice, home) = (Dice::new(seed), tempfile::tempdir().expect("made"));
        let journal = Journal::open(home.path()).expect("opened");
        let (id, name) = (PoolId::new("p"), Some("train".to_owned()));
        let lock = journal.lock(&id, name.as_deref()).expect("free");
        let inputs = Inputs { files: format!("f{seed}"), secrets: "hash".to_owned() };
        let pool = NewPool {
            id: id.clone(),
            name: name.clone(),
            program: String::new(),
            specs: String::new(),
            inputs: inputs.clone(),
            salt: crate::model::Secret::new("salt".to_owned()),
            recipe: String::new(),
        };
        let mut records = vec![Arc::new(Record::begin(&journal, lock, pool).expect("begun"))];
        let (mut store, cloud) = (Store::default(), Arc::new(Told::default()));
        let now = Duration::from_secs(7);
        let mut owners =
            vec![(id.clone(), store.begin((id.clone(), name.clone()), inputs, now).expect("begun"))];
        for step in 0..40 {
            // Now and then an older owner still tries.
            let who = if dice.chance(200) { 0 } else { owners.len() - 1 };
            let (owner, record) = (owners[who].clone(), Arc::clone(&records[who]));
            let machines: Vec<InstanceId> =
                (0..dice.below(3)).map(|_| InstanceId::new(format!("m{}", dice.below(6)))).collect();
            let answer = dice.chance(800).then(|| machines.clone());
            let account = dice.chance(700).then(|| KeyPrint::new(format!("k{}", dice.below(2))));
            let kinds = [ProviderErrorKind::Transient, ProviderErrorKind::NoCapacity];
            let why = kinds.into_iter().nth(usize::try_from(dice.below(3)).expect("small"));
            *cloud.0.lock().expect("there") =
                Next { machines: answer.clone(), account: account.clone(), why };
            let (request, terms) = (request(dice.below(3)), format!("t{}", dice.below(2)));
            let recorded = Recorded::new(Arc::clone(&cloud) as _, Arc::clone(&record), terms.clone());
            let kind = match dice.below(8) {
                0 => DeedKind::Prepare,
                1 | 2 => DeedKind::Provision,
                3 => DeedKind::Terminate,
                4 => DeedKind::Teardown,
                5 => {
                    let (instance, rank) = (InstanceId::new(format!("m{}", dice.below(6))), 1);
                    let told = record.node(&instance, &node(&instance, rank)).await;
                    let kept = store.node(&owner, &instance, node(&instance, rank));
                    assert_eq!(told.is_ok(), kept.is_ok(), "{seed}/{step}");
                    continue;
                }
                6 if dice.chance(300) => {
                    let instance = InstanceId::new(format!("m{}", dice.below(6)));
                    let told = record.leaves(&instance).await;
                    assert_eq!(told.is_ok(), store.leaves(&owner, &instance).is_ok(), "{seed}/{step}");
                    continue;
                }
                6 if dice.chance(300) => {
                    assert_eq!(record.close().await.is_ok(), store.close(&owner).is_ok(), "{seed}/{step}");
                    continue;
                }
                6 if dice.chance(400) => {
                    let nodes = dice.count(1, 9);
                    let told = record.sized(nodes).await;
                    assert_eq!(told.is_ok(), store.sized(&owner, nodes).is_ok(), "{seed}/{step}");
                    continue;
                }
                6 if dice.chance(500) => {
                    let open =
                        store.entry().into_iter().flat_map(|it| &it.deeds).filter(|it| it.is_unheard());
                    let open: Vec<i64> = open.map(|it| it.number).collect();
                    let told = record.answered(open.clone()).await;
                    assert_eq!(told.is_ok(), store.answered(&owner, &open).is_ok(), "{seed}/{step}");
                    continue;
                }
                _ => {
                    records.last().expect("one").free();
                    let known = journal.named("train").expect("read").expect("there");
                    let lock = journal.lock(&id, name.as_deref()).expect("free");
                    records.push(Arc::new(Record::attach(&journal, lock, &known).expect("attached")));
                    let seen = journal.named("train").expect("read").map(|it| it.seen);
                    assert_eq!(seen, Some(known.seen), "an attach makes no machine younger");
                    let known = store.entry().expect("there").clone();
                    owners.push((id.clone(), store.take(&known, known.seen).expect("attached")));
                    continue;
                }
            };
            let asked = match kind {
                DeedKind::Prepare => recorded.prepare(&request).await.is_ok(),
                DeedKind::Provision => recorded.provision(&request, 2).await.is_ok(),
                DeedKind::Terminate => recorded.terminate(&request, &machines).await.is_ok(),
                DeedKind::Teardown => recorded.teardown(&request).await.is_ok(),
            };
            let asking = Asking::begin(kind, "c", store.intend(&owner, (kind, terms), account, request));
            assert_eq!(asked, asking.is_ok() && answer.is_some(), "{seed}/{step}");
            let Ok(asking) = asking else { continue };
            let note = match (kind, answer) {
                (DeedKind::Provision, Some(machines)) => {
                    asking.rented(machines, why != Some(ProviderErrorKind::Transient))
                }
                (DeedKind::Provision, None) => {
                    let is_over = why.is_some_and(|it| it != ProviderErrorKind::Transient);
                    asking.refused(is_over, "busy".to_owned())
                }
                (DeedKind::Terminate, Some(machines)) => asking.gone(machines),
                (_, answer) => asking.ended(answer.is_none().then(|| "busy".to_owned())),
            };
            let noted = note.map(|it| store.note(&owner, "c", it));
            assert!(noted.is_none_or(|it| it.is_ok()), "{seed}/{step}");
            let read = journal.named("train").expect("read");
            assert_eq!(same(read), same(store.entry().cloned()), "{seed}/{step}");
        }
        let last = owners.len() - 1;
        if last > 0 {
            assert!(records[0].forget().await.is_err() && store.forget(&owners[0]).is_err());
        }
        records[last].forget().await.expect("forgotten");
        store.forget(&owners[last]).expect("forgotten");
        assert!(journal.read().expect("read").pools.is_empty() && store.entry().is_none());
    }
}
