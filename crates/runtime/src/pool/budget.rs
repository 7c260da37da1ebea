//! Keeps a pool within the money that it may cost. Pure; the pool's state asks and decides.
//!
//! What counts is what the pool will have cost when its machines are given back: that takes time, which is
//! paid for, and so does a lease that lapses because the client has died, or its computer sleeps: moments here are of a
//! clock that counts sleep.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::ledger::Meters;
use crate::model::{Capabilities, Earlier, InstanceId, Tariff, Usd};
use crate::timing::Timing;

/// The meters of a pool's machines, and the cap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Budget {
    cap: Option<Usd>,
    born: Option<Instant>,
    /// How old the pool was then: it had an owner before.
    before: Duration,
    meters: Meters,
    /// How long a machine that is rented now lives on alone, and those that there are.
    lease: Duration,
    leases: BTreeMap<InstanceId, Duration>,
    /// How long the slowest providers take that machines are rented from: to boot one, until one is alone that was never
    /// reached, and to give one more back.
    boot: Duration,
    arrival: Duration,
    pace: Duration,
    warned: bool,
    refused: bool,
    /// The timer that is set.
    alarm: Option<Duration>,
}

/// What a look at the budget says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Four fifths are spent; said once.
    Low { spent: Usd, cap: Usd },
    /// All of it is, with what giving back costs.
    Spent { spent: Usd, cap: Usd },
}

impl Budget {
    /// The pool begins now, and may cost this much.
    pub(super) const fn begin(&mut self, cap: Option<Usd>, now: Instant) {
        self.cap = cap;
        self.born = Some(now);
    }

    /// What an owner before has spent, and spends: the pool is so old, and its machines have such a lease.
    pub(super) fn inherit(&mut self, age: Duration, machines: &[Earlier], lease: Duration) {
        (self.before, self.lease) = (age, lease);
        for Earlier { rented, since, until } in machines {
            self.meters.start(rented.instance.clone(), rented.tariff, *since);
            match until {
                Some(until) => self.meters.stop(&rented.instance, *until),
                None => drop(self.leases.insert(rented.instance.clone(), lease)),
            }
        }
    }

    /// Machines may be rented from a provider that can this.
    pub(super) fn rents_from(&mut self, cloud: &Capabilities) {
        self.boot = self.boot.max(cloud.boot);
        self.arrival = self.arrival.max(cloud.arrival);
        self.pace = self.pace.max(cloud.pace);
    }

    /// A machine is there that was asked for at this moment.
    pub(super) fn rented(&mut self, instance: InstanceId, tariff: Tariff, asked: Instant) {
        let since = self.since(asked);
        self.leases.insert(instance.clone(), self.lease);
        self.meters.start(instance, tariff, since);
    }

    /// A machine is gone.
    pub(super) fn gone(&mut self, instance: &InstanceId, now: Instant) {
        let at = self.since(now);
        self.leases.remove(instance);
        self.meters.stop(instance, at);
    }

    /// The lease for machines of which so many are wanted: at most the one that was asked for, and less
    /// where a client that dies would let the pool overspend within it.
    pub(super) fn lease(&mut self, wanted: Duration, count: u32, tariff: &Tariff, now: Instant) -> Duration {
        let hourly =
            u128::try_from((tariff.hourly * count + self.meters.hourly()).nanos()).unwrap_or_default();
        self.lease = match self.cap {
            Some(cap) if hourly > 0 => {
                let rest =
                    u128::try_from(cap.less(self.meters.cost(self.since(now))).nanos()).unwrap_or_default();
                let seconds = rest.saturating_mul(3600) / hourly;
                let lasts = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
                wanted.min((lasts / PART).max(SHORT.min(lasts / MOST)).max(SHORTEST))
            }
            Some(_) | None => wanted,
        };
        self.lease
    }

    /// Whether so many more machines can be paid until they have booted and are given back again.
    ///
    /// # Errors
    /// What the pool would cost, and what it may.
    pub(super) fn allows(
        &self,
        count: u32,
        tariff: &Tariff,
        now: Instant,
        timing: &Timing,
    ) -> Result<(), (Usd, Usd)> {
        let Some(cap) = self.cap else { return Ok(()) };
        let (boot, ending) = (timing.boot_of(self.boot), self.ending(count, timing));
        // One that was never reached does not know of a shorter lease.
        let alone = boot + ending.max(self.arrival);
        let projected = self.meters.cost(self.since(now) + boot + ending) + tariff.cost(alone) * count;
        if projected > cap { Err((projected, cap)) } else { Ok(()) }
    }

    /// How many of so many more machines can be paid until they have booted and are given back again.
    ///
    /// # Errors
    /// When it is none of them: what the pool would cost with all, and what it may.
    pub(super) fn affords(
        &self,
        count: u32,
        tariff: &Tariff,
        now: Instant,
        timing: &Timing,
    ) -> Result<u32, (Usd, Usd)> {
        let refused = match self.allows(count, tariff, now, timing) {
            Ok(()) => return Ok(count),
            Err(refused) => refused,
        };
        let (mut some, mut many) = (0, count);
        while many - some > 1 {
            let half = some + (many - some) / 2;
            match self.allows(half, tariff, now, timing) {
                Ok(()) => some = half,
                Err(_) => many = half,
            }
        }
        if some == 0 { Err(refused) } else { Ok(some) }
    }

    /// How many more machines at this tariff keep what all of them cost an hour within this; `None` for any number.
    pub(super) fn room(&self, hourly: Option<Usd>, tariff: &Tariff) -> Option<u32> {
        let (cap, one) = (hourly?, tariff.hourly.nanos());
        if one <= 0 {
            return None;
        }
        let rest = cap.less(self.meters.hourly()).nanos();
        Some(u32::try_from(rest.max(0) / one).unwrap_or(u32::MAX))
    }

    /// Whether the machines that are there may stay for so long.
    pub(super) fn allows_for(&self, length: Duration, now: Instant, timing: &Timing) -> bool {
        let at = self.since(now) + length + self.ending(0, timing);
        self.cap.is_none_or(|cap| self.meters.cost(at) <= cap)
    }

    /// Says once that more was refused, until it is allowed again.
    pub(super) const fn says_refusal(&mut self) -> bool {
        !std::mem::replace(&mut self.refused, true)
    }

    /// More was allowed.
    pub(super) const fn forgets_refusal(&mut self) {
        self.refused = false;
    }

    /// Looks at what is spent. Once more at the same moment says nothing new but that all is spent.
    pub(super) fn look(&mut self, now: Instant, timing: &Timing) -> Option<Look> {
        let (cap, at) = (self.cap?, self.since(now));
        let spent = self.meters.cost(at);
        if self.meters.cost(at + self.ending(0, timing)) > cap {
            return Some(Look::Spent { spent, cap });
        }
        if !self.warned && spent >= low(cap) && spent > Usd::ZERO {
            self.warned = true;
            return Some(Look::Low { spent, cap });
        }
        None
    }

    /// After how long to look again, if a timer has to be set for that.
    pub(super) fn alarm(&mut self, now: Instant, timing: &Timing) -> Option<Duration> {
        let (cap, at) = (self.cap?, self.since(now));
        if self.meters.hourly() == Usd::ZERO {
            return None;
        }
        let ending = self.ending(0, timing);
        let more = cap + Usd::from_nanos(1);
        let spent = self.meters.reaches(more, at + ending, FAR).map(|it| it.saturating_sub(ending));
        let warn = if self.warned { None } else { self.meters.reaches(low(cap), at, FAR) };
        let next = spent.into_iter().chain(warn).fold(at + FAR, Duration::min);
        if self.alarm.is_some_and(|it| it <= next + SOONEST && it > at) {
            return None;
        }
        self.alarm = Some(next);
        Some(next.saturating_sub(at).max(SOONEST))
    }

    /// How long a machine may still be paid for when the pool decides to end, or when its client dies, with so many
    /// more.
    fn ending(&self, more: u32, timing: &Timing) -> Duration {
        let machines = self.meters.running().saturating_add(usize::try_from(more).unwrap_or(usize::MAX));
        let lease = self.leases.values().fold(self.lease, |longest, it| longest.max(*it));
        timing.ending(machines, self.pace).max(lease * 4 / 3) + SOONEST
    }

    /// How old a pool is now that was so old when it was born here.
    pub(super) fn age(&self, then: Duration, now: Instant) -> Duration {
        self.born.map_or(then, |it| then + now.saturating_duration_since(it))
    }

    fn since(&self, moment: Instant) -> Duration {
        self.before + self.born.map_or(Duration::ZERO, |it| moment.saturating_duration_since(it))
    }
}

fn low(cap: Usd) -> Usd {
    cap.fraction(4, 5)
}

/// A lease is at most this part of the time for which the budget lasts: the pool ends so much earlier, and a third
/// of a lease more, so that its machines can be paid until they end alone.
const PART: u32 = 20;

/// No budget makes a lease shorter than this, as long as it is at most the part below: a shorter one does not
/// outlive a line that is down for a moment.
const SHORT: Duration = Duration::from_secs(60);

/// The part of the time for which a small budget lasts that a lease may be.
const MOST: u32 = 4;

/// The shortest lease that a client on a slow line can renew three times.
const SHORTEST: Duration = Duration::from_secs(3);

/// How far ahead a budget is looked after at once; then it is looked at again. Timers stand still while a computer sleeps,
/// and what was spent then is noticed so much later at most.
const FAR: Duration = Duration::from_mins(1);

/// The shortest wait between two looks.
const SOONEST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::usd;
    use crate::model::{Billing, Market};

    fn tariff(hourly: Usd) -> Tariff {
        Tariff { market: Market::Spot, hourly, billing: Billing::default() }
    }

    fn timing() -> Timing {
        let (boot, shutdown) = (Duration::from_secs(60), Duration::from_secs(100));
        Timing { boot, shutdown, ..Timing::default() }
    }

    fn begun(cap: Option<Usd>) -> (Budget, Instant) {
        let (mut budget, now) = (Budget::default(), Instant::now());
        budget.begin(cap, now);
        budget.lease(Duration::from_secs(60), 1, &tariff(usd!(3.60)), now);
        (budget, now)
    }

    #[test]
    fn growth_is_refused_when_booting_it_and_giving_it_back_would_cost_too_much() {
        let (budget, now) = begun(Some(usd!(0.20)));
        let (one, timing) = (tariff(usd!(3.60)), timing());
        assert_eq!(budget.allows(1, &one, now, &timing), Ok(()));
        let (projected, cap) = budget.allows(2, &one, now, &timing).expect_err("too dear");
        assert_eq!((projected, cap), (usd!(0.322), usd!(0.20)));
        assert_eq!(begun(None).0.allows(1000, &one, now, &timing), Ok(()));
        assert_eq!(budget.allows(1000, &tariff(Usd::ZERO), now, &timing), Ok(()));
    }

    #[test]
    fn what_a_provider_takes_longer_for_is_paid_for_too() {
        let (mut budget, now) = begun(Some(usd!(1)));
        let (one, timing, second) = (tariff(usd!(3.60)), timing(), Duration::from_secs(1));
        assert_eq!(budget.affords(1000, &one, now, &timing), Ok(6));
        // Two requests, one after the other, for each that is given back.
        budget.rents_from(&Capabilities { pace: second * 5, ..Capabilities::NONE });
        assert_eq!(budget.affords(1000, &one, now, &timing), Ok(4));
        // It lives alone for ten minutes if nobody comes.
        budget.rents_from(&Capabilities { arrival: second * 600, ..Capabilities::NONE });
        assert_eq!(budget.affords(1000, &one, now, &timing), Ok(1));
        let slow = Capabilities { boot: second * 1800, ..Capabilities::NONE };
        budget.rents_from(&slow);
        assert_eq!(budget.affords(1000, &one, now, &timing), Ok(1), "how long it may take is set");
        assert!(budget.affords(1000, &one, now, &Timing::default()).is_err());
    }

    #[test]
    fn as_many_are_afforded_as_can_be_paid() {
        let (budget, now) = begun(Some(usd!(1)));
        let (one, timing) = (tariff(usd!(3.60)), timing());
        // Each costs a thousandth a second, for the 60 s that it boots and the 100.1 s that giving it back may take.
        for (count, expected) in [(1, 1), (6, 6), (7, 6), (1000, 6), (0, 0)] {
            assert_eq!(budget.affords(count, &one, now, &timing), Ok(expected), "{count}");
        }
        assert!(begun(Some(usd!(0.10))).0.affords(5, &one, now, &timing).is_err());
        assert_eq!(begun(None).0.affords(1000, &one, now, &timing), Ok(1000));
    }

    #[test]
    fn what_may_be_added_an_hour_counts_every_machine_that_is_there() {
        let (mut budget, now) = begun(None);
        let one = tariff(usd!(1));
        assert_eq!(budget.room(Some(usd!(3.50)), &one), Some(3));
        budget.rented(InstanceId::new("1"), tariff(usd!(2)), now);
        assert_eq!(budget.room(Some(usd!(3.50)), &one), Some(1));
        assert_eq!(budget.room(Some(usd!(1)), &one), Some(0));
        assert_eq!((budget.room(None, &one), budget.room(Some(usd!(0)), &tariff(Usd::ZERO))), (None, None));
        budget.gone(&InstanceId::new("1"), now);
        assert_eq!(budget.room(Some(usd!(3.50)), &one), Some(3));
    }

    #[test]
    fn it_warns_once_and_ends_before_giving_back_would_cost_too_much() {
        let (mut budget, now) = begun(Some(usd!(1)));
        let (timing, second) = (timing(), Duration::from_secs(1));
        budget.rented(InstanceId::new("1"), tariff(usd!(3.60)), now);
        assert_eq!(budget.look(now + second * 799, &timing), None);
        let low = now + second * 800;
        assert_eq!(budget.look(low, &timing), Some(Look::Low { spent: usd!(0.80), cap: usd!(1) }));
        assert_eq!(budget.look(low, &timing), None);
        let spent = now + second * 900;
        assert_eq!(budget.look(spent, &timing), Some(Look::Spent { spent: usd!(0.90), cap: usd!(1) }));
        budget.gone(&InstanceId::new("1"), low);
        assert_eq!(budget.look(spent, &timing), None);
    }

    #[test]
    fn the_alarm_is_set_for_the_next_thing_to_say_and_not_twice() {
        let (mut budget, now) = begun(Some(usd!(1)));
        let (timing, second) = (timing(), Duration::from_secs(1));
        assert_eq!(budget.alarm(now, &timing), None);
        budget.rented(InstanceId::new("1"), tariff(usd!(3.60)), now);
        assert_eq!(budget.alarm(now, &timing), Some(FAR));
        assert_eq!(budget.alarm(now + second, &timing), None);
        let first = budget.alarm(now + second * 750, &timing).expect("an alarm");
        assert!(first > second * 48 && first <= second * 50, "{first:?}");
        budget.look(now + second * 800, &timing);
        assert_eq!(budget.alarm(now + second * 800, &timing), Some(FAR));
        let then = budget.alarm(now + second * 860, &timing).expect("another");
        assert!(then > second * 38 && then <= second * 40, "{then:?}");
    }

    #[test]
    fn that_the_budget_refuses_more_is_said_again_once_more_was_allowed_between() {
        let mut budget = Budget::default();
        assert!(budget.says_refusal());
        assert!(!budget.says_refusal(), "each look says it anew");
        budget.forgets_refusal();
        assert!(budget.says_refusal());
    }

    #[test]
    fn what_machines_cost_alone_goes_by_the_longest_lease_that_one_of_them_has() {
        let (mut budget, now) = begun(Some(usd!(20)));
        let (day, one, timing) = (Duration::from_secs(86_400), tariff(usd!(3.60)), timing());
        let long = budget.lease(day, 1, &one, now);
        budget.rented(InstanceId::new("1"), one, now);
        let short = budget.lease(day, 40, &one, now);
        assert!(short < long && long > Duration::from_secs(600), "{short:?}, {long:?}");
        budget.rented(InstanceId::new("2"), one, now);
        assert_eq!(budget.ending(0, &timing), long * 4 / 3 + SOONEST);
        budget.gone(&InstanceId::new("1"), now);
        assert_eq!(
            budget.ending(0, &timing),
            (short * 4 / 3).max(timing.ending(1, Duration::ZERO)) + SOONEST
        );
    }

    #[test]
    fn a_lease_is_short_where_a_dead_client_would_overspend_in_a_long_one() {
        let (mut budget, now) = begun(Some(usd!(1)));
        let (day, one) = (Duration::from_secs(86_400), tariff(usd!(3.60)));
        assert_eq!(budget.lease(day, 1, &one, now), SHORT);
        assert_eq!(budget.lease(day, 5, &one, now), Duration::from_secs(50));
        assert_eq!(budget.lease(day, 1000, &one, now), SHORTEST);
        assert_eq!(budget.lease(Duration::from_secs(60), 1, &one, now), Duration::from_secs(60));
        assert_eq!(begun(None).0.lease(day, 1, &one, now), day);
        // Twenty dollars last for 20,000 s, of which a pool with the usual lease uses all but a fifteenth.
        let ten_minutes = Duration::from_secs(600);
        let (mut budget, now) = begun(Some(usd!(20)));
        assert_eq!(budget.lease(ten_minutes, 1, &one, now), ten_minutes);
        assert_eq!(budget.lease(ten_minutes, 4, &one, now), Duration::from_secs(250));
    }
}
