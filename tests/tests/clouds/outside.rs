//! Machines that nothing ends but their cloud: what becomes of them when it does not do so at once.

use skyward::prelude::*;
use skyward::{EventKind, StopError};

use crate::fake::{Condition, Fault, Hits};
use crate::smoke::{add, stage, timing};

#[skyward::test]
async fn a_pool_stays_until_its_cloud_has_ended_what_nothing_else_ends() -> skyward::Result<()> {
    let (fake, provider) = stage("lambda").await;
    let compute = skyward_tests::apart().spec(Spec::on_shared(provider)).timing(timing()).start().await?;
    assert_eq!((add(2, 3) >> &compute).await?, 5);
    let mut events = compute.events();
    // The key is refused for a while, so that nothing can be asked for.
    fake.fail(Hits::Any, [Fault::BadKey; 40]);
    compute.stop().await?;
    assert_eq!(fake.left(), [""; 0]);
    let mut again = 0;
    while let Some(event) = events.next().await {
        if let EventKind::TerminateFailed { reason } = event.kind {
            again += u32::from(reason.contains("nothing but the cloud can end the bill"));
        }
    }
    assert!(again > 1, "it is said each time that it is asked again");
    Ok(())
}

#[skyward::test]
async fn what_is_left_after_all_is_named_with_what_it_costs() -> skyward::Result<()> {
    let (fake, provider) = stage("lambda").await;
    let timing = Timing { insist: std::time::Duration::from_secs(1), ..timing() };
    let compute = skyward_tests::apart().spec(Spec::on_shared(provider)).timing(timing).start().await?;
    let machine = fake.machines().remove(0);
    fake.fail(Hits::Any, [Fault::BadKey; 4000]);
    let error = compute.stop().await.expect_err("it is still there");
    let left = &error.downcast_ref::<StopError>().expect("what is left").left;
    let told = format!("{left:?}");
    assert!(told.contains(&machine) && told.contains("it is paid for until it is ended there"), "{told}");
    fake.change(&machine, Condition::Vanished).await;
    Ok(())
}

#[skyward::test]
async fn a_pool_with_a_cap_is_not_left_with_machines_that_would_cost_on() -> skyward::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (fake, provider) = stage("lambda").await;
    let pool = skyward_tests::apart().spec(Spec::on_shared(provider)).timing(timing());
    let pool = pool.name("left").state(folder.path()).max_total_cost(usd!(500));
    let compute = pool.start().await?;
    let refused = compute.detach().await.expect_err("nothing would keep the cap").to_string();
    assert!(refused.contains("cannot end their own bill (lambda)"), "{refused}");
    assert_eq!(fake.left(), [""; 0], "it was given back");
    Ok(())
}
