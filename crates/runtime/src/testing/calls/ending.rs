//! How simulated calls end, each of them once.

use std::time::Duration;

use super::{Call, End, Phase};
use crate::model::TaskId;
use crate::tasks::GroupId;
use crate::testing::event::{Event, Owner};
use crate::testing::failure::Law;
use crate::testing::knobs::Mutation;
use crate::testing::link::LinkId;
use crate::testing::worker::CALM;
use crate::testing::world::{HICCUP, World};

impl World {
    pub(super) fn leave(&mut self, link: LinkId, id: TaskId, number: u64) {
        if let Some(way) = self.links.get_mut(link.0) {
            way.running.remove(&(id, number));
        }
    }

    pub(super) fn end_call(&mut self, id: TaskId, end: End) {
        let Some(call) = self.me.calls.get_mut(&id) else { return };
        if call.phase == Phase::Over {
            return self.breach(Law::NoneTwice, format!("task {id} is reported twice"));
        }
        (call.phase, call.over) = (Phase::Over, self.now);
        let it = (call.number > 0).then_some((id, call.attempt));
        let (group, together) = (call.group, call.together);
        let late = call.given.filter(|it| call.number > 0 && self.now > call.began + *it + self.me.slept);
        if let Some(given) = late {
            let what = format!("task {id} ends {:?} after its start, given {given:?}", self.now - call.began);
            return self.breach(Law::InTime, what);
        }
        match end {
            End::Answered => self.summary.answered += 1,
            End::Refused => {
                self.summary.refused += 1;
                self.excuse(id);
            }
            End::Cancelled => self.summary.cancelled += 1,
            End::TimedOut => self.summary.timed_out += 1,
        }
        let stays = self.named && self.me.calls.get(&id).is_some_and(|it| it.key.is_some());
        if let Some(it) = it.filter(|_| !stays) {
            let (since, program) = (self.now, self.me.number);
            self.plan(CALM * 2, Event::Audit(program, it, since));
        }
        if together {
            self.group_hears(id, group, end);
        }
        self.me.open_calls -= 1;
        if self.me.open_calls == 0 && self.me.stops_when_done {
            self.plan(Duration::from_secs(1), Event::Owner(Owner::Stops));
        }
    }

    /// The first failure of a group drops the rest of it, before anything else happens.
    fn group_hears(&mut self, id: TaskId, group: GroupId, end: End) {
        match end {
            End::Answered if self.me.failed.contains(&group) => {
                let what = format!("task {id} brings a value after its group has failed");
                self.breach(Law::Together, what);
            }
            End::Refused | End::TimedOut if self.me.failed.insert(group) => {
                let rest = |it: &Call| it.together && it.group == group && it.phase != Phase::Over;
                let rest: Vec<TaskId> =
                    self.me.calls.iter().filter(|(_, it)| rest(it)).map(|(id, _)| *id).collect();
                for other in rest {
                    if self.mutation != Some(Mutation::ForgetGroup) {
                        self.let_go(other, End::Cancelled);
                    }
                }
            }
            End::Answered | End::Refused | End::Cancelled | End::TimedOut => {}
        }
    }

    /// Whether a call has been over for so long that the queue must have heard of it.
    pub(in crate::testing) fn is_long_over(&self, id: TaskId) -> bool {
        let call = self.me.calls.get(&id);
        call.is_none_or(|it| it.phase == Phase::Over && it.over + HICCUP * 2 < self.now)
    }

    /// A call that has no end, if there is one.
    pub(in crate::testing) fn endless_call(&self) -> Option<TaskId> {
        self.me.calls.iter().find(|(_, it)| !it.is_over()).map(|(id, _)| *id)
    }
}
