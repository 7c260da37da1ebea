//! How long a machine may live without its owner.
//!
//! A lease is a file on the machine, [`LEASE_FILE`], whose content changes with every renewal: a
//! number that grows. Whoever guards the machine watches for the change on a clock of its own that
//! counts sleep ([`Guard`]); no time of day is ever compared between computers. The client writes the
//! file over SSH until the worker runs; from then on the worker writes it each time the client renews
//! over the link. A lapse is for good.
//!
//! A machine that is kept for a person has `keep` and a number of milliseconds there instead ([`keep`]):
//! so long it lives from then on, and no renewal makes that shorter or longer.

mod renewals;

use std::time::{Duration, Instant};

pub use renewals::{Owner, Renewals};

/// The lease's file, below the machine's `$HOME`.
pub const LEASE_FILE: &str = ".skyward/lease";

/// A moment on a clock that counts sleep, as time since some fixed moment of this boot.
pub type Awake = Duration;

/// Watches one lease. A pure machine: it is told what the file says and what time it is.
///
/// ```text
/// held --unchanged for `length`--> lapsed (for good)
/// held --changed--> held, the time starts again
/// held --`keep n`--> kept --n later--> lapsed
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    length: Duration,
    seen: Option<Vec<u8>>,
    until: Awake,
    kept: bool,
    lapsed: bool,
}

impl Guard {
    /// A guard of a lease that is granted now.
    pub const fn new(length: Duration, now: Awake) -> Self {
        Self { length, seen: None, until: now.saturating_add(length), kept: false, lapsed: false }
    }

    /// Tells the guard what the lease says now (`None`: there is no file yet). Returns whether the
    /// lease still holds.
    pub fn look(&mut self, content: Option<&[u8]>, now: Awake) -> bool {
        if self.lapsed {
            return false;
        }
        if content.is_some() && content != self.seen.as_deref() {
            self.seen = content.map(<[u8]>::to_vec);
            if let Some(length) = content.and_then(kept_for).filter(|_| !self.kept) {
                (self.until, self.kept) = (now.saturating_add(length), true);
            } else if !self.kept {
                self.until = now.saturating_add(self.length);
            }
        }
        if now >= self.until {
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

/// What the file says on a machine that is kept for so long.
pub fn keep(length: Duration) -> String {
    format!("{KEEP}{}", length.as_millis())
}

/// How long a machine is kept whose file says this; `None` when it is not.
pub fn kept_for(content: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(content).ok()?;
    Some(Duration::from_millis(text.strip_prefix(KEEP)?.trim().parse().ok()?))
}

/// The shell command that writes the file; `content` is a word or a few.
pub fn write_command(content: &str) -> String {
    // A rename is atomic: the guard never sees half of it.
    format!(
        "mkdir -p \"$HOME/.skyward\" && echo {content} > \"$HOME/{LEASE_FILE}.new\" \
         && mv -f \"$HOME/{LEASE_FILE}.new\" \"$HOME/{LEASE_FILE}\""
    )
}

const KEEP: &str = "keep ";

/// The clock that counts sleep. Elsewhere than on Linux the monotonic one is that.
pub fn awake() -> Awake {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The same as moments, for what has to be told moments: a machine is paid for while its client's computer sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    born: Instant,
    awake: Awake,
}

impl Clock {
    /// Begins to count.
    pub fn start() -> Self {
        Self { born: Instant::now(), awake: awake() }
    }

    /// How long it has counted.
    pub fn elapsed(&self) -> Duration {
        awake().saturating_sub(self.awake)
    }

    /// The present.
    pub fn now(&self) -> Instant {
        // Without sleep both clocks go alike; no computer sleeps for longer than moments can tell.
        self.born.checked_add(self.elapsed()).unwrap_or_else(Instant::now)
    }
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
    fn a_machine_that_is_kept_lives_so_long_and_no_renewal_changes_that() {
        for (length, term) in [(10, 300), (10, 3)] {
            let mut guard = Guard::new(at(length), at(0));
            let keep = keep(at(term));
            assert!(guard.look(Some(b"1"), at(1)));
            assert!(guard.look(Some(keep.as_bytes()), at(2)));
            assert!(guard.look(Some(b"2"), at(3)));
            assert!(guard.look(Some(keep.as_bytes()), at(4)));
            assert!(guard.look(Some(b"3"), at(2 + term - 1)));
            assert!(!guard.look(Some(b"4"), at(2 + term)));
        }
        assert_eq!(kept_for(b"keep 1500\n"), Some(Duration::from_millis(1500)));
        for other in ["keep", "keep x", "ssh 3", "", "lapsed", "keep -1"] {
            assert_eq!(kept_for(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_lease_that_was_never_renewed_lapses_too() {
        let mut guard = Guard::new(at(10), at(0));
        assert!(guard.look(None, at(9)));
        assert!(!guard.look(None, at(10)));
    }
}
