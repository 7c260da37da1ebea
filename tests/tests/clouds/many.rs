//! Pools that are larger than what a cloud rents out at once.

use std::collections::BTreeSet;

use skyward::provider::{InstanceId, ProviderErrorKind as Kind};

use crate::checks::request;
use crate::conformance::face;
use crate::fake::{Fake, Fault, Hits};

/// As the pool does it: what is missing is asked for again while something comes.
#[tokio::test]
async fn thirty_machines_come_in_parts_and_none_of_them_twice() {
    for name in ["digitalocean", "lambda", "runpod"] {
        let fake = Fake::start(face(name)).await;
        let (provider, request) = (fake.provider(), request(&fake, "pool1"));
        provider.prepare(&request).await.unwrap();
        // In the middle an answer is lost, once of what was done and once of what was not.
        let faults = [Fault::None, Fault::DoneButLost, Fault::None, Fault::Lost];
        fake.fail(Hits::Rent, faults);
        let mut rented: Vec<InstanceId> = Vec::new();
        while rented.len() < 30 {
            let missing = 30 - u32::try_from(rented.len()).unwrap();
            let part = provider.provision(&request, missing).await.unwrap();
            assert!(!part.instances.is_empty(), "{}: nothing comes any more", name);
            rented.extend(part.instances.into_iter().map(|it| it.id));
            if let Some(shortfall) = part.shortfall {
                // One is asked for again of which nobody knows what became of it.
                let is_meant = matches!(shortfall.kind, Kind::RateLimited | Kind::Transient);
                assert!(is_meant, "{name}: {shortfall}");
            }
        }
        let each: BTreeSet<_> = rented.iter().map(|it| it.as_str().to_owned()).collect();
        assert_eq!(each, fake.machines().into_iter().collect(), "{}", name);
        assert_eq!(each.len(), 30, "{}", name);
        assert_eq!(provider.teardown(&request).await.unwrap(), []);
        assert_eq!(fake.left(), [""; 0]);
        assert_eq!(fake.violations(), [""; 0]);
    }
}

/// Thirty nodes that boot ask all the time; the cloud is asked for all of them together.
#[tokio::test]
async fn many_machines_are_looked_at_with_few_requests() {
    for name in ["lambda", "runpod"] {
        let fake = Fake::start(face(name)).await;
        let (provider, request) = (fake.provider(), request(&fake, "pool1"));
        provider.prepare(&request).await.unwrap();
        let rented = provider.provision(&request, 8).await.unwrap().instances;
        let before = fake.server.seen().len();
        let looks = rented.iter().map(|it| provider.describe(&request, &it.id));
        for looked in futures_util::future::join_all(looks).await {
            looked.unwrap();
        }
        let asked = fake.server.seen().len() - before;
        assert!(asked <= 2, "{name}: {asked} requests for 8 machines");
    }
}
