//! SIGKILL and SIGSTOP, of a worker, of a machine, of the client, during each phase of a pool's life: thirty
//! cases, of which these four do not exist: a worker during boot and during bootstrap (KILL and STOP each),
//! because a worker is only started when its machine has been bootstrapped. A machine is stopped with all
//! that runs on it, as a computer that stands still is. Each test ends at its own deadline, and nothing may
//! be left behind by any.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails where it stands")]

use std::time::Duration;

use rustix::process::Signal;
use skyward::prelude::*;
use skyward::{EventKind, PoolPhase};
use skyward_providers::local::Faults;
use skyward_tests::{Ground, Victim, send, until};

/// How long one case may take: some five seconds by itself, on busy cores.
const DEADLINE: Duration = Duration::from_secs(100);

/// How long what is waited for may take within one.
const SOON: Duration = Duration::from_secs(40);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Worker,
    Machine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum During {
    Boot,
    Bootstrap,
    Join,
    Call,
    Teardown,
}

#[skyward::function]
async fn rank_after(millis: u64) -> Option<u32> {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    skyward::instance_info().map(|it| it.rank.0)
}

/// A pool of two whose silences are short, and whose phases are long enough to be met.
fn builder(ground: &Ground, during: During) -> skyward::Builder {
    let millis = Duration::from_millis;
    let slow = if during == During::Boot { millis(700) } else { Duration::ZERO };
    let local = Local::default().directory(ground.path());
    let local = local.faults(Faults { boot_delay: slow, ..Faults::default() });
    let timing = Timing {
        lease: Duration::from_secs(60),
        boot: Duration::from_secs(4),
        ssh_keepalive: millis(500),
        join: Duration::from_secs(5),
        grace: Duration::from_secs(3),
        drain: millis(1500),
        shutdown: Duration::from_secs(30),
        ..Timing::short()
    };
    let image = if during == During::Bootstrap { Image::new().shell("sleep 1") } else { Image::new() };
    skyward_tests::apart().spec(Spec::on(local)).nodes(2).image(image).timing(timing)
}

/// The processes to be struck, when there are any in this phase of a start.
fn found(ground: &Ground, what: What, during: During) -> Option<Vec<u32>> {
    let worker = ground.processes("worker").first().copied();
    let is_there = match during {
        During::Boot => true,
        During::Bootstrap => ground.commands().iter().any(|it| it.contains("sleep 1")),
        During::Join => worker.is_some(),
        During::Call | During::Teardown => true,
    };
    if !is_there {
        return None;
    }
    match what {
        What::Worker => worker.map(|it| vec![it]),
        What::Machine => ground.processes("machine").first().map(|it| ground.on_machine(*it)),
    }
}

fn strike(processes: &[u32], signal: Signal) {
    for process in processes {
        // A process of a machine that is being killed may be over already.
        let _ = send(*process, signal);
    }
}

/// Strikes as soon as there is something to be struck.
async fn strike_when_found(ground: &Ground, what: What, during: During, signal: Signal) {
    loop {
        if let Some(processes) = found(ground, what, during) {
            return strike(&processes, signal);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The pool starts, answers and ends well, though a node was struck.
async fn survives(name: &str, what: What, signal: Signal, during: During) -> skyward::Result<()> {
    let ground = Ground::new(name);
    let life = async {
        let pool = builder(&ground, during);
        if during < During::Call {
            let starting = pool.start();
            let (started, ()) = tokio::join!(starting, strike_when_found(&ground, what, during, signal));
            let compute = started?;
            assert_eq!((rank_after(1) * &compute).await?, [Some(0), Some(1)]);
            compute.stop().await?;
            return Ok(());
        }
        let compute = pool.start().await?;
        let mut events = compute.events();
        let calls = compute.spawn(gather((0..4).map(|_| rank_after(600))));
        while !matches!(events.next().await.expect("an event").kind, EventKind::TaskStarted { .. }) {}
        if during == During::Call {
            strike_when_found(&ground, what, during, signal).await;
            assert!(calls.await?.iter().all(Option::is_some));
            assert_eq!((rank_after(1) >> compute.node(0)).await?, Some(0));
            assert_eq!((rank_after(1) >> compute.node(1)).await?, Some(1));
            return compute.stop().await;
        }
        let striking = async {
            while !matches!(events.next().await.expect("an event").kind, EventKind::Pool(PoolPhase::Stopping))
            {
            }
            if let Some(processes) = found(&ground, what, during) {
                strike(&processes, signal);
            }
        };
        let (stopped, ()) = tokio::join!(compute.stop(), striking);
        // Whatever the calls come to, they come to an end.
        let _ = calls.await;
        stopped
    };
    let lived: skyward::Result<()> = tokio::time::timeout(DEADLINE, life).await.expect("it hung");
    lived?;
    ground.expect_empty_within(Duration::ZERO);
    Ok(())
}

macro_rules! survive {
    ($($name:ident: $what:ident $signal:ident $during:ident,)+) => {
        $(
            #[skyward::test]
            async fn $name() -> skyward::Result<()> {
                survives(stringify!($name), What::$what, Signal::$signal, During::$during).await
            }
        )+
    };
}

survive! {
    sigkill_of_a_machine_during_boot: Machine KILL Boot,
    sigstop_of_a_machine_during_boot: Machine STOP Boot,
    sigkill_of_a_machine_during_bootstrap: Machine KILL Bootstrap,
    sigstop_of_a_machine_during_bootstrap: Machine STOP Bootstrap,
    sigkill_of_a_machine_during_join: Machine KILL Join,
    sigstop_of_a_machine_during_join: Machine STOP Join,
    sigkill_of_a_machine_during_a_call: Machine KILL Call,
    sigstop_of_a_machine_during_a_call: Machine STOP Call,
    sigkill_of_a_machine_during_teardown: Machine KILL Teardown,
    sigstop_of_a_machine_during_teardown: Machine STOP Teardown,
    sigkill_of_a_worker_during_join: Worker KILL Join,
    sigstop_of_a_worker_during_join: Worker STOP Join,
    sigkill_of_a_worker_during_a_call: Worker KILL Call,
    sigstop_of_a_worker_during_a_call: Worker STOP Call,
    sigkill_of_a_worker_during_teardown: Worker KILL Teardown,
    sigstop_of_a_worker_during_teardown: Worker STOP Teardown,
}

/// A client whose leases are two seconds long, in this phase. In its teardown it waits for machines that
/// stand still.
fn client(during: During) -> (Victim, Vec<u32>) {
    let ending = match during {
        During::Boot => "booting",
        During::Bootstrap => "bootstrapping",
        During::Join => "joining",
        During::Call | During::Teardown => "wait",
    };
    let mut victim = Victim::start(env!("CARGO_BIN_EXE_victim"), ending, Some(2));
    let come = until(SOON, || {
        let ground = victim.ground();
        let steps = ground.commands().iter().filter(|it| it.contains("sleep 60")).count();
        let there = match during {
            During::Boot => ground.processes("machine").len() == 2,
            During::Bootstrap => steps >= 2,
            During::Join => !ground.processes("worker").is_empty(),
            During::Call | During::Teardown => ground.processes("worker").len() == 2,
        };
        there.then_some(())
    });
    assert!(come.is_some(), "the client never came to its {during:?}: {:?}", victim.ground().commands());
    let mut frozen = Vec::new();
    if during == During::Teardown {
        frozen = victim.ground().processes("machine");
        strike(&frozen, Signal::STOP);
        victim.signal(Signal::TERM);
        victim.until_said("giving every machine back");
    }
    (victim, frozen)
}

/// The machines of a client that was killed end by their leases, and leave nothing.
fn leaves_nothing(during: During) {
    let (victim, frozen) = client(during);
    victim.signal(Signal::KILL);
    let (code, _, ground) = victim.end(SOON);
    assert_eq!(code, None);
    strike(&frozen, Signal::CONT);
    ground.expect_empty_within(SOON);
}

/// The machines of a client that stands still end by their leases. When it goes on, it either has a clear
/// end by itself or replaces them, and then ends as it is told; nothing is left.
fn goes_on(during: During) {
    let (mut victim, frozen) = client(during);
    victim.signal(Signal::STOP);
    strike(&frozen, Signal::CONT);
    let ended = until(SOON, || victim.ground().processes("machine").is_empty().then_some(()));
    assert!(ended.is_some(), "machines outlive their lease: {:?}", victim.ground().commands());
    victim.signal(Signal::CONT);
    let decided = until(SOON, || {
        let replaced = !victim.ground().processes("machine").is_empty();
        (replaced || !victim.lives()).then_some(())
    });
    assert!(decided.is_some(), "it neither ended nor got new machines");
    if victim.lives() {
        victim.signal(Signal::TERM);
    }
    let (code, said, ground) = victim.end(SOON);
    match code {
        Some(143) => {}
        Some(1) => assert!(said.contains("lease") || said.contains("ended"), "{said}"),
        other => panic!("{other:?}: {said}"),
    }
    ground.expect_empty_within(SOON);
}

macro_rules! clients {
    ($($name:ident: $outcome:ident $during:ident,)+) => {
        $(
            #[test]
            fn $name() {
                $outcome(During::$during);
            }
        )+
    };
}

clients! {
    sigkill_of_the_client_during_boot: leaves_nothing Boot,
    sigstop_of_the_client_during_boot: goes_on Boot,
    sigkill_of_the_client_during_bootstrap: leaves_nothing Bootstrap,
    sigstop_of_the_client_during_bootstrap: goes_on Bootstrap,
    sigkill_of_the_client_during_join: leaves_nothing Join,
    sigstop_of_the_client_during_join: goes_on Join,
    sigkill_of_the_client_during_a_call: leaves_nothing Call,
    sigstop_of_the_client_during_a_call: goes_on Call,
    sigkill_of_the_client_during_teardown: leaves_nothing Teardown,
    sigstop_of_the_client_during_teardown: goes_on Teardown,
}
