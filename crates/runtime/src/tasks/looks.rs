//! What the queue looks at now and then: whether nodes are stuck, how far away they are, and what it wants of a pool
//! that scales.

use std::sync::Weak;
use std::time::{Duration, Instant};

use super::{Inner, Tasks};
use crate::link::Link;
use crate::model::Rank;
use crate::tasks::state::{Demand, Heard};

/// Whom to tell what is wanted.
pub(super) struct Wants(Box<dyn Fn(Demand) + Send + Sync>);

/// How often it is looked whether a node is stuck with calls that it was given. Short beside what a
/// stuck call costs its caller, long beside what a busy machine lets a thread wait.
const LOOK: Duration = Duration::from_millis(50);

/// How many looks there are between two measurements of the links.
const MEASURE: u32 = 20;

impl Tasks {
    /// Has a pool that scales hear what is wanted of it, whenever that has changed. The first call counts.
    pub(crate) fn wanted_of(&self, tell: impl Fn(Demand) + Send + Sync + 'static) {
        let _ = self.inner.provider.set(Wants(Box::new(tell)));
    }

    /// What is wanted of the pool now. Who transfers files uses a node like a call.
    pub(crate) fn demand(&self) -> Demand {
        let queue = self.queue();
        let mut demand = queue.state.demand(Instant::now());
        for (rank, link) in &queue.links {
            let users = u32::try_from(link.users()).unwrap_or(u32::MAX);
            if users > 0 {
                demand.running = demand.running.saturating_add(users);
                demand.idle.remove(rank);
            }
        }
        demand
    }

    /// Has a node take nothing more, if it has nothing. Whether it does not.
    pub(crate) fn close_idle(&self, rank: Rank) -> bool {
        self.hear(|queue, errands| {
            let used = queue.links.get(&rank).is_some_and(|it| it.users() > 0);
            let is_idle = queue.state.is_idle(rank, Instant::now()) && !used;
            if is_idle {
                queue.links.remove(&rank);
                queue.hear(Heard::NodeLeaves { rank, by_choice: true }, errands);
            }
            is_idle
        })
    }
}

impl std::fmt::Debug for Wants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wants")
    }
}

/// Looks now and then whether nodes are stuck, how far away they are, and which calls are late.
pub(super) async fn look_after(inner: Weak<Inner>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut count, mut told) = (0_u32, Demand::default());
    loop {
        looks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let tasks = Tasks { inner };
        if tasks.queue().ended {
            return;
        }
        if tasks.queue().state.wants_a_look() {
            tasks.hear(|queue, errands| queue.hear(Heard::Looked, errands));
        }
        if let Some(Wants(tell)) = tasks.inner.provider.get() {
            let demand = tasks.demand();
            if demand != told {
                told = demand.clone();
                tell(demand);
            }
        }
        count = count.wrapping_add(1);
        if count.is_multiple_of(MEASURE) {
            let links: Vec<(Rank, Link)> = tasks.queue().links.clone().into_iter().collect();
            for (rank, link) in links {
                link.sweep();
                if let Some(takes) = link.round_trip() {
                    tasks.hear(|queue, errands| queue.hear(Heard::RoundTrip { rank, takes }, errands));
                }
            }
        }
    }
}
