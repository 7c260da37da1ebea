//! The probes of simulated nodes: what the NodeActor does with the effects of `node::health`, and what a node says that is
//! well, sick, hangs or lies. Beside it is counted once more what was said, by which every node is judged.

use std::time::Duration;

use super::event::Event;
use super::failure::Law;
use super::knobs::Mutation;
use super::link::LinkId;
use super::node::{LifeId, NodeMessage};
use super::pool::PoolMessage;
use super::world::{HICCUP, World};
use crate::model::{Health as Terms, Incarnation, TaskId};
use crate::node::health::{Effect, Health, Heard};
use crate::node::messages::Heard as NodeHeard;

/// The probes of one life.
#[derive(Debug)]
pub(super) struct Probing {
    terms: Terms,
    /// What the node's actor has; none once its end is decided.
    health: Option<Health>,
    /// The worker that was asked last.
    asked: Option<Incarnation>,
    /// What has come of it: whether that worker has ever passed, and how often in a row it has failed.
    passed: bool,
    failed: u32,
    /// Since when the node has failed too often.
    bad: Option<Duration>,
    /// The probe that is under way.
    number: Option<u64>,
}

impl Probing {
    pub(super) fn new(terms: Terms, mutation: Option<Mutation>) -> Self {
        let health = (mutation != Some(Mutation::ForgetProbe)).then(|| Health::new(terms));
        Self { terms, health, asked: None, passed: false, failed: 0, bad: None, number: None }
    }

    /// Whether it has failed too often.
    pub(super) const fn is_bad(&self) -> bool {
        self.bad.is_some()
    }

    /// The node's end is decided.
    pub(super) fn over(&mut self) {
        self.health = None;
    }

    fn takes_in(&mut self, passes: bool, now: Duration) {
        if passes {
            (self.passed, self.failed) = (true, 0);
        } else {
            self.failed += 1;
            if self.failed >= self.terms.failures {
                self.bad.get_or_insert(now);
            }
        }
    }
}

impl World {
    /// Draws how the nodes of this world are probed, if they are.
    pub(super) fn draw_terms(&mut self) {
        let mut seconds = |least, most| Duration::from_secs(u64::from(self.dice.count(least, most)));
        let (interval, timeout, initial_delay) = (seconds(1, 20), seconds(1, 5), seconds(0, 10));
        let failures = self.dice.count(1, 3);
        self.probe = self.dice.chance(PROBED).then_some(Terms { interval, timeout, failures, initial_delay });
    }

    /// A node is linked: it is ready when it is known to be well.
    pub(super) fn linked(&mut self, id: LifeId) {
        let Some(life) = self.lives.get_mut(id.0) else { return };
        let worker = life.worker.clone();
        let Some(probing) = &mut life.probing else { return self.report_ready(id) };
        let fresh = probing.asked != worker;
        if fresh {
            (probing.passed, probing.failed) = (false, 0);
        } else if probing.passed {
            probing.failed = 0;
        }
        probing.asked = worker;
        match probing.health {
            Some(_) => drop(self.look_after(id, Heard::Linked { fresh })),
            None => self.report_ready(id),
        }
    }

    /// The link of a node is over, and with it the probe that was sent over it.
    pub(super) fn unlinked(&mut self, id: LifeId) {
        let Some(probing) = self.lives.get_mut(id.0).and_then(|it| it.probing.as_mut()) else { return };
        let lost = probing.number.take();
        if let (Some(number), Some(Mutation::CountLostProbes)) = (lost, self.mutation) {
            drop(self.look_after(id, Heard::Answered { number, said: Err("its link broke".to_owned()) }));
        }
        drop(self.look_after(id, Heard::Unlinked));
    }

    fn report_ready(&mut self, id: LifeId) {
        let Some(life) = self.lives.get(id.0) else { return };
        let (rank, attempt) = (life.rank, life.attempt);
        if life.probing.as_ref().is_some_and(|it| !it.passed) {
            let what = format!("{rank}.{attempt} takes calls, and its probe has not passed");
            return self.breach(Law::Well, what);
        }
        if let Some(link) = life.link() {
            self.cast_pool(PoolMessage::Ready { rank, attempt, link });
        }
    }

    /// Does what the health of a node wants. What is returned the node hears before anything else.
    pub(super) fn look_after(&mut self, id: LifeId, heard: Heard) -> Option<NodeHeard> {
        let probing = self.lives.get_mut(id.0)?.probing.as_mut()?;
        let timeout = probing.terms.timeout;
        let effects = probing.health.as_mut().map(|it| it.hear(heard)).unwrap_or_default();
        self.note(|| format!("    health of {} -> {effects:?}", id.0));
        let mut bad = None;
        for effect in effects {
            match effect {
                Effect::Wait { number, after } => {
                    self.plan(after, Event::Node(id, NodeMessage::Health(Heard::Due { number })));
                }
                Effect::Probe { number } => {
                    let Some(link) = self.lives.get(id.0).and_then(super::node::Life::link) else { continue };
                    self.lives.get_mut(id.0)?.probing.as_mut()?.number = Some(number);
                    let hangs = self.dice.chance(self.weather.hangs);
                    let after = if hangs { timeout } else { self.dice.up_to(timeout) };
                    self.plan(after, Event::Node(id, NodeMessage::Probed { number, link, hangs }));
                }
                Effect::Ready { .. } => self.report_ready(id),
                Effect::Failed { .. } => {}
                Effect::Bad { was_ready, reason } => bad = self.unwell(id, was_ready, reason),
            }
        }
        bad
    }

    fn unwell(&mut self, id: LifeId, was_ready: bool, reason: String) -> Option<NodeHeard> {
        self.summary.unwell += 1;
        let probing = self.lives.get(id.0).and_then(|it| it.probing.as_ref());
        if let Some(probing) = probing.filter(|it| !it.is_bad()) {
            let what = format!("node {} counts as bad after {} failures: {reason}", id.0, probing.failed);
            self.breach(Law::Well, what);
        }
        let heard = NodeHeard::Unhealthy { was_ready, reason };
        (self.mutation != Some(Mutation::KeepUnwell)).then_some(heard)
    }

    /// A probe ends, which was sent over this link.
    pub(super) fn probed(&mut self, id: LifeId, number: u64, link: LinkId, hangs: bool) -> Option<NodeHeard> {
        let machine = self.links.get(link.0).map(|it| it.machine)?;
        if !self.link_is_alive(link) {
            return self.look_after(id, Heard::Lost { number });
        }
        let now = self.now;
        let there = self.machine(machine)?;
        let is_well = there.sick.is_none_or(|it| it > now);
        let lies = self.dice.chance(self.weather.wrong);
        let passes = !hangs && self.machine(machine)?.answers(now) && is_well != lies;
        let probing = self.lives.get_mut(id.0)?.probing.as_mut()?;
        // Late words of a probe that went with its link count for nothing.
        let counts = probing.number.take_if(|it| *it == number).is_some();
        if counts && probing.health.is_some() {
            probing.takes_in(passes, now);
        }
        let said = if passes { Ok(()) } else { Err("too hot".to_owned()) };
        self.look_after(id, Heard::Answered { number, said })
    }

    /// A node that has failed its probe too often is given nothing more, once the queue has had time to hear of it.
    pub(super) fn check_well(&mut self, link: LinkId, task: TaskId) {
        let life = self.life_of(link).and_then(|it| self.lives.get(it.0));
        let bad = life.and_then(|it| it.probing.as_ref()).and_then(|it| it.bad);
        if bad.is_some_and(|it| self.now > it + HICCUP * 3) {
            self.breach(Law::Well, format!("task {task} is granted to a node that is not well"));
        }
    }
}

/// How many of a thousand worlds probe their nodes.
const PROBED: u32 = 400;
