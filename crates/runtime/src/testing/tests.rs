//! Lives by the thousand. `SKYWARD_SEED=n` lives one alone, `SKYWARD_SEEDS=n` as many as that, from the other on if both
//! are given.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::*;

const SEEDS: u64 = 2000;

fn asked(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}

/// Lives the seeds on all cores; the sum of all summaries, or the failure of the lowest seed seen.
fn live(seeds: std::ops::Range<u64>, knobs: &Knobs) -> Result<Summary, Box<Failure>> {
    let (next, cores) = (AtomicU64::new(seeds.start), std::thread::available_parallelism());
    let total = Mutex::new(Ok(Summary::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || total.lock().expect("sum").is_err() {
                return;
            }
            let lived = simulate(seed, knobs);
            let mut total = total.lock().expect("sum");
            match (&mut *total, lived) {
                (Ok(sum), Ok(one)) => *sum += one,
                (Ok(_), Err(failure)) => *total = Err(failure),
                (Err(first), Err(failure)) if failure.seed < first.seed => *first = failure,
                (Err(_), _) => {}
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..cores.map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    total.into_inner().expect("sum")
}

#[test]
fn two_thousand_seeds() {
    let seeds = match (asked("SKYWARD_SEED"), asked("SKYWARD_SEEDS")) {
        (Some(seed), count) => seed..seed + count.unwrap_or(1),
        (None, count) => 0..count.unwrap_or(SEEDS),
    };
    let (began, count) = (Instant::now(), seeds.end - seeds.start);
    let sum = live(seeds, &Knobs::default()).unwrap_or_else(|failure| panic!("{failure}"));
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("{count} seeds, {rate:.0} a second: {sum:?}");
    if count >= SEEDS {
        // A world in which nothing goes wrong, or nothing starts, would keep every law.
        assert!(sum.started > count / 4, "{sum:?}");
        assert!(sum.answered > count && sum.refused > count && sum.cancelled > count / 4, "{sum:?}");
        assert!(sum.timed_out > count / 10 && sum.pairs > count / 5 && sum.kept > count / 200, "{sum:?}");
        assert!(sum.given_back > count / 200, "{sum:?}");
        assert!(sum.resumed > count / 10 && sum.redelivered > count / 50, "{sum:?}");
        assert!(sum.spilled > count / 100 && sum.full > count / 200, "{sum:?}");
        assert!(sum.capped > count / 3 && sum.spent > count / 20, "{sum:?}");
        assert!(sum.candidates > count * 4 / 5, "{sum:?}");
        assert!(sum.overslept > count / 100 && sum.grown > count / 8 && sum.shrunk > count / 40, "{sum:?}");
        assert!(sum.attached > count / 15 && sum.held > count / 30 && sum.left > count / 40, "{sum:?}");
        assert!(sum.reaped > count / 10 && sum.slept > count / 10 && sum.outdated > count / 1000, "{sum:?}");
        assert!(sum.superseded > count / 500, "{sum:?}");
        assert!(sum.lies > count / 10 && sum.noticed > count / 60 && sum.unbegun > count / 1000, "{sum:?}");
        assert!(sum.strays > count / 1000 && sum.strangers > count / 20, "{sum:?}");
        assert!(sum.unwell > count / 40 && sum.resized > count / 20 && sum.billed > count / 100, "{sum:?}");
        assert!(sum.retried > count / 10 && sum.lapsed > count / 10 && sum.broken > count, "{sum:?}");
    }
}

#[test]
fn a_world_without_trouble_starts_every_pool_whose_owner_waits() {
    let knobs = Knobs { trouble: 0, ..Knobs::default() };
    let sum = live(0..200, &knobs).unwrap_or_else(|failure| panic!("{failure}"));
    // What was given back is a second try of what never had a first.
    assert_eq!((sum.timed_out, sum.lies, sum.unbegun, sum.slept), (0, 0, 0, 0), "{sum:?}");
    assert!(sum.retried <= sum.given_back + sum.turned_away, "{sum:?}");
    assert!(sum.started > 120, "{sum:?}");
}

#[test]
fn a_large_pool_in_bad_weather_keeps_every_law() {
    let knobs = Knobs { nodes: 16, slots: 6, callers: 80, trouble: 500, ..Knobs::default() };
    let sum = live(0..300, &knobs).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(sum.machines > 1500, "{sum:?}");
}

#[test]
fn every_fault_that_is_put_back_is_found() {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        let knobs = Knobs { mutation: Some(mutation), ..Knobs::default() };
        match live(0..SEEDS, &knobs) {
            Ok(_) => missed.push(mutation),
            Err(failure) => {
                println!("{mutation:?}: seed {} breaks {:?}: {}", failure.seed, failure.law, failure.what)
            }
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS} seeds: {missed:?}");
}

#[test]
fn a_seed_is_a_life() {
    let knobs = Knobs::default();
    for seed in 0..50 {
        assert_eq!(simulate(seed, &knobs).expect("kept"), simulate(seed, &knobs).expect("kept"));
    }
    let knobs = Knobs { mutation: Some(Mutation::AnswerTwice), ..knobs };
    let failure = live(0..SEEDS, &knobs).expect_err("found");
    let again = simulate(failure.seed, &knobs).expect_err("found again");
    assert_eq!(again.to_string(), failure.to_string());
    assert!(again.transcript.len() > 10, "{again}");
    assert!(again.to_string().contains(&format!("SKYWARD_SEED={}", failure.seed)), "{again}");
}
