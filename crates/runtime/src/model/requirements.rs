//! What a machine must have to be rented, as data: a `Spec` without its provider.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Accelerator, Allocation, Architecture, InvalidRequest, Offer, Tariff, Usd, Volume};

/// What a machine must have. What is left out is not asked for.
///
/// ```
/// use skyward_runtime::model::Requirements;
/// use skyward_runtime::usd;
/// let modest = Requirements { vcpus: Some(4), max_hourly_cost: Some(usd!(0.50)), ..Requirements::default() };
/// assert!(modest.validated().is_ok());
/// let error = Requirements { vcpus: Some(0), ..modest }.validated().expect_err("no machine has none");
/// assert_eq!(error.field, "vcpus");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirements {
    /// The accelerators of each machine: this model, this many, and this memory within a tenth.
    pub accelerator: Option<Accelerator>,
    /// At least so many processors.
    pub vcpus: Option<u32>,
    /// At least so much memory, in GB as the provider counts them.
    pub memory_gb: Option<u32>,
    /// A disk of at least this size, in GB.
    pub disk_gb: Option<u32>,
    /// The processor. Default: that of the running program, which is what machines will run.
    pub architecture: Option<Architecture>,
    /// The market. Default [`Allocation::SpotIfAvailable`].
    pub allocation: Allocation,
    /// The region, as the provider calls it; upper and lower case are the same.
    pub region: Option<String>,
    /// The most that one machine may cost an hour: the price that is really paid.
    pub max_hourly_cost: Option<Usd>,
    /// How long a machine lives on without its client. Default: the pool's
    /// [`Timing::lease`](crate::timing::Timing::lease) on this computer, [`Timing::ttl`](crate::timing::Timing::ttl)
    /// elsewhere; between 3 s and 7 days.
    pub ttl: Option<Duration>,
    /// What is mounted on every machine.
    pub volumes: Vec<Volume>,
    /// Whether machines of several offers may be nodes of one pool. Default no: an offer that cannot
    /// give all of them is left for the next, and what it gave is given back.
    pub mixed: bool,
}

impl Requirements {
    /// What is paid for an offer, where a GB of disk costs so much in an hour: its price, with the disk that is asked for in
    /// place of the one that it comes with. `None` where it is not to be had like this.
    ///
    /// ```
    /// use skyward_runtime::model::{InstanceType, Offer, Price, Requirements};
    /// use skyward_runtime::usd;
    /// let kind = InstanceType { disk_gb: Some(100), ..InstanceType::named("small") };
    /// let offer = Offer::of("cloud", kind, Price::on_demand(usd!(1.00)));
    /// let wanted = Requirements { disk_gb: Some(300), ..Requirements::default() };
    /// assert_eq!(wanted.pays(&offer, Some(usd!(0.0001))).expect("to be had").hourly, usd!(1.02));
    /// assert_eq!(wanted.pays(&offer, None).expect("to be had").hourly, usd!(1.00));
    /// ```
    pub fn pays(&self, offer: &Offer, disk_gb_hour: Option<Usd>) -> Option<Tariff> {
        self.allocation.pays(&offer.price).map(|it| self.with_disk(it, offer, disk_gb_hour))
    }

    /// The same when that market turns out to be empty: the offer's other one, where the allocation allows both.
    pub fn pays_else(&self, offer: &Offer, disk_gb_hour: Option<Usd>) -> Option<Tariff> {
        self.allocation.pays_else(&offer.price).map(|it| self.with_disk(it, offer, disk_gb_hour))
    }

    fn with_disk(&self, tariff: Tariff, offer: &Offer, disk_gb_hour: Option<Usd>) -> Tariff {
        let (Some(wanted), Some(gb_hour)) = (self.disk_gb, disk_gb_hour) else { return tariff };
        let cost = |gb: u32| gb_hour.fraction(u128::from(gb), 1);
        let has = offer.instance_type.disk_gb.unwrap_or(0);
        Tariff { hourly: (tariff.hourly + cost(wanted)).less(cost(has)), ..tariff }
    }

    /// The shortest and the longest time that a machine may live on alone.
    pub const TTL: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(7 * 24 * 3600));

    /// Checks that something can meet them.
    ///
    /// # Errors
    /// Which requirement cannot be met by anything, and what it may be.
    pub fn validated(&self) -> Result<(), InvalidRequest> {
        if let Some(accelerator) = &self.accelerator {
            accelerator.validated()?;
        }
        for (field, number) in
            [("vcpus", self.vcpus), ("memory_gb", self.memory_gb), ("disk_gb", self.disk_gb)]
        {
            if number == Some(0) {
                return Err(InvalidRequest::new(field, 0, "must be at least 1, or be left out"));
            }
        }
        if let Some(cap) = self.max_hourly_cost.filter(|it| *it < Usd::ZERO) {
            return Err(InvalidRequest::new("max_hourly_cost", cap, "must not be negative"));
        }
        if self.region.as_ref().is_some_and(|it| it.trim().is_empty()) {
            return Err(InvalidRequest::new("region", "empty", "must be a region, or be left out"));
        }
        let (shortest, longest) = Self::TTL;
        if let Some(ttl) = self.ttl.filter(|it| *it < shortest || *it > longest) {
            let allowed = format!(
                "must be between {shortest:?} and {longest:?}: a machine that nobody would end is not rented"
            );
            return Err(InvalidRequest::new("ttl", format!("{ttl:?}"), allowed));
        }
        self.volumes.iter().try_for_each(Volume::validated)
    }
}

#[test]
fn what_nothing_can_meet_is_refused_by_field() {
    let some = Requirements::default();
    assert_eq!(some.validated(), Ok(()));
    for (wrong, field) in [
        (Requirements { vcpus: Some(0), ..some.clone() }, "vcpus"),
        (Requirements { memory_gb: Some(0), ..some.clone() }, "memory_gb"),
        (Requirements { disk_gb: Some(0), ..some.clone() }, "disk_gb"),
        (Requirements { max_hourly_cost: Some(Usd::from_nanos(-1)), ..some.clone() }, "max_hourly_cost"),
        (Requirements { region: Some(" ".into()), ..some.clone() }, "region"),
        (Requirements { ttl: Some(Duration::ZERO), ..some.clone() }, "ttl"),
        (Requirements { volumes: vec![Volume::new("b", "/tmp")], ..some.clone() }, "volume.mount"),
    ] {
        assert_eq!(wrong.validated().expect_err(field).field, field);
    }
}
