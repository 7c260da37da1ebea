//! How often a cloud lets itself be asked. Pure: it is told what time it is.

use std::collections::BTreeMap;
use std::time::Duration;

/// So many requests at once, and one more after each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many may follow each other at once; at least 1.
    pub burst: u32,
    /// How long until there is room for one more.
    pub every: Duration,
}

/// The rate of one endpoint, or of all of them when `endpoint` is [`Limit::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The endpoint, by the name that its calls give.
    pub endpoint: &'static str,
    /// How often it may be asked.
    pub rate: Rate,
}

impl Limit {
    /// The limit that every request counts against.
    pub const ALL: &'static str = "all";

    /// Of every request.
    pub const fn all(burst: u32, every: Duration) -> Self {
        Self::of(Self::ALL, burst, every)
    }

    /// Of one endpoint.
    pub const fn of(endpoint: &'static str, burst: u32, every: Duration) -> Self {
        Self { endpoint, rate: Rate { burst, every } }
    }
}

/// A moment, as time since the client was made.
pub(super) type Moment = Duration;

/// The buckets of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Buckets(BTreeMap<&'static str, Bucket>);

/// One bucket, by the moment at which it will be full again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bucket {
    /// `None` where the cloud names no limit; it may still close the bucket.
    rate: Option<Rate>,
    full: Moment,
    closed: Moment,
}

impl Buckets {
    /// Full ones, `pace` times as fast as the limits say.
    pub(super) fn new(limits: &[Limit], pace: u32) -> Self {
        let bucket = |limit: &Limit| {
            let rate = Rate { every: limit.rate.every / pace.max(1), ..limit.rate };
            (limit.endpoint, Bucket { rate: Some(rate), ..Bucket::EMPTY })
        };
        Self(limits.iter().map(bucket).collect())
    }

    /// Takes a token for a request and returns how long to wait before it is sent.
    pub(super) fn take(&mut self, endpoint: &'static str, now: Moment) -> Duration {
        let all = self.bucket(Limit::ALL).take(now);
        let own = if endpoint == Limit::ALL { all } else { self.bucket(endpoint).take(now) };
        all.max(own)
    }

    /// The cloud said that nothing more is taken at this endpoint for so long.
    pub(super) fn close(&mut self, endpoint: &'static str, wait: Duration, now: Moment) {
        let bucket = self.bucket(endpoint);
        bucket.closed = bucket.closed.max(now.saturating_add(wait));
    }

    fn bucket(&mut self, endpoint: &'static str) -> &mut Bucket {
        self.0.entry(endpoint).or_insert(Bucket::EMPTY)
    }
}

impl Bucket {
    const EMPTY: Self = Self { rate: None, full: Duration::ZERO, closed: Duration::ZERO };

    fn take(&mut self, now: Moment) -> Duration {
        let closed = self.closed.saturating_sub(now);
        let Some(rate) = self.rate else { return closed };
        // Tokens of a closed bucket do not gather: what waits for it leaves at its rate.
        let from = self.full.max(now).max(self.closed);
        self.full = from.saturating_add(rate.every);
        let room = rate.every.saturating_mul(rate.burst.max(1));
        self.full.saturating_sub(room).saturating_sub(now).max(closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const LIMITS: [Limit; 2] = [Limit::all(3, ms(100)), Limit::of("launch", 1, ms(1000))];

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_one_in_each_interval() {
        let mut buckets = Buckets::new(&LIMITS, 1);
        let waits: Vec<_> = (0..5).map(|_| buckets.take("list", ms(0)).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        assert_eq!(buckets.take("list", ms(1000)), ms(0), "it fills up again");
    }

    #[test]
    fn an_endpoint_waits_for_its_own_limit_and_holds_up_no_other() {
        let mut buckets = Buckets::new(&LIMITS, 1);
        assert_eq!(buckets.take("launch", ms(0)), ms(0));
        assert_eq!(buckets.take("launch", ms(0)), ms(1000));
        assert_eq!(buckets.take("list", ms(0)), ms(0));
        assert_eq!(Buckets::new(&LIMITS, 10).take("launch", ms(0)), ms(0));
        let mut hurried = Buckets::new(&LIMITS, 10);
        hurried.take("launch", ms(0));
        assert_eq!(hurried.take("launch", ms(0)), ms(100));
    }

    /// Eight machines at one launch in twelve seconds, while somebody looks at those that boot as often as
    /// one request a second allows: all are there within a provider's two minutes, and none before its time.
    #[test]
    fn launches_keep_their_rate_beside_one_who_looks_all_the_time() {
        let mut buckets = Buckets::new(&[Limit::all(1, ms(1000)), Limit::of("launch", 1, ms(12_000))], 1);
        let (mut launching, mut looking, mut launches) = (ms(0), ms(0), Vec::new());
        while launches.len() < 8 {
            if launching <= looking {
                let at = launching + buckets.take("launch", launching);
                launches.push(at);
                launching = at + ms(300);
            } else {
                looking += buckets.take("list", looking) + ms(100);
            }
        }
        let apart = launches.windows(2).map(|it| it[1] - it[0]);
        assert!(apart.clone().all(|it| it >= ms(12_000)), "{launches:?}");
        assert!(*launches.last().expect("eight") < ms(110_000), "{launches:?}");
    }

    #[test]
    fn a_closed_endpoint_waits_until_it_opens_and_then_leaves_at_its_rate() {
        let mut buckets = Buckets::new(&LIMITS, 1);
        buckets.close("launch", ms(5000), ms(0));
        buckets.close("launch", ms(100), ms(0));
        assert_eq!(buckets.take("launch", ms(1000)), ms(4000));
        assert_eq!(buckets.take("launch", ms(1000)), ms(5000));
        buckets.close("unlimited", ms(50), ms(2000));
        assert_eq!(buckets.take("unlimited", ms(2020)), ms(30));
    }
}
