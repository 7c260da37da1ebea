//! How workers and links begin and end: leases, membership, redials, signals.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use skyward_runtime::control::{Cluster, ControlError, Drained, Member};
use skyward_runtime::lease::LEASE_FILE;
use skyward_runtime::link::{Cause, Link, LinkError, Outcome, Side};
use skyward_runtime::model::{End, Incarnation, Mode, Peer, Rank, Roster};
use skyward_runtime::program::WorkerUp;
use tokio::io::AsyncReadExt;

use crate::node::{Node, SOON, as_arguments, call, is_running, request, says, spawn, tell, until};
use crate::tests;

tests!(
    a_worker_that_is_told_garbage_says_so,
    a_worker_lets_go_of_its_standard_streams,
    renewals_keep_a_lease_and_without_them_the_machine_ends,
    a_lapsed_lease_is_for_good,
    a_machine_with_a_command_is_ended_by_it,
    the_client_has_no_actor_that_others_could_call,
    a_link_can_be_closed_and_dialled_again,
    a_newer_link_replaces_the_older_one,
    draining_finishes_what_runs_and_takes_nothing_new,
    draining_cancels_what_does_not_end_in_time,
    a_plain_function_that_asks_hears_when_draining_waits_no_longer,
    a_worker_knows_the_newest_roster_that_it_is_in,
    a_killed_worker_is_noticed_in_time_by_link_and_member,
    two_clusters_in_one_process_do_not_meet,
    a_stopped_cluster_has_no_members,
    a_member_answers,
    when_the_machine_vanishes_the_worker_and_what_it_started_go_too,
    a_worker_that_is_told_to_end_ends_quickly,
);

/// After how long the worker that is killed is to be missed.
const SHORT_DETECT: Duration = Duration::from_secs(1);

async fn join(node: &Node, link: &Link) -> (Cluster, Member) {
    let Node { client, hello, .. } = node;
    let cluster = Cluster::start(&client.pool, &client.cookie, &client.identity).await.expect("started");
    let member = cluster.join(link, &hello.incarnation, SOON).await.expect("joined");
    (cluster, member)
}

async fn a_worker_that_is_told_garbage_says_so() {
    let home = tempfile::tempdir().expect("made");
    let mut worker = spawn(home.path());
    let WorkerUp::Failed(reason) = tell(&mut worker, &[0xc1]).await else { panic!("it started") };
    assert!(reason.contains("failed to read what to do"), "{reason}");
    assert!(!worker.wait().await.expect("waited").success());
}

async fn a_worker_lets_go_of_its_standard_streams() {
    let mut node = Node::start().await;
    let mut rest = Vec::new();
    node.worker.stdout.as_mut().expect("piped").read_to_end(&mut rest).await.expect("ended");
    assert!(rest.is_empty(), "{rest:?}");
    assert!(is_running(node.worker_pid));
}

async fn renewals_keep_a_lease_and_without_them_the_machine_ends() {
    let lease = Duration::from_millis(1500);
    let mut node = Node::start_with(|it| it.lease = lease).await;
    std::fs::create_dir_all(node.file("machine/inside")).expect("made");
    let link = node.link().await;
    let (_cluster, member) = join(&node, &link).await;
    let file = node.file(LEASE_FILE);
    let kept = Instant::now();
    let mut renew = tokio::time::interval(lease / 5);
    let mut number = 0;
    while kept.elapsed() < lease * 2 {
        renew.tick().await;
        member.renew(SOON).await.expect("held");
        let next: u64 = says(&file).parse().expect("a number");
        assert!(next > number, "{next} after {number}");
        number = next;
    }
    let last = Instant::now();
    match link.closed().await {
        LinkError::Closed { by: Side::Peer, cause: Cause::Ended, reason } => {
            assert!(reason.contains("lease"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(last.elapsed() >= lease / 2, "{:?}", last.elapsed());
    node.machine.wait().await.expect("ended");
    node.worker.wait().await.expect("ended");
    assert_eq!(says(&file), "lapsed");
    assert!(!node.file("machine").exists());
}

async fn a_lapsed_lease_is_for_good() {
    let node = Node::start().await;
    std::fs::write(node.file(LEASE_FILE), "lapsed").expect("written");
    let mut worker = spawn(node.home.path());
    let WorkerUp::Failed(reason) = tell(&mut worker, &node.start).await else { panic!("it started") };
    assert!(reason.contains("lapsed"), "{reason}");
}

async fn a_machine_with_a_command_is_ended_by_it() {
    let home = tempfile::tempdir().expect("made");
    let ended = home.path().join("ended");
    let shell = format!("echo ended > {}", ended.display());
    let node = Node::start_with(|it| {
        it.lease = Duration::from_millis(200);
        it.end = End::Command { shell };
    })
    .await;
    until("the command ran", || says(&ended) == "ended\n").await;
    assert_eq!(says(&node.file(LEASE_FILE)), "lapsed");
}

async fn the_client_has_no_actor_that_others_could_call() {
    let node = Node::start().await;
    let link = node.link().await;
    let (_cluster, _member) = join(&node, &link).await;
    let actors = ractor::registry::get_all_pids();
    assert!(!actors.is_empty());
    for actor in actors {
        assert!(!actor.supports_remoting(), "{:?} {:?}", actor.get_id(), actor.get_name());
    }
}

async fn a_link_can_be_closed_and_dialled_again() {
    let node = Node::start().await;
    let dialer = node.dialer();
    let cluster =
        Cluster::start(&node.client.pool, &node.client.cookie, &node.client.identity).await.expect("started");
    let mut open_files = 0;
    for round in 0..20 {
        let link = dialer.dial(node.address, node.hello.clone(), SOON).await.expect("welcome");
        let member = cluster.join(&link, &node.hello.incarnation, SOON).await.expect("joined");
        member.renew(SOON).await.expect("held");
        assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
        // Every other time the old link is left for the worker to find out.
        if round % 2 == 0 {
            link.close("again");
            member.down().await;
            let left = member.renew(SOON).await.expect_err("left");
            assert!(matches!(left, ControlError::Left { .. }), "{left:?}");
        }
        if round == 9 {
            open_files = node.open_files();
        }
    }
    // One link may still be on its way out.
    until("the old links leave nothing open", || node.open_files() <= open_files + 1).await;
}

async fn a_newer_link_replaces_the_older_one() {
    let node = Node::start().await;
    let old = node.link().await;
    let (_cluster, member) = join(&node, &old).await;
    let note = node.file("note");
    let pending = tokio::spawn(old.call(request("leave_a_note", as_arguments(&note))));
    until("the task runs", || says(&note) == "running").await;
    let new = node.link().await;
    match old.closed().await {
        LinkError::Closed { by: Side::Peer, cause: Cause::Replaced, .. } => {}
        other => panic!("{other:?}"),
    }
    assert!(pending.await.expect("joined").is_err());
    // It is for the new one to say whether it is waited for.
    new.reconcile(&[], |_| {});
    until("the old link's task is dropped", || says(&note) == "dropped").await;
    member.down().await;
    let (_cluster, member) = join(&node, &new).await;
    member.renew(SOON).await.expect("held");
    assert_eq!(call(&new, "echo", "on").await, Outcome::Returned("on".into()));
}

async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let node = Node::start().await;
    let link = node.link().await;
    let (_cluster, member) = join(&node, &link).await;
    let note = node.file("note");
    let running = tokio::spawn(link.call(request("block_until_noted", as_arguments(&note))));
    until("the task runs", || says(&note) == "running").await;
    let draining = tokio::spawn({
        let member = member.clone();
        async move { member.drain(SOON, false).await }
    });
    let waited =
        tokio::time::timeout(SOON, async { while call(&link, "echo", "").await != Outcome::Draining {} });
    waited.await.expect("it drains");
    member.renew(SOON).await.expect("renewals go on while it drains");
    assert!(!draining.is_finished());
    std::fs::write(&note, "go").expect("written");
    assert_eq!(running.await.expect("joined"), Ok(Outcome::Returned("".into())));
    assert_eq!(draining.await.expect("joined"), Ok(Drained { unfinished: 0 }));
}

async fn draining_cancels_what_does_not_end_in_time() {
    let node = Node::start().await;
    let link = node.link().await;
    let (_cluster, member) = join(&node, &link).await;
    let note = node.file("note");
    let running = tokio::spawn(link.call(request("leave_a_note", as_arguments(&note))));
    until("the task runs", || says(&note) == "running").await;
    assert_eq!(member.drain(Duration::from_millis(500), false).await, Ok(Drained { unfinished: 1 }));
    assert_eq!(running.await.expect("joined"), Ok(Outcome::Cancelled));
    assert_eq!(says(&note), "dropped");
}

async fn a_plain_function_that_asks_hears_when_draining_waits_no_longer() {
    let node = Node::start().await;
    let link = node.link().await;
    let (_cluster, member) = join(&node, &link).await;
    let note = node.file("note");
    let running = tokio::spawn(link.call(request("block_until_cancelled", as_arguments(&note))));
    until("the task runs", || says(&note) == "running").await;
    assert_eq!(member.drain(Duration::from_millis(500), false).await, Ok(Drained { unfinished: 1 }));
    assert_eq!(running.await.expect("joined"), Ok(Outcome::Cancelled));
    until("the task has heard", || says(&note) == "cancelled").await;
}

async fn a_worker_knows_the_newest_roster_that_it_is_in() {
    let node = Node::start().await;
    let link = node.link().await;
    let (_cluster, member) = join(&node, &link).await;
    let own = node.hello.incarnation.clone();
    let peer = |rank, name| Peer::new(Rank(rank), name, Ipv4Addr::LOCALHOST.into());
    let other = |rank| peer(rank, Incarnation::new("other"));
    for (number, peers, known) in [
        (2, vec![peer(0, own.clone()), other(1)], "2"),
        (1, vec![peer(0, own.clone())], "2"),
        (3, vec![other(0), other(1), other(2)], "2"),
        (4, vec![peer(0, own.clone()), other(1), other(2)], "3"),
    ] {
        let roster = Roster { epoch: node.hello.epoch, number, mode: Mode::Cluster, peers };
        member.introduce(roster, SOON).await.expect("answered");
        assert_eq!(call(&link, "count_nodes", "").await, Outcome::Returned(known.into()), "{number}");
    }
}

async fn a_killed_worker_is_noticed_in_time_by_link_and_member() {
    let mut node = Node::start_with(|it| it.detect = SHORT_DETECT).await;
    let link = node.link().await;
    let (_cluster, member) = join(&node, &link).await;
    let note = node.file("note");
    let pending = tokio::spawn(link.call(request("leave_a_note", as_arguments(&note))));
    until("the task runs", || says(&note) == "running").await;
    let killed = Instant::now();
    node.worker.kill().await.expect("killed");
    assert_eq!(pending.await.expect("joined"), Err(LinkError::Silent));
    assert_eq!(link.closed().await, LinkError::Silent);
    let by_link = killed.elapsed();
    member.down().await;
    let by_member = killed.elapsed();
    // Eight seconds more: where the cores are busy with others, QUIC measures long round trips, and it
    // never gives up before three of them.
    assert!(
        by_member < SHORT_DETECT + Duration::from_secs(8),
        "noticed by the link after {by_link:?}, by the member after {by_member:?}"
    );
    assert!(LinkError::Silent.retry());
}

async fn two_clusters_in_one_process_do_not_meet() {
    let (mut one, two) = tokio::join!(Node::start(), Node::start());
    let (link_one, link_two) = tokio::join!(one.link(), two.link());
    let ((_cluster_one, member_one), (_cluster_two, member_two)) =
        tokio::join!(join(&one, &link_one), join(&two, &link_two));
    for member in [&member_one, &member_two] {
        member.renew(SOON).await.expect("held");
    }
    // Ractor numbers the remote actors of both alike; the death of one must not be the other's.
    one.worker.kill().await.expect("killed");
    member_one.down().await;
    assert!(!member_two.is_down());
    member_two.renew(SOON).await.expect("held");
    let again = two.link().await;
    let (_cluster, member) = join(&two, &again).await;
    member.renew(SOON).await.expect("held");
    let foreign = Cluster::start(&one.client.pool, &one.client.cookie, &one.client.identity).await;
    let foreign = foreign.expect("started");
    let refused = foreign.join(&again, &two.hello.incarnation, Duration::from_secs(2)).await;
    assert!(refused.is_err(), "a cluster with another cookie let it in");
    member.renew(SOON).await.expect("held");
}

async fn a_stopped_cluster_has_no_members() {
    let node = Node::start().await;
    let link = node.link().await;
    let (cluster, member) = join(&node, &link).await;
    cluster.stop().await;
    member.down().await;
    assert!(matches!(member.ping(SOON).await, Err(ControlError::Left { .. })));
    let refused = cluster.join(&link, &node.hello.incarnation, SOON).await.expect_err("stopped");
    assert_eq!(refused, ControlError::Stopped);
    assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
}

async fn a_member_answers() {
    let node = Node::start().await;
    let link = node.link().await;
    let (_cluster, member) = join(&node, &link).await;
    member.ping(SOON).await.expect("alive");
    assert_eq!(member.incarnation(), &node.hello.incarnation);
}

async fn when_the_machine_vanishes_the_worker_and_what_it_started_go_too() {
    let mut node = Node::start().await;
    std::fs::create_dir_all(node.file("machine/inside")).expect("made");
    let link = node.link().await;
    let Outcome::Returned(child) = call(&link, "start_a_child", "").await else { panic!("no child") };
    let child: u32 = std::str::from_utf8(&child.into_bytes()).expect("text").parse().expect("a number");
    assert!(is_running(child));
    node.machine.kill().await.expect("killed");
    node.worker.wait().await.expect("ended");
    until("the child is gone", || !is_running(child)).await;
    assert!(!node.file("machine").exists());
}

async fn a_worker_that_is_told_to_end_ends_quickly() {
    let mut node = Node::start().await;
    let link = node.link().await;
    let note = node.file("note");
    let pending = tokio::spawn(link.call(request("leave_a_note", as_arguments(&note))));
    until("the task runs", || says(&note) == "running").await;
    let told = Instant::now();
    let pid = Pid::from_raw(i32::try_from(node.worker_pid).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::TERM).expect("sent");
    let error = pending.await.expect("joined").expect_err("ended");
    assert!(matches!(error, LinkError::Closed { cause: Cause::Ended, .. }), "{error:?}");
    assert!(node.worker.wait().await.expect("ended").success());
    assert!(told.elapsed() < Duration::from_secs(4), "{:?}", told.elapsed());
}
