//! How many nodes a pool should have: the rules, and what they go by. Pure; the pool's state tells it what happens and
//! does what it says.
//!
//! ```text
//! calls wait → grow at once │ idle long enough → least │ hardly used → what is used, and one │ else → as it is
//! ```

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use crate::model::{ScaledBecause, Scaling};
use crate::tasks::Demand;

/// What the rules go by, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Calls that wait and could run on any node.
    queued: u32,
    /// Calls that nodes have.
    running: u32,
    /// How many calls a node runs at once.
    slots: u32,
    /// Nodes that take calls.
    ready: u32,
    /// Nodes that there are or will be.
    nodes: u32,
    /// Calls wait for a head, and none is there or will be.
    headless: bool,
    /// How long nothing has run or waited.
    idle: Duration,
    /// How long less than three tenths of the slots have been in use, and nothing has waited.
    quiet: Duration,
    /// How long ago the number was changed.
    settled: Duration,
}

/// Between how many nodes a pool scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) least: u32,
    pub(super) most: u32,
}

/// How many nodes there should be; `None` when it is as it should be.
fn decide(seen: &Seen, bounds: Bounds, scaling: &Scaling) -> Option<(u32, ScaledBecause)> {
    let Bounds { least, most } = bounds;
    let slots = seen.slots.max(1);
    let within = |nodes: u32| nodes.max(least).min(most.max(least));
    let rested = seen.settled >= scaling.cooldown;
    let (nodes, why) = if (seen.queued > 0 || seen.headless) && most > seen.nodes {
        // All that there is fills so many nodes, those on their way included. Nodes that are ready only bound what
        // can be running: their number is newer than those of the calls, which one that has just become ready takes.
        let running = seen.running.min(slots.saturating_mul(seen.ready));
        let wanted = seen.queued.saturating_add(running).div_ceil(slots).max(seen.nodes);
        // However many wait for the head, it is one node.
        let wanted = if seen.headless { wanted.max(seen.nodes.saturating_add(1)) } else { wanted };
        (wanted, ScaledBecause::Queued(seen.queued.max(1)))
    } else if seen.nodes < least {
        (least, ScaledBecause::Missing)
    } else if seen.queued > 0 {
        return None;
    } else if seen.running == 0 && seen.idle >= scaling.idle && rested {
        (least.min(seen.nodes), ScaledBecause::Idle(seen.idle))
    } else if seen.running > 0 && seen.quiet >= scaling.cooldown && rested {
        (seen.running.div_ceil(slots).saturating_add(1).min(seen.nodes), ScaledBecause::Unused(seen.running))
    } else {
        return None;
    };
    let nodes = within(nodes);
    (nodes != seen.nodes).then_some((nodes, why))
}

/// Whether less than three tenths of the slots are in use.
fn is_quiet(demand: &Demand, slots: u32, ready: u32) -> bool {
    let slots = u128::from(slots.max(1)) * u128::from(ready);
    demand.queued == 0 && u128::from(demand.running) * 10 < slots * 3
}

/// Why a pool does not get the nodes that it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// None could be had: asking again costs nothing but patience.
    None,
    /// Machines were paid for and did not become nodes, or not for long. `proven`: others of later date serve well.
    Failed { proven: bool },
    /// What is wrong, no other machine can mend.
    Final,
}

/// Whether a pool may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Free,
    Until(Instant),
    /// Until its owner says so.
    Asked,
}

/// What a pool that scales knows of its load, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    bounds: Option<Bounds>,
    /// How many nodes the owner of a pool wants that keeps its number.
    size: u32,
    scaling: Scaling,
    slots: u32,
    demand: Demand,
    idle_since: Option<Instant>,
    quiet_since: Option<Instant>,
    changed: Option<Instant>,
    hold: Hold,
    /// How often in a row clouds had none, and how often in a row machines did not serve, and when last.
    none: u32,
    failed: u32,
    failed_at: Option<Instant>,
    /// When a timer goes off.
    alarm: Option<Instant>,
    /// The pool has been ready.
    begun: bool,
    /// Its owner has asked for nodes that are not all ready yet.
    asked: bool,
    headless: bool,
}

impl Scale {
    pub(super) fn new(scaling: Scaling, slots: u32) -> Self {
        Self {
            bounds: None,
            size: 0,
            scaling,
            slots,
            demand: Demand::default(),
            idle_since: None,
            quiet_since: None,
            changed: None,
            hold: Hold::Free,
            none: 0,
            failed: 0,
            failed_at: None,
            alarm: None,
            begun: false,
            asked: false,
            headless: false,
        }
    }

    /// It scales between these numbers from now on, or keeps its own.
    pub(super) const fn bound(&mut self, bounds: Option<Bounds>) {
        self.bounds = bounds;
    }

    /// The owner wants so many nodes, where the pool keeps its number.
    pub(super) const fn sized(&mut self, nodes: u32) {
        self.size = nodes;
    }

    pub(super) const fn bounds(&self) -> Option<Bounds> {
        self.bounds
    }

    /// What the queue was last heard to have.
    pub(super) const fn demand(&self) -> &Demand {
        &self.demand
    }

    /// The queue has changed.
    pub(super) fn hears(&mut self, demand: Demand, ready: u32, now: Instant) {
        let is_idle = demand.queued == 0 && demand.running == 0;
        self.idle_since = is_idle.then(|| self.idle_since.unwrap_or(now));
        let is_quiet = is_quiet(&demand, self.slots, ready);
        self.quiet_since = is_quiet.then(|| self.quiet_since.unwrap_or(now));
        self.demand = demand;
    }

    /// The pool is ready: what happened before counts for nothing.
    pub(super) fn begin(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.begun, true) {
            self.idle_since = self.idle_since.map(|_| now);
            self.quiet_since = self.quiet_since.map(|_| now);
        }
    }

    /// The owner wants nodes: how long nothing ran counts from when they are ready.
    pub(super) const fn asked(&mut self) {
        self.asked = true;
    }

    /// What the pool has: whether all of it is ready, and whether calls wait for a head that it does not have.
    pub(super) fn sees(&mut self, all_ready: bool, headless: bool, now: Instant) {
        self.headless = headless;
        if self.asked {
            self.idle_since = self.idle_since.map(|_| now);
            self.quiet_since = self.quiet_since.map(|_| now);
            self.asked = !all_ready;
        }
    }

    /// The number of nodes was changed.
    pub(super) const fn changed(&mut self, now: Instant) {
        self.changed = Some(now);
    }

    /// More nodes were not to be had: the pool makes do with what it has for a while, each time for twice as long.
    pub(super) fn hold(&mut self, refusal: Refusal, now: Instant) {
        let least = self.scaling.cooldown.max(SHORTEST);
        let (before, most) = match refusal {
            _ if self.hold == Hold::Asked => return,
            Refusal::Final => {
                self.hold = Hold::Asked;
                return;
            }
            Refusal::None => {
                self.none = self.none.saturating_add(1);
                (self.none, LONGEST_WITHOUT)
            }
            Refusal::Failed { proven } => {
                self.failed = if proven { 1 } else { self.failed.saturating_add(1) };
                self.failed_at = Some(now);
                (self.failed, LONGEST_FAILING)
            }
        };
        let doubled = 2_u32.saturating_pow(before.saturating_sub(1));
        let length = least.saturating_mul(doubled).min(most.max(least));
        let until = now.checked_add(length).map_or(Hold::Asked, Hold::Until);
        self.hold = match (self.hold, until) {
            // What was refused before is not to be had sooner because of this.
            (Hold::Until(before), Hold::Until(then)) => Hold::Until(before.max(then)),
            (_, until) => until,
        };
    }

    /// When machines last did not serve; `None` when they always have.
    pub(super) const fn failed_at(&self) -> Option<Instant> {
        self.failed_at
    }

    /// Machines could be had.
    pub(super) const fn had(&mut self) {
        self.none = 0;
    }

    /// The owner wants it to grow: what was before counts for nothing.
    pub(super) const fn forgive(&mut self) {
        self.hold = Hold::Free;
        self.none = 0;
        self.failed = 0;
        self.failed_at = None;
    }

    /// Whether the pool may not grow by itself now.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        match self.hold {
            Hold::Free => false,
            Hold::Until(then) => now < then,
            Hold::Asked => true,
        }
    }

    /// Whether it grows by itself again only after its owner has asked for nodes.
    pub(super) fn is_final(&self) -> bool {
        self.hold == Hold::Asked
    }

    /// How many nodes there should be; `None` when it is as it should be, or not to be changed now.
    pub(super) fn decide(&self, ready: u32, nodes: u32, now: Instant) -> Option<(u32, ScaledBecause)> {
        let Some(bounds) = self.bounds else {
            return match nodes.cmp(&self.size) {
                // What could not be had before may be there now.
                Ordering::Less => (!self.is_held(now)).then_some((self.size, ScaledBecause::Missing)),
                Ordering::Equal => None,
                // An owner before was killed while it gave nodes back.
                Ordering::Greater => Some((self.size, ScaledBecause::Asked)),
            };
        };
        let since = |it: Option<Instant>| it.map_or(Duration::ZERO, |it| now.saturating_duration_since(it));
        let seen = Seen {
            queued: self.demand.queued,
            running: self.demand.running,
            slots: self.slots,
            ready,
            nodes,
            headless: self.headless,
            idle: since(self.idle_since),
            quiet: since(self.quiet_since),
            settled: self.changed.map_or(Duration::MAX, |it| now.saturating_duration_since(it)),
        };
        decide(&seen, bounds, &self.scaling).filter(|(to, _)| *to < nodes || !self.is_held(now))
    }

    /// After how long to look again, if a timer has to be set for that.
    pub(super) fn alarm(&mut self, now: Instant) -> Option<Duration> {
        let scales = |since: Option<Instant>| since.filter(|_| self.bounds.is_some());
        let idle = scales(self.idle_since).and_then(|it| it.checked_add(self.scaling.idle));
        let quiet = scales(self.quiet_since).and_then(|it| it.checked_add(self.scaling.cooldown));
        let rested = scales(self.changed).and_then(|it| it.checked_add(self.scaling.cooldown));
        let held = match self.hold {
            Hold::Until(then) => Some(then),
            Hold::Free | Hold::Asked => None,
        };
        let next = [idle, quiet, rested, held].into_iter().flatten().filter(|it| *it > now).min()?;
        if self.alarm.is_some_and(|it| it > now && it <= next) {
            return None;
        }
        self.alarm = Some(next);
        Some(next.saturating_duration_since(now))
    }
}

/// The shortest time for which nothing is rented after renting has failed: a cloud that says no is not asked ten
/// times a second.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest time for which nothing is rented because clouds had none. Asking is free; longer, and calls wait for a
/// market that has long had machines again.
const LONGEST_WITHOUT: Duration = Duration::from_mins(10);

/// The longest time for which nothing is rented because machines that were paid for did not serve. Shorter, and a pool
/// that cannot work is paid for day and night.
const LONGEST_FAILING: Duration = Duration::from_hours(4);

#[cfg(test)]
#[path = "scale_tests.rs"]
mod tests;
