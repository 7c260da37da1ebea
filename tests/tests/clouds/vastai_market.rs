//! What only a market of strangers' machines does: creates that fail and leave something, machines that never
//! come up or are outbid, private networks, and machines that end their own bill.

use std::sync::Arc;
use std::time::Duration;

use skyward::prelude::*;
use skyward::provider::{InstanceId, InstanceState, ProviderErrorKind as Kind, Request};
use skyward_providers::cloud::Account;
use skyward_runtime::model::{End, Market};

use crate::backing::Backing;
use crate::checks::{request, until};
use crate::fake::{Condition, Fake};
use crate::server::Seen;
use crate::smoke::timing;
use crate::vastai::{Trouble, VastAi, own_key};

#[skyward::function]
async fn leaves_a_mark(folder: String, it: u32) -> Result<u32, String> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    std::fs::write(format!("{folder}/{it}"), "").map_err(|it| it.to_string())?;
    Ok(it)
}

async fn start(face: VastAi) -> Fake {
    Fake::start(Box::new(face)).await
}

/// Real machines behind the market.
async fn stage(face: VastAi) -> (Fake, Arc<dyn Account>) {
    let fake = Fake::backed(Box::new(face), Some(Backing::new().await)).await;
    let provider = Arc::from(fake.provider());
    (fake, provider)
}

fn asked<'a>(seen: &'a [Seen], method: &'a str, path: &'a str) -> impl Iterator<Item = usize> + 'a {
    let fits = move |it: &Seen| it.method == method && it.path.starts_with(path);
    seen.iter().enumerate().filter(move |(_, it)| fits(it)).map(|(at, _)| at)
}

#[skyward::test]
async fn a_machine_that_never_comes_up_is_replaced_and_destroyed() -> skyward::Result<()> {
    let (fake, provider) = stage(VastAi::in_trouble(Trouble { stuck: 1, ..Trouble::default() })).await;
    let timing = Timing { boot: Duration::from_secs(12), ..timing() };
    let compute =
        skyward_tests::apart().spec(Spec::on_shared(provider)).nodes(2).timing(timing).start().await?;
    assert_eq!(asked(&fake.asked(), "PUT", "/api/v0/asks/").count(), 3, "two, and one for the one that hung");
    assert_eq!(fake.machines().len(), 2);
    compute.stop().await?;
    assert_eq!(fake.left(), [""; 0]);
    assert_eq!(fake.violations(), [""; 0]);
    Ok(())
}

#[skyward::test]
async fn a_machine_that_is_outbid_in_the_middle_of_a_gather_is_replaced_and_nothing_is_lost()
-> skyward::Result<()> {
    let (fake, provider) = stage(VastAi::default()).await;
    let compute = skyward_tests::apart()
        .spec(Spec::on_shared(provider).spot())
        .nodes(2)
        .timing(timing())
        .start()
        .await?;
    let marks = tempfile::tempdir().unwrap();
    let folder = marks.path().to_str().unwrap().to_owned();
    let calls = compute.spawn(gather((0..60).map(|it| leaves_a_mark(folder.clone(), it))));
    until("some calls are done", || std::fs::read_dir(marks.path()).unwrap().count() >= 5).await;
    let outbid = fake.machines().remove(0);
    fake.change(&outbid, Condition::Taken).await;
    assert_eq!(calls.await?, (0..60).collect::<Vec<_>>());
    // It is given back, since its disk goes on costing, and another one has its rank.
    until("it is replaced", || {
        let machines = fake.machines();
        machines.len() == 2 && !machines.contains(&outbid)
    })
    .await;
    compute.stop().await?;
    assert_eq!(fake.left(), [""; 0]);
    assert_eq!(fake.violations(), [""; 0]);
    Ok(())
}

#[skyward::test]
async fn what_a_failed_create_leaves_is_found_and_destroyed_and_the_next_is_taken() -> skyward::Result<()> {
    let (fake, provider) = stage(VastAi::in_trouble(Trouble { leaks: 1, ..Trouble::default() })).await;
    let compute = skyward_tests::apart()
        .spec(Spec::on_shared(provider).spot())
        .nodes(2)
        .timing(timing())
        .start()
        .await?;
    assert_eq!(fake.machines(), ["1002", "1003"], "the first one was left behind, and destroyed");
    assert_eq!(asked(&fake.asked(), "DELETE", "/api/v0/instances/1001/").count(), 1);
    compute.stop().await?;
    assert_eq!(fake.left(), [""; 0]);
    assert_eq!(fake.violations(), [""; 0]);
    Ok(())
}

/// A pool of two that was rented.
async fn rented(fake: &Fake, market: Market) -> (Box<dyn Account>, Request, Vec<InstanceId>) {
    let provider = fake.provider();
    let request = Request { market, ..request(fake, "pool1") };
    provider.prepare(&request).await.unwrap();
    let rented = provider.provision(&request, 2).await.unwrap();
    assert!(rented.shortfall.is_none(), "{:?}", rented.shortfall);
    (provider, request, rented.instances.into_iter().map(|it| it.id).collect())
}

#[tokio::test]
async fn machines_of_a_cluster_share_a_network_which_is_removed_after_them() {
    let fake = start(VastAi::default()).await;
    let (provider, request, ids) = rented(&fake, Market::OnDemand).await;
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    let seen = fake.asked();
    let overlay = "/api/v0/overlay/";
    let (made, joined): (Vec<_>, Vec<_>) =
        (asked(&seen, "POST", overlay).collect(), asked(&seen, "PUT", overlay).collect());
    let (destroyed, removed): (Vec<_>, Vec<_>) =
        (asked(&seen, "DELETE", "/api/v0/instances/").collect(), asked(&seen, "DELETE", overlay).collect());
    assert_eq!((made.len(), joined.len(), destroyed.len(), removed.len()), (1, 2, 2, 1));
    assert!(made[0] < joined[0], "it is there before anything joins");
    assert!(destroyed.iter().all(|it| *it < removed[0]), "removing it would destroy what is in it");
    let members: Vec<_> = joined.iter().map(|it| seen[*it].json()["instance_id"].to_string()).collect();
    assert_eq!(members, ids.iter().map(InstanceId::to_string).collect::<Vec<_>>());
    let create = asked(&seen, "PUT", "/api/v0/asks/").next().unwrap();
    assert_eq!(seen[create].json()["env"]["-n skyward-pool1-7"], "1");
    assert_eq!(fake.violations(), [""; 0]);
}

#[tokio::test]
async fn a_price_makes_a_machine_interruptible_and_nothing_else_does() {
    for (market, price) in
        [(Market::Spot, serde_json::json!(0.24)), (Market::OnDemand, serde_json::Value::Null)]
    {
        let fake = start(VastAi::default()).await;
        let (_, _, _) = rented(&fake, market).await;
        let seen = fake.asked();
        for create in asked(&seen, "PUT", "/api/v0/asks/") {
            assert_eq!(seen[create].json()["price"], price, "{market:?}");
        }
    }
}

#[tokio::test]
async fn destroying_goes_on_while_the_market_says_that_it_is_asked_too_often() {
    let fake = start(VastAi::in_trouble(Trouble { busy: 9, ..Trouble::default() })).await;
    let (provider, request, ids) = rented(&fake, Market::OnDemand).await;
    provider.terminate(&request, &ids).await.unwrap();
    assert_eq!(fake.machines(), [""; 0]);
    assert!(asked(&fake.asked(), "DELETE", "/api/v0/instances/").count() >= 11);
}

#[tokio::test]
async fn what_is_gone_is_replaced_by_its_likes_and_never_by_what_costs_more() {
    let fake = start(VastAi::default()).await;
    let provider = fake.provider();
    let request = request(&fake, "pool1");
    provider.prepare(&request).await.unwrap();
    let rented = provider.provision(&request, 9).await.unwrap();
    assert_eq!(rented.instances.len(), 6, "six are in the cluster at this price; the seventh is dearer");
    let shortfall = rented.shortfall.unwrap();
    assert_eq!(shortfall.kind, Kind::NoCapacity);
    assert!(shortfall.to_string().contains("nothing like vastai 1x RTX 4090"), "{shortfall}");
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
}

#[tokio::test]
async fn a_host_without_ports_is_reached_through_the_markets_proxy() {
    let fake = start(VastAi::default()).await;
    let provider = fake.provider();
    let offer = fake.face().offers().into_iter().find(|it| it.id == "20").unwrap();
    let request = Request { offer, ..request(&fake, "pool1") };
    provider.prepare(&request).await.unwrap();
    assert_eq!(fake.left(), [""; 0], "it is in no cluster, and there is no network to make");
    let id = provider.provision(&request, 1).await.unwrap().instances.remove(0).id;
    fake.face().set(id.as_str(), Condition::Active("203.0.113.9".parse().unwrap()));
    match provider.describe(&request, &id).await.unwrap().state {
        InstanceState::Running { ssh, .. } => assert_eq!(ssh.host, "203.0.113.9"),
        other => panic!("{other:?}"),
    }
    let seen = fake.asked();
    let create = asked(&seen, "PUT", "/api/v0/asks/20/").next().unwrap();
    assert_eq!(seen[create].json()["runtype"], "ssh_proxy");
}

#[tokio::test]
async fn a_machine_ends_its_own_bill_with_a_key_that_is_good_for_nothing_else() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("SKYWARD_REQUIRE_ALL").is_none(),
            "SKYWARD_REQUIRE_ALL is set, but there is no curl"
        );
        eprintln!("SKIPPED: no curl on this computer: no machine can end itself");
        return;
    }
    let fake = start(VastAi::default()).await;
    let (provider, request, ids) = rented(&fake, Market::OnDemand).await;
    fake.face().set(ids[0].as_str(), Condition::Active("203.0.113.9".parse().unwrap()));
    let InstanceState::Running { end: End::Command { shell }, .. } =
        provider.describe(&request, &ids[0]).await.unwrap().state
    else {
        panic!("it runs, and ends itself by a command")
    };
    assert!(!shell.contains(&fake.key), "no key of the account goes to a machine");
    // What the first process of the container was started with.
    let home = tempfile::tempdir().unwrap();
    let environment = home.path().join("environ");
    let (id, own) = (ids[0].to_string(), own_key(ids[0].as_str()));
    std::fs::write(&environment, format!("A=b\0CONTAINER_ID={id}\0CONTAINER_API_KEY={own}\0")).unwrap();
    let here = |script: &str| script.replace("/proc/1/environ", environment.to_str().unwrap());
    let run = |script: String| {
        let mut shell = tokio::process::Command::new("sh");
        shell.arg("-c").arg(script).env("HOME", home.path()).kill_on_drop(true);
        shell
    };
    assert!(run(here(&shell)).status().await.unwrap().success());
    assert_eq!(fake.machines(), [ids[1].as_str()]);
    assert!(!run(here(&shell).replace(&id, "7")).status().await.unwrap().success(), "it is gone already");

    // What it runs when it starts does the same when nobody comes; here after a second and not ten minutes.
    let seen = fake.asked();
    let create = asked(&seen, "PUT", "/api/v0/asks/").next().unwrap();
    let onstart = seen[create].json()["onstart"].as_str().unwrap().to_owned();
    assert!(!onstart.contains(&fake.key));
    let (id, own) = (ids[1].to_string(), own_key(ids[1].as_str()));
    std::fs::write(&environment, format!("CONTAINER_ID={id}\0CONTAINER_API_KEY={own}\0")).unwrap();
    let hurried =
        onstart.replace("most=600", "most=1").replace("sleep 5; idle=$((idle + 5))", "sleep 1; idle=1");
    assert_ne!(hurried, onstart);
    assert!(run(here(&hurried)).status().await.unwrap().success());
    until("it destroyed itself", || fake.machines().is_empty()).await;
    let keys = std::fs::read_to_string(home.path().join(".ssh/authorized_keys")).unwrap();
    assert_eq!(keys.trim(), request.ssh_key);
}
