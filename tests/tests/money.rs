//! Two clouds, real machines: which is rented, what is tried when it refuses, what it costs, and that nothing
//! which was launched and not used is left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skyward::prelude::*;
use skyward::provider::{BillingUnit, InstanceType, Market, Offer, Price};
use skyward::{Architecture, EventKind, StartError};
use skyward_runtime::provider::ProviderErrorKind;
use skyward_runtime::testing::{Answer, Asked, Scripted};
use skyward_tests::{Ground, patient};

#[skyward::function]
async fn add(a: u32, b: u32) -> u32 {
    a + b
}

#[skyward::function]
async fn wait() {
    std::future::pending::<()>().await;
}

fn offer(cloud: &str, name: &str, hourly: Usd) -> Offer {
    let kind = InstanceType {
        vcpus: 2,
        memory_mb: 4000,
        architecture: Architecture::here(),
        ..InstanceType::named(name)
    };
    Offer::of(cloud, kind, Price::on_demand(hourly))
}

fn cloud(name: &str, ground: &Ground, hourly: Usd) -> Scripted {
    Scripted::new(name, Local::default().directory(ground.path())).offers([offer(name, name, hourly)])
}

fn spec(cloud: &Scripted) -> Spec {
    Spec::on(cloud.clone()).vcpus(2)
}

/// Timing that asks again at once.
fn quick() -> Timing {
    Timing { provision_attempts: 1, ..patient() }
}

fn provision(name: &str, count: u32) -> Asked {
    Asked::Provision(name.to_owned(), Market::OnDemand, count)
}

/// D2 on real machines: each way in which the first cloud can fail leads to the second, by the second's own
/// provider, and both are undone.
#[skyward::test]
async fn what_the_cheaper_cloud_cannot_give_the_other_gives() -> skyward::Result<()> {
    let ways = [
        Answer::Refuse(ProviderErrorKind::Auth),
        Answer::Refuse(ProviderErrorKind::Quota),
        Answer::Refuse(ProviderErrorKind::NoCapacity),
        Answer::Refuse(ProviderErrorKind::Transient),
        Answer::Give(1),
    ];
    for way in ways {
        let (near, far) = (Ground::new("money-near"), Ground::new("money-far"));
        let one = cloud("one", &near, usd!(1)).answers([way]);
        let two = cloud("two", &far, usd!(2));
        let builder = skyward_tests::apart().spec(spec(&two)).spec(spec(&one)).nodes(2).timing(quick());
        let compute = builder.start().await?;
        assert_eq!((add(1, 2) * &compute).await?, [3, 3], "{way:?}");
        assert_eq!(far.processes("worker").len(), 2, "{way:?}");
        compute.stop().await?;
        assert_eq!(one.asked().first(), Some(&Asked::Offers));
        assert!(one.asked().contains(&Asked::Teardown) && two.asked().contains(&Asked::Teardown), "{way:?}");
        assert!(two.asked().contains(&provision("two", 2)), "{way:?}: {:?}", two.asked());
        assert_eq!((one.machines(), two.machines()), (vec![], vec![]), "{way:?}");
        near.expect_empty_within(Duration::from_secs(20));
        far.expect_empty_within(Duration::from_secs(20));
    }
    Ok(())
}

#[skyward::test]
async fn mixed_specs_make_one_pool_of_two_clouds() -> skyward::Result<()> {
    let (near, far) = (Ground::new("money-mixed-near"), Ground::new("money-mixed-far"));
    let one = cloud("one", &near, usd!(1)).answers([Answer::Give(1)]);
    let two = cloud("two", &far, usd!(2));
    let builder = skyward_tests::apart().spec(spec(&one).mixed()).spec(spec(&two).mixed());
    let compute = builder.nodes(2).timing(quick()).start().await?;
    assert_eq!((add(1, 2) * &compute).await?, [3, 3]);
    assert_eq!((near.processes("worker").len(), far.processes("worker").len()), (1, 1));
    let bill = compute.stop_with_bill().await?;
    assert_eq!(bill.machines.len(), 2);
    assert_eq!((one.machines(), two.machines()), (vec![], vec![]));
    near.expect_empty_within(Duration::from_secs(20));
    far.expect_empty_within(Duration::from_secs(20));
    Ok(())
}

#[skyward::test]
async fn a_plan_ranks_both_clouds_and_rents_nothing() -> skyward::Result<()> {
    let ground = Ground::new("money-plan");
    let (one, two) = (cloud("one", &ground, usd!(1)), cloud("two", &ground, usd!(2)));
    let lost = Scripted::new("lost", Local::default()).no_offers(ProviderErrorKind::Auth);
    let builder = skyward_tests::apart().spec(spec(&two)).spec(spec(&one)).spec(spec(&lost)).nodes(3);
    let plan = builder.plan().await?;
    let costs: Vec<Usd> = plan.candidates.iter().map(|it| it.hourly()).collect();
    assert_eq!(costs, [usd!(3), usd!(6)]);
    assert_eq!(plan.candidates[1].lost.as_deref(), Some("$3.00/h dearer"));
    assert!(plan.specs[2].error.is_some());
    assert_eq!((one.asked(), two.asked()), (vec![Asked::Offers], vec![Asked::Offers]));
    assert_eq!(ground.left(), Vec::<String>::new());
    // The order of the specs, instead.
    let plan = builder.selection(Selection::First).plan().await?;
    assert_eq!(plan.chosen().map(|it| it.offer.provider.as_str()), Some("two"));
    Ok(())
}

#[skyward::test]
async fn what_cannot_be_is_refused_before_any_cloud_is_asked() -> skyward::Result<()> {
    let ground = Ground::new("money-refused");
    let one = cloud("one", &ground, usd!(1));
    let refused = |builder: skyward::Builder| async move {
        match builder.timing(quick()).start().await {
            Ok(_) => panic!("it started"),
            Err(error) => error.to_string(),
        }
    };
    let other = match Architecture::here() {
        Some(Architecture::X86_64) => Architecture::Aarch64,
        _ => Architecture::X86_64,
    };
    for (spec, field) in [
        (spec(&one).vcpus(0), "vcpus is 0"),
        (spec(&one).nodes((9, 8)), "nodes.max is 8"),
        (spec(&one).ttl(Duration::ZERO), "ttl is 0ns"),
        (spec(&one).volume(skyward::Volume::new("data", "/data")), "volume is data"),
        (spec(&one).architecture(other), "architecture is"),
    ] {
        let error = refused(skyward_tests::apart().spec(spec)).await;
        assert!(error.contains(field), "{field}: {error}");
    }
    assert_eq!(one.asked(), []);
    // Asked, and nothing fits: the nearest miss is named.
    let error = refused(skyward_tests::apart().spec(spec(&one).memory_gb(64))).await;
    assert!(error.contains("1 removed by memory") && error.contains("4 GB of memory, 64 wanted"), "{error}");
    assert_eq!(one.asked(), [Asked::Offers]);
    Ok(())
}

#[skyward::test]
async fn work_says_what_it_cost_and_the_bill_adds_up() -> skyward::Result<()> {
    let ground = Ground::new("money-bill");
    // A dollar a second.
    let compute =
        skyward_tests::apart().spec(spec(&cloud("one", &ground, usd!(3600)))).timing(quick()).start().await?;
    let mut events = compute.events();
    let (sum, cost) = (add(1, 2) >> &compute).costed().await;
    assert_eq!(sum?, 3);
    assert!(cost > Usd::ZERO && cost < usd!(20), "{cost}");
    let (sums, more) = compute.gather((0..10).map(|it| add(it, it))).costed().await;
    assert_eq!(sums?.len(), 10);
    let so_far = compute.cost();
    assert!(so_far.total >= cost + more && so_far.boot > Usd::ZERO && so_far.machines[0].open, "{so_far:?}");
    let bill = compute.stop_with_bill().await?;
    assert_eq!(bill.total, bill.tasks + bill.idle + bill.boot);
    assert!(bill.total >= so_far.total && !bill.machines[0].open, "{bill:?}");
    assert!(bill.tasks >= cost + more, "{bill:?}");
    let (mut said, mut last) = (Usd::ZERO, None);
    while let Some(event) = events.next().await {
        match event.kind {
            EventKind::TaskFinished { cost, .. } => said += cost,
            EventKind::Stopped { bill, .. } => last = Some(*bill),
            _ => {}
        }
    }
    assert_eq!(bill.functions.iter().map(|it| it.cost).sum::<Usd>(), said);
    assert_eq!(last, Some(bill));
    Ok(())
}

#[skyward::test]
async fn nothing_runs_any_more_when_a_gather_was_dropped() -> skyward::Result<()> {
    let ground = Ground::new("money-dropped");
    let one = cloud("one", &ground, usd!(3600));
    let compute = skyward_tests::apart().spec(spec(&one)).timing(quick()).start().await?;
    let mut events = compute.events();
    let begun = async {
        while let Some(event) = events.next().await {
            if matches!(event.kind, EventKind::TaskStarted { .. }) {
                return;
            }
        }
    };
    tokio::select! {
        ended = async { compute.gather((0..200).map(|_| wait())).await } => panic!("{ended:?}"),
        () = begun => {}
    }
    // A machine that does nothing is idle: for longer than what a begun second adds to the total.
    let idle = compute.cost().idle;
    let rests = async {
        while compute.cost().idle <= idle + usd!(2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), rests).await.expect("it rests");
    compute.stop().await?;
    ground.expect_empty_within(Duration::from_secs(20));
    Ok(())
}

#[skyward::test]
async fn a_pool_that_has_cost_what_it_may_ends_and_gives_everything_back() -> skyward::Result<()> {
    let ground = Ground::new("money-spent");
    let one = cloud("one", &ground, usd!(3600));
    // What booting and giving back may cost, by the times that they may take, and a little to spend.
    let timing = Timing { boot: Duration::from_secs(15), shutdown: Duration::from_secs(15), ..quick() };
    let timing = Timing { lease: Duration::from_secs(9), ..timing };
    let starved = skyward_tests::apart().spec(spec(&one)).timing(timing.clone()).max_total_cost(usd!(10));
    match starved.start().await {
        Ok(_) => panic!("it started"),
        Err(error) => match error.downcast_ref::<StartError>() {
            Some(StartError::Budget { cap, .. }) => assert_eq!(*cap, usd!(10)),
            other => panic!("{other:?}"),
        },
    }
    assert!(!one.asked().iter().any(|it| matches!(it, Asked::Provision(..))), "{:?}", one.asked());
    let builder = skyward_tests::apart().spec(spec(&one)).timing(timing).max_total_cost(usd!(40));
    let compute = builder.start().await?;
    let mut events = compute.events();
    let ended = async {
        while let Some(event) = events.next().await {
            if let EventKind::Stopped { bill, .. } = event.kind {
                return Some(bill.total);
            }
        }
        None
    };
    let total = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap_or(None);
    assert!(total.is_some_and(|it| it > usd!(10) && it <= usd!(40)), "{total:?}");
    assert_eq!(one.machines(), []);
    let bill = compute.stop_with_bill().await?;
    assert_eq!(Some(bill.total), total);
    ground.expect_empty_within(Duration::from_secs(20));
    Ok(())
}

#[skyward::test]
async fn begun_hours_are_paid_as_a_whole() -> skyward::Result<()> {
    let ground = Ground::new("money-hour");
    let hourly = offer("one", "one", usd!(2));
    let price = hourly.price.clone().billed(BillingUnit::Hour, Duration::ZERO);
    let one =
        Scripted::new("one", Local::default().directory(ground.path())).offers([Offer { price, ..hourly }]);
    let compute = skyward_tests::apart().spec(spec(&one)).timing(quick()).start().await?;
    assert_eq!((add(1, 2) >> &compute).await?, 3);
    let bill = compute.stop_with_bill().await?;
    assert_eq!((bill.total, bill.machines[0].billed), (usd!(2), Duration::from_secs(3600)));
    Ok(())
}

/// As long as a cloud takes to end them, or refuses to, their leases lapse.
#[skyward::test]
async fn machines_that_end_themselves_while_their_cloud_is_asked_to_are_told_once_and_paid_until_it_says_so()
-> skyward::Result<()> {
    for refusals in [0, 1] {
        let ground = Arc::new(Ground::new("money-lapse"));
        let there = Arc::clone(&ground);
        let one = cloud("one", &ground, usd!(3600)).refuses_to_end(refusals);
        let one = one.gives_back_once(move || there.processes("machine").is_empty());
        let (patience, lease) = (Duration::from_secs(120), Duration::from_secs(5));
        let timing = Timing { provision: patience, shutdown: patience, lease, ..quick() };
        let compute = skyward_tests::apart().spec(spec(&one)).nodes(2).timing(timing).start().await?;
        let mut events = compute.events();
        assert_eq!((add(1, 2) * &compute).await?, [3, 3]);
        assert_eq!(ground.processes("machine").len(), 2);
        let bill = compute.stop_with_bill().await?;
        let (mut gone, mut failed) = (BTreeMap::new(), 0);
        while let Some(event) = events.next().await {
            match event.kind {
                EventKind::Terminated { instance } => {
                    assert_eq!(gone.insert(instance, event.after), None, "told twice");
                }
                EventKind::TerminateFailed { .. } => failed += 1,
                EventKind::NodeLost { .. } => panic!("a node that is given back is not lost"),
                EventKind::Stopped { left, bill: told, .. } => {
                    assert_eq!((left, *told), (vec![], bill.clone()))
                }
                _ => {}
            }
        }
        assert_eq!((gone.len(), failed), (2, refusals), "{:?}", one.asked());
        assert_eq!(bill.machines.len(), 2);
        for machine in &bill.machines {
            // From when it was asked for, which is soon after the pool's begin.
            let until = gone.get(&machine.instance).copied().unwrap_or_default();
            assert!(!machine.open && machine.used <= until, "{machine:?} {until:?}");
            assert!(machine.used >= lease, "{machine:?}");
            assert_eq!(
                machine.billed.as_secs(),
                machine.used.as_millis().div_ceil(1000) as u64,
                "{machine:?}"
            );
        }
        assert_eq!(bill.total, bill.machines.iter().map(|it| it.cost).sum::<Usd>());
        assert_eq!(one.machines(), []);
        ground.expect_empty_within(Duration::from_secs(20));
    }
    Ok(())
}
