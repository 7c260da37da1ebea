//! A provider's answers: the counterpart of the ProviderActor and of the steps of a pool.

use std::time::Duration;

use super::cloud::Machine;
use super::event::{Asked, Event};
use super::failure::Law;
use super::knobs::Mutation;
use super::pool::PoolMessage;
use super::world::World;
use crate::model::{Attempt, InstanceId, Leftover};
use crate::pool::messages::{Heard, Shortfall};
use crate::pool::{Candidate, StartError};
use crate::provider::ProviderErrorKind;

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
            Asked::Offers => {
                let plan = self.plan_of_offers();
                Heard::Offered(self.told_plan(plan))
            }
            Asked::Prepare { candidate } => return self.prepare(*candidate),
            Asked::Provision { request, count, source } => self.provision(request, count, &source),
            Asked::Keep { rank, instance } => {
                let kept = self.keep(rank, &instance);
                Heard::Kept { instance, kept }
            }
            Asked::Release { instances } => {
                let result = self.terminate(&instances);
                Heard::Released { instances, result }
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
    fn prepare(&mut self, candidate: Candidate) {
        let (fails, provider) = (self.dice.chance(self.weather.unprepared), candidate.offer.provider.clone());
        if !fails || self.dice.chance(500) {
            self.prepared.insert(provider.clone());
        }
        self.summary.candidates += 1;
        let error = StartError::Prepare { provider: provider.clone(), reason: "not in time".to_owned() };
        self.cast_pool(match fails {
            true => PoolMessage::Unprepared(provider, error),
            false => PoolMessage::Prepared(Box::new(candidate)),
        });
    }

    fn provision(&mut self, request: Attempt, count: u32, source: &Candidate) -> Heard {
        let tariff = self.real_tariff(source);
        let short = |reason: &str, kind| Some(Shortfall { reason: reason.to_owned(), kind, after: None });
        if self.dice.chance(self.weather.unreported) {
            // The cloud did some of it, and its answer was lost.
            for _ in 0..self.dice.count(0, count) {
                self.make_machine(false, tariff);
            }
            return Heard::Provisioned {
                request,
                instances: Vec::new(),
                shortfall: short("no answer", ProviderErrorKind::Transient),
            };
        }
        if self.dice.chance(self.weather.refused) {
            let kind = self.draw_refusal();
            return Heard::Provisioned {
                request,
                instances: Vec::new(),
                shortfall: short("no capacity", kind),
            };
        }
        let given = match self.dice.chance(self.weather.partial) {
            true => self.dice.count(0, count),
            false => count,
        };
        let instances = (0..given).map(|_| self.make_machine(true, tariff)).collect();
        let shortfall = if given < count { short("no more capacity", self.draw_refusal()) } else { None };
        Heard::Provisioned { request, instances, shortfall }
    }

    fn terminate(&mut self, instances: &[InstanceId]) -> Result<(), String> {
        let mut kept = Vec::new();
        for name in instances {
            let Some(id) = self.cloud.names.get(name).copied() else { continue };
            if self.machine(id).is_some_and(|it| it.owner != self.number) {
                self.breach(Law::Own, format!("{name}, a machine of another pool, is given back"));
            }
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
        let others = self.mutation == Some(Mutation::TakeOthers);
        let ours = |it: &&Machine| it.dead.is_none() && (others || it.owner == self.number);
        let alive = self.cloud.machines.iter().filter(ours);
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
            let kept = self.mutation == Some(Mutation::ForgetFirstCloud);
            let first = self.prepared.first().cloned().filter(|_| kept && self.prepared.len() > 1);
            self.prepared = first.into_iter().collect();
        }
        Ok(kept)
    }
}
