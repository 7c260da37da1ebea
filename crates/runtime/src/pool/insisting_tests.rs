//! What becomes of machines that nothing ends but their cloud, when it does not do so at once.

use super::*;
use crate::model::Capabilities;

/// A pool with one machine of a cloud that can this.
fn pool_at(can: Capabilities) -> State {
    let clouds = [("one".to_owned(), can)].into();
    let born = Heard::Born { limits: Limits { clouds, ..Limits::default() } };
    after(vec![born, offered(1), Heard::Prepared(Ok(())), given(&[0], None), node_ready(0)])
}

fn outside() -> Capabilities {
    Capabilities { ends_itself: false, ..Capabilities::NONE }
}

fn after_seconds(seconds: u64) -> Instant {
    now() + Duration::from_secs(seconds)
}

fn left(reason: &str) -> Vec<Leftover> {
    vec![Leftover { what: "one machine i0".into(), reason: reason.into() }]
}

/// What its cloud does not do, and that it is asked again.
fn refuses(state: &mut State, seconds: u64) -> Vec<Effect> {
    let timing = Timing::default();
    for heard in [Heard::Terminated(Err("busy".into())), Heard::TornDown(Ok(vec![]))] {
        state.hear(heard, after_seconds(seconds), &timing);
    }
    state.hear(Heard::Terminated(Err("busy".into())), after_seconds(seconds), &timing)
}

fn stop(state: &mut State) {
    let timing = Timing::default();
    let effects = state.hear(Heard::Stop, now(), &timing);
    for deadline in [timing.shutdown, timing.insist] {
        assert!(effects.contains(&Effect::Wake(Timer::Shutdown, deadline)), "{deadline:?}: {effects:?}");
    }
    check(state, vec![(node_gone(0, "drained"), vec![terminate(&[0])])]);
}

#[test]
fn a_machine_that_only_its_cloud_can_end_is_asked_for_until_it_is_gone() {
    let (timing, mut pool) = (Timing::default(), pool_at(outside()));
    stop(&mut pool);
    let effects = refuses(&mut pool, 100);
    let [Effect::Announce(EventKind::TerminateFailed { reason }), Effect::Wake(Timer::Release, after)] =
        effects.as_slice()
    else {
        panic!("it says so, and waits a little: {effects:?}")
    };
    assert!(reason.starts_with("one machine i0: nothing but the cloud can end the bill"), "{reason}");
    assert!(*after <= Duration::from_secs(30), "{after:?}");
    // The time of all others is over.
    assert_eq!(pool.hear(Heard::Woke(Timer::Shutdown), after_seconds(360), &timing), vec![]);
    for seconds in [400, 800, 1700] {
        let again = pool.hear(Heard::Woke(Timer::Release), after_seconds(seconds), &timing);
        assert_eq!(again, vec![terminate(&[0])]);
        if seconds < 1700 {
            refuses(&mut pool, seconds);
        }
    }
    let gone = pool.hear(Heard::Terminated(Ok(())), after_seconds(1700), &timing);
    assert_eq!(gone, vec![terminated(0), Effect::Teardown]);
    let ended = pool.hear(Heard::TornDown(Ok(vec![])), after_seconds(1700), &timing);
    assert_eq!(ended.last(), Some(&Effect::Ended { failure: None, left: vec![] }));
}

#[test]
fn what_its_cloud_says_to_be_left_is_not_gone_because_the_others_are() {
    let (timing, clouds) = (Timing::default(), [("one".to_owned(), outside())].into());
    let born = Heard::Born { limits: Limits { clouds, ..Limits::default() } };
    let mut pool = after(vec![born, offered(2), Heard::Prepared(Ok(())), given(&[0, 1], None)]);
    for heard in [Heard::Stop, node_gone(0, "drained"), node_gone(1, "drained")] {
        pool.hear(heard, now(), &timing);
    }
    pool.hear(Heard::Terminated(Err("still there: i0, i1".into())), now(), &timing);
    let in_use = vec![Leftover { what: "machine i0".into(), reason: "in use".into() }];
    let asked = pool.hear(Heard::TornDown(Ok(in_use)), now(), &timing);
    assert_eq!(asked, vec![terminate(&[1])]);
    let effects = pool.hear(Heard::Terminated(Ok(())), after_seconds(100), &timing);
    assert_eq!(effects.first(), Some(&terminated(1)));
    assert!(!effects.contains(&terminated(0)), "{effects:?}");
    assert_eq!(pool.unattended().into_keys().cloned().collect::<Vec<_>>(), vec![instance(0)]);
    // It is asked for as long as it is paid for, not as long as giving back may take.
    assert_eq!(pool.hear(Heard::Woke(Timer::Shutdown), after_seconds(360), &timing), vec![]);
    let again = pool.hear(Heard::Woke(Timer::Release), after_seconds(400), &timing);
    assert_eq!(again, vec![terminate(&[0])]);
}

#[test]
fn it_is_named_when_that_has_lasted_too_long() {
    let (timing, mut pool) = (Timing::default(), pool_at(outside()));
    stop(&mut pool);
    refuses(&mut pool, 100);
    pool.hear(Heard::Woke(Timer::Release), after_seconds(1790), &timing);
    let ended = refuses(&mut pool, 1799);
    let named = left("busy; it is paid for until it is ended there");
    assert_eq!(ended.last(), Some(&Effect::Ended { failure: None, left: named }));
    // And when nobody answers any more.
    let mut silent = pool_at(outside());
    stop(&mut silent);
    assert_eq!(silent.hear(Heard::Woke(Timer::Shutdown), after_seconds(360), &timing), vec![]);
    let ended = silent.hear(Heard::Woke(Timer::Shutdown), after_seconds(1800), &timing);
    let named = left("not confirmed gone after 1800s; it is paid for until it is ended there");
    assert_eq!(ended.last(), Some(&Effect::Ended { failure: None, left: named }));
}

#[test]
fn nodes_that_do_not_end_keep_no_machine_that_is_paid_for() {
    let (timing, mut pool) = (Timing::default(), pool_at(outside()));
    pool.hear(Heard::Stop, now(), &timing);
    let effects = pool.hear(Heard::Woke(Timer::Shutdown), after_seconds(360), &timing);
    assert_eq!(effects, vec![terminate(&[0])]);
}

#[test]
fn one_that_ends_itself_is_left_to_its_lease_and_that_is_said() {
    let mut pool = pool_at(Capabilities { ends_itself: true, ..Capabilities::NONE });
    let effects = pool.hear(Heard::Stop, now(), &Timing::default());
    assert_eq!(effects.iter().filter(|it| matches!(it, Effect::Wake(..))).count(), 1);
    check(&mut pool, vec![(node_gone(0, "drained"), vec![terminate(&[0])])]);
    let ended = refuses(&mut pool, 100);
    let named = left("busy; its lease ends it");
    assert_eq!(ended.last(), Some(&Effect::Ended { failure: None, left: named }));
}

#[test]
fn a_cloud_that_gives_back_one_at_a_time_has_time_for_each() {
    let pace = Duration::from_secs(3);
    let clouds = [("one".to_owned(), Capabilities { ends_itself: true, pace, ..Capabilities::NONE })].into();
    let born = Heard::Born { limits: Limits { clouds, ..Limits::default() } };
    let many: Vec<u32> = (0..100).collect();
    let mut pool = after(vec![born, offered(100), Heard::Prepared(Ok(())), given(&many, None)]);
    let (timing, effects) = (Timing::default(), pool.hear(Heard::Stop, now(), &Timing::default()));
    let deadline = timing.shutdown + pace * 200;
    assert!(effects.contains(&Effect::Wake(Timer::Shutdown, deadline)), "{effects:?}");
    assert_eq!(pool.hear(Heard::Woke(Timer::Shutdown), now() + timing.shutdown, &timing), vec![]);
    let ended = pool.hear(Heard::Woke(Timer::Shutdown), now() + deadline, &timing);
    assert!(matches!(ended.last(), Some(Effect::Ended { left, .. }) if left.len() == 100), "{ended:?}");
}

#[test]
fn a_pool_that_is_left_says_whose_machines_nothing_ends() {
    let mut pool = pool_at(outside());
    let effects = pool.hear(Heard::Detach, now(), &Timing::default());
    let said = Effect::Announce(EventKind::Unattended { provider: "one".into() });
    assert!(effects.contains(&said), "{effects:?}");
    let mut pool = pool_at(Capabilities { ends_itself: true, ..Capabilities::NONE });
    let effects = pool.hear(Heard::Detach, now(), &Timing::default());
    assert!(!effects.contains(&said), "{effects:?}");
}
