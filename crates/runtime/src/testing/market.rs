//! The market of a simulated world: what its clouds offer, what a machine really costs, and whether the pool
//! kept within what it may cost.

use std::time::Duration;

use super::cloud::Machine;
use super::failure::Law;
use super::knobs::Mutation;
use super::world::World;
use crate::model::{
    Allocation, BillingUnit, InstanceId, InstanceType, Nodes, Offer, PoolId, Price, Requirements, Tariff, Usd,
};
use crate::pool::{Asked, Candidate, Plan, Terms, rank};
use crate::provider::ProviderErrorKind;

/// What a pool of this world wants, and may cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    pub(super) nodes: Nodes,
    pub(super) wanted: Vec<Requirements>,
    pub(super) terms: Terms,
    pub(super) max_total_cost: Option<Usd>,
}

/// How a machine is paid for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    pub(super) tariff: Tariff,
    pub(super) since: Duration,
    pub(super) until: Option<Duration>,
}

impl World {
    /// Draws what the pool wants.
    pub(super) fn draw_wishes(&mut self) -> Wishes {
        let (most, most_nodes) = (self.nodes, self.nodes);
        // Some begin with fewer than they may have, or with none, and some give all of them back.
        let scales = self.dice.chance(400);
        let desired = if scales { self.dice.count(0, most) } else { most };
        let min = match scales {
            true => self.dice.chance(600).then(|| self.dice.count(0, desired)),
            false => self.dice.chance(300).then(|| self.dice.count(1, desired)),
        };
        let max = scales.then_some(most);
        let allocations =
            [Allocation::SpotIfAvailable, Allocation::Cheapest, Allocation::OnDemand, Allocation::Spot];
        let mut wanted = Vec::new();
        for _ in 0..self.specs {
            let allocation = allocations.get(self.dice.count(0, 3) as usize).copied().unwrap_or_default();
            let mixed = self.dice.chance(300);
            wanted.push(Requirements { allocation, mixed, ..Requirements::default() });
        }
        let selection = match self.dice.chance(500) {
            true => crate::model::Selection::First,
            false => crate::model::Selection::Cheapest,
        };
        // From hopeless to plenty, at prices of a few dollars an hour and lives of some minutes.
        let most = if self.dice.chance(500) { 40 } else { 800 };
        let cents = i64::from(self.dice.count(1, most));
        let cap = self.dice.chance(self.weather.capped).then(|| Usd::from_cents(cents));
        // From less than one node to more than all.
        let hourly = Usd::from_cents(i64::from(self.dice.count(50, 400 * most_nodes)));
        let max_hourly_cost = self.dice.chance(self.weather.hourly).then_some(hourly);
        let terms = Terms { selection, max_hourly_cost, ..Terms::default() };
        Wishes { nodes: Nodes { desired, min, max }, wanted, terms, max_total_cost: cap }
    }

    /// Every spec's cloud is asked, and what they say is ranked.
    pub(super) fn plan_of_offers(&mut self) -> Plan {
        let offers: Vec<Result<Vec<Offer>, &str>> = (0..self.specs)
            .map(|spec| match self.dice.chance(self.weather.no_offers) {
                true if self.dice.chance(500) => Ok(Vec::new()),
                true => Err("did not answer"),
                false => Ok((0..self.dice.count(1, 3)).map(|it| self.draw_offer(spec, it)).collect()),
            })
            .collect();
        let wishes = self.wishes.clone();
        let asked: Vec<Asked<'_>> = offers
            .iter()
            .zip(&wishes.wanted)
            .map(|(offers, wanted)| Asked {
                provider: "cloud",
                wanted,
                nodes: wishes.nodes,
                sized_disk: false,
                disk_gb_hour: None,
                offers: offers.as_deref().map_err(|it| *it),
            })
            .collect();
        rank(&asked, &wishes.terms)
    }

    fn draw_offer(&mut self, spec: usize, number: u32) -> Offer {
        let mut cents = |most| Usd::from_cents(i64::from(self.dice.count(1, most)));
        let (spot, on_demand) = (cents(200), cents(800));
        let (unit, minimum) = match self.dice.below(4) {
            0 => (BillingUnit::Hour, Duration::ZERO),
            1 => (BillingUnit::Minute, Duration::ZERO),
            2 => (BillingUnit::Second, Duration::from_secs(60)),
            _ => (BillingUnit::Second, Duration::ZERO),
        };
        let price = Price::on_demand(on_demand).billed(unit, minimum);
        let price = if self.dice.chance(700) { price.with_spot(spot) } else { price };
        Offer::of(format!("cloud-{spec}"), InstanceType::named(format!("m{number}")), price)
    }

    /// What the pool is told of a candidate's price.
    pub(super) fn told_plan(&self, mut plan: Plan) -> Plan {
        if self.mutation == Some(Mutation::IgnoreLeast) {
            plan.candidates.iter_mut().for_each(|it| it.scales = it.scales.map(|(_, most)| (0, most)));
        }
        if self.mutation == Some(Mutation::IgnoreMost) {
            plan.candidates
                .iter_mut()
                .for_each(|it| it.scales = it.scales.map(|(least, most)| (least, most + 2)));
        }
        if self.mutation == Some(Mutation::IgnoreUnits) {
            let plain = |it: &mut Tariff| it.billing = crate::model::Billing::default();
            for Candidate { tariff, otherwise, .. } in &mut plan.candidates {
                plain(tariff);
                otherwise.iter_mut().for_each(plain);
            }
        }
        plan
    }

    /// What a machine of a candidate costs, whatever the pool believes.
    pub(super) fn real_tariff(&self, source: &Candidate) -> Tariff {
        Tariff { billing: source.offer.price.billing, ..source.tariff }
    }

    /// Why a cloud gives nothing.
    pub(super) fn draw_refusal(&mut self) -> ProviderErrorKind {
        let kinds = ProviderErrorKind::ALL;
        let at = self.dice.below(kinds.len() as u64) as usize;
        let often = self.dice.chance(600);
        match kinds.get(at) {
            Some(kind) if !often => *kind,
            Some(_) | None => ProviderErrorKind::NoCapacity,
        }
    }

    /// Some clouds bill a machine that has ended itself until it is given back.
    pub(super) fn draw_bills(&mut self) {
        for spec in 0..self.specs {
            if self.dice.chance(self.weather.bills) {
                self.bills.insert(format!("cloud-{spec}"));
            }
        }
    }

    /// What the machines of a pool that it was told of cost, at the cloud's own price, but for what a cloud bills for those
    /// that have ended themselves. One that never boots has no lease of its own: when its owner was killed, or has ended
    /// and named it because its cloud would not end it, only its cloud can.
    fn real_cost(&self, pool: &PoolId) -> Usd {
        let alone = self.died || self.me.pool.as_ref().is_none_or(|it| it.ended);
        let counts =
            |it: &&Machine| it.place.0 == *pool && it.told.is_some() && !(alone && it.never_booted());
        let cost = |it: &Machine| {
            let Meter { tariff, since, until } = it.meter;
            let until = it.ended.or(until).unwrap_or(self.now);
            tariff.cost(until.saturating_sub(since))
        };
        self.own_machines().filter(counts).map(cost).sum()
    }

    /// Nothing more is rented once what a program has rented has cost what it may, bills of what ended itself included.
    pub(super) fn judge_renting(&mut self) {
        let Some(cap) = self.wishes.max_total_cost else { return };
        let (program, now) = (self.me.number, self.now);
        let bill = |it: &Machine| {
            let Meter { tariff, since, until } = it.meter;
            tariff.cost(until.unwrap_or(now).saturating_sub(since))
        };
        let spent: Usd = self.own_machines().filter(|it| it.told == Some(program)).map(bill).sum();
        if spent > cap {
            self.breach(Law::Budget, format!("machines are rented, and {spent} of {cap} is spent"));
        }
    }

    /// The machines that a program knows of never cost more an hour than all may.
    pub(super) fn judge_hourly(&mut self) {
        let Some(cap) = self.wishes.terms.max_hourly_cost else { return };
        let own = self.me.owner.as_ref().map(|it| &it.0);
        let paid = |it: &&Machine| Some(&it.place.0) == own && it.meter.until.is_none() && self.me.knows(it);
        let hourly: Usd = self.own_machines().filter(paid).map(|it| it.meter.tariff.hourly).sum();
        if hourly > cap {
            self.breach(Law::Hourly, format!("machines cost {hourly} an hour, and may cost {cap}"));
        }
    }

    /// No pool costs more than it may, and one unit of a bill for each of its nodes, however many owners it has had.
    pub(super) fn judge_budget(&mut self) {
        let Some(cap) = self.wishes.max_total_cost else { return };
        let unit = |meter: &Meter| {
            let billing = meter.tariff.billing;
            meter.tariff.cost(Duration::from_secs(billing.unit.seconds()).max(billing.minimum))
        };
        let dearest = self.own_machines().map(|it| unit(&it.meter)).max().unwrap_or_default();
        let pools: Vec<(PoolId, u32)> =
            self.owners.iter().map(|(pool, owners)| (pool.clone(), *owners)).collect();
        // Who attaches reads from the clock on the wall how much was spent, which may have been set since.
        let is_set = !(self.set_forward + self.set_back).is_zero();
        for (pool, owners) in pools {
            let counts = if is_set { owners } else { 1 };
            let (spent, allowed) = (self.real_cost(&pool), (cap + dearest * self.most_nodes) * counts);
            self.summary.capped += 1;
            if spent > Usd::ZERO && spent >= cap.fraction(1, 2) {
                self.summary.spent += 1;
            }
            if spent > allowed {
                let what = format!("pool {pool} cost {spent}, with {owners} owners; it may cost {cap}");
                self.breach(Law::Budget, what);
            }
        }
    }

    /// A machine is not paid for any more.
    pub(super) fn stop_meter(&mut self, name: &InstanceId) {
        let now = self.now;
        let id = self.cloud.names.get(name).copied();
        if let Some(machine) = id.and_then(|it| self.machine_mut(it)) {
            machine.meter.until.get_or_insert(now);
        }
    }
}
