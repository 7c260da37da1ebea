//! Pools whose nodes stand alone, and clusters: what functions know of the other nodes, and what nodes pass on among
//! themselves.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use skyward::prelude::*;
use skyward::{
    Array, EventKind, Events, InstanceInfo, InvalidRequest, Mode, RunPod, Shared, Ssh, Standalone, ssh,
};
use skyward_tests::testbed::{Bed, Host};
use skyward_tests::{Ground, builder, desk, end, send, until};

/// Longer than anything takes, on busy cores, too.
const SOON: Duration = Duration::from_secs(90);

/// What is large enough to be passed on, as numbers: 8 MiB.
const MANY: u64 = 1 << 20;

#[skyward::function]
async fn double(number: u32) -> u32 {
    number * 2
}

#[skyward::function]
async fn info() -> Option<InstanceInfo> {
    skyward::instance_info()
}

/// The ranks of the other nodes, or why there are no ways there.
#[skyward::function]
async fn others() -> Result<Vec<u32>, String> {
    Ok(skyward::peers().map_err(|it| it.to_string())?.iter().map(|it| it.rank.0).collect())
}

#[skyward::function]
async fn sum(of: Shared<Array<u64>>) -> (u32, u64) {
    let rank = skyward::instance_info().map_or(u32::MAX, |it| it.rank.0);
    (rank, of.iter().sum())
}

#[skyward::function]
async fn home() -> String {
    std::env::var("HOME").unwrap_or_default()
}

#[skyward::test]
async fn nodes_that_stand_alone_run_all_that_runs_in_a_cluster_and_refuse_ways_to_each_other()
-> skyward::Result<()> {
    let ground = Ground::new("standalone");
    let compute = builder(&ground).nodes(3).cluster(false).start().await?;
    assert_eq!((double(1) >> &compute).await?, 2);
    assert_eq!((double(2) * &compute).await?, [4, 4, 4]);
    assert_eq!(((double(1) & double(2)) >> &compute).await?, (2, 4));
    assert_eq!((gather((0..9).map(double)) >> &compute).await?, (0..9).map(|it| it * 2).collect::<Vec<_>>());
    let table = Shared::new(Array::from((0..MANY).collect::<Vec<_>>()))?;
    let mut events = compute.events();
    let sums = (sum(table) * &compute).await?;
    assert_eq!(sums, (0..3).map(|it| (it, MANY * (MANY - 1) / 2)).collect::<Vec<_>>());
    for own in (info() * &compute).await?.into_iter().flatten() {
        assert_eq!((own.mode, own.nodes, own.peers.len(), own.head), (Mode::Standalone, 3, 3, None));
        assert_eq!(own.place(), (own.rank.0 as usize, 3), "shares are shared out all the same");
    }
    match (others() >> &compute).await {
        Err(CallError::Task(said)) => assert_eq!(said, Standalone.to_string()),
        other => panic!("{other:?}"),
    }
    end(compute, &ground).await?;
    let (given, failed) = given(&mut events).await;
    assert_eq!((given, failed), (vec![], vec![]), "nobody has it from another node");
    Ok(())
}

#[skyward::test]
async fn a_cluster_where_machines_cannot_reach_each_other_is_refused_with_what_to_do() -> skyward::Result<()>
{
    let state = Ground::new("refused-state");
    let start = skyward_tests::apart().spec(Spec::on(RunPod::default())).cluster(true).state(state.path());
    let refused = start.start().await.expect_err("pods do not reach each other");
    let said = refused.to_string();
    assert!(said.contains("cluster is true") && said.contains(".cluster(false)"), "{said}");
    let invalid = InvalidRequest::new("cluster", true, "");
    assert!(said.starts_with(&invalid.to_string().trim_end().to_owned()), "{said}");
    Ok(())
}

#[skyward::test]
async fn the_ways_to_other_nodes_are_true_when_one_was_replaced() -> skyward::Result<()> {
    let ground = Ground::new("replaced-peers");
    let compute = builder(&ground).nodes(3).start().await?;
    assert_eq!((others() * &compute).await?, [vec![1, 2], vec![0, 2], vec![0, 1]]);
    let before = (info() >> compute.head()).await?.expect("on a node");
    assert_eq!((before.mode, before.head), (Mode::Cluster, Some([127, 0, 0, 1].into())));
    let home = (home() >> compute.node(1)).await?;
    let is_its =
        |it: &u32| std::fs::read_link(format!("/proc/{it}/fd/2")).is_ok_and(|log| log.starts_with(&home));
    let machine = ground.processes("machine").into_iter().find(is_its).expect("its machine");
    send(machine, Signal::KILL)?;
    let replaced = async {
        loop {
            let now = (info() >> compute.head()).await?.expect("on a node");
            let names =
                |it: &InstanceInfo| it.peers.iter().map(|it| it.name.clone()).collect::<BTreeSet<_>>();
            if now.peers.len() == 3 && names(&now) != names(&before) {
                return Ok::<_, skyward::Error>(now);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let now = tokio::time::timeout(SOON, replaced).await.expect("another node")?;
    // Each is told for itself; then all of them say the same, the new one included, and what is shared comes there too.
    let agreed = async {
        loop {
            let all = (info() * &compute).await?;
            if all.iter().flatten().filter(|own| own.peers == now.peers).count() == 3 {
                return Ok::<_, skyward::Error>(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, agreed).await.expect("one view of all")?;
    let table = Shared::new(Array::from((0..MANY).collect::<Vec<_>>()))?;
    assert_eq!((sum(table) * &compute).await?.len(), 3);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_shared_value_comes_once_from_the_client_and_then_from_node_to_node() -> skyward::Result<()> {
    for executor in [Executor::Thread, Executor::Process] {
        let ground = Ground::new("passed-on");
        let worker = Worker { executor, ..Worker::default() };
        let compute = builder(&ground).nodes(4).worker(worker).start().await?;
        let mut events = compute.events();
        let table = Shared::new(Array::from((0..MANY).collect::<Vec<_>>()))?;
        for _ in 0..2 {
            let sums = (sum(table.clone()) * &compute).await?;
            assert_eq!(sums, (0..4).map(|it| (it, MANY * (MANY - 1) / 2)).collect::<Vec<_>>());
        }
        end(compute, &ground).await?;
        let (given, failed) = given(&mut events).await;
        assert_eq!(given.iter().map(|(rank, _)| *rank).collect::<BTreeSet<_>>(), (0..4).collect());
        let from_client = given.iter().filter(|(_, from)| from.is_none()).count();
        // On a busy machine a node may not be reached in time; that is told.
        assert_eq!(given.len(), 4, "{given:?}");
        assert!(from_client == 1 || !failed.is_empty(), "{given:?}");
    }
    Ok(())
}

/// A pool on hosts, one on each.
fn on(bed: &Bed) -> skyward::Builder {
    let hosts = bed.hosts().iter().map(|it| it.name().into()).collect();
    let config = ssh::Config { hosts, ssh_config: Some(bed.ssh_config()), ..ssh::Config::default() };
    let (grace, lease) = (Duration::from_secs(6), SOON);
    let times = Timing { provision: SOON, offers: SOON, join: SOON, ssh: SOON, ..Timing::short() };
    let timing = Timing { detect: Duration::from_secs(3), grace, lease, ttl: lease, ..times };
    let nodes = u32::try_from(bed.hosts().len()).expect("few");
    skyward_tests::apart().spec(Spec::on(Ssh::new(config))).nodes(nodes).timing(timing)
}

/// Such a pool, and the host of each rank.
async fn on_hosts(bed: &Bed) -> skyward::Result<(Compute, Vec<&Host>)> {
    let compute = on(bed).start().await?;
    let names = (hostname() * &compute).await?;
    let host = |name: &String| bed.hosts().iter().find(|it| it.name() == name.trim()).expect("a host");
    Ok((compute, names.iter().map(host).collect()))
}

#[skyward::function]
async fn hostname() -> String {
    std::fs::read_to_string("/etc/hostname").unwrap_or_default()
}

#[skyward::test]
async fn nodes_that_do_not_reach_each_other_have_it_from_others_or_the_client() -> skyward::Result<()> {
    let Some(bed) = Bed::of(3) else { return Ok(()) };
    let (compute, hosts) = on_hosts(&bed).await?;
    for apart in [2, 3] {
        hosts.iter().take(apart).for_each(|it| it.set_apart());
        let mut events = compute.events();
        // Another one each time: what is there is not sent again.
        let numbers: Vec<_> = (apart as u64..MANY).collect();
        let total = numbers.iter().sum();
        let table = Shared::new(Array::from(numbers))?;
        assert_eq!((sum(table) * &compute).await?, [(0, total), (1, total), (2, total)]);
        let mut given = Vec::new();
        while given.len() < 3 {
            let event = tokio::time::timeout(SOON, events.next()).await.expect("in time").expect("lives");
            if let EventKind::Given { rank, from, .. } = event.kind {
                given.push((rank.0 as usize, from.map(|it| it.0 as usize)));
            }
        }
        let is_apart = |rank: usize| rank < apart;
        let passed: Vec<_> = given.iter().filter_map(|(rank, from)| Some((*rank, (*from)?))).collect();
        assert!(passed.iter().all(|(to, from)| !(is_apart(*to) && is_apart(*from))), "{given:?}");
        // The third still takes part.
        assert_eq!(passed.is_empty(), apart == 3, "{given:?}");
    }
    let why = compute.explain().await.to_string();
    assert!(
        why.contains("does not come to it from node") && why.contains("at worst from the client"),
        "{why}"
    );
    compute.stop().await
}

#[skyward::test]
async fn a_node_that_loses_power_in_the_middle_keeps_nobody_behind_it_from_having_all() -> skyward::Result<()>
{
    let Some(bed) = Bed::of(3) else { return Ok(()) };
    let (compute, hosts) = on_hosts(&bed).await?;
    hosts.iter().for_each(|it| it.narrow(8_000_000));
    let table = Shared::new(Array::from((0..MANY).collect::<Vec<_>>()))?;
    let last = hosts.get(2).expect("three");
    let (mut sums, at_first) = (Vec::new(), received(last));
    for (rank, host) in (0..).zip(&hosts) {
        let before = received(host);
        sums.push(compute.node(rank).spawn(sum(table.clone())));
        // One after the other, so that each has it from the one before.
        until(SOON, || (received(host) > before + (1 << 20)).then_some(())).expect("it comes");
    }
    hosts.get(1).expect("three").power_cut();
    let total = MANY * (MANY - 1) / 2;
    for (rank, sum) in (0..).zip(sums) {
        if rank != 1 {
            let sum = tokio::time::timeout(SOON, sum).await.expect("in time")?;
            assert_eq!(sum, (rank, total));
        }
    }
    let came = received(last) - at_first;
    assert!(came < 12 << 20, "what came before the power went was kept: {came}");
    // What is there cannot be reached, and is named; its lease ends it.
    let _ = compute.stop().await;
    Ok(())
}

#[skyward::test]
async fn a_node_on_a_wire_that_is_far_slower_is_gone_round_by_those_behind_it() -> skyward::Result<()> {
    let Some(bed) = Bed::of(4) else { return Ok(()) };
    let (compute, hosts) = on_hosts(&bed).await?;
    hosts.iter().for_each(|it| it.narrow(20_000_000));
    let slow = hosts.get(1).expect("four");
    let at_first = received(slow);
    let mut events = compute.events();
    let table = Shared::new(Array::from((0..3 * MANY).collect::<Vec<_>>()))?;
    let mut sums = Vec::new();
    for (rank, host) in (0..).zip(&hosts) {
        let before = received(host);
        sums.push(compute.node(rank).spawn(sum(table.clone())));
        // One after the other, so that each has it from the one before.
        until(SOON, || (received(host) > before + (1 << 20)).then_some(())).expect("it comes");
    }
    slow.narrow(2_000_000);
    let total = 3 * MANY * (3 * MANY - 1) / 2;
    let slow_one = sums.remove(1);
    for (rank, sum) in [0, 2, 3].into_iter().zip(sums) {
        let sum = tokio::time::timeout(SOON, sum).await.expect("in time")?;
        assert_eq!(sum, (rank, total));
    }
    // At its pace the rest takes longer than a minute.
    let came = received(slow) - at_first;
    assert!(came < 20 << 20, "those behind it have waited for it: {came}");
    slow.narrow(20_000_000);
    assert_eq!(tokio::time::timeout(SOON, slow_one).await.expect("in time")?, (1, total));
    compute.stop().await?;
    let (given, failed) = given(&mut events).await;
    assert_eq!(given.len(), 4, "{given:?}");
    assert!(failed.iter().any(|it| it.contains("far slower")), "{failed:?}");
    Ok(())
}

/// What is in the included file: how much, and a sum over it.
#[skyward::function]
fn included() -> Result<(usize, u64), Failure> {
    let content = std::fs::read("data.bin")?;
    Ok((content.len(), content.iter().fold(7, |sum, it| sum.rotate_left(5) ^ u64::from(*it))))
}

#[skyward::test]
async fn included_files_leave_the_client_once_and_go_from_host_to_host() -> skyward::Result<()> {
    let desk = desk("included")?;
    // Such as nothing can be made smaller.
    let mut dice = 1_u64;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (dice >> 56) as u8
    })
    .take(8 << 20)
    .collect();
    let file = desk.path().join("data.bin");
    std::fs::write(&file, &content)?;
    let sum = content.iter().fold(7_u64, |sum, it| sum.rotate_left(5) ^ u64::from(*it));
    for cluster in [true, false] {
        let Some(bed) = Bed::of(3) else { return Ok(()) };
        let before: Vec<_> = bed.hosts().iter().map(Host::processes).collect();
        let image = Image::new().include(&file);
        let compute = on(&bed).image(image).cluster(cluster).start().await?;
        assert_eq!((included() * &compute).await?, [(content.len(), sum); 3]);
        let sent = bed.hosts().iter().filter(|it| counted(it, "tx_bytes") > content.len() as u64);
        // On a busy machine a host may not be reached in time, and the client gives it.
        let passed_on = if cluster { 1..=2 } else { 0..=0 };
        let sent = sent.count();
        assert!(passed_on.contains(&sent), "{sent} hosts have given it on, where cluster is {cluster}");
        compute.stop().await?;
        let left = || bed.hosts().iter().map(Host::processes).collect::<Vec<_>>();
        until(SOON, || (left() == before).then_some(())).expect("nothing runs there any more");
    }
    Ok(())
}

/// How much has come to a host, in bytes.
fn received(host: &Host) -> u64 {
    counted(host, "rx_bytes")
}

/// What its network device has counted.
fn counted(host: &Host, what: &str) -> u64 {
    host.run(&format!("cat /sys/class/net/eth0/statistics/{what}")).trim().parse().expect("a number")
}

/// Which nodes have had what is shared, and from which, until the pool's end; and what went wrong with it.
async fn given(events: &mut Events) -> (Vec<(u32, Option<u32>)>, Vec<String>) {
    let (mut given, mut failed) = (Vec::new(), Vec::new());
    while let Some(event) = tokio::time::timeout(SOON, events.next()).await.expect("an end") {
        match event.kind {
            EventKind::Given { rank, from, .. } => given.push((rank.0, from.map(|it| it.0))),
            kind @ EventKind::PeerFailed { .. } => failed.push(kind.to_string()),
            EventKind::Stopped { .. } => break,
            _ => {}
        }
    }
    (given, failed)
}
