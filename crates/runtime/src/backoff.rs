//! How long to wait between tries: data that yields delays.

use std::time::Duration;

/// Exponential backoff: `first`, `first * factor`, … up to `most`.
///
/// ```
/// use skyward_runtime::backoff::Backoff;
/// use std::time::Duration;
/// let backoff = Backoff { first: Duration::from_millis(10), factor: 2, most: Duration::from_millis(50) };
/// let delays: Vec<_> = backoff.delays().take(4).map(|it| it.as_millis()).collect();
/// assert_eq!(delays, [10, 20, 40, 50]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay.
    pub first: Duration,
    /// What each delay is multiplied by.
    pub factor: u32,
    /// The longest delay.
    pub most: Duration,
}

impl Backoff {
    /// The delays, without end: the caller holds the deadline.
    pub fn delays(self) -> impl Iterator<Item = Duration> {
        std::iter::successors(Some(self.first.min(self.most)), move |it| {
            Some(it.saturating_mul(self.factor).min(self.most))
        })
    }

    /// The delay before try number `tries` (0 is the first retry).
    pub fn delay(self, tries: u32) -> Duration {
        self.first.saturating_mul(self.factor.saturating_pow(tries)).min(self.most)
    }
}
