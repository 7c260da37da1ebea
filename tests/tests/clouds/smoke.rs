//! Calls on machines of each cloud: the clouds are stand-ins, the machines are real, and everything between
//! is what it is for a user.

use std::sync::Arc;
use std::time::Duration;

use skyward::prelude::*;
use skyward_providers::cloud::Account;

use crate::backing::Backing;
use crate::conformance::{clouds, face};
use crate::fake::{Fake, Fault, Hits};
use crate::logs;

#[skyward::function]
pub(crate) fn add(a: u32, b: u32) -> u32 {
    a + b
}

#[skyward::function]
pub(crate) async fn rank() -> Option<u32> {
    skyward::instance_info().map(|it| it.rank.0)
}

#[skyward::function]
pub(crate) fn fails() -> Result<(), String> {
    Err("as it should".to_owned())
}

pub(crate) fn timing() -> Timing {
    let length = Duration::from_secs(30);
    Timing { lease: length, ttl: length, ..Timing::short() }
}

/// A stand-in with real machines, and a provider that asks it.
pub(crate) async fn stage(cloud: &str) -> (Fake, Arc<dyn Account>) {
    let fake = Fake::backed(face(cloud), Some(Backing::new().await)).await;
    let provider = Arc::from(fake.provider());
    (fake, provider)
}

#[skyward::test]
async fn calls_run_on_machines_of_every_cloud_and_nothing_is_left() -> skyward::Result<()> {
    for cloud in clouds() {
        let (fake, provider) = stage(cloud.name).await;
        let compute =
            skyward_tests::apart().spec(Spec::on_shared(provider)).nodes(2).timing(timing()).start().await?;
        assert_eq!(fake.machines().len(), 2);
        assert_eq!((add(2, 3) >> &compute).await?, 5);
        let mut ranks = (rank() * &compute).await?;
        ranks.sort_unstable();
        assert_eq!(ranks, [Some(0), Some(1)]);
        let sums = (gather((0..50).map(|it| add(it, 1))) >> &compute).await?;
        assert_eq!(sums, (1..51).collect::<Vec<_>>());
        assert!((fails() >> &compute).await.is_err());
        compute.stop().await?;
        assert_eq!(fake.left(), [""; 0], "{}", cloud.name);
        assert_eq!(fake.violations(), [""; 0], "{}", cloud.name);
    }
    Ok(())
}

#[skyward::test]
async fn a_start_says_when_machines_cannot_end_their_own_bill() -> skyward::Result<()> {
    logs::capture();
    for cloud in clouds() {
        let (fake, provider) = stage(cloud.name).await;
        let ends_itself = provider.capabilities().ends_itself;
        let compute = skyward_tests::apart().spec(Spec::on_shared(provider)).timing(timing()).start().await?;
        compute.stop().await?;
        let line = format!(
            "its machines cannot end their own bill if this program is killed provider={}",
            cloud.name
        );
        assert_eq!(logs::text().contains(&line), !ends_itself, "{}", cloud.name);
        assert_eq!(fake.left(), [""; 0]);
    }
    Ok(())
}

#[skyward::test]
async fn a_cloud_that_is_sold_out_at_first_is_asked_again() -> skyward::Result<()> {
    for cloud in clouds() {
        let (fake, provider) = stage(cloud.name).await;
        fake.fail(Hits::Rent, [Fault::NoCapacity]);
        let compute = skyward_tests::apart().spec(Spec::on_shared(provider)).timing(timing()).start().await?;
        assert_eq!((add(1, 1) >> &compute).await?, 2);
        compute.stop().await?;
        assert_eq!(fake.left(), [""; 0]);
    }
    Ok(())
}
