//! RunPod's pods as a user has them: behind mapped ports, without UDP, and taken back in the middle of work.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use skyward::EventKind;
use skyward::prelude::*;
use skyward::provider::Provider;
use skyward_tests::until;

use crate::fake::{Condition, Fake};
use crate::runpod::RunPod;
use crate::smoke::{stage, timing};

/// How long anything may take here, on busy cores.
const PATIENCE: Duration = Duration::from_secs(90);

/// Says who it is, and waits until a file is there.
#[skyward::function]
async fn waits(folder: PathBuf, it: u32) -> u32 {
    let rank = skyward::instance_info().map_or(u32::MAX, |it| it.rank.0);
    std::fs::write(folder.join(format!("begun-{rank}")), "").expect("written");
    while !folder.join("go").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    it
}

#[skyward::function]
fn double(it: u32) -> u32 {
    it * 2
}

fn is_there(path: &Path) -> impl FnMut() -> Option<()> {
    move || path.exists().then_some(())
}

/// A pool of spot machines with an RTX 4090 each.
async fn spot(provider: Arc<dyn Provider>, nodes: u32) -> skyward::Result<Compute> {
    let spec = Spec::on_shared(provider).accelerator(accelerators::RTX_4090).spot();
    skyward_tests::apart().spec(spec).nodes(nodes).timing(timing()).start().await
}

#[skyward::test]
async fn a_spot_pod_that_is_taken_in_the_middle_of_a_gather_is_replaced_and_nothing_is_lost()
-> skyward::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (fake, provider) = stage("runpod").await;
    let compute = spot(provider as _, 2).await?;
    let before = fake.machines();
    assert_eq!(before.len(), 2);
    let mut events = compute.events();
    let path = folder.path().to_owned();
    let work = (gather((0..12).map(|it| waits(path.clone(), it))) >> &compute).into_future();
    let story = async {
        let begun = [0, 1].map(|it| folder.path().join(format!("begun-{it}")));
        let both = tokio::task::spawn_blocking(move || {
            begun.iter().all(|it| until(PATIENCE, is_there(it)).is_some())
        });
        assert!(both.await.expect("no panic"), "both nodes are at work");
        fake.change(&before[0], Condition::Taken).await;
        // The port is mapped, and UDP gets nowhere.
        assert_eq!(replaced(&mut events).await, Carrier::Ssh);
        assert!(fake.machines().iter().any(|it| !before.contains(it)));
        std::fs::write(folder.path().join("go"), "").expect("written");
    };
    let (done, ()) = futures_util::future::join(work, story).await;
    assert_eq!(done?, (0..12).collect::<Vec<_>>());
    compute.stop().await?;
    assert_eq!(fake.left(), [""; 0], "what was taken is deleted, too: its disk costs");
    assert_eq!(fake.violations(), [""; 0]);
    Ok(())
}

/// Waits until a node has a machine in place of the one that was taken; what its link runs over.
async fn replaced(events: &mut skyward::Events) -> Carrier {
    let linked = async {
        loop {
            if let EventKind::Linked { carrier, .. } = events.next().await.expect("the pool lives").kind {
                return carrier;
            }
        }
    };
    tokio::time::timeout(PATIENCE, linked).await.expect("it is replaced in time")
}

#[skyward::test]
async fn pods_on_demand_are_reached_by_their_mapped_ports() -> skyward::Result<()> {
    let (fake, provider) = stage("runpod").await;
    let spec = Spec::on_shared(provider as _).accelerator(accelerators::RTX_4090).on_demand();
    let compute = skyward_tests::apart().spec(spec).nodes(2).timing(timing()).start().await?;
    let doubled = (gather((0..20).map(double)) >> &compute).await?;
    assert_eq!(doubled, (0..20).map(|it| it * 2).collect::<Vec<_>>());
    compute.stop().await?;
    assert_eq!(fake.left(), [""; 0]);
    assert_eq!(fake.violations(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_spot_pod_is_bid_for_as_it_was_offered_and_ends_at_a_moment_that_is_told() {
    let fake = Fake::start(Box::<RunPod>::default()).await;
    let request = crate::checks::request(&fake, "pool1");
    let request = skyward::provider::Request { market: skyward::provider::Market::Spot, ..request };
    let provider = fake.provider();
    provider.provision(&request, 1).await.unwrap();
    let asked: Vec<_> = fake.server.seen().iter().map(|it| it.json()["variables"]["bid"].clone()).collect();
    let bid = asked.last().unwrap();
    assert_eq!((&bid["bidPerGpu"], &bid["dataCenterId"]), (&0.29.into(), &"EU-RO-1".into()));
    let told = |name: &str, value: &str| serde_json::json!({"key": name, "value": value});
    let expected = [
        told("PUBLIC_KEY", &request.ssh_key),
        told("SKYWARD_ARRIVAL", "600"),
        told("SKYWARD_LEASE", "60"),
        told("SKYWARD_API", &fake.server.url),
    ];
    assert_eq!(bid["env"], serde_json::json!(expected));
    assert!(bid["terminateAfter"].as_str().unwrap().ends_with('Z'));
    assert_eq!(fake.violations(), [""; 0]);
}
