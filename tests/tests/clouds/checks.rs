//! What every cloud must do, as functions of a stand-in for it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::TryStreamExt;
use skyward::PoolId;
use skyward::provider::{InstanceId, InstanceState, Provider, ProviderErrorKind as Kind, Request};
use skyward_providers::cloud::Account;
use skyward_runtime::model::{End, Market, Offer};

use crate::fake::{Condition, Fake, Fault, Hits};
use crate::logs;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// A request for what the cloud has first.
pub(crate) fn request(fake: &Fake, pool: &str) -> Request {
    let offer = fake.face().offers().into_iter().find(|it| it.stock != Some(0)).unwrap();
    Request {
        pool: PoolId::new(pool),
        offer,
        market: Market::OnDemand,
        disk_gb: None,
        volumes: Vec::new(),
        ssh_key: format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{pool} skyward"),
        lease: Duration::from_secs(60),
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is: impl Fn() -> bool) {
    let so = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), so).await.is_ok(), "{what}");
}

/// A pool that is prepared, and its machines.
async fn rented(fake: &Fake, count: u32) -> (Box<dyn Account>, Request, Vec<InstanceId>) {
    let (provider, request) = (fake.provider(), request(fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    let rented = provider.provision(&request, count).await.unwrap();
    assert!(rented.shortfall.is_none(), "{:?}", rented.shortfall);
    let ids: Vec<_> = rented.instances.into_iter().map(|it| it.id).collect();
    assert_eq!(ids.len(), count as usize);
    (provider, request, ids)
}

/// On a cloud that lists none of them, for example.
pub(crate) async fn rented_machines_are_given_back_by_their_ids(fake: &Fake) {
    let (provider, request, ids) = rented(fake, 2).await;
    provider.terminate(&request, &ids).await.unwrap();
    assert_eq!(fake.machines(), [""; 0]);
}

async fn offers(provider: &dyn Provider) -> Vec<Offer> {
    provider.offers().try_collect().await.unwrap()
}

async fn state(provider: &dyn Provider, request: &Request, id: &InstanceId) -> InstanceState {
    let instance = provider.describe(request, id).await.unwrap();
    assert_eq!(&instance.id, id);
    instance.state
}

fn is_gone(state: &InstanceState) -> bool {
    matches!(state, InstanceState::Gone { .. })
}

pub(crate) async fn the_offers_are_all_there_with_units_and_currency_right(fake: &Fake) {
    let (mut found, mut expected) = (offers(&*fake.provider()).await, fake.face().offers());
    found.sort_by(|a, b| a.id.cmp(&b.id));
    expected.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(found, expected);
}

pub(crate) async fn preparing_twice_makes_everything_once(fake: &Fake) {
    let request = request(fake, "pool1");
    let provider = fake.provider();
    provider.prepare(&request).await.unwrap();
    let once = fake.left();
    provider.prepare(&request).await.unwrap();
    // Another process knows nothing of the first.
    fake.provider().prepare(&request).await.unwrap();
    assert_eq!(fake.left(), once);
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    assert_eq!(provider.teardown(&request).await.unwrap(), [], "twice is harmless");
    assert_eq!(fake.left(), [""; 0]);
}

pub(crate) async fn as_many_machines_as_were_asked_for(fake: &Fake) {
    let (provider, request, ids) = rented(fake, 3).await;
    assert_eq!(fake.machines().len(), 3);
    for id in &ids {
        assert_eq!(state(&*provider, &request, id).await, InstanceState::Pending);
    }
    provider.terminate(&request, &ids[..1]).await.unwrap();
    assert_eq!(fake.machines().len(), 2, "only what was named is given back");
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
}

pub(crate) async fn some_machines_and_why_there_are_no_more(fake: &Fake) {
    let (provider, request) = (fake.provider(), request(fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    fake.fail(Hits::Rent, [Fault::None, Fault::NoCapacity]);
    let rented = provider.provision(&request, 12).await.unwrap();
    assert!(!rented.instances.is_empty() && rented.instances.len() < 12);
    assert_eq!(rented.shortfall.unwrap().kind, Kind::NoCapacity);
    assert_eq!(fake.machines().len(), rented.instances.len());
}

/// Renting fails in this way, after one try, and leaves nothing.
async fn refused(fake: &Fake, fault: Fault, kind: Kind) -> String {
    let (provider, request) = (fake.provider(), request(fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    fake.fail(Hits::Rent, [fault]);
    let error = provider.provision(&request, 2).await.unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert_eq!(fake.machines(), [""; 0]);
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
    error.to_string()
}

pub(crate) async fn no_capacity(fake: &Fake) {
    refused(fake, Fault::NoCapacity, Kind::NoCapacity).await;
}

pub(crate) async fn the_limit_of_the_account(fake: &Fake) {
    refused(fake, Fault::Quota, Kind::Quota).await;
}

pub(crate) async fn no_money(fake: &Fake) {
    refused(fake, Fault::InsufficientFunds, Kind::InsufficientFunds).await;
}

pub(crate) async fn a_key_that_is_wrong(fake: &Fake) {
    let provider = fake.provider_with("sk-another-not-for-eyes");
    let error = provider.offers().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind, Kind::Auth);
    assert!(error.to_string().contains("; check the key in "), "{error}");
    let error = provider.prepare(&request(fake, "pool1")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Auth);
    assert_eq!(provider.check().await.unwrap_err().kind, Kind::Auth);
    assert_eq!(fake.left(), [""; 0]);
}

/// The offers come in spite of these answers.
async fn passes(fake: &Fake, faults: &[Fault]) {
    fake.fail(Hits::Any, faults.iter().copied());
    assert_eq!(offers(&*fake.provider()).await.len(), fake.face().offers().len());
}

pub(crate) async fn a_limit_that_says_how_long(fake: &Fake) {
    passes(fake, &[Fault::Limited(Some(0))]).await;
    fake.fail(Hits::Any, [Fault::Limited(Some(3600))]);
    let error = fake.provider().check().await.unwrap_err();
    assert_eq!((error.kind, error.after), (Kind::RateLimited, Some(Duration::from_secs(3600))));
}

pub(crate) async fn a_limit_that_does_not_say(fake: &Fake) {
    passes(fake, &[Fault::Limited(None), Fault::Limited(None)]).await;
    let (provider, request) = (fake.provider(), request(fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    fake.fail(Hits::Rent, [Fault::Limited(None)]);
    assert_eq!(provider.provision(&request, 1).await.unwrap().instances.len(), 1);
    assert_eq!(fake.machines().len(), 1, "what was refused was not rented");
}

pub(crate) async fn a_server_that_fails_for_a_moment(fake: &Fake) {
    passes(fake, &[Fault::Broken, Fault::Broken, Fault::Lost]).await;
}

pub(crate) async fn a_server_that_goes_on_failing(fake: &Fake) {
    fake.fail(Hits::Any, [Fault::Broken; 4]);
    let error = fake.provider().offers().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind, Kind::Transient);
    assert_eq!(fake.server.seen().len(), 4, "every retry has an end");
}

pub(crate) async fn a_machine_that_was_rented_although_the_answer_was_lost(fake: &Fake) {
    fake.fail(Hits::Rent, [Fault::DoneButLost]);
    let (provider, request, ids) = rented(fake, 1).await;
    assert_eq!(fake.machines(), [ids[0].as_str()], "it was found, and not rented twice");
    provider.terminate(&request, &ids).await.unwrap();
    assert_eq!(fake.machines(), [""; 0]);
}

pub(crate) async fn a_machine_that_was_not_rented_when_the_answer_was_lost(fake: &Fake) {
    fake.fail(Hits::Rent, [Fault::Lost]);
    let (provider, request) = (fake.provider(), request(fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    let rented = provider.provision(&request, 1).await.unwrap();
    assert_eq!(fake.machines(), [rented.instances[0].id.as_str()]);
    // Its list may only not have had it. Where a request has a token of its own, the second one changes nothing.
    match rented.shortfall {
        None => assert_eq!(provider.name(), "aws"),
        Some(doubt) => {
            assert_eq!(doubt.kind, Kind::Transient, "the pool looks for what may yet come");
            assert!(doubt.unsure && doubt.to_string().contains("nobody heard one of its answers"), "{doubt}");
        }
    }
}

/// What the first request may have brought is nobody's, whatever the second one comes to.
pub(crate) async fn a_machine_that_is_refused_when_the_first_answer_was_lost(fake: &Fake) {
    fake.fail(Hits::Rent, [Fault::Lost, Fault::Quota]);
    let (provider, request) = (fake.provider(), request(fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    let error = provider.provision(&request, 1).await.unwrap_err();
    assert_eq!((error.kind, error.unsure), (Kind::Quota, true), "{error}");
    fake.fail(Hits::Rent, [Fault::Quota]);
    let error = provider.provision(&request, 1).await.unwrap_err();
    assert!(!error.unsure, "a refusal that was heard leaves no doubt");
}

/// The account of a key that is taken back meanwhile.
pub(crate) async fn a_machine_that_cannot_be_looked_for_when_the_answer_was_lost(fake: &Fake) {
    let (provider, request) = (fake.provider(), request(fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    fake.fail(Hits::Rent, [Fault::DoneButLost]);
    fake.fail(Hits::Any, [Fault::BadKey; 200]);
    let error = provider.provision(&request, 1).await.unwrap_err();
    assert_eq!((error.kind, error.unsure), (Kind::Auth, true), "{error}");
    assert_eq!(fake.machines().len(), 1, "it is there, and the pool looks for it");
}

pub(crate) async fn a_machine_in_each_of_its_states(fake: &Fake) {
    let (provider, request, ids) = rented(fake, 1).await;
    let id = &ids[0];
    assert_eq!(state(&*provider, &request, id).await, InstanceState::Pending);
    fake.face().set(id.as_str(), Condition::Active(ADDRESS));
    match state(&*provider, &request, id).await {
        InstanceState::Running { ssh, address, end, .. } => {
            assert_eq!((ssh.host.as_str(), ssh.port), ("203.0.113.7", 22));
            assert!(["root", "ubuntu"].contains(&ssh.user.as_str()));
            assert_eq!((ssh.host_key, address), (fake.face().host_key(id.as_str()), ADDRESS));
            assert_eq!(end == End::Outside, !provider.capabilities().ends_itself);
        }
        other => panic!("{other:?}"),
    }
    provider.terminate(&request, &ids).await.unwrap();
    assert!(is_gone(&state(&*provider, &request, id).await));
}

pub(crate) async fn a_machine_that_the_cloud_takes_back(fake: &Fake) {
    let (provider, request, ids) = rented(fake, 1).await;
    fake.face().set(ids[0].as_str(), Condition::Taken);
    assert!(is_gone(&state(&*provider, &request, &ids[0]).await));
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
}

pub(crate) async fn a_machine_that_vanished(fake: &Fake) {
    let (provider, request, ids) = rented(fake, 2).await;
    fake.face().set(ids[0].as_str(), Condition::Vanished);
    assert!(is_gone(&state(&*provider, &request, &ids[0]).await));
    // The other one is given back all the same.
    provider.terminate(&request, &ids).await.unwrap();
    assert_eq!(fake.machines(), [""; 0]);
}

pub(crate) async fn a_machine_that_nobody_rented(fake: &Fake) {
    let (provider, request) = (fake.provider(), request(fake, "pool1"));
    let before = fake.server.seen().len();
    for name in ["../account", "a/b", "", "1?x=y"] {
        let id = InstanceId::new(name);
        assert!(is_gone(&state(&*provider, &request, &id).await));
    }
    assert_eq!(fake.server.seen().len(), before, "what can be no id is not asked about");
    let id = InstanceId::new("999999");
    assert!(is_gone(&state(&*provider, &request, &id).await));
    provider.terminate(&request, &[id, InstanceId::new("../account")]).await.unwrap();
}

pub(crate) async fn terminating_twice(fake: &Fake) {
    let (provider, request, ids) = rented(fake, 2).await;
    provider.terminate(&request, &ids).await.unwrap();
    assert_eq!(fake.machines(), [""; 0]);
    for id in &ids {
        assert!(is_gone(&state(&*provider, &request, id).await), "it is certainly gone");
    }
    provider.terminate(&request, &ids).await.unwrap();
    let both =
        futures_util::future::join(provider.terminate(&request, &ids), provider.terminate(&request, &ids));
    assert!(matches!(both.await, (Ok(()), Ok(()))));
}

pub(crate) async fn a_teardown_after_half_a_preparation(fake: &Fake) {
    let (provider, request) = (fake.provider(), request(fake, "pool1"));
    fake.fail(Hits::PrepareLast, [Fault::Broken; 4]);
    assert_eq!(provider.prepare(&request).await.unwrap_err().kind, Kind::Transient);
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0], "what a preparation that failed has made goes with the pool");
}

pub(crate) async fn a_later_preparation_that_fails_leaves_the_machines_alone(fake: &Fake) {
    let (provider, request, ids) = rented(fake, 2).await;
    fake.fail(Hits::Any, [Fault::Limited(Some(3600))]);
    assert_eq!(fake.provider().prepare(&request).await.unwrap_err().kind, Kind::RateLimited);
    let (mut there, mut rented) = (fake.machines(), ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    there.sort();
    rented.sort();
    assert_eq!(there, rented);
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
}

pub(crate) async fn a_leak_is_found_by_its_tag_and_other_pools_are_left_alone(fake: &Fake) {
    let (provider, request, _) = rented(fake, 2).await;
    drop(provider);
    let other = self::request(fake, "pool12");
    let provider = fake.provider();
    provider.prepare(&other).await.unwrap();
    let others = provider.provision(&other, 1).await.unwrap().instances;
    // It knows nothing of what the first one rented.
    assert_eq!(fake.provider().teardown(&request).await.unwrap(), []);
    assert_eq!(fake.machines(), [others[0].id.as_str()]);
    assert!(fake.left().iter().all(|it| it.starts_with("machine") || it.contains("pool12")));
    assert_eq!(provider.provision(&other, 1).await.unwrap().instances.len(), 1, "its key is still there");
    assert_eq!(provider.teardown(&other).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
}

pub(crate) async fn machines_of_all_pools_are_seen_with_their_age(fake: &Fake) {
    let (provider, _, ids) = rented(fake, 2).await;
    let other = self::request(fake, "pool12");
    provider.prepare(&other).await.unwrap();
    let others = provider.provision(&other, 1).await.unwrap().instances;
    // By somebody who rented none of them.
    let seen = fake.provider().sightings().await.unwrap().expect("a list");
    let of = |pool: &str| {
        let ids = seen.iter().filter(|it| it.pool.as_str() == pool).map(|it| it.instance.clone());
        ids.collect::<BTreeSet<_>>()
    };
    assert_eq!((seen.len(), of("pool1")), (3, ids.into_iter().collect()));
    assert_eq!(of("pool12"), others.into_iter().map(|it| it.id).collect());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for it in seen {
        assert_eq!(it.lease, Some(other.lease));
        assert!(it.since.is_some_and(|it| it <= now && it + Duration::from_secs(60) > now), "{it:?}");
    }
    provider.teardown(&other).await.unwrap();
    assert_eq!(fake.provider().sightings().await.unwrap().expect("a list").len(), 2);
}

pub(crate) async fn only_giving_back_ends_the_bill(fake: &Fake) {
    let (provider, request, ids) = rented(fake, 1).await;
    fake.face().set(ids[0].as_str(), Condition::Active(ADDRESS));
    fake.face().set(ids[0].as_str(), Condition::Shutdown);
    assert_eq!(fake.machines().is_empty(), provider.capabilities().ends_itself, "as the capability says");
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
}

pub(crate) async fn a_market_that_is_not_there(fake: &Fake) {
    let provider = fake.provider();
    if offers(&*provider).await.iter().any(|it| it.price.spot.is_some()) {
        return;
    }
    let spot = Request { market: Market::Spot, ..request(fake, "pool1") };
    assert_eq!(provider.provision(&spot, 1).await.unwrap_err().kind, Kind::InvalidRequest);
    assert_eq!(fake.machines(), [""; 0]);
}

pub(crate) async fn the_account_is_checked_with_one_call(fake: &Fake) {
    let provider = fake.provider();
    assert_eq!(provider.key().unwrap().place, "the settings");
    assert_eq!(fake.server.seen().len(), 0);
    assert!(!provider.check().await.unwrap().is_empty());
    assert_eq!(fake.asked().len(), 1);
}

pub(crate) async fn nothing_secret_in_any_log_line(fake: &Fake) {
    let (provider, request, ids) = rented(fake, 1).await;
    let _ = offers(&*provider).await;
    // Who logs in does so again when a call is refused, and has to be refused then, too.
    let logs_in = fake.asked().len() < fake.server.seen().len();
    fake.fail(Hits::Any, [Fault::Broken, Fault::BadKey]);
    fake.fail(Hits::Any, logs_in.then_some(Fault::BadKey));
    let error = provider.describe(&request, &ids[0]).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(&fake.key));
    provider.teardown(&request).await.unwrap();
    let log = logs::text();
    assert!(log.contains("the cloud answered"), "calls are logged");
    assert!(!log.contains(&fake.key), "the key is in a log line");
}
