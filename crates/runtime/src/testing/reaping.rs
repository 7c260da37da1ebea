//! What the programs of a simulated world give back that nobody owns: before they begin anew, and as `sky reap` does.

use std::time::Duration;

use super::asking::{Answer, Errand, Part, Why};
use super::cloud::Machine;
use super::event::{Event, Owner};
use super::failure::Law;
use super::knobs::Mutation;
use super::program::{MOST, Program};
use super::world::World;
use crate::journal::{BRINGS, KnownPool, Standing, Undo, Undoing};

impl World {
    pub(super) fn plan_reap(&mut self, after: Duration) {
        self.plan(after, Event::Owner(Owner::Reaps { named: false }));
    }

    /// Looks for what nobody owns, and gives it back. `named`: also what could still be attached to.
    pub(super) fn reap(&mut self, named: bool) {
        let Some(pool) = self.journal.entry().cloned() else { return };
        let holder = self.journal.holder().map(|_| crate::journal::Holder {
            pid: 1,
            host: "here".to_owned(),
            program: "it".to_owned(),
            since: std::time::UNIX_EPOCH,
        });
        let holder = holder.filter(|_| self.mutation != Some(Mutation::ReapLiving));
        match pool.standing(holder, self.wall()) {
            Standing::Owned(_) => {}
            Standing::Attachable(left) if !named => {
                self.plan_reap(left + Duration::from_secs(1));
            }
            Standing::Attachable(_) | Standing::Lapsed => {
                let number = self.next_program();
                if self.mutation == Some(Mutation::ReapLiving)
                    && let Some(other) = self.journal.holder()
                {
                    let what = format!("what program {other} owns is given back by another");
                    return self.breach(Law::Alone, what);
                }
                if self.journal.lock(number) {
                    self.give_back(number, &pool, false);
                }
            }
        }
    }

    /// Gives back what nobody owns, and runs the program then, if that is what it is for.
    pub(super) fn give_back(&mut self, number: u32, pool: &KnownPool, then_runs: bool) {
        let Ok(epoch) = self.take(pool, Duration::ZERO) else {
            self.journal.free(number);
            return self.plan_reap(REST);
        };
        self.summary.reaped += 1;
        let before = std::mem::replace(&mut self.me, Program::new(number, Some((pool.id.clone(), epoch))));
        if before.alive {
            self.others.push(before);
        }
        self.newest_owner = number;
        self.me.inherited = pool.machines.iter().map(|it| it.instance.clone()).collect();
        self.me.undoing = Some((Undoing::of(pool), then_runs));
        self.me.stranger = self.dice.chance(self.weather.strange);
        self.summary.strangers += u64::from(self.me.stranger);
        self.undo();
    }

    fn undo(&mut self) {
        let Some((undoing, _)) = &self.me.undoing else { return };
        let (part, deed) = match undoing.next() {
            Undo::Terminate(deed, instances) => (crate::journal::DeedKind::Terminate, (deed, instances)),
            Undo::Teardown(deed) => (crate::journal::DeedKind::Teardown, (deed, Vec::new())),
            Undo::Forget => {
                self.forget();
                return self.reaped(true);
            }
            Undo::Keep(left) => {
                // What only has to wait, or needs another key, is no excuse.
                self.said |= !self.may_yet_come() && !self.me.stranger;
                self.note(|| format!("    left: {left:?}"));
                return self.reaped(false);
            }
        };
        let (deed, instances) = deed;
        let believes = self.mutation == Some(Mutation::AskWithAnyKey);
        if !deed.is_of(Some(&self.me.account())) && !believes {
            if let Some((undoing, _)) = &mut self.me.undoing {
                undoing.unasked("it was rented with another key".to_owned());
            }
            return self.undo();
        }
        let Some(kit) = super::pool::kit_of(&deed) else {
            if let Some((undoing, _)) = &mut self.me.undoing {
                undoing.unasked("its terms cannot be read".to_owned());
            }
            return self.undo();
        };
        let part = Part { instances, ..Part::new(part, kit) };
        self.send(Errand::new(Why::Undo, [part]));
    }

    /// A request of what is given back was answered.
    pub(super) fn undone(&mut self, answer: Answer) {
        let wall = Some(self.wall()).filter(|_| self.mutation != Some(Mutation::ForgetUnheard));
        let Some((undoing, _)) = &mut self.me.undoing else { return };
        match answer {
            Answer::Done(result) => undoing.terminated(result),
            Answer::TornDown(result) => undoing.torn_down(result, wall),
            Answer::Given(..) => {}
        }
        self.undo();
    }

    fn reaped(&mut self, all: bool) {
        let then_runs = self.me.undoing.take().is_some_and(|it| it.1);
        let number = self.me.number;
        self.me.alive = false;
        self.journal.free(number);
        if self.journal.entry().is_some() {
            self.rounds += 1;
            if self.rounds >= ROUNDS {
                self.weather.calm();
            }
            self.plan_reap(REST);
        } else if all && then_runs && self.programs < MOST {
            self.run();
        }
    }

    /// Takes the entry from the journal: nothing may be left that it alone knows of.
    pub(super) fn forget(&mut self) {
        let own = self.me.owner.clone();
        let Some((pool, _)) = own else { return };
        let now = self.now;
        // One that nobody was told of may be on no list yet. Clocks that are set, or stand still, make it look older.
        let is_told = self.set_forward.is_zero() && self.summary.slept == 0;
        let is_young = |it: &Machine| is_told && now + self.timing.provision < it.meter.since + BRINGS;
        let is_there = |it: &Machine| self.me.knows(it) || it.is_listed(now) || is_young(it);
        let there = |it: &&Machine| it.place.0 == pool && it.is_paid() && is_there(it);
        let machine = self.own_machines().find(there).map(|it| it.name.clone());
        let set_up = self.prepared.iter().find(|it| it.0 == pool).map(|it| it.1.clone());
        let forgotten = self.write(super::store::Store::forget);
        match (forgotten, machine, set_up) {
            (Ok(()), Some(machine), _) => {
                let what = format!("the pool's entry is forgotten while {machine} is there");
                self.breach(Law::NothingLeft, what);
            }
            (Ok(()), None, Some(provider)) => {
                let what = format!("the pool's entry is forgotten, and what {provider} set up is there");
                self.breach(Law::NothingLeft, what);
            }
            (Ok(()), None, None) | (Err(_), _, _) => {}
        }
    }
}

/// After so many vain tries to give something back nothing is in the way any more.
const ROUNDS: u32 = 3;

/// Between two of them.
const REST: Duration = Duration::from_secs(300);
