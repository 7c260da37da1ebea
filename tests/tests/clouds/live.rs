//! One machine of a real cloud, rented and given back, for money: `just live lambda`. It runs only when it is
//! asked for by name, and says what it cost.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use skyward::PoolId;
use skyward::provider::{InstanceState, Market, Offer, Request};
use skyward_providers::cloud::{Account, named};
use skyward_runtime::model::Allocation;
use skyward_runtime::ssh::ClientKey;

use crate::conformance::clouds;
use crate::smoke::stage;

#[tokio::test]
#[ignore = "it costs money: `just live <cloud>`"]
async fn a_machine_of_a_real_cloud_is_rented_and_given_back() {
    let name = std::env::var("SKYWARD_LIVE").expect("SKYWARD_LIVE names a cloud");
    let cloud = named(&name).expect("a cloud of the table");
    let provider = (cloud.open)(serde_json::json!({})).unwrap();
    rent_and_give_back(&*provider).await;
}

/// The same against a stand-in with a real machine, so that it works on the day on which it is asked for.
#[skyward::test]
async fn a_machine_of_every_stand_in_is_rented_and_given_back() {
    for cloud in clouds() {
        let (fake, provider) = stage(cloud.name).await;
        rent_and_give_back(&*provider).await;
        assert_eq!(fake.left(), [""; 0]);
        assert_eq!(fake.violations(), [""; 0]);
    }
}

async fn rent_and_give_back(provider: &dyn Account) {
    println!("{}: {}", provider.key().unwrap().place, provider.check().await.unwrap());
    let offers: Vec<Offer> = provider.offers().try_collect().await.unwrap();
    let there = offers.iter().filter(|it| it.stock != Some(0) && it.price.on_demand.is_some());
    let offer = there.min_by_key(|it| it.price.on_demand).expect("something is in stock").clone();
    let tariff = Allocation::OnDemand.pays(&offer.price).unwrap();
    println!("{} offers; the cheapest is {offer} at {tariff}", offers.len());
    let request = Request {
        pool: PoolId::new(skyward_runtime::random::text(8).unwrap()),
        offer,
        market: Market::OnDemand,
        disk_gb: None,
        volumes: Vec::new(),
        ssh_key: ClientKey::generate().unwrap().public().to_owned(),
        lease: Duration::from_secs(600),
    };
    let began = Instant::now();
    let life = tokio::time::timeout(Duration::from_secs(1800), life(provider, &request)).await;
    // Whatever came of it, nothing may go on costing.
    let left = provider.teardown(&request).await.unwrap();
    println!("after {:?} at most {}", began.elapsed(), tariff.cost(began.elapsed()));
    assert_eq!(left, []);
    life.expect("half an hour is enough").unwrap();
}

async fn life(provider: &dyn Account, request: &Request) -> Result<(), String> {
    provider.prepare(request).await.map_err(|it| it.to_string())?;
    let mut rented = provider.provision(request, 1).await.map_err(|it| it.to_string())?;
    let id = rented.instances.remove(0).id;
    loop {
        match provider.describe(request, &id).await.map_err(|it| it.to_string())?.state {
            InstanceState::Running { ssh, .. } => {
                println!("{id} is at {ssh}");
                return provider.terminate(request, &[id]).await.map_err(|it| it.to_string());
            }
            InstanceState::Leaving { reason, .. } | InstanceState::Gone { reason, .. } => return Err(reason),
            InstanceState::Pending => tokio::time::sleep(Duration::from_secs(5)).await,
        }
    }
}
