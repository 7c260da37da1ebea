//! How a pool probes its nodes, as data.

use std::time::Duration;

use super::InvalidRequest;

/// How often a node is probed, and when it counts as bad.
///
/// ```
/// use skyward_runtime::model::Health;
/// use std::time::Duration;
/// let patient = Health { initial_delay: Duration::from_secs(60), ..Health::default() };
/// assert_eq!((patient.interval, patient.failures), (Duration::from_secs(30), 3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// How long after one probe has ended the next begins. Default 30 s, at least 10 ms. Shorter notices bad nodes sooner; it is run
    /// beside the calls, and takes what it takes from them.
    pub interval: Duration,
    /// How long one probe may take before it counts as failed. Default 15 s; more than 0.
    pub timeout: Duration,
    /// How many probes in a row may fail before the node counts as bad. Default 3, at least 1.
    pub failures: u32,
    /// How long after its worker was linked a node is probed first. Default 0: at once. What a node needs before its
    /// probe can pass, a model that is loaded for one, belongs here: a probe that fails before counts.
    pub initial_delay: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(15),
            failures: 3,
            initial_delay: Duration::ZERO,
        }
    }
}

impl Health {
    /// Whether nodes can be probed like this.
    ///
    /// # Errors
    /// Which field cannot be, and what it may be.
    pub fn validated(self) -> Result<Self, InvalidRequest> {
        let refuse = |field: &str, value: &dyn std::fmt::Debug, allowed: &str| {
            Err(InvalidRequest::new(field, format!("{value:?}"), allowed.to_owned()))
        };
        if self.failures == 0 {
            return refuse("health.failures", &self.failures, "must be at least 1");
        }
        if self.interval < SHORTEST {
            return refuse("health.interval", &self.interval, "must be at least 10 ms");
        }
        if self.timeout.is_zero() {
            return refuse("health.timeout", &self.timeout, "must be more than nothing");
        }
        Ok(self)
    }
}

/// The shortest pause between two probes: what is shorter leaves a node nothing else to do.
const SHORTEST: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_could_not_be_kept_are_refused() {
        let of = |health: Health| health.validated().map_err(|it| it.field);
        let usual = Health::default();
        assert_eq!(of(usual), Ok(usual));
        assert_eq!(of(Health { failures: 0, ..usual }), Err("health.failures".into()));
        assert_eq!(of(Health { interval: Duration::ZERO, ..usual }), Err("health.interval".into()));
        assert_eq!(of(Health { timeout: Duration::ZERO, ..usual }), Err("health.timeout".into()));
    }
}
