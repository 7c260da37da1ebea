//! What was rented with one key, and is to be given back with another: nothing is forgotten that is still there.

use std::sync::Arc;
use std::time::Duration;

use skyward::journal::{Journal, KnownPool, Standing, foreigners_of, forget, give_back_with, obstacles};
use skyward::prelude::*;
use skyward::provider::{
    BoxStream, Capabilities, Instance, InstanceId, KeyPrint, Leftover, Offer, Provider, ProviderError,
    Provisioned, Request, Sighting, async_trait,
};
use skyward::{PoolId, Secret};
use skyward_runtime::journal::{Inputs, NewPool, Record, Recorded};

use crate::checks::request;
use crate::conformance::{clouds, face};
use crate::fake::Fake;
use crate::smoke::{stage, timing};

/// A journal, and a folder for it.
struct Desk {
    home: tempfile::TempDir,
    journal: Journal,
}

impl Desk {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::open(home.path()).unwrap();
        Self { home, journal }
    }

    fn begin(&self, name: Option<&str>) -> Arc<Record> {
        let (id, name) = (PoolId::new("pool1"), name.map(str::to_owned));
        let lock = self.journal.lock(&id, name.as_deref()).unwrap();
        let (program, specs, recipe) = (String::new(), String::new(), String::new());
        let (inputs, salt) = (Inputs::default(), Secret::new(String::new()));
        let pool = NewPool { id, name, program, specs, inputs, salt, recipe };
        Arc::new(Record::begin(&self.journal, lock, pool).unwrap())
    }

    fn pool(&self) -> Option<KnownPool> {
        self.journal.read().unwrap().pools.pop()
    }
}

fn provider(fake: &Fake) -> Arc<dyn Provider> {
    let account: Arc<dyn skyward_providers::cloud::Account> = Arc::from(fake.provider());
    account
}

/// Rents two machines that are written down.
async fn rent(record: &Arc<Record>, fake: &Fake, request: &Request) {
    let cloud = Recorded::new(provider(fake), Arc::clone(record), "{}".to_owned());
    cloud.prepare(request).await.unwrap();
    assert_eq!(cloud.provision(request, 2).await.unwrap().instances.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_gives_nothing_back_and_nothing_is_forgotten_until_the_right_one_is_there() {
    for cloud in clouds() {
        let (own, other) = (Fake::start(face(cloud.name)).await, Fake::start(face(cloud.name)).await);
        let desk = Desk::new();
        let record = desk.begin(None);
        rent(&record, &own, &request(&own, "pool1")).await;
        record.free();
        let (pool, there) = (desk.pool().unwrap(), own.left());

        let left = give_back_with(&desk.journal, &pool, vec![provider(&other)]).await.unwrap();
        let told = format!("{left:?}");
        for words in [
            provider(&own).account().unwrap().to_string(),
            provider(&other).account().unwrap().to_string(),
            cloud.keys.to_string(),
            pool.machines[1].instance.to_string(),
        ] {
            assert!(told.contains(&words), "{}: {words} is not in {told}", cloud.name);
        }
        assert!(!told.contains(&own.key) && !told.contains(&other.key), "{told}");
        assert_eq!(other.asked().len(), 0, "{}: it was asked", cloud.name);
        assert_eq!(own.left(), there, "{}", cloud.name);
        assert_eq!(desk.pool().unwrap().machines, pool.machines);
        // Without any key it would be the same, which is known without asking.
        assert_eq!(obstacles(&pool).len(), 1);

        // Which of two is the right one says the key, and not their order.
        let both = vec![provider(&other), provider(&own)];
        assert_eq!(give_back_with(&desk.journal, &pool, both).await.unwrap(), []);
        assert_eq!((own.left(), desk.pool()), (Vec::<String>::new(), None), "{}", cloud.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_two_accounts_of_one_cloud_is_given_back_to_both() {
    let (one, two) = (Fake::start(face("lambda")).await, Fake::start(face("lambda")).await);
    let desk = Desk::new();
    let record = desk.begin(None);
    // The same offer of both, so that only the key tells what was rented where.
    let request = request(&one, "pool1");
    rent(&record, &one, &request).await;
    rent(&record, &two, &request).await;
    record.free();
    let pool = desk.pool().unwrap();
    let left = give_back_with(&desk.journal, &pool, vec![provider(&two)]).await.unwrap();
    assert_eq!((left.len(), one.machines().len(), two.left()), (1, 2, Vec::new()));
    let left = give_back_with(&desk.journal, &pool, vec![provider(&two), provider(&one)]).await.unwrap();
    assert_eq!((left, one.left(), desk.pool()), (Vec::new(), Vec::new(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_not_given_back() {
    let fake = Fake::start(face("lambda")).await;
    let desk = Desk::new();
    let record = desk.begin(None);
    rent(&record, &fake, &request(&fake, "pool1")).await;
    let pool = desk.pool().unwrap();
    assert!(forget(&desk.journal, &pool).await.unwrap_err().to_string().contains("in use by process"));
    record.free();
    let before = fake.asked().len();
    forget(&desk.journal, &pool).await.unwrap();
    assert_eq!((desk.pool(), fake.machines().len(), fake.asked().len()), (None, 2, before));
}

/// It may come when nothing lists it yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_an_answer_is_not_forgotten_while_it_may_bring_machines() {
    let fake = Fake::start(face("lambda")).await;
    let desk = Desk::new();
    let record = desk.begin(None);
    let cloud = Recorded::new(Arc::new(Unheard(provider(&fake))), Arc::clone(&record), "{}".to_owned());
    let request = request(&fake, "pool1");
    cloud.prepare(&request).await.unwrap();
    tokio::select! {
        _ = cloud.provision(&request, 1) => panic!("nobody hears the answer"),
        () = there_are(1, &fake, Duration::from_secs(60)) => {}
    }
    record.free();
    let pool = desk.pool().unwrap();
    for _ in 0..2 {
        let left = give_back_with(&desk.journal, &pool, vec![provider(&fake)]).await.unwrap();
        assert!(left.len() == 1 && left[0].to_string().contains("looks for it in"), "{left:?}");
        assert_eq!(fake.left(), Vec::<String>::new(), "what is listed is given back");
    }
    assert!(desk.pool().is_some());
}

#[skyward::test]
async fn a_program_with_another_key_neither_attaches_nor_begins_anew() -> skyward::Result<()> {
    let (own, other) = (Fake::start(face("lambda")).await, Fake::start(face("lambda")).await);
    let desk = Desk::new();
    let record = desk.begin(Some("sweep"));
    rent(&record, &own, &request(&own, "pool1")).await;
    record.free();
    let start = |fake: &Fake| {
        let builder = skyward_tests::apart().spec(Spec::on_shared(provider(fake)).on_demand());
        builder.name("sweep").state(desk.home.path()).timing(Timing::short()).start()
    };
    let refused = start(&other).await.expect_err("refused").to_string();
    let print = provider(&own).account().unwrap();
    assert!(refused.contains(&format!("rented with the key {print}")), "{refused}");
    assert_eq!((own.machines().len(), other.machines().len()), (2, 0));
    assert!(desk.pool().is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_pool_is_listed_and_given_back_when_it_is_old_enough_and_the_others_stay() {
    for cloud in clouds() {
        let fake = Fake::start(face(cloud.name)).await;
        let desk = Desk::new();
        let record = desk.begin(None);
        rent(&record, &fake, &request(&fake, "pool1")).await;
        // Somebody else, with a journal that is not ours.
        let (cloud, other) = (provider(&fake), request(&fake, "other1"));
        cloud.prepare(&other).await.unwrap();
        cloud.provision(&other, 1).await.unwrap();

        let known = desk.journal.read().unwrap();
        let found = foreigners_of(&known, vec![provider(&fake)]).await.unwrap();
        assert_eq!((found.pools.len(), found.failed.len()), (1, 0), "{found:?}");
        let mut pool = found.pools[0].clone();
        assert_eq!((pool.id.as_str(), pool.machines.len()), ("other1", 1));
        let refused = pool.give_back().await.unwrap_err().to_string();
        assert!(refused.contains("pool other1 may just be starting"), "{refused}");
        assert_eq!(fake.machines().len(), 3);
        // What cannot be read of a journal may be just this pool.
        let unsure = skyward::journal::Reading { damage: vec!["a pool".to_owned()], ..known };
        let found = foreigners_of(&unsure, vec![provider(&fake)]).await.unwrap();
        let refused = found.pools[0].give_back().await.unwrap_err().to_string();
        assert!(refused.contains("may be one of this user's own"), "{refused}");

        // By a clock that is ten minutes off it may be as young as it must not be.
        let begun = pool.machines[0].since.unwrap_or_else(Journal::now);
        let lease = Duration::from_secs(60) * 4 / 3;
        let old = begun + Timing::default().boot + lease;
        assert!(pool.may_be_starting(old + Duration::from_secs(590)));
        assert!(!pool.may_be_starting(old + Duration::from_secs(610)));
        // As it would be an hour later.
        pool.machines[0].since = pool.machines[0].since.map(|it| it - Duration::from_secs(3600));
        assert_eq!(pool.give_back().await.unwrap(), []);
        assert_eq!(fake.machines().len(), 2, "its own are there");
        assert!(fake.left().iter().all(|it| !it.contains("other1")), "{:?}", fake.left());
        // Of what nobody can tell how old it is, nobody can tell that it does not just start.
        pool.machines[0].since = None;
        assert!(pool.may_be_starting(Journal::now() + Duration::from_secs(1 << 20)));
    }
}

/// A cloud whose answer to a request for machines nobody lives to hear.
struct Unheard(Arc<dyn Provider>);

#[async_trait]
impl Provider for Unheard {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn account(&self) -> Option<KeyPrint> {
        self.0.account()
    }
    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        self.0.offers()
    }
    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        self.0.prepare(request).await
    }
    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        self.0.provision(request, count).await?;
        std::future::pending().await
    }
    async fn describe(&self, request: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        self.0.describe(request, id).await
    }
    async fn terminate(&self, request: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        self.0.terminate(request, ids).await
    }
    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        self.0.teardown(request).await
    }
    async fn sightings(&self) -> Result<Option<Vec<Sighting>>, ProviderError> {
        self.0.sightings().await
    }
}

#[skyward::function]
async fn name() -> String {
    skyward::instance_info().map_or_else(String::new, |it| it.name.to_string())
}

/// Waits until the cloud has so many machines.
async fn there_are(count: usize, fake: &Fake, deadline: Duration) {
    let there = async {
        while fake.machines().len() != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(deadline, there).await.expect("in time");
}

/// One owner of a pool is killed while it rents, so that nobody knows what it got.
#[skyward::test]
async fn what_was_rented_without_an_answer_is_given_back_by_who_attaches() -> skyward::Result<()> {
    let (fake, provider) = stage("lambda").await;
    let provider: Arc<dyn Provider> = provider;
    let desk = Desk::new();
    let (detect, grace) = (Duration::from_secs(10), Duration::from_secs(20));
    let long = Duration::from_secs(300);
    let patient = Timing { detect, grace, lease: long, ttl: long, ..timing() };
    let start = || {
        let builder = skyward_tests::apart()
            .spec(Spec::on_shared(Arc::clone(&provider)))
            .nodes(2)
            .timing(patient.clone());
        builder.name("sweep").state(desk.home.path()).start()
    };
    let compute = start().await?;
    let before = (name() * &compute).await?;
    compute.detach().await?;

    let pool = desk.pool().expect("there");
    let lock = desk.journal.lock(&pool.id, Some("sweep"))?;
    let record = Arc::new(Record::attach(&desk.journal, lock, &pool)?);
    let deed = pool.deeds.last().expect("a deed");
    let cloud =
        Recorded::new(Arc::new(Unheard(Arc::clone(&provider))), Arc::clone(&record), deed.terms.clone());
    let deadline = Duration::from_secs(60);
    let asked = tokio::select! {
        _ = cloud.provision(&deed.request, 1) => false,
        () = there_are(3, &fake, deadline) => true,
    };
    assert!(asked, "nobody hears the answer");
    record.free();

    // Not by a program that has the key of another account.
    let other = Fake::start(face("lambda")).await;
    let builder = skyward_tests::apart().spec(Spec::on_shared(self::provider(&other))).nodes(2);
    let refused =
        builder.name("sweep").state(desk.home.path()).start().await.expect_err("refused").to_string();
    assert!(refused.contains("rented with the key of another account"), "{refused}");

    let compute = start().await?;
    let mut after = (name() * &compute).await?;
    let mut before = before;
    before.sort();
    after.sort();
    assert_eq!(after, before, "its nodes are what they were");
    there_are(2, &fake, deadline).await;
    compute.detach().await?;
    let pool = desk.pool().expect("there");
    assert!(matches!(pool.standing(None, Journal::now()), Standing::Attachable(_)));
    // All that is listed is given back; what may yet come is not forgotten.
    let told = start().await?.stop().await.expect_err("something may yet come").to_string();
    assert!(
        told.contains("what lambda may yet rent") && told.contains("`sky reap` looks for it in"),
        "{told}"
    );
    assert_eq!((fake.left(), fake.violations()), (Vec::<String>::new(), Vec::<String>::new()));
    assert!(desk.pool().is_some());
    Ok(())
}
