//! Pools whose nodes are probed, with real machines on this computer.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use skyward::prelude::*;
use skyward::{EventKind, Health, Loss, NodePhase};
use skyward_tests::{Ground, builder, end};

const OFTEN: Health = Health {
    interval: Duration::from_millis(50),
    timeout: Duration::from_secs(2),
    failures: 3,
    initial_delay: Duration::ZERO,
};

/// Well, unless its node was made sick.
#[skyward::function]
async fn check() -> Result<(), Failure> {
    if std::path::Path::new("hangs").exists() {
        std::future::pending::<()>().await;
    }
    if std::path::Path::new("sick").exists() { Err("too hot: 97 degrees")? } else { Ok(()) }
}

/// Fails two times of three.
#[skyward::function]
fn check_often_fails() -> Result<(), Failure> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if COUNT.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) { Ok(()) } else { Err("a little warm")? }
}

#[skyward::function]
fn never_well() -> Result<(), Failure> {
    Err("no accelerator answers")?
}

#[skyward::function]
async fn infect(how: String) -> String {
    std::fs::write(how, "").expect("written");
    std::env::var("HOME").unwrap_or_default()
}

#[skyward::function]
async fn home() -> String {
    std::env::var("HOME").unwrap_or_default()
}

#[skyward::function]
fn blocks(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Waits until this was said, and gives back what was found in it.
async fn until<T>(events: &mut skyward::Events, mut what: impl FnMut(&EventKind) -> Option<T>) -> T {
    let said = tokio::time::timeout(Duration::from_secs(90), async {
        while let Some(event) = events.next().await {
            if let Some(found) = what(&event.kind) {
                return Some(found);
            }
        }
        None
    });
    said.await.expect("in time").expect("the pool goes on")
}

#[skyward::test]
async fn a_node_whose_probe_fails_or_hangs_is_replaced_and_it_is_told_why() -> skyward::Result<()> {
    let ground = Ground::new("sick");
    let health = Health { timeout: Duration::from_millis(500), ..OFTEN };
    let compute = builder(&ground).nodes(2).health(check(), health).start().await?;
    for (how, words) in [("sick", "too hot: 97 degrees"), ("hangs", "it said nothing within")] {
        let mut events = compute.events();
        let before = (infect(how.to_owned()) >> compute.node(1)).await?;
        let reason = until(&mut events, |it| match it {
            EventKind::NodeLost { rank, reason, loss: Some(Loss::Unhealthy), .. } if rank.0 == 1 => {
                Some(reason.clone())
            }
            _ => None,
        })
        .await;
        assert!(reason.contains("3 times in a row") && reason.contains(words), "{reason}");
        until(&mut events, |it| match it {
            EventKind::Node { rank, phase: NodePhase::Ready, .. } if rank.0 == 1 => Some(()),
            _ => None,
        })
        .await;
        assert_ne!((home() >> compute.node(1)).await?, before);
    }
    end(compute, &ground).await
}

#[skyward::test]
async fn a_probe_that_fails_once_in_a_while_replaces_nothing_and_takes_no_slot() -> skyward::Result<()> {
    let ground = Ground::new("warm");
    let compute = builder(&ground).nodes(1).health(check_often_fails(), OFTEN).start().await?;
    let mut events = compute.events();
    // The only slot is taken all the time.
    let busy = compute.spawn(gather((0..40).map(|_| blocks(50))));
    for _ in 0..8 {
        let failed = until(&mut events, |it| match it {
            EventKind::ProbeFailed { failed, .. } => Some(*failed),
            EventKind::NodeLost { reason, .. } => Some(panic_on(reason)),
            _ => None,
        })
        .await;
        assert!(failed < 3, "{failed}");
    }
    busy.await?;
    end(compute, &ground).await
}

/// A node that is lost here fails the test.
fn panic_on(reason: &str) -> u32 {
    assert!(reason.is_empty(), "the node is lost: {reason}");
    u32::MAX
}

#[skyward::test]
async fn a_start_whose_nodes_are_never_well_says_what_the_probe_said() -> skyward::Result<()> {
    let ground = Ground::new("never-well");
    let health = Health { failures: 2, ..OFTEN };
    let error = builder(&ground).nodes(1).health(never_well(), health).start().await.expect_err("never");
    let told = error.to_string();
    assert!(told.contains("no accelerator answers"), "{told}");
    assert_eq!(ground.processes("machine").len(), 0);
    let none = Health { failures: 0, ..OFTEN };
    let refused = builder(&ground).nodes(1).health(never_well(), none).start().await.expect_err("refused");
    assert!(refused.to_string().contains("health.failures"), "{refused}");
    Ok(())
}
