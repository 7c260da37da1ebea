//! What a pool does that another program has: nothing more, whatever it was about to do.

use super::*;
use crate::journal::{JournalError, Successor};
use crate::model::Epoch;

fn taken() -> JournalError {
    JournalError::Superseded { pool: "train".into(), epoch: Epoch(1), by: Successor::Unknown }
}

/// A pool with a cap, at each stage of its life, and what it is called.
fn stages() -> Vec<(&'static str, State)> {
    let timing = Timing::default();
    let limits = || Limits { hourly: Some(usd!(2)), ..Limits::default() };
    let life = [
        ("choosing", Heard::Born { limits: limits() }),
        ("preparing", offered(2)),
        ("renting", Heard::Prepared(Ok(()))),
        ("starting", given(&[0, 1], None)),
        ("starting with one", node_ready(0)),
        ("ready", node_ready(1)),
        ("replacing", node_gone(1, "crashed")),
        (
            "retrying",
            Heard::Released { instances: vec![instance(1)], result: Err("the cloud is down".into()) },
        ),
        ("stopping", Heard::Stop),
    ];
    let mut state = State::new();
    let mut stages = Vec::new();
    for (name, heard) in life {
        state.hear(heard, now(), &timing);
        stages.push((name, state.clone()));
    }
    stages
}

#[test]
fn whatever_it_was_about_to_do_it_ends_at_once_says_who_has_it_and_touches_nothing() {
    for (stage, mut state) in stages() {
        let effects = state.hear(Heard::Superseded(taken()), now(), &Timing::default());
        let ended = [
            Effect::QueueSuperseded(taken()),
            Effect::Detach,
            Effect::Announce(EventKind::Superseded { reason: taken().to_string() }),
            Effect::Ended { failure: Some(StartError::Journal(taken())), left: Vec::new() },
        ];
        assert_eq!(effects, ended, "{stage}");
        for late in [
            Heard::Superseded(taken()),
            Heard::Stop,
            Heard::Woke(Timer::Release),
            Heard::Woke(Timer::Provision),
            Heard::Woke(Timer::Shutdown),
            Heard::Released { instances: vec![instance(1)], result: Err(taken().to_string()) },
            given(&[0, 1, 2], None),
            node_gone(0, "the pool has a newer owner"),
        ] {
            let said = format!("{stage}: {late:?}");
            assert_eq!(state.hear(late, now(), &Timing::default()), [], "{said}");
        }
    }
}
