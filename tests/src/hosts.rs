//! Pools of tests on the hosts of a bed: with which times, by which settings, and whether anything is left there.

use std::time::Duration;

use skyward::prelude::*;
use skyward::ssh;

use crate::testbed::{Bed, Host};
use crate::until;

/// Longer than anything takes, on busy cores, too.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Times for machines that nothing in a test wants to lose.
pub fn timing() -> Timing {
    let (detect, grace) = (Duration::from_secs(5), Duration::from_secs(20));
    let (provision, ssh, join) = (PATIENCE, PATIENCE, PATIENCE);
    Timing {
        detect,
        grace,
        provision,
        ssh,
        join,
        lease: PATIENCE,
        ttl: PATIENCE,
        offers: PATIENCE,
        ..Timing::short()
    }
}

/// The settings by which a bed's hosts are used as a person would.
pub fn config(bed: &Bed) -> ssh::Config {
    let hosts = bed.hosts().iter().map(|it| it.name().into()).collect();
    ssh::Config { hosts, ssh_config: Some(bed.ssh_config()), ..ssh::Config::default() }
}

/// What a host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Its files.
    pub files: Vec<String>,
    /// What runs there.
    pub processes: Vec<String>,
}

impl State {
    /// What a host has now.
    pub fn of(host: &Host) -> Self {
        Self { files: host.files(), processes: host.processes() }
    }

    /// What each host of a bed has now.
    pub fn all(bed: &Bed) -> Vec<Self> {
        bed.hosts().iter().map(Self::of).collect()
    }
}

/// Waits until a host is as it was before.
///
/// # Panics
/// When it is not in time, with what is left.
pub fn expect_as_before(host: &Host, before: &State) {
    if until(PATIENCE, || (State::of(host) == *before).then_some(())).is_none() {
        assert_eq!(&State::of(host), before, "left on {}", host.name());
    }
}

/// Waits until all hosts of a bed are as they were before.
///
/// # Panics
/// When one is not in time, with what is left.
pub fn expect_all_as_before(bed: &Bed, before: &[State]) {
    for (host, before) in bed.hosts().iter().zip(before) {
        expect_as_before(host, before);
    }
}
