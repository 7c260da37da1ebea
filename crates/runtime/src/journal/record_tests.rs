//! What an entry says at each moment at which its owner may be killed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::*;
use crate::journal::KnownNode;
use crate::journal::{Recorded, Standing};
use crate::model::{
    Attempt, Capabilities, End, HostKey, Incarnation, Instance, InstanceId, InstanceState, InstanceType,
    Leftover, Market, Offer, Price, Rank, SshEndpoint,
};
use crate::provider::{Provider, ProviderError, Provisioned};
use crate::usd;

/// A cloud that looks into the journal each time that it is asked for something.
struct Watching(Journal);

impl Watching {
    fn last(&self) -> (usize, bool) {
        let pool = self.0.read().expect("read").pools.remove(0);
        (pool.deeds.len(), pool.deeds.last().expect("an intent").ended)
    }
}

#[async_trait]
impl Provider for Watching {
    fn name(&self) -> &str {
        "watching"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }
    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        Box::pin(futures_util::stream::empty())
    }
    async fn prepare(&self, _: &Request) -> Result<(), ProviderError> {
        assert_eq!(self.last(), (1, false));
        Ok(())
    }
    async fn provision(&self, _: &Request, _: u32) -> Result<Provisioned, ProviderError> {
        assert_eq!(self.last(), (2, false));
        let instance = |id| Instance { id: InstanceId::new(id), state: InstanceState::Pending };
        Ok(Provisioned { instances: vec![instance("a"), instance("b")], shortfall: None })
    }
    async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        Ok(Instance { id: id.clone(), state: InstanceState::Pending })
    }
    async fn terminate(&self, _: &Request, _: &[InstanceId]) -> Result<(), ProviderError> {
        assert!(!self.last().1);
        Ok(())
    }
    async fn teardown(&self, _: &Request) -> Result<Vec<Leftover>, ProviderError> {
        assert!(!self.last().1);
        Ok(Vec::new())
    }
}

fn request() -> Request {
    Request {
        pool: PoolId::new("p1"),
        offer: Offer::of("watching", InstanceType::named("small"), Price::on_demand(usd!(1))),
        market: Market::OnDemand,
        disk_gb: None,
        volumes: Vec::new(),
        ssh_key: "ssh-ed25519 AAAA".into(),
        lease: Duration::from_secs(600),
    }
}

fn node() -> KnownNode {
    KnownNode {
        rank: Rank(0),
        attempt: Attempt(2),
        incarnation: Incarnation::new("w"),
        ssh: SshEndpoint {
            host: "h".into(),
            port: 22,
            user: "u".into(),
            host_key: HostKey::Known("k".into()),
            login: Box::default(),
        },
        address: [127, 0, 0, 1].into(),
        private: Some([10, 0, 0, 7].into()),
        end: End::Outside,
        port: 1,
        tcp: 2,
        pid: 3,
    }
}

fn begin(journal: &Journal) -> Arc<Record> {
    let (id, name) = (PoolId::new("p1"), Some("train".to_owned()));
    let lock = journal.lock(&id, name.as_deref()).expect("free");
    let pool = NewPool {
        id,
        name,
        program: "x".into(),
        specs: "y".into(),
        inputs: Inputs::default(),
        salt: Secret::new(String::new()),
        recipe: "all of it".into(),
    };
    Arc::new(Record::begin(journal, lock, pool).expect("begun"))
}

#[tokio::test]
async fn an_intent_is_there_before_its_cloud_is_asked_and_its_result_after() {
    let home = tempfile::tempdir().expect("made");
    let journal = Journal::open(home.path()).expect("opened");
    let record = begin(&journal);
    record.save_keys(vec![("ssh", Secret::new(b"k".to_vec()))]).await.expect("saved");
    let cloud = Recorded::new(Arc::new(Watching(journal.clone())), Arc::clone(&record), "terms".into());
    cloud.prepare(&request()).await.expect("prepared");
    cloud.provision(&request(), 2).await.expect("rented");
    record.node(&InstanceId::new("a"), &node()).await.expect("written");
    let pool = journal.named("train").expect("read").expect("there");
    assert_eq!((pool.deeds.len(), pool.deeds[1].ended, pool.ttl), (2, true, Duration::from_secs(600)));
    assert_eq!(pool.machines.len(), 2);
    assert_eq!((pool.machines[0].node.clone(), pool.machines[1].node.clone()), (Some(node()), None));
    assert_eq!((pool.deeds[1].terms.as_str(), &pool.deeds[1].request), ("terms", &request()));
    assert!(matches!(pool.standing(journal.holder(&pool), Journal::now()), Standing::Owned(_)));
    cloud.terminate(&request(), &[InstanceId::new("a"), InstanceId::new("b")]).await.expect("ended");
    assert!(journal.named("train").expect("read").expect("there").machines.is_empty());
    cloud.teardown(&request()).await.expect("torn down");
    record.forget().await.expect("forgotten");
    assert!(journal.read().expect("read").pools.is_empty());
    assert!(!home.path().join("keys").exists());
}

#[tokio::test]
async fn an_older_owner_can_neither_rent_nor_give_back() {
    let home = tempfile::tempdir().expect("made");
    let journal = Journal::open(home.path()).expect("opened");
    let old = begin(&journal);
    let cloud = Recorded::new(Arc::new(Watching(journal.clone())), Arc::clone(&old), String::new());
    cloud.prepare(&request()).await.expect("prepared");
    old.free();
    let pool = journal.named("train").expect("read").expect("there");
    let lock = journal.lock(&pool.id, pool.name.as_deref()).expect("free");
    let new = Record::attach(&journal, lock, &pool).expect("attached");
    assert_eq!(new.epoch(), Epoch(2));
    assert_eq!(old.lost(), None);
    let refused = cloud.provision(&request(), 1).await.expect_err("refused").to_string();
    let own = format!("pool train was taken over by another program (process {} on ", std::process::id());
    assert!(refused.starts_with(&own), "{refused}");
    assert!(cloud.terminate(&request(), &[]).await.is_err());
    assert!(cloud.teardown(&request()).await.is_err());
    assert!(old.forget().await.is_err());
    assert_eq!(old.superseded().await.to_string(), refused);
    // What was read before it was attached to is out of date.
    let other = journal.lock(&PoolId::new("p2"), None).expect("free");
    assert!(matches!(Record::attach(&journal, other, &pool), Err(JournalError::Superseded { .. })));
}

#[tokio::test]
async fn who_hears_of_its_successor_by_whatever_it_asks_or_by_a_worker_changes_nothing_more() {
    let home = tempfile::tempdir().expect("made");
    let journal = Journal::open(home.path()).expect("opened");
    let successor = |it: JournalError| match it {
        JournalError::Superseded { by, .. } => by,
        other => panic!("{other}"),
    };
    let own = begin(&journal);
    own.is_own().await.expect("its own");
    // A worker obeys another owner, of whom this journal knows nothing.
    own.is_refused_by_a_worker();
    let node = own.node(&InstanceId::new("a"), &node()).await.expect_err("refused");
    assert_eq!(successor(node), Successor::Unknown);
    let pool = journal.named("train").expect("read").expect("there");
    own.close().await.expect_err("refused");
    assert!(!pool.seen.is_zero() && journal.named("train").expect("read") == Some(pool.clone()));
    own.free();
    // Another one gives it back.
    let lock = || journal.lock(&pool.id, pool.name.as_deref()).expect("free");
    let attached = Arc::new(Record::attach(&journal, lock(), &pool).expect("attached"));
    attached.free();
    let pool = journal.named("train").expect("read").expect("there");
    let claimed = Arc::new(Record::claim(&journal, lock(), &pool).expect("claimed"));
    claimed.forget().await.expect("forgotten");
    assert_eq!(successor(attached.is_own().await.expect_err("gone")), Successor::GaveBack);
    assert_eq!(successor(attached.superseded().await), Successor::GaveBack);
}

#[tokio::test]
async fn what_nothing_was_asked_for_is_withdrawn() {
    let home = tempfile::tempdir().expect("made");
    let journal = Journal::open(home.path()).expect("opened");
    begin(&journal).withdraw().await.expect("withdrawn");
    assert!(journal.read().expect("read").pools.is_empty());
    begin(&journal);
}

#[test]
fn a_newer_journal_and_a_damaged_one_are_left_alone_and_damage_names_what_is_known() {
    let home = tempfile::tempdir().expect("made");
    drop(Journal::open(home.path()).expect("opened"));
    let file = home.path().join("journal.sqlite");
    let newer = rusqlite::Connection::open(&file).expect("opened");
    newer.pragma_update(None, "user_version", 99).expect("set");
    drop(newer);
    let refused = Journal::open(home.path()).expect_err("refused").to_string();
    assert!(refused.contains("it has version 99"), "{refused}");
    keys::save(home.path(), &PoolId::new("p7"), &[]).expect("saved");
    std::fs::write(&file, b"not a database at all, but long enough to be looked at by everybody")
        .expect("spoilt");
    let refused = Journal::open(home.path()).expect_err("refused").to_string();
    assert!(refused.contains("at least the pools p7"), "{refused}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_no_other() {
    let home = tempfile::tempdir().expect("made");
    let journal = Journal::open(home.path()).expect("opened");
    let record = begin(&journal);
    let cloud = Recorded::new(Arc::new(Watching(journal.clone())), record, String::new());
    cloud.prepare(&request()).await.expect("prepared");
    journal
        .write(|it| {
            it.execute_batch(
                "INSERT INTO deeds (pool, kind, provider, settings, request, terms, begun_ms)
                 VALUES ('p1', 'provision', 'c', '{}', 'garbage', '', 1)",
            )
        })
        .expect("spoilt");
    let reading = journal.read().expect("read");
    assert_eq!((reading.pools.len(), reading.pools[0].deeds.len(), reading.damage.len()), (1, 1, 1));
    assert!(!reading.pools[0].whole);
}

#[test]
fn two_programs_at_once_write_without_losing_anything() {
    let home = tempfile::tempdir().expect("made");
    let write = |own: usize| {
        let journal = Journal::open(home.path()).expect("opened");
        for number in 0..20 {
            let id = PoolId::new(format!("p{own}x{number}"));
            let lock = journal.lock(&id, None).expect("free");
            let pool = NewPool {
                id,
                name: None,
                program: String::new(),
                specs: String::new(),
                inputs: Inputs::default(),
                salt: Secret::new(String::new()),
                recipe: String::new(),
            };
            Record::begin(&journal, lock, pool).expect("begun");
        }
    };
    std::thread::scope(|scope| (0..3).for_each(|own| drop(scope.spawn(move || write(own)))));
    assert_eq!(Journal::open(home.path()).expect("opened").read().expect("read").pools.len(), 60);
}

/// A cloud that has what it was asked for, in a table, and takes a while for it.
struct Tabled {
    machines: Mutex<std::collections::BTreeSet<String>>,
    set_up: Mutex<bool>,
}

impl Tabled {
    fn has_anything(&self) -> bool {
        !self.machines.lock().expect("there").is_empty() || *self.set_up.lock().expect("there")
    }
}

#[async_trait]
impl Provider for Tabled {
    fn name(&self) -> &str {
        "tabled"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }
    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        Box::pin(futures_util::stream::empty())
    }
    async fn prepare(&self, _: &Request) -> Result<(), ProviderError> {
        tokio::task::yield_now().await;
        *self.set_up.lock().expect("there") = true;
        tokio::task::yield_now().await;
        Ok(())
    }
    async fn provision(&self, _: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        let mut instances = Vec::new();
        for _ in 0..count {
            tokio::task::yield_now().await;
            let id = {
                let mut machines = self.machines.lock().expect("there");
                let id = format!("m{}", machines.len());
                machines.insert(id.clone());
                id
            };
            instances.push(Instance { id: InstanceId::new(id), state: InstanceState::Pending });
        }
        Ok(Provisioned { instances, shortfall: None })
    }
    async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        Ok(Instance { id: id.clone(), state: InstanceState::Pending })
    }
    async fn terminate(&self, _: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        for id in ids {
            tokio::task::yield_now().await;
            self.machines.lock().expect("there").remove(id.as_str());
        }
        Ok(())
    }
    async fn teardown(&self, _: &Request) -> Result<Vec<Leftover>, ProviderError> {
        self.machines.lock().expect("there").clear();
        *self.set_up.lock().expect("there") = false;
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn wherever_a_program_stops_what_its_cloud_has_is_in_the_journal_and_can_be_undone() {
    let mut whole = false;
    let mut crash = 0;
    while !whole {
        let home = tempfile::tempdir().expect("made");
        let journal = Journal::open(home.path()).expect("opened");
        let record = begin(&journal);
        let tabled = Arc::new(Tabled { machines: Mutex::default(), set_up: Mutex::new(false) });
        let cloud = Recorded::new(Arc::clone(&tabled) as _, Arc::clone(&record), String::new());
        let mut life = Box::pin(async {
            cloud.prepare(&request()).await.expect("prepared");
            let given = cloud.provision(&request(), 3).await.expect("rented");
            let ids: Vec<_> = given.instances.into_iter().map(|it| it.id).collect();
            record.node(&ids[0], &node()).await.expect("written");
            cloud.terminate(&request(), &ids[1..]).await.expect("ended");
        });
        // It is looked at so often and no more.
        let mut looks = 0;
        whole = std::future::poll_fn(|context| {
            looks += 1;
            if looks > crash {
                return std::task::Poll::Ready(false);
            }
            life.as_mut().poll(context).map(|()| true)
        })
        .await;
        drop(life);
        record.free();
        let pool = journal.named("train").expect("read").expect("there");
        assert!(!tabled.has_anything() || !pool.undos().is_empty(), "after {crash}: nobody knows of it");
        let lock = journal.lock(&pool.id, pool.name.as_deref()).expect("free");
        let next = Arc::new(Record::attach(&journal, lock, &pool).expect("attached"));
        for deed in pool.undos() {
            let cloud = Recorded::new(Arc::clone(&tabled) as _, Arc::clone(&next), String::new());
            assert_eq!(cloud.teardown(&deed.request).await.expect("torn down"), []);
        }
        assert!(!tabled.has_anything(), "after {crash}");
        next.forget().await.expect("forgotten");
        crash += 1;
    }
    assert!(crash > 8, "{crash}");
}

#[tokio::test]
async fn a_node_that_is_told_to_finish_is_not_attached_to() {
    let home = tempfile::tempdir().expect("made");
    let journal = Journal::open(home.path()).expect("opened");
    let record = begin(&journal);
    let cloud = Recorded::new(Arc::new(Watching(journal.clone())), Arc::clone(&record), String::new());
    cloud.prepare(&request()).await.expect("prepared");
    cloud.provision(&request(), 2).await.expect("rented");
    record.node(&InstanceId::new("a"), &node()).await.expect("written");
    record.leaves(&InstanceId::new("a")).await.expect("written");
    let pool = journal.named("train").expect("read").expect("there");
    assert!(!pool.has_nodes() && pool.machines.len() == 2);
}

#[tokio::test]
async fn a_pool_whose_owner_is_killed_while_it_gives_back_is_never_attached_to() {
    let home = tempfile::tempdir().expect("made");
    let journal = Journal::open(home.path()).expect("opened");
    let record = begin(&journal);
    let cloud = Recorded::new(Arc::new(Watching(journal.clone())), Arc::clone(&record), String::new());
    cloud.prepare(&request()).await.expect("prepared");
    cloud.provision(&request(), 2).await.expect("rented");
    record.node(&InstanceId::new("a"), &node()).await.expect("written");
    let standing = || journal.named("train").expect("read").expect("there").standing(None, Journal::now());
    assert!(matches!(standing(), Standing::Attachable(_)));
    record.close().await.expect("written");
    // That its owner still lives makes it no younger.
    record.fresh().await.expect("written");
    record.free();
    assert_eq!(standing(), Standing::Lapsed);
}

#[tokio::test]
async fn a_pool_that_was_claimed_to_be_given_back_is_never_attached_to_again() {
    let home = tempfile::tempdir().expect("made");
    let journal = Journal::open(home.path()).expect("opened");
    let record = begin(&journal);
    let cloud = Recorded::new(Arc::new(Watching(journal.clone())), Arc::clone(&record), String::new());
    cloud.prepare(&request()).await.expect("prepared");
    cloud.provision(&request(), 2).await.expect("rented");
    record.node(&InstanceId::new("a"), &node()).await.expect("written");
    record.free();
    let pool = || journal.named("train").expect("read").expect("there");
    assert!(matches!(pool().standing(None, Journal::now()), Standing::Attachable(_)));
    let lock = journal.lock(&pool().id, Some("train")).expect("free");
    Record::claim(&journal, lock, &pool()).expect("claimed").free();
    assert_eq!(pool().standing(None, Journal::now()), Standing::Lapsed);
}

/// Has nodes and sizes fail to be written, until it is dropped.
struct Broken(rusqlite::Connection);

impl Broken {
    fn at(home: &std::path::Path) -> Self {
        let other = rusqlite::Connection::open(home.join(crate::journal::schema::FILE)).expect("opened");
        for (name, what) in [("nodes", "UPDATE ON machines"), ("sizes", "UPDATE OF size ON pools")] {
            let fails = "BEGIN SELECT RAISE(FAIL, 'no room'); END";
            other.execute_batch(&format!("CREATE TRIGGER {name} BEFORE {what} {fails}")).expect("broken");
        }
        Self(other)
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.0.execute_batch("DROP TRIGGER nodes; DROP TRIGGER sizes").expect("repaired");
    }
}

#[tokio::test]
async fn a_node_or_a_size_that_could_not_be_written_is_written_with_the_next_sign_of_life() {
    let home = tempfile::tempdir().expect("made");
    let journal = Journal::open(home.path()).expect("opened");
    let record = begin(&journal);
    let cloud = Recorded::new(Arc::new(Watching(journal.clone())), Arc::clone(&record), "terms".into());
    cloud.prepare(&request()).await.expect("prepared");
    cloud.provision(&request(), 2).await.expect("rented");
    let known = || {
        let pool = journal.named("train").expect("read").expect("there");
        (pool.machines.into_iter().map(|it| it.node.is_some()).collect::<Vec<_>>(), pool.size)
    };
    let (a, b) = (InstanceId::new("a"), InstanceId::new("b"));
    record.node(&b, &node()).await.expect("written");
    record.sized(5).await.expect("written");
    let broken = Broken::at(home.path());
    assert!(record.node(&a, &node()).await.is_err() && record.leaves(&b).await.is_err());
    assert!(record.sized(2).await.is_err() && record.sized(3).await.is_err());
    assert_eq!(known(), (vec![false, true], Some(5)));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let heartbeat = Arc::clone(&record).kept_fresh(Duration::from_millis(5), move |it| drop(tell.send(it)));
    let why = tokio::time::timeout(Duration::from_secs(60), told.recv()).await.expect("told").expect("why");
    assert!(why.contains("no room"), "{why}");
    drop(broken);
    let written = async {
        while known() != (vec![true, false], Some(3)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), written).await.expect("written after all");
    assert!(told.try_recv().is_err(), "told once, however often it failed");
    heartbeat.abort();
}

/// A cloud that is sold out is asked again and again.
#[tokio::test]
async fn requests_that_brought_nothing_do_not_pile_up_and_what_brought_something_stays() {
    let home = tempfile::tempdir().expect("made");
    let journal = Journal::open(home.path()).expect("opened");
    let record = begin(&journal);
    let intend = async |seconds: u64, region: &str| {
        let mut request = Request { lease: Duration::from_secs(seconds), ..request() };
        request.offer.region = Some(region.to_owned());
        let (provider, settings, terms) = ("c".into(), "{}".into(), "t".into());
        let (kind, account) = (DeedKind::Provision, None);
        let intent = Intent { kind, provider, settings, account, request, terms };
        record.intend(intent).await.expect("written")
    };
    let sold_out = async |deed| {
        let result = "sold out".to_owned();
        record.note("c", Note::Ended { deed, result }).await.expect("written");
    };
    let useful = intend(600, "a").await;
    let instances = vec![InstanceId::new("a")];
    record.note("c", Note::Rented { deed: useful, instances, is_over: true }).await.expect("written");
    let open = intend(599, "a").await;
    for seconds in 0..50 {
        sold_out(intend(300 + seconds, "a").await).await;
        sold_out(intend(300, "b").await).await;
    }
    let pool = journal.named("train").expect("read").expect("there");
    let kept: Vec<i64> = pool.deeds.iter().map(|it| it.number).collect();
    assert_eq!((kept.len(), &kept[..2]), (4, &[useful, open][..]), "{kept:?}");
    assert_eq!(pool.undos().len(), 2, "one for each region");
}
