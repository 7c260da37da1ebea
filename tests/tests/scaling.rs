//! Pools that change their number of nodes, with real machines on this computer.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use skyward::prelude::*;
use skyward::{EventKind, ScaledBecause, Scaling};
use skyward_tests::{Ground, builder, end, send, until_said};

#[skyward::function]
async fn works(millis: u64) -> (u32, u32) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    skyward::instance_info().map(|it| (it.rank.0, it.nodes)).expect("on a node")
}

#[skyward::function]
async fn home() -> String {
    std::env::var("HOME").unwrap_or_default()
}

/// Gives nodes back as soon as they are not used.
const EAGER: Scaling = Scaling { idle: Duration::from_millis(500), cooldown: Duration::from_millis(300) };

async fn until(events: &mut skyward::Events, what: impl FnMut(&EventKind) -> bool) {
    until_said(events, Duration::from_secs(90), what).await;
}

#[skyward::test]
async fn a_pool_goes_from_none_to_eight_and_back_twice_and_loses_no_call() -> skyward::Result<()> {
    let ground = Ground::new("zero-eight-zero");
    let nodes = Nodes { desired: 0, max: Some(8), ..Nodes::default() };
    let compute = builder(&ground).nodes(nodes).scaling(EAGER).start().await?;
    assert_eq!((compute.nodes(), ground.processes("machine").len()), (0, 0));
    for _ in 0..2 {
        let mut events = compute.events();
        // None of them may run twice.
        let done = (gather((0..64).map(|_| works(200).once())) >> &compute).await?;
        assert_eq!(done.len(), 64);
        let ranks: BTreeSet<u32> = done.iter().map(|it| it.0).collect();
        assert!(ranks.len() > 1 && ranks.iter().all(|it| *it < 8), "{ranks:?}");
        // All that happens in a round is read in one go: how many go at once is the machine's to say.
        let (mut grown, mut shrunk, mut given_back) = (false, false, 0);
        until(&mut events, |it| {
            match it {
                EventKind::Scaled { to: 8, why: ScaledBecause::Queued(_), .. } => grown = true,
                EventKind::Scaled { to: 0, why: ScaledBecause::Idle(_), .. } => shrunk = true,
                EventKind::Terminated { .. } => given_back += 1,
                _ => {}
            }
            grown && shrunk && given_back >= 8
        })
        .await;
        assert_eq!((compute.nodes(), ground.processes("machine").len()), (0, 0));
    }
    let told = compute.explain().await.to_string();
    assert!(told.contains(" nodes wanted, not 0: ") && told.contains(": nothing ran for "), "{told}");
    // The head wakes it too.
    assert_eq!((works(1) >> compute.head()).await?.0, 0);
    end(compute, &ground).await
}

#[skyward::test]
async fn calls_that_come_while_a_pool_shrinks_are_all_answered() -> skyward::Result<()> {
    let ground = Ground::new("shrink-load");
    let nodes = Nodes { desired: 4, min: Some(1), max: Some(4) };
    let scaling = Scaling { idle: Duration::from_millis(20), cooldown: Duration::from_millis(20) };
    let compute = builder(&ground).nodes(nodes).scaling(scaling).start().await?;
    let mut events = compute.events();
    // Bursts, with pauses that are long enough to give machines back and too short for others to boot.
    for pause in 0..12 {
        let done = (gather((0..40).map(|_| works(5).once())) >> &compute).await?;
        assert_eq!(done.len(), 40);
        tokio::time::sleep(Duration::from_millis(pause * 20)).await;
    }
    assert!((1..=4).contains(&compute.nodes()));
    until(&mut events, |it| matches!(it, EventKind::Scaled { from, to, .. } if to < from)).await;
    end(compute, &ground).await
}

#[skyward::test]
async fn a_resize_is_followed_by_nodes_broadcasts_and_peers() -> skyward::Result<()> {
    let ground = Ground::new("resize");
    let compute = builder(&ground).nodes(1).start().await?;
    for wanted in [3, 2, 1] {
        compute.resize(wanted).await?;
        assert_eq!(compute.nodes(), wanted);
        let settled = async {
            loop {
                let seen = (works(1) * &compute).await?;
                if seen.iter().map(|it| it.0).eq(0..wanted) && seen.iter().all(|it| it.1 == wanted) {
                    return Ok::<(), skyward::Error>(());
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), settled).await.expect("in time")?;
    }
    for (wrong, allowed) in [(0, "must be from 1 to 1000"), (1001, "must be from 1 to 1000")] {
        let error = compute.resize(wrong).await.expect_err("refused").to_string();
        assert!(error.contains(allowed), "{error}");
    }
    end(compute, &ground).await
}

#[skyward::test]
async fn a_resize_while_nodes_start_leaves_nothing_behind() -> skyward::Result<()> {
    let ground = Ground::new("resize-storm");
    let compute = builder(&ground).nodes(1).start().await?;
    for wanted in [5, 2, 6, 1, 4, 1] {
        compute.resize(wanted).await?;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let machines = tokio::time::timeout(Duration::from_secs(60), async {
        while ground.processes("machine").len() != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    machines.await.expect("in time");
    assert_eq!((works(1) * &compute).await?, [(0, 1)]);
    end(compute, &ground).await
}

#[skyward::test]
async fn who_attaches_to_a_pool_goes_on_with_the_size_that_was_asked_for() -> skyward::Result<()> {
    let (ground, state) = (Ground::new("resize-attach"), Ground::new("resize-attach-state"));
    let begun = || builder(&ground).nodes(3).name("resized").state(state.path());
    let is_of = async |compute: &Compute, nodes: u32| {
        let settled = async {
            loop {
                let seen = (works(1) * compute).await?;
                if seen.iter().map(|it| it.0).eq(0..nodes) && seen.iter().all(|it| it.1 == nodes) {
                    return Ok::<(), skyward::Error>(());
                }
            }
        };
        tokio::time::timeout(DEADLINE, settled).await.expect("in time")?;
        assert_eq!(compute.nodes(), nodes);
        Ok::<(), skyward::Error>(())
    };
    let compute = begun().start().await?;
    compute.resize(1).await?;
    is_of(&compute, 1).await?;
    compute.detach().await?;

    let compute = begun().start().await?;
    assert_eq!(compute.nodes(), 1, "it grows to what it began with");
    is_of(&compute, 1).await?;
    compute.resize(4).await?;
    is_of(&compute, 4).await?;
    compute.detach().await?;

    let compute = skyward_tests::apart().name("resized").state(state.path()).timing(skyward_tests::patient());
    let compute = compute.attach().await?;
    is_of(&compute, 4).await?;
    compute.stop().await?;

    // Another pool of its name is what its program says.
    let compute = begun().start().await?;
    is_of(&compute, 3).await?;
    end(compute, &ground).await
}

#[skyward::test]
async fn a_pool_survives_the_loss_of_its_head() -> skyward::Result<()> {
    let ground = Ground::new("head-lost");
    let compute = builder(&ground).nodes(3).start().await?;
    let home = (home() >> compute.head()).await?;
    let machine = ground
        .processes("machine")
        .into_iter()
        .find(|it| std::fs::read_link(format!("/proc/{it}/fd/2")).unwrap_or_default().starts_with(&home));
    let calls = compute.spawn(gather((0..60).map(|_| works(50))));
    send(machine.expect("the head's machine"), Signal::KILL)?;
    assert_eq!(calls.await?.len(), 60);
    let (rank, nodes) = (works(1) >> compute.head()).await?;
    assert_eq!((rank, nodes), (0, 3));
    end(compute, &ground).await
}

/// How long a run of the program that is killed may take on busy cores.
const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn who_attaches_to_a_pool_that_scales_gives_up_no_node_that_still_runs_what_was_asked_for_before() {
    let ground = Ground::new("scaler");
    std::fs::create_dir_all(ground.path()).expect("made");
    let program = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scaler"));
        command.arg(ground.path()).args(more);
        command
    };
    let computed = || {
        let text = std::fs::read_to_string(ground.path().join("computed")).unwrap_or_default();
        let mut computed: Vec<String> = text.lines().map(str::to_owned).collect();
        computed.sort_unstable();
        computed
    };
    let all = ["0", "1", "2", "3"];
    let mut first = program(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let begun = skyward_tests::until(DEADLINE, || (computed() == all).then_some(()));
    first.kill().expect("killed");
    first.wait().expect("waited");
    assert!(begun.is_some(), "{:?}", computed());

    // Run again it does something else first, for longer than its nodes may idle: it needs another one for that.
    let mut again =
        program(&["again"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let mut lines = BufReader::new(again.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("running"));
    std::fs::write(ground.path().join("go"), "").expect("written");
    let said: Vec<String> = lines.collect();
    let ended = again.wait_with_output().expect("waited");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(said, ["result 0", "result 7", "result 14", "result 21", "stopped"], "{told}");
    assert!(told.contains("attached: 4 nodes"), "{told}");
    assert_eq!(computed(), all, "{told}");
    assert!(ground.commands().iter().all(|it| !it.contains("scaler")), "{:?}", ground.commands());
}
