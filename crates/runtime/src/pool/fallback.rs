//! What is tried next when an offer cannot give its machines. Pure.
//!
//! ```text
//! asked --falls short--> asked again, while that may help --> the offer's other market --> the next offer
//! ```
//!
//! Every candidate names the spec that it fits, and with it the provider that made the offer: nobody
//! else is asked for it.

use std::collections::VecDeque;
use std::time::Duration;

use super::messages::Shortfall;
use super::plan::Candidate;
use crate::model::Attempt;
use crate::provider::{ProviderErrorKind, Retry};
use crate::timing::Timing;

/// The candidates that are left, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fallback {
    all: Vec<Candidate>,
    current: Option<Candidate>,
    waiting: VecDeque<Candidate>,
    /// How often in a row the current one was asked in vain, or gave too little.
    attempts: Attempt,
    /// Candidates that were given up, and why.
    tried: Vec<String>,
    /// None is left, of those at least that may be beside what stays.
    is_over: bool,
}

impl Candidate {
    /// Whether machines of the other one may be in a pool with those of this one.
    fn mixes_with(&self, other: &Self) -> bool {
        self.mixed && other.mixed && self.nodes == other.nodes
    }

    /// Whether machines of the other one may take the place of some of this one: they are the same machines, in whichever
    /// market, or the pool may mix them.
    fn stands_in_for(&self, other: &Self) -> bool {
        self.mixes_with(other) || self.spec == other.spec && self.offer == other.offer
    }
}

/// What a failure of one candidate says of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// This market of this offer.
    Market,
    /// This offer in all its markets.
    Offer,
    /// All that its spec's provider offers to this account.
    Provider,
}

impl Fallback {
    /// The candidates of a plan, in order. Returns the first.
    pub(super) fn begin(&mut self, candidates: Vec<Candidate>) -> Option<Candidate> {
        self.all.clone_from(&candidates);
        self.waiting = VecDeque::from(candidates);
        self.current = self.waiting.pop_front();
        self.current.clone()
    }

    /// Begins again with all of them, where one was given up. Returns the first.
    pub(super) fn restart(&mut self) -> Option<Candidate> {
        self.is_over = false;
        self.attempts = Attempt(0);
        if self.tried.is_empty() {
            return None;
        }
        self.tried.clear();
        self.begin(self.all.clone())
    }

    /// Begins again with those that may be beside what there is, where all of them were given up. Returns the first, if
    /// that is another than the last.
    pub(super) fn restart_beside(&mut self) -> Option<Candidate> {
        if !std::mem::take(&mut self.is_over) {
            return None;
        }
        self.attempts = Attempt(0);
        self.tried.clear();
        let current = self.current.clone()?;
        self.waiting = self.all.iter().filter(|it| it.stands_in_for(&current)).cloned().collect();
        let first = self.waiting.pop_front().filter(|it| *it != current)?;
        self.current = Some(first.clone());
        Some(first)
    }

    /// What was given up so far, and why.
    pub(super) fn tried(&self) -> &[String] {
        &self.tried
    }

    /// The current candidate gave machines.
    pub(super) const fn gave(&mut self) {
        self.attempts = Attempt(0);
    }

    /// The current candidate gave fewer machines than were asked for, or none: how often in a row, and
    /// when to ask it again for what is missing, if that may help.
    pub(super) fn falls_short(
        &mut self,
        shortfall: &Shortfall,
        timing: &Timing,
    ) -> (Attempt, Option<Duration>) {
        self.attempts = self.attempts.next();
        let attempt = self.attempts;
        let again = match shortfall.kind.retry() {
            Retry::After(least) if attempt.0 < timing.provision_attempts => {
                let delay = timing.provision_retry.delay(attempt.0.saturating_sub(1));
                Some(delay.max(shortfall.after.unwrap_or(least)).min(timing.provision))
            }
            Retry::After(_) | Retry::Never => None,
        };
        (attempt, again)
    }

    /// Gives the current candidate up. The next one, and whether what there is stays: else it is given
    /// back. With `keep` only those are looked at beside which it may stay.
    pub(super) fn next(
        &mut self,
        kind: ProviderErrorKind,
        reason: &str,
        keep: bool,
    ) -> Option<(Candidate, bool)> {
        let failed = self.current.as_ref()?.clone();
        // Should a machine be wanted again when none is left, the same is asked again.
        self.attempts = Attempt(0);
        self.tried.push(format!("{}, {}: {reason}", failed.offer, failed.tariff));
        match reach(kind) {
            Reach::Market => self.put_other_market(&failed),
            Reach::Offer => {}
            Reach::Provider => self.waiting.retain(|it| it.offer.provider != failed.offer.provider),
        }
        let place = self.waiting.iter().position(|it| !keep || it.stands_in_for(&failed));
        let Some(candidate) = place.and_then(|it| self.waiting.remove(it)) else {
            self.is_over = true;
            return None;
        };
        self.current = Some(candidate.clone());
        let keep = keep || failed.mixes_with(&candidate);
        Some((candidate, keep))
    }

    /// The offer's other market takes its place among what is waiting, by its price.
    fn put_other_market(&mut self, failed: &Candidate) {
        let Some(tariff) = failed.otherwise else { return };
        let other = Candidate { tariff, otherwise: None, ..failed.clone() };
        let place = self.waiting.iter().position(|it| it.spec == other.spec && it.hourly() >= other.hourly());
        // With no dearer one of its spec behind it, it comes after the last of its spec, or first.
        let last = || self.waiting.iter().rposition(|it| it.spec == other.spec).map_or(0, |it| it + 1);
        self.waiting.insert(place.unwrap_or_else(last), other);
    }
}

/// How far a failure reaches.
const fn reach(kind: ProviderErrorKind) -> Reach {
    match kind {
        ProviderErrorKind::NoCapacity | ProviderErrorKind::Quota => Reach::Market,
        ProviderErrorKind::OfferGone
        | ProviderErrorKind::InvalidRequest
        | ProviderErrorKind::NotFound
        | ProviderErrorKind::Conflict
        | ProviderErrorKind::RateLimited
        | ProviderErrorKind::Transient => Reach::Offer,
        ProviderErrorKind::Auth
        | ProviderErrorKind::Permission
        | ProviderErrorKind::InsufficientFunds
        | ProviderErrorKind::Local => Reach::Provider,
    }
}
