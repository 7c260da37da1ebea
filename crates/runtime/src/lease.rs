//! How long a machine may live without its owner.
//!
//! A lease is a file on the machine, [`LEASE_FILE`], whose content changes with every renewal: a
//! number that grows. Whoever guards the machine watches for the change on a clock of its own that
//! counts sleep ([`Guard`]); no time of day is ever compared between computers. The client writes the
//! file over SSH until the worker runs; from then on the worker writes it each time the client renews
//! over the link. A lapse is for good.

use std::time::Duration;

/// The lease's file, below the machine's `$HOME`.
pub const LEASE_FILE: &str = ".skyward/lease";

/// A moment on a clock that counts sleep, as time since some fixed moment of this boot.
pub type Awake = Duration;

/// Watches one lease. A pure machine: it is told what the file says and what time it is.
///
/// ```text
/// held --unchanged for `length`--> lapsed (for good)
/// held --changed--> held, the time starts again
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    length: Duration,
    seen: Option<Vec<u8>>,
    since: Awake,
    lapsed: bool,
}

impl Guard {
    /// A guard of a lease that is granted now.
    pub const fn new(length: Duration, now: Awake) -> Self {
        Self { length, seen: None, since: now, lapsed: false }
    }

    /// Tells the guard what the lease says now (`None`: there is no file yet). Returns whether the
    /// lease still holds.
    pub fn look(&mut self, content: Option<&[u8]>, now: Awake) -> bool {
        if self.lapsed {
            return false;
        }
        if content.is_some() && content != self.seen.as_deref() {
            self.seen = content.map(<[u8]>::to_vec);
            self.since = now;
        } else if now.saturating_sub(self.since) >= self.length {
            self.lapsed = true;
        }
        !self.lapsed
    }

    /// How long to wait until the next look: an eighth of the lease, so that a machine ends at most
    /// that much late.
    pub fn pause(&self) -> Duration {
        self.length / 8
    }
}

/// The clock that counts sleep.
pub fn awake() -> Awake {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Awake {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_holds_as_long_as_its_content_changes_in_time_and_lapses_for_good() {
        let mut guard = Guard::new(at(10), at(100));
        for (content, now, holds) in [
            (None, 105, true),
            (Some("1"), 109, true),
            (Some("1"), 118, true),
            (Some("2"), 119, true),
            (Some("2"), 128, true),
            (Some("2"), 129, false),
            (Some("3"), 130, false),
        ] {
            let held = guard.look(content.map(str::as_bytes), at(now));
            assert_eq!(held, holds, "{content:?} at {now}");
        }
    }

    #[test]
    fn a_lease_that_was_never_renewed_lapses_too() {
        let mut guard = Guard::new(at(10), at(0));
        assert!(guard.look(None, at(9)));
        assert!(!guard.look(None, at(10)));
    }
}
