//! Which calls a simulated program makes, and when.

use std::time::Duration;

use super::{Call, Phase, What};
use crate::model::{Rank, TaskId};
use crate::tasks::{GroupId, Target};
use crate::testing::event::{CallEvent, Event};
use crate::testing::world::World;

impl World {
    /// Draws all callers of a program that begins a pool.
    pub(in crate::testing) fn draw_calls(&mut self) {
        let most = self.callers;
        self.draw_callers(most, self.timing.boot, TaskId(1));
    }

    /// A program that attached asks again for what has a key, for all of that or for little, and for some more.
    fn ask_again(&mut self) {
        let mut id = TaskId(1);
        let again = if self.dice.chance(500) { 1000 } else { 100 };
        for key in 0..self.keys {
            if !self.dice.chance(again) {
                continue;
            }
            let call = Call::new(What::One(Target::Any), GroupId(1000), Phase::Planned);
            self.me.calls.insert(id, Call { key: Some(key), ..call });
            self.me.open_calls += 1;
            let at = self.dice.up_to(Duration::from_millis(5));
            self.plan(at, Event::Call(id, CallEvent::Begins));
            id = id.next();
        }
        self.draw_callers(3, self.timing.boot / 8, id);
    }

    /// A program that attached makes its calls once it is known what workers keep.
    pub(in crate::testing) fn opens(&mut self, until: Duration) {
        if self.is_reconciled() || self.now >= until {
            return self.ask_again();
        }
        let at = (self.now + Duration::from_millis(50)).min(until);
        self.plan_for(self.me.number, at, Event::Opens(until));
    }

    fn draw_callers(&mut self, most: u32, within: Duration, first: TaskId) {
        let mut id = first;
        for group in 0..u64::from(self.dice.count(1, most)) {
            let at = self.dice.up_to(within);
            let rank = Rank(self.dice.count(0, self.nodes));
            let (what, members) = match self.dice.below(10) {
                0..=4 => (What::One(Target::Any), 1),
                5 | 6 => (What::One(Target::Rank(rank)), 1),
                7 => (What::One(Target::Any), self.dice.count(2, 8)),
                _ => (What::Broadcast, 1),
            };
            // What a group is given, each of its calls is.
            let given = match self.dice.chance(self.weather.hasty) {
                true => Some(self.dice.up_to(self.timing.boot)),
                false => None,
            };
            let together = members > 1 && self.dice.chance(500);
            let keyed = what == What::One(Target::Any) && self.dice.chance(400);
            for _ in 0..members {
                let key = keyed.then_some(self.keys);
                self.keys += u32::from(keyed);
                let call = Call { key, ..Call::new(what, GroupId(group), Phase::Planned) };
                let given = given.filter(|_| what != What::Broadcast);
                self.me.calls.insert(id, Call { given, together, ..call });
                self.me.open_calls += 1;
                self.plan(at, Event::Call(id, CallEvent::Begins));
                if self.dice.chance(self.weather.cancel) {
                    // A broadcast is short: what can go wrong with it does at once.
                    let soon = what == What::Broadcast || self.dice.chance(500);
                    let most = if soon { Duration::from_millis(3) } else { self.timing.boot };
                    let after = self.dice.up_to(most);
                    self.plan(at + after, Event::Call(id, CallEvent::Cancelled));
                }
                id = if what == What::Broadcast { TaskId(id.0 + 1000) } else { id.next() };
            }
        }
    }
}
