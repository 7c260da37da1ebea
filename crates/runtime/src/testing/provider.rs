//! What the clouds of a simulated world do when they are asked, and what goes wrong with it.

use super::asking::{Kit, short};
use super::cloud::Machine;
use super::event::{Asked, Event};
use super::failure::Law;
use super::knobs::Mutation;
use super::pool::PoolMessage;
use super::world::World;
use crate::model::{InstanceId, Leftover};
use crate::pool::messages::{Heard, Shortfall};
use crate::provider::ProviderErrorKind;

impl World {
    /// Asks the provider for something that changes nothing at a cloud.
    pub(super) fn ask(&mut self, asked: Asked) {
        let most = match self.dice.chance(100) {
            true => self.timing.provision,
            false => self.timing.provision / 20,
        };
        let took = self.dice.up_to(most);
        self.plan(took, Event::Cloud(asked));
    }

    /// The provider answers, now and then twice.
    pub(super) fn provide(&mut self, asked: Asked) {
        let heard = match asked {
            Asked::Offers => {
                let plan = self.plan_of_offers();
                Heard::Offered(self.told_plan(plan))
            }
            Asked::Keep { rank, instance } => {
                let kept = self.keep(rank, &instance);
                Heard::Kept { instance, kept }
            }
        };
        if self.dice.chance(self.weather.twice) {
            let after = self.dice.up_to(std::time::Duration::from_secs(10));
            self.plan(after, Event::Pool(PoolMessage::Heard(heard.clone())));
        }
        self.cast_pool(PoolMessage::Heard(heard));
    }

    /// One that took too long has failed, and is there nevertheless.
    pub(super) fn prepare(&mut self, kit: &Kit) -> Result<(), String> {
        let fails = self.dice.chance(self.weather.unprepared);
        if !fails || self.dice.chance(500) {
            self.prepared.insert((kit.request.pool.clone(), kit.request.offer.provider.clone()));
        }
        if fails { Err("not in time".to_owned()) } else { Ok(()) }
    }

    pub(super) fn provision(
        &mut self,
        program: u32,
        count: u32,
        kit: &Kit,
    ) -> (Vec<InstanceId>, Option<Shortfall>) {
        if self.dice.chance(self.weather.unreported) {
            // The cloud did some of it, and its answer was lost. Asked again, it may refuse.
            let made = self.dice.count(0, count);
            for _ in 0..made {
                self.make_machine(None, kit);
            }
            let kind = if made % 3 == 1 { ProviderErrorKind::Quota } else { ProviderErrorKind::Transient };
            let shortfall = short("no answer", kind).map(|it| Shortfall { unsure: true, ..it });
            return (Vec::new(), shortfall);
        }
        if self.dice.chance(self.weather.refused) {
            let kind = self.draw_refusal();
            return (Vec::new(), short("no capacity", kind));
        }
        let given = match self.dice.chance(self.weather.partial) {
            true => self.dice.count(0, count),
            false => count,
        };
        // Nobody hears an answer who has been killed.
        let told = self.is_alive(program).then_some(program);
        let instances = (0..given).map(|_| self.make_machine(told, kit)).collect();
        let shortfall = if given < count { short("no more capacity", self.draw_refusal()) } else { None };
        (instances, shortfall)
    }

    pub(super) fn terminate(&mut self, program: u32, instances: &[InstanceId]) -> Result<(), String> {
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
            let is_over = self.machine(id).is_some_and(|it| it.dead.is_some());
            if self.mutation == Some(Mutation::ForgetBilled) && is_over {
                continue;
            }
            // What is gone is not said to be there.
            if self.machine(id).is_some_and(Machine::is_there) && self.dice.chance(self.weather.kept) {
                kept.push(name.to_string());
            } else {
                self.check_kept(program, id);
                match self.dice.chance(self.weather.lies) {
                    true => self.lie(id),
                    false => self.kill(id, "given back"),
                }
                // One that has ended itself is billed until now.
                self.stop_meter(name);
            }
        }
        if kept.is_empty() { Ok(()) } else { Err(format!("still there: {}", kept.join(", "))) }
    }

    /// Removes what the cloud's list shows of a pool.
    pub(super) fn teardown(&mut self, program: u32, kit: &Kit) -> Result<Vec<Leftover>, String> {
        if self.dice.chance(self.weather.kept / 2) {
            return Err("the cloud does not answer".to_owned());
        }
        let others = self.mutation == Some(Mutation::TakeOthers);
        let (now, number) = (self.now, self.number);
        let place = (kit.request.pool.clone(), kit.request.offer.provider.clone());
        let ours = |it: &&Machine| it.is_listed(now) && (others || it.owner == number && it.place == place);
        let alive = self.cloud.machines.iter().filter(ours);
        let alive: Vec<InstanceId> = alive.map(|it| it.name.clone()).collect();
        let left = |what: String| Leftover { what, reason: "in use".to_owned() };
        let mut kept = Vec::new();
        for name in alive {
            if self.terminate(program, std::slice::from_ref(&name)).is_err() {
                kept.push(left(format!("machine {name}")));
            }
        }
        if self.dice.chance(self.weather.kept) {
            kept.push(left("the network".to_owned()));
        } else {
            self.prepared.remove(&place);
            let by = self.undone.entry(place).or_default();
            *by = program.max(*by);
        }
        Ok(kept)
    }
}
