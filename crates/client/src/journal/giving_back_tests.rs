//! Large pools at clouds that take few requests a minute are given back all the same. Its minutes are tenths of a second.

use std::collections::BTreeSet;
use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use skyward_runtime::journal::{Inputs, NewPool};
use skyward_runtime::model::{
    Capabilities, Instance, InstanceState, InstanceType, Market, Offer, PoolId, Price, Secret,
};
use skyward_runtime::provider::{Provisioned, Request, Sighting};

use super::*;

/// A cloud that takes one request after the other, and never answers one about this machine.
#[derive(Default)]
struct Slow {
    there: Mutex<BTreeSet<InstanceId>>,
    hangs: Option<InstanceId>,
}

impl Slow {
    fn there(&self) -> BTreeSet<InstanceId> {
        self.there.lock().expect("there").clone()
    }

    async fn end(&self, id: &InstanceId) {
        if self.hangs.as_ref() == Some(id) {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(EACH).await;
        self.there.lock().expect("there").remove(id);
    }
}

#[async_trait]
impl Provider for Slow {
    fn name(&self) -> &str {
        "slow"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { pace: PACE, ..Capabilities::NONE }
    }
    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        Box::pin(futures_util::stream::empty())
    }
    async fn prepare(&self, _: &Request) -> Result<(), ProviderError> {
        Ok(())
    }
    async fn provision(&self, _: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        let ids: Vec<InstanceId> = (0..count).map(|it| InstanceId::new(format!("m{it:03}"))).collect();
        self.there.lock().expect("there").extend(ids.iter().cloned());
        let pending = |id| Instance { id, state: InstanceState::Pending };
        Ok(Provisioned { instances: ids.into_iter().map(pending).collect(), shortfall: None })
    }
    async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        Ok(Instance { id: id.clone(), state: InstanceState::Pending })
    }
    async fn sightings(&self) -> Result<Option<Vec<Sighting>>, ProviderError> {
        Ok(Some(self.there().into_iter().map(sighting).collect()))
    }
    async fn terminate(&self, _: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        // Whether one is gone already, it is asked to find out.
        for id in ids {
            self.end(id).await;
        }
        Ok(())
    }
    async fn teardown(&self, _: &Request) -> Result<Vec<Leftover>, ProviderError> {
        for id in self.there() {
            self.end(&id).await;
        }
        Ok(Vec::new())
    }
}

fn sighting(instance: InstanceId) -> Sighting {
    Sighting {
        instance,
        pool: PoolId::new("p"),
        since: Some(Duration::ZERO),
        lease: Some(Duration::ZERO),
        region: None,
    }
}

fn timing() -> Timing {
    Timing { provision: 20 * EACH, ..Timing::default() }
}

fn request() -> Request {
    Request {
        pool: PoolId::new("p"),
        offer: Offer::of("slow", InstanceType::named("small"), Price::default()),
        market: Market::OnDemand,
        disk_gb: None,
        volumes: Vec::new(),
        ssh_key: String::new(),
        lease: Duration::from_secs(600),
    }
}

/// A pool with so many machines, whose program is gone.
async fn left(journal: &Journal, cloud: &Arc<Slow>, machines: u32) -> KnownPool {
    let (id, name) = (PoolId::new("p"), Some("large".to_owned()));
    let lock = journal.lock(&id, name.as_deref()).expect("free");
    let salt = Secret::new(String::new());
    let (program, specs, recipe) = (String::new(), String::new(), String::new());
    let pool = NewPool { id, name, program, specs, inputs: Inputs::default(), salt, recipe };
    let record = Arc::new(Record::begin(journal, lock, pool).expect("begun"));
    let recorded = Recorded::new(Arc::clone(cloud) as _, Arc::clone(&record), String::new());
    recorded.prepare(&request()).await.expect("prepared");
    recorded.provision(&request(), machines).await.expect("rented");
    record.free();
    known(journal).expect("there")
}

fn known(journal: &Journal) -> Option<KnownPool> {
    journal.named("large").expect("read")
}

#[tokio::test]
async fn a_large_pool_at_a_slow_cloud_is_given_back_also_when_its_machines_are_gone() {
    for are_gone in [false, true] {
        let home = tempfile::tempdir().expect("made");
        let (journal, cloud) = (Journal::open(home.path()).expect("opened"), Arc::new(Slow::default()));
        let pool = left(&journal, &cloud, 60).await;
        if are_gone {
            cloud.there.lock().expect("there").clear();
        }
        let own: Vec<Arc<dyn Provider>> = vec![Arc::clone(&cloud) as _];
        assert_eq!(undo(&journal, pool, &own, &timing()).await.expect("undone"), [], "{are_gone}");
        assert!(cloud.there().is_empty() && known(&journal).is_none(), "{are_gone}");
    }
}

#[tokio::test]
async fn what_was_ended_before_a_cloud_stopped_answering_is_written_down() {
    let home = tempfile::tempdir().expect("made");
    let hangs = Some(InstanceId::new("m055"));
    let cloud = Arc::new(Slow { hangs, ..Slow::default() });
    let journal = Journal::open(home.path()).expect("opened");
    let pool = left(&journal, &cloud, 60).await;
    let own: Vec<Arc<dyn Provider>> = vec![Arc::clone(&cloud) as _];
    let told = undo(&journal, pool, &own, &timing()).await.expect("undone");
    assert!(told.first().is_some_and(|it| it.reason.contains("did not answer within")), "{told:?}");
    let pool = known(&journal).expect("there");
    assert_eq!((pool.machines.len(), pool.past.len()), (10, 50));
}

#[tokio::test]
async fn a_large_foreign_pool_at_a_slow_cloud_is_given_back() {
    let cloud = Arc::new(Slow::default());
    cloud.provision(&request(), 60).await.expect("rented");
    let found = foreigners_of(&Reading::default(), vec![Arc::clone(&cloud) as _]).await.expect("asked");
    let pool = found.pools.first().expect("it is listed");
    assert_eq!(pool.machines.len(), 60);
    assert_eq!(pool.undo(&timing()).await.expect("undone"), []);
    assert!(cloud.there().is_empty());
}

/// How long one request takes, and how long its provider says that it does.
const EACH: Duration = Duration::from_millis(15);
const PACE: Duration = Duration::from_millis(60);
