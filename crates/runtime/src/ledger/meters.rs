//! A meter for each machine: from when it is asked for until it is certainly gone. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{InstanceId, Tariff, Usd};

/// The meters of a pool's machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meters {
    running: BTreeMap<InstanceId, Meter>,
    /// What the machines that are gone have cost.
    closed: Usd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meter {
    tariff: Tariff,
    since: Duration,
}

impl Meters {
    /// A machine is there. One that is there already keeps its meter.
    pub fn start(&mut self, instance: InstanceId, tariff: Tariff, since: Duration) {
        self.running.entry(instance).or_insert(Meter { tariff, since });
    }

    /// A machine is gone. Once more changes nothing.
    pub fn stop(&mut self, instance: &InstanceId, at: Duration) {
        if let Some(meter) = self.running.remove(instance) {
            self.closed += meter.cost(at);
        }
    }

    /// What all machines will have cost at a moment, if none is given back before.
    pub fn cost(&self, at: Duration) -> Usd {
        self.closed + self.running.values().map(|it| it.cost(at)).sum()
    }

    /// How many machines are there.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// What the machines that are there cost an hour.
    pub fn hourly(&self) -> Usd {
        self.running.values().map(|it| it.tariff.hourly).sum()
    }

    /// The first moment at or after `from` at which the machines will have cost at least `amount`, to a
    /// millisecond; `None` when that is not within `most`.
    pub fn reaches(&self, amount: Usd, from: Duration, most: Duration) -> Option<Duration> {
        if self.cost(from) >= amount {
            return Some(from);
        }
        let (mut before, mut after) = (from, from + most);
        if self.cost(after) < amount {
            return None;
        }
        // What is paid for only grows, in steps of each cloud's unit.
        while after - before > Duration::from_millis(1) {
            let middle = before + (after - before) / 2;
            if self.cost(middle) >= amount { after = middle } else { before = middle }
        }
        Some(after)
    }
}

impl Meter {
    fn cost(&self, at: Duration) -> Usd {
        self.tariff.cost(at.saturating_sub(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::usd;
    use crate::model::{Billing, BillingUnit, Market};

    fn tariff(hourly: Usd, unit: BillingUnit) -> Tariff {
        Tariff { market: Market::OnDemand, hourly, billing: Billing { unit, minimum: Duration::ZERO } }
    }

    #[test]
    fn machines_cost_while_they_are_there_and_what_was_spent_stays_spent() {
        let second = Duration::from_secs;
        let mut meters = Meters::default();
        let (one, two) = (InstanceId::new("1"), InstanceId::new("2"));
        meters.start(one.clone(), tariff(usd!(3.6), BillingUnit::Second), second(10));
        meters.start(two.clone(), tariff(usd!(6), BillingUnit::Hour), second(10));
        meters.start(one.clone(), tariff(usd!(99), BillingUnit::Hour), second(10));
        assert_eq!(meters.cost(second(10)), Usd::ZERO);
        assert_eq!(meters.cost(second(20)), usd!(6.01));
        assert_eq!(meters.hourly(), usd!(9.6));
        meters.stop(&two, second(20));
        meters.stop(&two, second(9999));
        assert_eq!(meters.cost(second(110)), usd!(6.1));
    }

    #[test]
    fn the_moment_at_which_an_amount_is_reached_is_found_over_begun_hours() {
        let second = Duration::from_secs;
        let mut meters = Meters::default();
        meters.start(InstanceId::new("1"), tariff(usd!(1), BillingUnit::Hour), second(0));
        let day = second(24 * 3600);
        let third = meters.reaches(usd!(2.5), second(1), day).expect("within a day");
        assert!(third > second(7200) && third < second(7201), "{third:?}");
        assert_eq!(meters.reaches(usd!(1), second(1), day), Some(second(1)));
        assert_eq!(meters.reaches(usd!(100), second(1), day), None);
    }
}
