//! Why a pool is waiting: a fold over its facts, kept up to date as they happen, so that asking needs no
//! actor. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::{Attempt, EventKind, NodePhase, PoolPhase, Rank, ScaledBecause};

/// Where a pool and its nodes are. Times are counted from the pool's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The pool's phase and since when; `None` before it has begun.
    pub pool: Option<(PoolPhase, Duration)>,
    /// The phase of each rank, with what was last heard of it.
    pub nodes: BTreeMap<Rank, NodeStatus>,
    /// What went wrong last, and when.
    pub trouble: Option<(String, Duration)>,
    /// How long each phase of the pool took, in order.
    pub phases: Vec<(PoolPhase, Duration)>,
    /// How many nodes it wants to have.
    pub wanted: u32,
    /// When that was changed last, from and to what, and why: the last sixteen times, the oldest first.
    pub scaled: Vec<Scaled>,
}

/// One change of how many nodes a pool wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// When.
    pub at: Duration,
    /// How many it wanted before.
    pub from: u32,
    /// How many it wants since.
    pub to: u32,
    /// Why.
    pub why: ScaledBecause,
}

/// How many changes of its size a pool remembers.
const SCALED: usize = 16;

/// Where one rank is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Which of the rank's lives this is. What is heard of one before it, which may still be leaving, is left out.
    pub attempt: Attempt,
    /// Its phase.
    pub phase: NodePhase,
    /// Since when.
    pub since: Duration,
    /// What it is doing, or what went wrong with it last.
    pub note: Option<String>,
    /// Until when no other machine is rented for its rank, because the last ones did not last.
    pub paused: Option<Duration>,
}

/// Why calls wait, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// For any free slot: every ready node is busy.
    pub for_slot: usize,
    /// For a node: none is ready.
    pub for_node: usize,
    /// For a slot of one rank, or for the rank to be ready.
    pub for_rank: BTreeMap<Rank, usize>,
    /// How many calls run.
    pub running: usize,
}

/// Why a pool is waiting, in words by its `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// How long after the pool's start this was.
    pub after: Duration,
    /// The pool and its nodes.
    pub status: Status,
    /// The calls; `None` when the pool has ended.
    pub calls: Option<Waits>,
}

impl Status {
    /// Takes in what happened `after` the pool's start.
    pub fn take_in(&mut self, kind: &EventKind, after: Duration) {
        match kind {
            EventKind::Pool(phase) => {
                if let Some((phase, since)) = self.pool.replace((*phase, after)) {
                    self.phases.push((phase, after.saturating_sub(since)));
                }
            }
            EventKind::Chosen { nodes, .. } => self.wanted = *nodes,
            EventKind::Scaled { from, to, why } => {
                self.wanted = *to;
                if self.scaled.len() == SCALED {
                    self.scaled.remove(0);
                }
                self.scaled.push(Scaled { at: after, from: *from, to: *to, why: why.clone() });
            }
            // A life that leaves has its last words while the next of its rank is under way.
            EventKind::Node { rank, attempt, .. }
            | EventKind::NodeLost { rank, attempt, .. }
            | EventKind::ProbeFailed { rank, attempt, .. }
            | EventKind::Preempting { rank, attempt, .. }
                if self.nodes.get(rank).is_some_and(|it| it.attempt > *attempt) => {}
            EventKind::Node { rank, attempt, phase } => {
                let before = self.nodes.remove(rank);
                let paused = before.as_ref().filter(|it| it.attempt == *attempt).and_then(|it| it.paused);
                // Why a rank was lost stays told until its next life is ready.
                let note = before.and_then(|it| it.note).filter(|_| *phase != NodePhase::Ready);
                let (attempt, phase) = (*attempt, *phase);
                self.nodes.insert(*rank, NodeStatus { attempt, phase, since: after, note, paused });
            }
            EventKind::ReplacementPaused { rank, pause, .. } => {
                if let Some(node) = self.nodes.get_mut(rank) {
                    node.paused = Some(after.saturating_add(*pause));
                }
            }
            EventKind::StepStarted { rank, step } => self.note(*rank, format!("step `{step}` is running")),
            EventKind::BootstrapWaiting { rank } => {
                self.note(*rank, "another bootstrap of this machine is running".to_owned());
            }
            EventKind::LinkLost { rank, reason } => {
                self.note(*rank, format!("its link is dialled again: {reason}"));
            }
            EventKind::PeerFailed { rank, peer, reason } => self.note(
                *rank,
                format!(
                    "what nodes share does not come to it from node {peer}, and comes from elsewhere, at worst from the \
                     client: {reason}"
                ),
            ),
            EventKind::WorkerRestarted { rank } => {
                self.note(*rank, "its worker is being restarted".to_owned())
            }
            EventKind::NodeLost { rank, reason, loss, .. } => {
                let loss = loss.map(|it| format!(" ({it})")).unwrap_or_default();
                self.note(*rank, format!("lost{loss}: {reason}"));
            }
            EventKind::ProbeFailed { rank, failed, reason, .. } => {
                self.note(*rank, format!("its probe failed ({failed} in a row): {reason}"));
            }
            EventKind::Preempting { rank, within, reason, .. } => {
                self.note(*rank, format!("its machine will be taken within {within:.0?}: {reason}"));
            }
            EventKind::LinkRestored { rank } => {
                if let Some(node) = self.nodes.get_mut(rank) {
                    node.note = None;
                }
            }
            EventKind::ProvisionFailed { reason, attempt } => {
                self.trouble = Some((format!("renting failed (attempt {attempt}): {reason}"), after));
            }
            EventKind::TerminateFailed { reason } => {
                self.trouble = Some((format!("giving machines back failed: {reason}"), after));
            }
            EventKind::Provisioned { .. } => self.trouble = None,
            _ => {}
        }
    }

    fn note(&mut self, rank: Rank, note: String) {
        if let Some(node) = self.nodes.get_mut(&rank) {
            node.note = Some(note);
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = |since: Duration| self.after.saturating_sub(since).as_secs_f64();
        match &self.status.pool {
            Some((phase, since)) => write!(f, "the pool is {phase}, for {:.1}s", ago(*since))?,
            None => write!(f, "the pool has not begun")?,
        }
        if let Some((trouble, at)) = &self.status.trouble {
            write!(f, "\n  {:.1}s ago: {trouble}", ago(*at))?;
        }
        for Scaled { at, from, to, why } in &self.status.scaled {
            write!(f, "\n  {:.1}s ago: {to} nodes wanted, not {from}: {why}", ago(*at))?;
        }
        for (rank, node) in &self.status.nodes {
            write!(f, "\nnode {rank} is {}, for {:.1}s", node.phase, ago(node.since))?;
            if let Some(note) = &node.note {
                write!(f, ": {note}")?;
            }
            if let Some(until) = node.paused.filter(|it| *it > self.after) {
                let left = until.saturating_sub(self.after).as_secs_f64();
                write!(f, "; its machines do not last, another is rented in {left:.1}s")?;
            }
        }
        match &self.calls {
            Some(calls) => write!(f, "\n{calls}"),
            None => write!(f, "\nthe pool has ended; it takes no calls"),
        }
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "calls: {} running", self.running)?;
        if self.for_slot > 0 {
            write!(f, "; {} waiting for a free slot, all nodes are busy", self.for_slot)?;
        }
        if self.for_node > 0 {
            write!(f, "; {} waiting for a node to be ready", self.for_node)?;
        }
        self.for_rank.iter().try_for_each(|(rank, count)| write!(f, "; {count} waiting for node {rank}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Loss;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn node(rank: u32, phase: NodePhase) -> EventKind {
        EventKind::Node { rank: Rank(rank), attempt: Attempt(0), phase }
    }

    #[test]
    fn an_explanation_says_where_everything_is_and_what_it_waits_for() {
        let mut status = Status::default();
        for (kind, after) in [
            (EventKind::Pool(PoolPhase::Provisioning), 1),
            (EventKind::ProvisionFailed { reason: "full".into(), attempt: Attempt(1) }, 2),
            (EventKind::Pool(PoolPhase::Starting), 5),
            (node(0, NodePhase::Ready), 6),
            (node(1, NodePhase::Bootstrapping), 7),
            (EventKind::StepStarted { rank: Rank(1), step: "pip: torch".into() }, 8),
        ] {
            status.take_in(&kind, at(after));
        }
        assert_eq!(status.phases, [(PoolPhase::Provisioning, at(4))]);
        let waits = Waits { for_slot: 3, for_node: 0, for_rank: [(Rank(1), 2)].into(), running: 1 };
        let told = Explanation { after: at(10), status, calls: Some(waits) }.to_string();
        assert_eq!(
            told,
            "the pool is starting nodes, for 5.0s\n  8.0s ago: renting failed (attempt 1): full\n\
             node 0 is ready, for 4.0s\nnode 1 is bootstrapping, for 3.0s: step `pip: torch` is running\n\
             calls: 1 running; 3 waiting for a free slot, all nodes are busy; 2 waiting for node 1"
        );
    }

    #[test]
    fn why_a_rank_was_lost_is_told_until_it_is_ready_again() {
        let mut status = Status::default();
        let note = |status: &Status| status.nodes.get(&Rank(0)).and_then(|it| it.note.clone());
        status.take_in(&node(0, NodePhase::Ready), at(1));
        let lost = EventKind::NodeLost {
            rank: Rank(0),
            attempt: Attempt(0),
            reason: "frozen".into(),
            loss: Some(Loss::Network),
        };
        status.take_in(&lost, at(2));
        status.take_in(&node(0, NodePhase::Gone), at(2));
        status.take_in(&node(0, NodePhase::Launching), at(3));
        assert_eq!(note(&status).as_deref(), Some("lost (network): frozen"));
        status.take_in(&node(0, NodePhase::Ready), at(4));
        assert_eq!(note(&status), None);
    }

    #[test]
    fn the_last_words_of_a_life_that_leaves_are_not_those_of_the_next() {
        let of = |attempt, phase| EventKind::Node { rank: Rank(0), attempt: Attempt(attempt), phase };
        let lost = EventKind::NodeLost {
            rank: Rank(0),
            attempt: Attempt(0),
            reason: "taken".into(),
            loss: Some(Loss::Preempted),
        };
        let mut status = Status::default();
        for kind in [
            of(0, NodePhase::Ready),
            of(0, NodePhase::Draining),
            of(1, NodePhase::Ready),
            lost,
            of(0, NodePhase::Gone),
        ] {
            status.take_in(&kind, at(1));
        }
        let (attempt, phase) = (Attempt(1), NodePhase::Ready);
        let next = NodeStatus { attempt, phase, since: at(1), note: None, paused: None };
        assert_eq!(status.nodes, [(Rank(0), next)].into());
    }

    #[test]
    fn a_rank_whose_replacement_waits_says_so_until_it_has_another_machine() {
        let mut status = Status::default();
        let lost = EventKind::NodeLost {
            rank: Rank(0),
            attempt: Attempt(0),
            reason: "frozen".into(),
            loss: Some(Loss::Network),
        };
        let paused = EventKind::ReplacementPaused { rank: Rank(0), machines: 2, pause: at(5) };
        // Its cloud takes it, it leaves, and its last words come while the rank waits.
        for kind in [node(0, NodePhase::Ready), paused, lost, node(0, NodePhase::Gone)] {
            status.take_in(&kind, at(2));
        }
        let told = |status: &Status, after| {
            let status = status.clone();
            Explanation { after: at(after), status, calls: None }.to_string()
        };
        let gone = "node 0 is gone, for 1.0s: lost (network): frozen";
        let waits = format!("{gone}; its machines do not last, another is rented in 4.0s");
        assert!(told(&status, 3).contains(&waits), "{}", told(&status, 3));
        assert!(!told(&status, 7).contains("another is rented"), "{}", told(&status, 7));
        let again = EventKind::Node { rank: Rank(0), attempt: Attempt(1), phase: NodePhase::Launching };
        status.take_in(&again, at(3));
        assert!(!told(&status, 3).contains("another is rented"), "{}", told(&status, 3));
    }
}
