//! A provider's answers: the counterpart of the ProviderActor and of the steps of a pool.

use std::time::Duration;

use super::event::{Asked, Event};
use super::knobs::Mutation;
use super::pool::PoolMessage;
use super::world::World;
use crate::model::{Attempt, InstanceId, InstanceType, Leftover, Offer, Price};
use crate::pool::StartError;
use crate::pool::messages::{Heard, Shortfall};
use crate::provider::ProviderErrorKind;
use crate::usd;

impl World {
    /// Asks the provider: reads at once, writes in their turn.
    pub(super) fn ask(&mut self, asked: Asked) {
        let most = match self.dice.chance(100) {
            true => self.timing.provision,
            false => self.timing.provision / 20,
        };
        let took = self.dice.up_to(most);
        let at = match asked {
            Asked::Offers | Asked::Keep { .. } => self.now + took,
            Asked::Prepare { .. }
            | Asked::Provision { .. }
            | Asked::Release { .. }
            | Asked::Terminate { .. }
            | Asked::Teardown => {
                self.cloud.busy = self.cloud.busy.max(self.now) + took;
                self.cloud.busy
            }
        };
        self.agenda.plan(at, Event::Cloud(asked));
    }

    /// The provider does it. Its answer may come twice; when the client has died, nobody hears it.
    pub(super) fn provide(&mut self, asked: Asked) {
        let heard = match asked {
            Asked::Offers => Heard::Offered(self.offers()),
            Asked::Prepare { offer } => return self.prepare(*offer),
            Asked::Provision { request, count } => self.provision(request, count),
            Asked::Keep { rank, instance } => {
                let kept = self.keep(rank, &instance);
                Heard::Kept { instance, kept }
            }
            Asked::Release { instances } => {
                let _ = self.terminate(&instances);
                return;
            }
            Asked::Terminate { instances } => Heard::Terminated(self.terminate(&instances)),
            Asked::Teardown => Heard::TornDown(self.teardown()),
        };
        if self.dice.chance(self.weather.twice) {
            let after = self.dice.up_to(Duration::from_secs(10));
            self.plan(after, Event::Pool(PoolMessage::Heard(heard.clone())));
        }
        self.cast_pool(PoolMessage::Heard(heard));
    }

    /// One that took too long has failed, and is there nevertheless.
    fn prepare(&mut self, offer: Offer) {
        let fails = self.dice.chance(self.weather.unprepared);
        self.cloud.prepared = !fails || self.dice.chance(500);
        let error = StartError::Prepare { provider: offer.id, reason: "not in time".to_owned() };
        self.cast_pool(match fails {
            true => PoolMessage::Unprepared(error),
            false => PoolMessage::Prepared,
        });
    }

    fn offers(&mut self) -> Vec<Result<Vec<Offer>, String>> {
        let offer = |id: usize| {
            Offer::of(format!("cloud-{id}"), InstanceType::named("small"), Price::on_demand(usd!(1)))
        };
        let mut offers = Vec::new();
        for spec in 0..self.specs {
            offers.push(match self.dice.chance(self.weather.no_offers) {
                true if self.dice.chance(500) => Ok(Vec::new()),
                true => Err("did not answer".to_owned()),
                false => Ok(vec![offer(spec)]),
            });
        }
        offers
    }

    fn provision(&mut self, request: Attempt, count: u32) -> Heard {
        let short = |reason: &str, retry| {
            let kind = if retry { ProviderErrorKind::NoCapacity } else { ProviderErrorKind::InvalidRequest };
            Some(Shortfall { reason: reason.to_owned(), kind, after: None })
        };
        if self.dice.chance(self.weather.unreported) {
            // The cloud did some of it, and its answer was lost.
            for _ in 0..self.dice.count(0, count) {
                self.make_machine(false);
            }
            return Heard::Provisioned {
                request,
                instances: Vec::new(),
                shortfall: short("no answer", true),
            };
        }
        if self.dice.chance(self.weather.refused) {
            let retry = self.dice.chance(800);
            return Heard::Provisioned {
                request,
                instances: Vec::new(),
                shortfall: short("no capacity", retry),
            };
        }
        let given = match self.dice.chance(self.weather.partial) {
            true => self.dice.count(0, count),
            false => count,
        };
        let instances = (0..given).map(|_| self.make_machine(true)).collect();
        let shortfall = if given < count { short("no more capacity", self.dice.chance(800)) } else { None };
        Heard::Provisioned { request, instances, shortfall }
    }

    fn terminate(&mut self, instances: &[InstanceId]) -> Result<(), String> {
        let mut kept = Vec::new();
        for name in instances {
            let Some(id) = self.cloud.names.get(name).copied() else { continue };
            if self.mutation == Some(Mutation::ForgetMachine)
                && *self.cloud.overlooked.get_or_insert(id) == id
            {
                continue;
            }
            if self.dice.chance(self.weather.kept) {
                kept.push(name.to_string());
            } else {
                self.check_kept(id);
                self.kill(id, "given back");
            }
        }
        if kept.is_empty() { Ok(()) } else { Err(format!("still there: {}", kept.join(", "))) }
    }

    fn teardown(&mut self) -> Result<Vec<Leftover>, String> {
        if self.dice.chance(self.weather.kept / 2) {
            return Err("the cloud does not answer".to_owned());
        }
        let alive = self.cloud.machines.iter().filter(|it| it.dead.is_none());
        let alive: Vec<InstanceId> = alive.map(|it| it.name.clone()).collect();
        let left = |what: String| Leftover { what, reason: "in use".to_owned() };
        let mut kept = Vec::new();
        for name in alive {
            if self.terminate(std::slice::from_ref(&name)).is_err() {
                kept.push(left(format!("machine {name}")));
            }
        }
        if self.dice.chance(self.weather.kept) {
            kept.push(left("the network".to_owned()));
        } else {
            self.cloud.prepared = false;
        }
        Ok(kept)
    }
}
