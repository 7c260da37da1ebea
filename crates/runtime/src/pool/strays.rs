//! Machines that a cloud has of a pool and nobody was told of: the request for them was broken off, or the program that
//! sent it was killed. The PoolActor looks for them, and again until none can come any more.
//!
//! look → its cloud's list → not one of ours → given back → … → look again → the request counts as answered

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::task::AbortHandle;

use super::actor::begin;
use super::looks::{Failed, Looks};
use super::messages::{Heard, PoolMessage, Shortfall};
use super::steps::within;
use crate::journal::{Journal, KnownPool, Record, pending};
use crate::model::{EventKind, InstanceId, Leftover};
use crate::node::NodeKit;
use crate::provider::Sighting;

/// What the actor knows of its requests for machines, and the looks that are to come.
#[derive(Debug, Default)]
pub(super) struct Watch {
    renting: Renting,
    /// How many looks a pool that was attached to waits for.
    first: usize,
    timers: Vec<AbortHandle>,
}

/// Requests for machines. A list that is as old as any of them may show what it has just brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Renting {
    asked: u64,
    under_way: bool,
}

/// A look at a cloud's list, and those that come after it.
#[derive(Clone, Debug)]
pub(super) struct Look {
    kit: Arc<NodeKit>,
    /// A pool that was attached to rents nothing before.
    is_first: bool,
    /// Those that come after it.
    rest: Looks,
    /// What was known when it began.
    begun: Renting,
}

/// How far a look is.
#[derive(Debug)]
pub(super) enum Step {
    /// Its time has come.
    Look(Look),
    /// What the list shows.
    Sighted(Look, Seen),
    /// What is a stray there was given back; or could not be, or the list could not be had.
    Looked(Look, Result<(), Failed>),
}

/// What a list shows, of a cloud that has one; or why nobody knows.
type Seen = Result<Option<Vec<Sighting>>, String>;

impl Watch {
    /// Looks at what another owner has left, before anything is rented.
    pub(super) fn begin(&mut self, kits: Vec<Arc<NodeKit>>, pool: &ActorRef<PoolMessage>) {
        self.first = kits.len();
        if kits.is_empty() {
            // Fails only when the pool is over.
            let _ = pool.cast(PoolMessage::heard(Heard::Looked));
        }
        for kit in kits {
            let _ = pool.cast(PoolMessage::Strays(Step::Look(Look::new(kit, true))));
        }
    }

    /// Machines are asked for.
    pub(super) const fn rents(&mut self) {
        self.renting.begins();
    }

    /// They were, or were not given, or nobody knows: then it is looked.
    pub(super) fn rented(
        &mut self,
        kit: &Arc<NodeKit>,
        shortfall: Option<&Shortfall>,
        pool: &ActorRef<PoolMessage>,
    ) {
        self.renting.ends();
        if shortfall.is_some_and(|it| it.unsure) {
            let look = Look::new(Arc::clone(kit), false);
            self.follow(&look, Looks::begin(kit.timing.release_retry), pool);
        }
    }

    /// Goes on with a look. `ours`: all machines of the pool.
    pub(super) fn hear(
        &mut self,
        step: Step,
        ours: &BTreeMap<InstanceId, Arc<NodeKit>>,
        pool: &ActorRef<PoolMessage>,
    ) -> Option<Heard> {
        match step {
            Step::Look(it) => begin(pool, look(Look { begun: self.renting, ..it })),
            Step::Sighted(it, _) if !self.renting.has_rested_since(it.begun) => self.later(PAUSE, it, pool),
            Step::Sighted(it, seen) => begin(pool, give_back(it, seen, ours.keys().cloned().collect())),
            Step::Looked(it, looked) => {
                self.follow(&it, it.rest.after(looked, it.kit.timing.release_retry), pool);
                if it.is_first {
                    self.first = self.first.saturating_sub(1);
                    return (self.first == 0).then_some(Heard::Looked);
                }
            }
        }
        None
    }

    /// No look comes any more.
    pub(super) fn stop(&mut self) {
        self.timers.drain(..).for_each(|it| it.abort());
    }

    /// The look after this one, if there is one.
    fn follow(&mut self, look: &Look, next: Option<(Duration, Looks)>, pool: &ActorRef<PoolMessage>) {
        if let Some((after, rest)) = next {
            self.later(after, Look { is_first: false, rest, ..look.clone() }, pool);
        }
    }

    fn later(&mut self, after: Duration, look: Look, pool: &ActorRef<PoolMessage>) {
        let wake = pool.send_after(after, move || PoolMessage::Strays(Step::Look(look)));
        self.timers.retain(|it| !it.is_finished());
        self.timers.push(wake.abort_handle());
    }
}

impl Renting {
    const fn begins(&mut self) {
        (self.asked, self.under_way) = (self.asked + 1, true);
    }

    const fn ends(&mut self) {
        self.under_way = false;
    }

    /// Whether nothing was rented since then, so that what is listed and not known is a stray.
    fn has_rested_since(self, before: Self) -> bool {
        self == before && !self.under_way
    }
}

impl Look {
    const fn new(kit: Arc<NodeKit>, is_first: bool) -> Self {
        Self { kit, is_first, rest: Looks::all(), begun: Renting { asked: 0, under_way: false } }
    }
}

/// Asks for the list.
async fn look(look: Look) -> PoolMessage {
    let Look { kit, is_first, .. } = &look;
    let seen = match kit.provider.sightings(kit.timing.provision).await {
        Ok(None) if *is_first => Err(format!(
            "{} was asked for machines and nobody heard what came of it, and it has no list to look at; what there is \
             ends by its lease",
            kit.provider.provider().name()
        )),
        Ok(seen) => Ok(seen),
        Err(error) => Err(format!("what was rented without an answer could not be looked for: {error}")),
    };
    PoolMessage::Strays(Step::Sighted(look, seen))
}

/// Gives back what is listed and not known.
async fn give_back(look: Look, seen: Seen, known: BTreeSet<InstanceId>) -> PoolMessage {
    let kit = &look.kit;
    let looked = match release(kit, seen, &known).await {
        Ok(true) => {
            settle(kit).await;
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(reason) => {
            kit.events.emit(EventKind::TerminateFailed { reason });
            Err(Failed)
        }
    };
    PoolMessage::Strays(Step::Looked(look, looked))
}

/// Whether all that is listed is known then; nobody knows where there is no list.
async fn release(kit: &NodeKit, seen: Seen, known: &BTreeSet<InstanceId>) -> Result<bool, String> {
    let Some(seen) = seen? else { return Ok(false) };
    let strays: Vec<InstanceId> = strays(seen, kit, known).collect();
    if !strays.is_empty() {
        let request = Arc::clone(&kit.request);
        let ended = kit.provider.terminate(request, strays.clone(), within(kit, strays.len())).await;
        ended
            .map_err(|error| format!("{error}; it was rented without an answer, and is looked for again"))?;
        strays.into_iter().for_each(|instance| kit.events.emit(EventKind::Terminated { instance }));
    }
    Ok(true)
}

fn strays(
    seen: Vec<Sighting>,
    kit: &NodeKit,
    known: &BTreeSet<InstanceId>,
) -> impl Iterator<Item = InstanceId> {
    let request = &kit.request;
    let is_here = |it: &Sighting| it.region.is_none() || it.region == request.offer.region;
    let seen = seen.into_iter().filter(move |it| it.pool == request.pool && is_here(it));
    seen.map(|it| it.instance).filter(|it| !known.contains(it))
}

/// Writes down which requests can bring nothing any more. Of one that is younger nobody knows: it is looked again, or
/// whoever attaches next does.
async fn settle(kit: &NodeKit) {
    let Some(record) = &kit.record else { return };
    let Some(pool) = written(record).await else { return };
    let (now, provider) = (Journal::now(), kit.provider.provider());
    let account = provider.account();
    let over = pool.deeds.iter().filter(|it| {
        let same = it.provider == provider.name() && it.request == *kit.request;
        same && it.is_unheard() && it.is_of(account.as_ref()) && it.may_yet_bring(now).is_none()
    });
    let over: Vec<i64> = over.map(|it| it.number).collect();
    if !over.is_empty()
        && let Err(error) = record.answered(over).await
    {
        tracing::warn!(%error, "that requests were looked for is not in the journal");
    }
}

/// Takes a pool that was given back from the journal. It stays there while a request may yet bring machines; what is left
/// then.
pub(super) async fn forget(record: &Arc<Record>, kits: &[Arc<NodeKit>]) -> Vec<Leftover> {
    let is_here = |name: &str| {
        let named = kits.iter().map(|it| it.provider.provider()).filter(|it| it.name() == name);
        named.map(|it| it.capabilities().same_computer).next().unwrap_or(false)
    };
    let deeds = written(record).await.map(|it| it.deeds).unwrap_or_default();
    let left = pending(deeds.iter().filter(|it| !is_here(&it.provider)), Journal::now());
    if left.is_none()
        && let Err(error) = record.forget().await
    {
        tracing::warn!(%error, "a pool that was given back is still in the journal");
    }
    left.into_iter().collect()
}

/// What is written down of a pool.
async fn written(record: &Arc<Record>) -> Option<KnownPool> {
    let record = Arc::clone(record);
    let read = tokio::task::spawn_blocking(move || {
        record.journal().read().ok()?.pools.into_iter().find(|it| it.id == *record.pool())
    });
    read.await.ok()?
}

/// Between two looks of which the first could not tell, because machines were rented meanwhile.
const PAUSE: Duration = Duration::from_secs(5);

#[test]
fn a_list_tells_what_is_a_stray_only_if_nothing_was_rented_since_it_was_asked_for() {
    let (mut renting, begun) = (Renting::default(), Renting::default());
    assert!(renting.has_rested_since(begun));
    renting.begins();
    assert!(!renting.has_rested_since(begun) && !renting.has_rested_since(renting), "it may be on the list");
    renting.ends();
    assert!(!renting.has_rested_since(begun) && renting.has_rested_since(renting));
}
