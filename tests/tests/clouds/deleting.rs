//! Verda's way to delete: several machines with one request, and none that is still being made.

use crate::checks::request;
use crate::fake::{Condition, Fake};
use crate::verda::Verda;

async fn start(face: Verda) -> Fake {
    Fake::start(Box::new(face)).await
}

#[tokio::test]
async fn a_machine_that_is_still_being_made_is_deleted_with_its_volumes_in_the_end() {
    let fake = start(Verda::refusing(3, 0)).await;
    let (provider, request) = (fake.provider(), request(&fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    let id = provider.provision(&request, 1).await.unwrap().instances.remove(0).id;
    assert_eq!(fake.left().iter().filter(|it| it.starts_with("volume")).count(), 1);
    provider.terminate(&request, &[id]).await.unwrap();
    assert_eq!(fake.machines(), [""; 0]);
    assert_eq!(fake.left(), ["key skyward-pool1", "script skyward-pool1"], "the volume went with it");
    assert_eq!(fake.violations(), [""; 0]);
}

#[tokio::test]
async fn many_machines_are_deleted_with_few_requests_and_those_that_refuse_once_more() {
    let fake = start(Verda::refusing(2, 0)).await;
    let (provider, request) = (fake.provider(), request(&fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    let ids: Vec<_> =
        provider.provision(&request, 60).await.unwrap().instances.into_iter().map(|it| it.id).collect();
    for id in &ids {
        fake.face().set(id.as_str(), Condition::Active("203.0.113.9".parse().unwrap()));
    }
    // One that is gone keeps no other.
    fake.face().set(ids[7].as_str(), Condition::Vanished);
    let before = fake.asked().len();
    provider.terminate(&request, &ids).await.unwrap();
    let asked: Vec<_> = fake.asked().split_off(before);
    let deletes = asked.iter().filter(|it| it.method == "PUT").count();
    assert!(deletes < 15, "{deletes} requests delete sixty");
    assert_eq!(fake.machines(), [""; 0]);
    let things = fake.face().things();
    assert!(things.len() <= 3, "the volumes went with them, but for that of what vanished: {things:?}");
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
    assert_eq!(fake.violations(), [""; 0]);
}

#[tokio::test]
async fn one_that_is_new_is_not_gone_because_nobody_knows_it() {
    let fake = start(Verda::refusing(0, 2)).await;
    let (provider, request) = (fake.provider(), request(&fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    let id = provider.provision(&request, 1).await.unwrap().instances.remove(0).id;
    provider.terminate(&request, &[id]).await.unwrap();
    assert_eq!(fake.machines(), [""; 0]);
}
