//! What a machine costs, by the hour, and how a cloud counts the hours.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{InvalidRequest, InvalidUsd, Usd};

/// What a provider asks for a machine. A market that has no price here is not to be had.
///
/// ```
/// use skyward_runtime::model::{Allocation, Market, Price};
/// use skyward_runtime::usd;
/// let price = Price::on_demand(usd!(3.00)).with_spot(usd!(1.20));
/// let paid = Allocation::SpotIfAvailable.pays(&price).expect("to be had");
/// assert_eq!((paid.market, paid.hourly), (Market::Spot, usd!(1.20)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Dollars an hour for a machine that its cloud may take back.
    pub spot: Option<Usd>,
    /// Dollars an hour for a machine that stays.
    pub on_demand: Option<Usd>,
    /// How time is counted.
    #[serde(default)]
    pub billing: Billing,
    /// Where the provider asks for another currency: what the dollars were made of.
    #[serde(default)]
    pub converted: Option<Conversion>,
}

/// How a cloud counts the time that a machine is paid for: in whole units, and at least so long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Billing {
    /// What a begun one of is paid as a whole. Default a second.
    pub unit: BillingUnit,
    /// What is paid for at least. Default nothing.
    pub minimum: Duration,
}

/// The unit of a cloud's bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BillingUnit {
    /// Every begun second.
    #[default]
    Second,
    /// Every begun minute.
    Minute,
    /// Every begun ten minutes.
    #[serde(rename = "ten minutes")]
    TenMinutes,
    /// Every begun hour.
    Hour,
}

/// How dollars were made of another currency.
///
/// ```
/// use skyward_runtime::model::Conversion;
/// use skyward_runtime::usd;
/// let euros = Conversion::new("EUR", usd!(1.10));
/// assert_eq!(euros.dollars("2.00"), Ok(usd!(2.20)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversion {
    /// The currency's three letters.
    pub currency: String,
    /// What one unit of it was taken to be worth.
    pub rate: Usd,
}

/// Which of a provider's markets a machine comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// Cheaper, and may be taken back by the cloud at any time.
    Spot,
    /// Stays until it is given back.
    OnDemand,
}

/// What is really paid for a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tariff {
    /// The market.
    pub market: Market,
    /// Dollars an hour.
    pub hourly: Usd,
    /// How time is counted.
    pub billing: Billing,
}

/// Which market a spec wants its machines from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allocation {
    /// Spot machines alone.
    Spot,
    /// Machines that stay, alone.
    OnDemand,
    /// Spot where an offer has it, else on demand, for each offer. The default.
    #[default]
    SpotIfAvailable,
    /// Whichever of the two is cheaper, for each offer; on demand when they cost the same.
    Cheapest,
}

impl Price {
    /// A price for machines that stay, paid by the second.
    pub fn on_demand(hourly: Usd) -> Self {
        Self { on_demand: Some(hourly), ..Self::default() }
    }

    /// A price for machines that may be taken back, paid by the second.
    pub fn spot(hourly: Usd) -> Self {
        Self { spot: Some(hourly), ..Self::default() }
    }

    /// The same, with a price for spot machines.
    #[must_use]
    pub fn with_spot(self, hourly: Usd) -> Self {
        Self { spot: Some(hourly), ..self }
    }

    /// The same, counted like this.
    #[must_use]
    pub fn billed(self, unit: BillingUnit, minimum: Duration) -> Self {
        Self { billing: Billing { unit, minimum }, ..self }
    }

    /// What is paid in a market; `None` where the offer is not in it.
    pub fn tariff(&self, market: Market) -> Option<Tariff> {
        let hourly = match market {
            Market::Spot => self.spot,
            Market::OnDemand => self.on_demand,
        };
        hourly.map(|hourly| Tariff { market, hourly, billing: self.billing })
    }
}

impl Allocation {
    /// What is paid for an offer of this price; `None` where it cannot be had like this.
    pub fn pays(self, price: &Price) -> Option<Tariff> {
        let (spot, on_demand) = (price.tariff(Market::Spot), price.tariff(Market::OnDemand));
        match self {
            Self::Spot => spot,
            Self::OnDemand => on_demand,
            Self::SpotIfAvailable => spot.or(on_demand),
            Self::Cheapest => match (spot, on_demand) {
                (Some(spot), Some(on_demand)) if on_demand.hourly <= spot.hourly => Some(on_demand),
                (Some(spot), _) => Some(spot),
                (None, on_demand) => on_demand,
            },
        }
    }

    /// What is paid when the market of [`pays`](Self::pays) turns out to be empty: the offer's other
    /// one, where the allocation allows both.
    pub fn pays_else(self, price: &Price) -> Option<Tariff> {
        let first = self.pays(price)?.market;
        match (self, first) {
            (Self::Spot | Self::OnDemand, _) | (Self::SpotIfAvailable, Market::OnDemand) => None,
            (Self::SpotIfAvailable | Self::Cheapest, Market::Spot) => price.tariff(Market::OnDemand),
            (Self::Cheapest, Market::OnDemand) => price.tariff(Market::Spot),
        }
    }
}

impl Billing {
    /// How long is paid for when a machine was there for so long.
    pub fn billed(self, used: Duration) -> Duration {
        let unit = u128::from(self.unit.seconds()) * NANOS;
        let nanos = used.max(self.minimum).as_nanos().div_ceil(unit).saturating_mul(unit);
        let seconds = u64::try_from(nanos / NANOS).unwrap_or(u64::MAX);
        Duration::from_secs(seconds)
    }
}

impl BillingUnit {
    /// The unit in seconds.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::TenMinutes => 600,
            Self::Hour => 3600,
        }
    }
}

impl Tariff {
    /// What a machine costs that was there for so long.
    pub fn cost(&self, used: Duration) -> Usd {
        self.hourly.fraction(self.billing.billed(used).as_nanos(), HOUR)
    }
}

impl Conversion {
    /// A currency, and what one unit of it is worth.
    pub fn new(currency: impl Into<String>, rate: Usd) -> Self {
        Self { currency: currency.into(), rate }
    }

    /// So much of the currency in dollars, rounded up.
    ///
    /// # Errors
    /// When the text is no decimal number.
    pub fn dollars(&self, amount: &str) -> Result<Usd, InvalidUsd> {
        let amount: Usd = amount.parse()?;
        let nanos = u128::try_from(amount.nanos()).unwrap_or_default();
        Ok(self.rate.fraction(nanos, NANOS))
    }
}

/// Nanoseconds of a second, and thousand-millionths of a unit of money.
const NANOS: u128 = 1_000_000_000;

/// Nanoseconds of an hour.
const HOUR: u128 = 3600 * NANOS;

impl fmt::Display for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
        })
    }
}

impl fmt::Display for Tariff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/h {}", self.hourly, self.market)
    }
}

impl fmt::Display for BillingUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::TenMinutes => "ten minutes",
            Self::Hour => "hour",
        })
    }
}

impl fmt::Display for Conversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} at {}", self.currency, self.rate)
    }
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
            Self::SpotIfAvailable => "spot-if-available",
            Self::Cheapest => "cheapest",
        })
    }
}

impl FromStr for Allocation {
    type Err = InvalidRequest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Spot, Self::OnDemand, Self::SpotIfAvailable, Self::Cheapest];
        all.into_iter().find(|it| it.to_string() == text).ok_or_else(|| {
            let allowed = "must be spot, on-demand, spot-if-available or cheapest";
            InvalidRequest::new("allocation", text, allowed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::usd;

    #[test]
    fn an_allocation_says_which_market_is_paid_and_which_comes_after_it() {
        let (cheap, dear) = (usd!(1), usd!(3));
        let both = Price::on_demand(dear).with_spot(cheap);
        let odd = Price::on_demand(cheap).with_spot(dear);
        let (spot, stays) = (Price::spot(dear), Price::on_demand(dear));
        let paid = |tariff: Option<Tariff>| tariff.map(|it| (it.market, it.hourly));
        use Allocation::{Cheapest, OnDemand, Spot, SpotIfAvailable};
        for (allocation, price, first, second) in [
            (Spot, &both, Some((Market::Spot, cheap)), None),
            (Spot, &stays, None, None),
            (OnDemand, &both, Some((Market::OnDemand, dear)), None),
            (OnDemand, &spot, None, None),
            (SpotIfAvailable, &both, Some((Market::Spot, cheap)), Some((Market::OnDemand, dear))),
            (SpotIfAvailable, &stays, Some((Market::OnDemand, dear)), None),
            (SpotIfAvailable, &odd, Some((Market::Spot, dear)), Some((Market::OnDemand, cheap))),
            (Cheapest, &both, Some((Market::Spot, cheap)), Some((Market::OnDemand, dear))),
            (Cheapest, &odd, Some((Market::OnDemand, cheap)), Some((Market::Spot, dear))),
            (Cheapest, &spot, Some((Market::Spot, dear)), None),
            (Cheapest, &Price::default(), None, None),
        ] {
            assert_eq!(paid(allocation.pays(price)), first, "{allocation}");
            assert_eq!(paid(allocation.pays_else(price)), second, "{allocation}");
        }
    }

    #[test]
    fn begun_units_are_paid_as_a_whole_and_the_minimum_always() {
        let second = Duration::from_secs;
        let billing = |unit, minimum| Billing { unit, minimum: second(minimum) };
        for (billing, used, billed) in [
            (billing(BillingUnit::Second, 60), Duration::from_millis(1500), 60),
            (billing(BillingUnit::Second, 60), Duration::from_millis(60_001), 61),
            (billing(BillingUnit::Second, 0), Duration::ZERO, 0),
            (billing(BillingUnit::Minute, 0), second(61), 120),
            (billing(BillingUnit::TenMinutes, 0), second(601), 1200),
            (billing(BillingUnit::Hour, 0), second(1), 3600),
            (billing(BillingUnit::Hour, 0), second(3600), 3600),
            (billing(BillingUnit::Hour, 5400), second(1), 7200),
        ] {
            assert_eq!(billing.billed(used), second(billed));
        }
        let tariff =
            Tariff { market: Market::Spot, hourly: usd!(3.6), billing: billing(BillingUnit::Second, 60) };
        assert_eq!(tariff.cost(second(1)), usd!(0.06));
        assert_eq!(tariff.cost(second(3600)), usd!(3.6));
    }

    #[test]
    fn an_allocation_is_read_as_it_prints() {
        for text in ["spot", "on-demand", "spot-if-available", "cheapest"] {
            assert_eq!(text.parse::<Allocation>().expect(text).to_string(), text);
        }
        let error = "free".parse::<Allocation>().expect_err("no such");
        assert_eq!(
            error.to_string(),
            "allocation is free: must be spot, on-demand, spot-if-available or cheapest"
        );
    }
}
