//! What is kept, as tables and against a model.

use proptest::prelude::*;

use super::*;

type Kept = Outcomes<u64, &'static str>;

const fn it(task: u64, attempt: u32) -> Try {
    (TaskId(task), Attempt(attempt))
}

fn linked(limits: Retention, epoch: u64) -> Kept {
    let mut kept = Outcomes::new(limits);
    assert_eq!(kept.link(Epoch(epoch)), []);
    kept
}

fn key(text: &str, print: u8) -> Option<(Key, Print)> {
    Some((Key::new(text).expect("fits"), [print; 32]))
}

fn set<const N: usize>(tries: [Try; N]) -> BTreeSet<Try> {
    tries.into_iter().collect()
}

#[test]
fn an_outcome_is_there_until_it_is_released_however_often_it_is_asked_for() {
    let mut kept = linked(Retention::default(), 1);
    assert_eq!(kept.arrive(it(1, 0), None, "cancel"), Arrived::New);
    assert_eq!(kept.resume(it(1, 0), "first"), Resumed::Running(None));
    assert_eq!(kept.resume(it(1, 0), "second"), Resumed::Running(Some("first")));
    let run = kept.run(it(1, 0));
    assert_eq!(kept.finish(run, 7, 10), Ok(Some("second")));
    for _ in 0..2 {
        assert_eq!(kept.resume(it(1, 0), "again"), Resumed::Kept(Body::Memory(&7)));
    }
    assert_eq!(kept.release(it(1, 0)), Some(Released::Kept(Some(7))));
    assert_eq!(kept.resume(it(1, 0), "late"), Resumed::Unknown("late"));
    // It ended after nobody wanted it any more.
    assert_eq!(kept.finish(run, 7, 10), Err(7));
    assert_eq!((kept.kept(), kept.is_empty()), ((0, 0), true));
}

#[test]
fn what_is_not_waited_for_after_a_break_is_released_and_cancelled() {
    let mut kept = linked(Retention::default(), 1);
    for task in 1..=4 {
        kept.arrive(it(task, 0), None, "cancel");
    }
    kept.arrive(it(5, 0), key("k", 1), "cancel");
    assert_eq!(kept.finish(kept.run(it(2, 0)), 2, 10), Ok(None));
    kept.link(Epoch(1));
    // It came over the new link, before what is waited for was heard.
    kept.arrive(it(6, 0), None, "cancel");
    assert_eq!(kept.resume(it(3, 0), "waits"), Resumed::Running(None));
    let released = kept.reconcile(&set([it(1, 0)]));
    let running = || Released::Running("cancel", None);
    assert_eq!(released, [Released::Kept(Some(2)), running(), running()]);
    assert_eq!(kept.len(), 3);
}

#[test]
fn a_call_that_was_released_before_it_came_does_not_run() {
    let mut kept = linked(Retention::default(), 1);
    assert_eq!(kept.release(it(1, 0)), None);
    assert_eq!(kept.arrive(it(1, 0), None, "cancel"), Arrived::Unwanted("cancel"));
    assert_eq!(kept.arrive(it(1, 1), None, "cancel"), Arrived::New);
}

#[test]
fn a_key_finds_its_running_call_and_its_outcome_also_for_another_owner() {
    let mut kept = linked(Retention::default(), 1);
    assert_eq!(kept.arrive(it(1, 0), key("k", 1), "cancel"), Arrived::New);
    assert_eq!(kept.arrive(it(9, 0), None, "orphan"), Arrived::New);
    // The numbers of another owner begin anew; what has no key is not its business.
    assert_eq!(kept.link(Epoch(2)), [Released::Running("orphan", None)]);
    assert_eq!(kept.reconcile(&set([])), []);
    assert_eq!(kept.keys().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["k"]);
    assert_eq!(kept.arrive(it(1, 0), None, "other"), Arrived::New);
    assert_eq!(kept.arrive(it(2, 0), key("k", 2), "second"), Arrived::Differs("second"));
    assert_eq!(kept.arrive(it(2, 0), key("k", 1), "second"), Arrived::Known("second"));
    assert_eq!(kept.resume(it(2, 0), "waits"), Resumed::Running(None));
    let first = Run { epoch: Epoch(1), it: it(1, 0) };
    assert_eq!(kept.finish(first, 7, 10), Ok(Some("waits")));
    // That the outcome has arrived does not mean that its caller has it.
    assert_eq!(kept.taken(first), None);
    assert_eq!(kept.resume(it(2, 0), "again"), Resumed::Kept(Body::Memory(&7)));
    assert_eq!(kept.release(it(2, 0)), Some(Released::Kept(Some(7))));
    assert_eq!(kept.arrive(it(3, 0), key("k", 2), "third"), Arrived::New);
}

#[test]
fn who_finds_the_call_of_a_key_stands_for_it_though_what_is_waited_for_is_heard_after_that() {
    let mut kept = linked(Retention::default(), 1);
    assert_eq!(kept.arrive(it(1, 0), key("k", 1), "cancel"), Arrived::New);
    let run = kept.run(it(1, 0));
    assert_eq!(kept.link(Epoch(2)), []);
    assert_eq!(kept.arrive(it(7, 0), key("k", 1), "second"), Arrived::Known("second"));
    assert_eq!(kept.resume(it(7, 0), "waits"), Resumed::Running(None));
    // This was said before the call was sent.
    assert_eq!(kept.reconcile(&set([])), []);
    assert_eq!(kept.finish(run, 7, 10), Ok(Some("waits")));
    assert_eq!(kept.resume(it(7, 0), "again"), Resumed::Kept(Body::Memory(&7)));
    // After the next break it counts.
    assert_eq!(kept.link(Epoch(2)), []);
    assert_eq!(kept.reconcile(&set([])), [Released::Kept(Some(7))]);
}

#[test]
fn another_try_of_a_keyed_call_runs_when_the_one_before_has_ended() {
    let mut kept = linked(Retention::default(), 1);
    kept.arrive(it(1, 0), key("k", 1), "cancel");
    assert_eq!(kept.arrive(it(1, 1), key("k", 1), "next"), Arrived::Known("next"));
    assert_eq!(kept.finish(kept.run(it(1, 0)), 7, 10), Ok(None));
    assert_eq!(kept.arrive(it(1, 2), key("k", 1), "next"), Arrived::New);
    assert_eq!(kept.len(), 1);
}

#[test]
fn a_keyed_call_of_which_an_acknowledgement_was_lost_is_released_after_the_break() {
    let mut kept = linked(Retention::default(), 1);
    kept.arrive(it(1, 0), key("k", 1), "cancel");
    assert_eq!(kept.finish(kept.run(it(1, 0)), 7, 10), Ok(None));
    kept.link(Epoch(1));
    assert_eq!(kept.reconcile(&set([])), [Released::Kept(Some(7))]);
    assert_eq!(kept.keys().count(), 0);
}

#[test]
fn what_memory_does_not_hold_goes_to_the_disk_largest_first_and_nothing_is_taken_when_both_are_full() {
    let limits = Retention { memory: 1_000, disk: 1_500 };
    let mut kept = linked(limits, 1);
    for (task, size) in [(1, 100), (2, 600), (3, 300)] {
        assert_eq!(kept.arrive(it(task, 0), None, "cancel"), Arrived::New);
        assert_eq!(kept.finish(kept.run(it(task, 0)), task, size), Ok(None));
    }
    assert!(kept.can_spill() && !kept.is_full());
    let Spill { run, outcome: 2, to } = kept.spill().expect("too much is in memory") else {
        panic!("the largest")
    };
    assert_eq!(kept.spilled(run, to, true), Some(2));
    assert_eq!(kept.spill(), None);
    assert_eq!(kept.resume(it(2, 0), "x"), Resumed::Kept(Body::Disk(to)));
    for task in 4..=5 {
        assert_eq!(kept.arrive(it(task, 0), None, "cancel"), Arrived::New);
    }
    assert_eq!(kept.finish(kept.run(it(4, 0)), 4, 1_000), Ok(None));
    assert_eq!(kept.spill(), None);
    assert!(kept.is_full());
    assert_eq!(kept.arrive(it(6, 0), None, "cancel"), Arrived::Full("cancel"));
    // What runs is kept all the same.
    assert_eq!(kept.finish(kept.run(it(5, 0)), 5, 100), Ok(None));
    assert_eq!(kept.len(), 5);
    assert_eq!(kept.release(it(4, 0)), Some(Released::Kept(Some(4))));
    assert_eq!(kept.arrive(it(6, 0), None, "cancel"), Arrived::New);
    assert_eq!(kept.release(it(2, 0)), Some(Released::Kept(None)));
    assert_eq!(kept.kept().1, 0);
}

#[test]
fn a_disk_that_fails_leaves_the_outcome_in_memory_and_is_not_tried_again_and_again() {
    let mut kept = linked(Retention { memory: 100, disk: 10_000 }, 1);
    kept.arrive(it(1, 0), None, "cancel");
    assert_eq!(kept.finish(kept.run(it(1, 0)), 1, 500), Ok(None));
    let Spill { run, to, .. } = kept.spill().expect("too much is in memory");
    assert_eq!(kept.spilled(run, to, false), None);
    assert!(kept.is_full() && !kept.can_spill() && kept.spill().is_none());
    assert_eq!(kept.resume(it(1, 0), "x"), Resumed::Kept(Body::Memory(&1)));
    assert_eq!(kept.kept().1, 0);
}

#[test]
fn an_outcome_that_is_released_while_it_is_written_leaves_the_room_to_its_writer() {
    let mut kept = linked(Retention { memory: 100, disk: 1_000 }, 1);
    kept.arrive(it(1, 0), None, "cancel");
    assert_eq!(kept.finish(kept.run(it(1, 0)), 1, 500), Ok(None));
    let Spill { run, to, .. } = kept.spill().expect("too much is in memory");
    assert_eq!(kept.release(it(1, 0)), Some(Released::Kept(Some(1))));
    assert_eq!(kept.kept(), (0, 756));
    assert_eq!(kept.spilled(run, to, true), None);
    assert_eq!(kept.kept(), (0, 0));
}

/// What may happen to one of a few calls.
#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive(u64),
    Finish(u64, u64),
    Ask(u64),
    Release(u64),
    Link,
    Waits(u64),
    Spill,
    Write(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..8).prop_map(Step::Arrive),
        (0_u64..8, 0_u64..2_000).prop_map(|(task, size)| Step::Finish(task, size)),
        (0_u64..8).prop_map(Step::Ask),
        (0_u64..8).prop_map(Step::Release),
        Just(Step::Link),
        (0_u64..256).prop_map(Step::Waits),
        Just(Step::Spill),
        any::<bool>().prop_map(Step::Write),
    ]
}

proptest! {
    /// Against a model: a map from calls to whether they run or what they gave.
    #[test]
    fn nothing_is_lost_before_it_is_released_and_nothing_is_left_after(steps in prop::collection::vec(step(), 0..200)) {
        let mut kept = linked(Retention { memory: 2_000, disk: 4_000 }, 1);
        let (mut model, mut attempts, mut session) = (BTreeMap::new(), [0_u32; 8], 0_u64);
        let mut writing = Vec::new();
        let at = |attempts: &[u32; 8], task: u64| it(task, attempts[task as usize]);
        for step in steps {
            match step {
                Step::Arrive(task) if !model.contains_key(&task) => {
                    attempts[task as usize] += 1;
                    let was_full = kept.is_full();
                    let arrived = kept.arrive(at(&attempts, task), None, "cancel");
                    prop_assert_eq!(arrived == Arrived::New, !was_full);
                    if !was_full {
                        model.insert(task, (None, session));
                    }
                }
                Step::Arrive(_) => {}
                Step::Finish(task, size) => {
                    let finished = kept.finish(kept.run(at(&attempts, task)), size, size);
                    match model.get_mut(&task) {
                        Some((outcome @ None, _)) => {
                            prop_assert!(finished.is_ok());
                            *outcome = Some(size);
                        }
                        _ => prop_assert_eq!(finished, Err(size)),
                    }
                }
                Step::Ask(task) => {
                    match (kept.resume(at(&attempts, task), "waits"), model.get_mut(&task)) {
                        (Resumed::Unknown(_), None) => {}
                        (Resumed::Running(_), Some((None, since))) => *since = session,
                        (Resumed::Kept(body), Some((Some(size), since))) => {
                            let is_it = match body {
                                Body::Memory(there) => *there == *size,
                                Body::Disk(extent) => extent.length == *size + OVERHEAD,
                            };
                            prop_assert!(is_it);
                            *since = session;
                        }
                        (other, expected) => prop_assert!(false, "{:?}, not {:?}", other, expected),
                    }
                }
                Step::Release(task) => {
                    prop_assert_eq!(kept.release(at(&attempts, task)).is_some(), model.remove(&task).is_some());
                }
                Step::Link => {
                    prop_assert_eq!(kept.link(Epoch(1)), []);
                    session += 1;
                }
                Step::Waits(mask) => {
                    let wanted = |task: u64| mask & (1 << task) != 0;
                    let waits = (0..8).filter(|it| wanted(*it)).map(|task| at(&attempts, task)).collect();
                    let before = model.len();
                    model.retain(|task, (_, since)| wanted(*task) || *since == session);
                    prop_assert_eq!(kept.reconcile(&waits).len(), before - model.len());
                }
                Step::Spill => writing.extend(kept.spill().map(|it| (it.run, it.to))),
                Step::Write(written) => {
                    if let Some((run, to)) = writing.pop() {
                        kept.spilled(run, to, written);
                    }
                }
            }
            prop_assert_eq!(kept.len(), model.len());
        }
        for (run, to) in writing {
            kept.spilled(run, to, true);
        }
        for task in model.into_keys() {
            kept.release(at(&attempts, task));
        }
        prop_assert_eq!(kept.kept(), (0, 0));
    }
}

#[test]
fn what_an_older_owner_left_under_keys_goes_when_the_room_is_needed_and_what_was_asked_for_stays() {
    let mut kept = linked(Retention { memory: 500, disk: 0 }, 1);
    for (task, name) in [(1, "a"), (2, "b")] {
        kept.arrive(it(task, 0), key(name, 1), "cancel");
        assert_eq!(kept.finish(kept.run(it(task, 0)), task, 10), Ok(None));
    }
    assert!(kept.is_full());
    assert_eq!(kept.arrive(it(3, 0), None, "own"), Arrived::Full("own"));
    kept.link(Epoch(2));
    // The first is asked for, so that the second goes.
    assert_eq!(kept.arrive(it(1, 0), key("a", 1), "joins"), Arrived::Known("joins"));
    assert_eq!(kept.arrive(it(2, 0), None, "new"), Arrived::New);
    assert_eq!(kept.keys().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(kept.resume(it(1, 0), "asks"), Resumed::Kept(Body::Memory(&1)));
}
