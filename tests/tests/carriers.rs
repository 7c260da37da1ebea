//! What links run over, and what becomes of calls and nodes when SSH carries them and something breaks.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::time::{Duration, Instant};

use futures_util::stream::{Stream, StreamExt};
use rustix::process::{Pid, Signal, kill_process};
use skyward::EventKind;
use skyward::prelude::*;
use skyward_tests::Ground;

#[skyward::function]
async fn echo(text: String) -> String {
    text
}

#[skyward::function]
async fn process() -> u32 {
    std::process::id()
}

#[skyward::function]
async fn sleeps(millis: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    millis
}

#[skyward::function]
fn doubled(numbers: Streaming<u64>) -> impl Stream<Item = u64> {
    numbers.map(|it| it * 2)
}

/// Long enough for what busy cores do to a redial.
const PATIENCE: Duration = Duration::from_secs(30);

fn timing() -> Timing {
    Timing { grace: PATIENCE, lease: Duration::from_secs(30), ..Timing::short() }
}

fn local(ground: &Ground) -> Local {
    let mut local = Local::default();
    local.directory = Some(ground.path().to_owned());
    local
}

async fn pool(local: Local, carrier: Carrier, timing: Timing) -> skyward::Result<Compute> {
    skyward_tests::apart().spec(Spec::on(local)).carrier(carrier).timing(timing).start().await
}

/// What the next link runs over.
async fn linked(events: &mut skyward::Events) -> Carrier {
    let linked = tokio::time::timeout(PATIENCE, async {
        loop {
            if let EventKind::Linked { carrier, .. } = events.next().await.expect("the pool lives").kind {
                return carrier;
            }
        }
    });
    linked.await.expect("linked in time")
}

/// Has the machine say what its link runs over, by having it linked once more: its worker is frozen for
/// as long as it takes to be missed.
async fn carrier_of(compute: &Compute) -> skyward::Result<Carrier> {
    let worker = (process() >> compute.head()).await?;
    let mut events = compute.events();
    send(worker, Signal::STOP);
    let lost = lost(&mut events).await;
    send(worker, Signal::CONT);
    assert!(lost.contains("silent"), "{lost}");
    Ok(linked(&mut events).await)
}

/// Why the next link is lost.
async fn lost(events: &mut skyward::Events) -> String {
    let lost = tokio::time::timeout(PATIENCE, async {
        loop {
            if let EventKind::LinkLost { reason, .. } = events.next().await.expect("the pool lives").kind {
                return reason;
            }
        }
    });
    lost.await.expect("lost in time")
}

fn send(process: u32, signal: Signal) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("signalled");
}

/// A pool that works, small and large, and is gone without a trace.
async fn works(compute: Compute, ground: &Ground) -> skyward::Result<()> {
    assert_eq!((echo("small".into()) >> &compute).await?, "small");
    let text = "0123456789abcdef".repeat(1 << 19);
    assert!((echo(text.clone()) >> &compute).await? == text);
    let doubled = (doubled(Streaming::iter(0..20_000)) >> &compute).collect().await?;
    assert!(doubled.into_iter().eq((0..20_000).map(|it| it * 2)));
    let file = ground.path().join("file");
    std::fs::write(&file, &text)?;
    compute.node(0).upload(&file, "there").await?;
    compute.node(0).download("there", &file).await?;
    assert!(std::fs::read_to_string(&file)? == text);
    std::fs::remove_file(&file)?;
    end(compute, ground).await
}

async fn end(compute: Compute, ground: &Ground) -> skyward::Result<()> {
    compute.stop().await?;
    assert_eq!(ground.left(), Vec::<String>::new());
    Ok(())
}

#[skyward::test]
async fn a_machine_that_udp_reaches_is_linked_over_quic() -> skyward::Result<()> {
    let ground = Ground::new("over-quic");
    let compute = pool(local(&ground), Carrier::Auto, timing()).await?;
    assert_eq!(carrier_of(&compute).await?, Carrier::Quic);
    works(compute, &ground).await
}

#[skyward::test]
async fn a_machine_that_udp_does_not_reach_is_linked_over_ssh_at_once() -> skyward::Result<()> {
    let ground = Ground::new("no-udp");
    let mut local = local(&ground);
    local.faults.no_udp = true;
    // Were QUIC tried first, the start would take longer than it may.
    let timing = Timing { quic: Duration::from_secs(3600), dial: Duration::from_secs(3600), ..timing() };
    let compute = pool(local, Carrier::Auto, timing).await?;
    assert_eq!(carrier_of(&compute).await?, Carrier::Ssh);
    works(compute, &ground).await
}

#[skyward::test]
async fn where_quic_does_not_get_through_in_time_ssh_is_taken() -> skyward::Result<()> {
    let ground = Ground::new("late-quic");
    let compute = pool(local(&ground), Carrier::Auto, Timing { quic: Duration::ZERO, ..timing() }).await?;
    assert_eq!(carrier_of(&compute).await?, Carrier::Ssh);
    works(compute, &ground).await
}

#[skyward::test]
async fn where_the_server_forwards_nothing_the_program_is_the_pipe() -> skyward::Result<()> {
    let ground = Ground::new("pipe");
    let mut local = local(&ground);
    local.faults.no_forwarding = true;
    let compute = pool(local, Carrier::Ssh, timing()).await?;
    assert_eq!(ground.processes("pipe").len(), 1);
    assert_eq!(carrier_of(&compute).await?, Carrier::Ssh);
    works(compute, &ground).await
}

#[skyward::test]
async fn a_session_that_dies_is_dialled_again_and_no_call_is_lost() -> skyward::Result<()> {
    let ground = Ground::new("session-dies");
    let dies =
        |ground: &Ground| ground.processes("machine").into_iter().for_each(|it| send(it, Signal::USR1));
    no_call_is_lost(&ground, local(&ground), dies).await
}

#[skyward::test]
async fn a_pipe_that_dies_where_the_server_forwards_nothing_is_started_again_and_no_call_is_lost()
-> skyward::Result<()> {
    let ground = Ground::new("pipe-dies");
    let mut local = local(&ground);
    local.faults.no_forwarding = true;
    let dies = |ground: &Ground| {
        let pipes = ground.processes("pipe");
        assert!(!pipes.is_empty(), "the link has a pipe");
        pipes.into_iter().for_each(|it| send(it, Signal::KILL));
    };
    no_call_is_lost(&ground, local, dies).await
}

/// A call that runs over SSH outlives what happens to its way.
async fn no_call_is_lost(ground: &Ground, local: Local, happens: impl Fn(&Ground)) -> skyward::Result<()> {
    let compute = pool(local, Carrier::Ssh, timing()).await?;
    let before = (process() >> compute.head()).await?;
    let mut events = compute.events();
    let call = compute.spawn(sleeps(1_000));
    let started = tokio::time::timeout(PATIENCE, async {
        while !matches!(events.next().await.expect("lives").kind, EventKind::TaskStarted { .. }) {}
    });
    started.await.expect("started");
    happens(ground);
    lost(&mut events).await;
    assert_eq!(linked(&mut events).await, Carrier::Ssh);
    assert_eq!(call.await?, 1_000);
    // The worker is the same: a session is not a node.
    assert_eq!((process() >> compute.head()).await?, before);
    end(compute, ground).await
}

#[skyward::test]
async fn a_killed_worker_is_restarted_over_ssh_and_its_calls_finish() -> skyward::Result<()> {
    let ground = Ground::new("ssh-worker-killed");
    let compute = pool(local(&ground), Carrier::Ssh, timing()).await?;
    let worker = (process() >> compute.head()).await?;
    let call = compute.spawn(sleeps(300));
    send(worker, Signal::KILL);
    assert_eq!(call.await?, 300);
    assert_ne!((process() >> compute.head()).await?, worker);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_frozen_worker_is_noticed_over_ssh_as_soon_as_over_quic() -> skyward::Result<()> {
    let ground = Ground::new("ssh-worker-frozen");
    let compute = pool(local(&ground), Carrier::Ssh, timing()).await?;
    let worker = (process() >> compute.head()).await?;
    let mut events = compute.events();
    send(worker, Signal::STOP);
    let began = Instant::now();
    lost(&mut events).await;
    let (took, limit) = (began.elapsed(), timing().detect + Duration::from_secs(8));
    assert!(took <= limit, "noticed after {took:?}, not {limit:?}");
    send(worker, Signal::CONT);
    assert_eq!((process() >> compute.head()).await?, worker);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_worker_lives_on_when_the_session_that_started_it_dies_while_quic_carries_its_link()
-> skyward::Result<()> {
    let ground = Ground::new("quic-session-dies");
    let compute = pool(local(&ground), Carrier::Quic, timing()).await?;
    let worker = (process() >> compute.head()).await?;
    for machine in ground.processes("machine") {
        send(machine, Signal::USR1);
    }
    assert_eq!((process() >> compute.head()).await?, worker);
    // That its worker has ended is found out over a session that is dialled anew.
    send(worker, Signal::KILL);
    assert_ne!((process() >> compute.head()).await?, worker);
    end(compute, &ground).await
}
