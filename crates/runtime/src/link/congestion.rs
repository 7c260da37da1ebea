//! How much one connection has under way: what cubic allows, as long as the queue that we make ourselves stays
//! short. Without the second bound a bulk transfer fills every buffer of the path (on loopback 16 MiB, some
//! 20 ms), and small calls wait behind what has left already, whatever their priority.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

/// How long what we send may wait on the path, beside half of the path's own round trip: a long path's delay changes by
/// more than this for reasons of its own. Longer lets small calls wait; much shorter is what the system's own delays
/// look like.
const WAIT: Duration = Duration::from_millis(1);

/// As much may always be under way, if cubic allows it: less leaves a fast path idle between two
/// acknowledgements, more waits longer than [`WAIT`] on all but the fastest.
const LEAST: u64 = 1 << 18;

/// For so long the shortest round trip is believed, as the path may change.
const BELIEVED: Duration = Duration::from_secs(10);

/// Makes a controller for each connection.
#[derive(Debug)]
pub(super) struct ShortQueue(pub(super) Arc<CubicConfig>);

/// Cubic with a bound.
struct Bounded {
    cubic: Box<dyn Controller>,
    bound: Bound,
}

/// What is known of a path's queue. Pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    most: u64,
    /// The shortest round trips of the present time and of the one before it.
    shortest: [Duration; 2],
    /// When the present time began.
    since: Instant,
    /// When the bound was last lowered: what that does shows a round trip later.
    lowered: Instant,
    /// The bound that comes back when the queue has drained.
    kept: Option<u64>,
    /// How many bytes were acknowledged since the bound was looked at.
    acknowledged: u64,
    round_trip: Duration,
    /// The longest that a packet took which was acknowledged since the bound was looked at. The smoothed round trip is
    /// of the last packets that came before an answer left, and does not see how long the first ones waited.
    longest: Duration,
}

impl ControllerFactory for ShortQueue {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let cubic = Arc::clone(&self.0).build(now, mtu);
        Box::new(Bounded { cubic, bound: Bound::new(now) })
    }
}

impl Controller for Bounded {
    fn on_sent(&mut self, now: Instant, bytes: u64, number: u64) {
        self.cubic.on_sent(now, bytes, number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
        self.bound.arrived(now, now.saturating_duration_since(sent), rtt.get(), bytes);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest);
        self.bound.judge(now, self.cubic.window(), app_limited);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost: u64) {
        self.cubic.on_congestion_event(now, sent, is_persistent, lost);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.cubic.on_mtu_update(mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window().min(self.bound.most)
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { cubic: self.cubic.clone_box(), bound: self.bound })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Bound {
    const fn new(now: Instant) -> Self {
        Self {
            most: u64::MAX,
            shortest: [Duration::MAX; 2],
            since: now,
            lowered: now,
            kept: None,
            acknowledged: 0,
            round_trip: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }

    /// A packet was acknowledged so long after it left; smoothed, a round trip takes so long.
    fn arrived(&mut self, now: Instant, after: Duration, round_trip: Duration, bytes: u64) {
        let [present, before] = &mut self.shortest;
        if now.saturating_duration_since(self.since) > BELIEVED {
            *before = std::mem::replace(present, after);
            self.since = now;
            // The queue drains for a round trip, so that the new time sees the path and not what we put there.
            self.kept = Some(self.most);
            self.most = self.most.min(LEAST);
        }
        *present = (*present).min(after);
        self.round_trip = round_trip;
        self.longest = self.longest.max(after);
        self.acknowledged = self.acknowledged.saturating_add(bytes);
    }

    /// Looks whether the queue is too long, when cubic allows so many bytes. Who had nothing more to send has made none:
    /// such packets are answered late because the other side waits for another one.
    fn judge(&mut self, now: Instant, cubic: u64, had_no_more: bool) {
        let [present, before] = self.shortest;
        let shortest = present.min(before);
        let allowed = shortest.saturating_add(shortest / 2).saturating_add(WAIT);
        let acknowledged = std::mem::take(&mut self.acknowledged);
        let longest = std::mem::take(&mut self.longest);
        if let Some(kept) = self.kept {
            if now.saturating_duration_since(self.since) >= self.round_trip {
                (self.most, self.kept, self.lowered) = (kept, None, now);
            }
            return;
        }
        if longest <= allowed || had_no_more {
            // Slower than cubic's own beginning, which would fill the queue again within one round trip.
            let more = self.most.saturating_add(acknowledged / 4);
            self.most = more.min(cubic.max(LEAST));
        } else if now.saturating_duration_since(self.lowered) >= self.round_trip {
            let under_way = u128::from(self.most.min(cubic));
            let fits = under_way * allowed.as_nanos() / longest.as_nanos().max(1);
            self.most = u64::try_from(fits).unwrap_or(u64::MAX).max(LEAST);
            self.lowered = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// A path that carries so many bytes a millisecond, for so many round trips. What fits under way in the end.
    fn settled(shortest: Duration, bytes_a_milli: u64, rounds: u32) -> u64 {
        let (mut now, cubic) = (Instant::now(), 1 << 40);
        let mut bound = Bound::new(now);
        bound.most = 64 << 20;
        for _ in 0..rounds {
            let queued = bound.most.saturating_sub(bytes_a_milli * shortest.as_millis() as u64);
            let takes = shortest + MILLI * u32::try_from(queued / bytes_a_milli).unwrap_or(u32::MAX);
            now += takes;
            // The first packet of a round finds the path empty.
            bound.arrived(now, shortest, takes, 0);
            bound.arrived(now, takes, takes, bound.most);
            bound.judge(now, cubic, false);
        }
        bound.most
    }

    #[test]
    fn a_long_fast_path_is_filled_and_its_queue_is_not() {
        for (shortest, bytes_a_milli) in
            [(50 * MILLI, 1 << 20), (10 * MILLI, 1 << 20), (100 * MILLI, 1 << 17)]
        {
            let path = bytes_a_milli * shortest.as_millis() as u64;
            let under_way = settled(shortest, bytes_a_milli, 200);
            assert!(under_way >= path, "{under_way} of {path}");
            assert!(under_way <= path * 2 + 4 * bytes_a_milli, "{under_way} of {path}");
        }
    }

    #[test]
    fn on_a_short_path_little_is_under_way_and_never_less_than_the_least() {
        assert!(settled(Duration::ZERO, 1 << 19, 50) <= 5 * LEAST);
        assert_eq!(settled(Duration::ZERO, 1 << 14, 50), LEAST);
    }

    #[test]
    fn a_path_that_became_longer_is_believed_after_a_while() {
        let mut now = Instant::now();
        let mut bound = Bound::new(now);
        bound.arrived(now, MILLI, MILLI, 0);
        for _ in 0..300 {
            now += 100 * MILLI;
            bound.arrived(now, 100 * MILLI, 100 * MILLI, LEAST);
            bound.judge(now, 1 << 40, false);
        }
        assert!(bound.most > 4 * LEAST, "{}", bound.most);
    }

    #[test]
    fn a_path_whose_delay_changes_by_itself_is_filled_and_a_late_answer_to_the_last_packet_is_no_queue() {
        let (mut now, mut bound) = (Instant::now(), Bound::new(Instant::now()));
        bound.most = 8 << 20;
        for round in 0..300_u32 {
            let takes = 50 * MILLI + MILLI * (round * 7 % 20);
            now += takes;
            bound.arrived(now, takes, takes, bound.most);
            bound.judge(now, 1 << 40, false);
            bound.arrived(now, 500 * MILLI, takes, 100);
            bound.judge(now, 1 << 40, true);
        }
        assert!(bound.most >= 8 << 20, "{}", bound.most);
    }

    #[test]
    fn cubic_alone_decides_while_nothing_waits() {
        let now = Instant::now();
        let mut bounded = Arc::new(ShortQueue(Arc::default())).build(now, 1200);
        let before = bounded.window();
        assert_eq!(before, Arc::new(CubicConfig::default()).build(now, 1200).window());
        bounded.on_congestion_event(now, now, false, 1200);
        assert!(bounded.window() < before);
    }
}
