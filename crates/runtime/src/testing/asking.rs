//! What a program of a simulated world asks clouds to change: the counterpart of the ProviderActor, which has one
//! request under way at a time, and of `journal::Recorded`, which writes down what is asked and answered. Its decisions
//! are the real thing (`journal::Asking`); between any two of its steps the program may be killed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::cloud::Machine;
use super::event::{Event, Owner};
use super::failure::Law;
use super::knobs::Mutation;
use super::pool::PoolMessage;
use super::world::World;
use crate::journal::{Asking, DeedKind, JournalError};
use crate::model::{Attempt, InstanceId, Leftover, PoolId};
use crate::pool::looks::{Failed, Looks};
use crate::pool::messages::{Heard, Shortfall};
use crate::pool::{Candidate, StartError};
use crate::provider::{ProviderErrorKind, Request};

/// What machines are rented with, and everything is undone with.
#[derive(Debug)]
pub(super) struct Kit {
    pub(super) candidate: Candidate,
    pub(super) request: Request,
    /// The candidate, as it is written down.
    pub(super) terms: String,
}

/// Something that clouds are asked for, part by part.
#[derive(Debug)]
pub(super) struct Errand {
    why: Why,
    parts: VecDeque<Part>,
    asking: Option<Asking>,
    failed: Vec<String>,
    left: Vec<Leftover>,
    given: Option<(Vec<InstanceId>, Option<Shortfall>)>,
}

/// What it is good for.
#[derive(Clone, Debug)]
pub(super) enum Why {
    Prepare(Arc<Kit>),
    Readopt(Vec<(Arc<Kit>, Vec<InstanceId>)>, Vec<Arc<Kit>>),
    /// What nobody was told of is looked for.
    Look(Look),
    Provision(Attempt, Arc<Kit>),
    Release(Vec<InstanceId>),
    Terminate,
    Teardown,
    /// Nobody owns the pool, and it is given back.
    Undo,
}

/// A look at what clouds list.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// With what machines were asked for.
    kits: Vec<Arc<Kit>>,
    /// A pool that was attached to rents nothing before.
    is_first: bool,
    /// Those that come after it.
    rest: Looks,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) kind: DeedKind,
    pub(super) kit: Arc<Kit>,
    pub(super) count: u32,
    pub(super) instances: Vec<InstanceId>,
}

/// A request on its way: it reaches its cloud though who sent it is killed.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) program: u32,
    /// The number of its intent.
    deed: Option<i64>,
    part: Part,
}

/// What a cloud answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Done(Result<(), String>),
    Given(Vec<InstanceId>, Option<Shortfall>),
    TornDown(Result<Vec<Leftover>, String>),
}

impl Kit {
    pub(super) fn new(pool: PoolId, candidate: Candidate, lease: Duration) -> Self {
        let request = Request {
            pool,
            offer: candidate.offer.clone(),
            market: candidate.tariff.market,
            disk_gb: None,
            volumes: Vec::new(),
            ssh_key: String::new(),
            lease,
        };
        Self::known(candidate, request)
    }

    /// What another program rented with.
    pub(super) fn known(candidate: Candidate, request: Request) -> Self {
        let terms = serde_json::to_string(&candidate).unwrap_or_default();
        Self { candidate, request, terms }
    }
}

impl Part {
    pub(super) const fn new(kind: DeedKind, kit: Arc<Kit>) -> Self {
        Self { kind, kit, count: 0, instances: Vec::new() }
    }
}

impl Errand {
    pub(super) fn new(why: Why, parts: impl IntoIterator<Item = Part>) -> Self {
        let parts = parts.into_iter().collect();
        Self { why, parts, asking: None, failed: Vec::new(), left: Vec::new(), given: None }
    }

    /// Takes in the answer to its first part.
    fn take_in(&mut self, answer: Answer) {
        match answer {
            Answer::Done(result) => self.failed.extend(result.err()),
            Answer::Given(instances, shortfall) => self.given = Some((instances, shortfall)),
            Answer::TornDown(Ok(left)) => self.left.extend(left),
            Answer::TornDown(Err(reason)) => self.failed.push(reason),
        }
    }

    fn result(&self) -> Result<(), String> {
        if self.failed.is_empty() { Ok(()) } else { Err(self.failed.join("; ")) }
    }
}

impl World {
    /// Asks clouds for something, after what they were asked before.
    pub(super) fn send(&mut self, errand: Errand) {
        self.me.errands.push_back(errand);
        if self.me.errands.len() == 1 {
            self.go_on_asking();
        }
    }

    fn go_on_asking(&mut self) {
        let Some(errand) = self.me.errands.front() else { return };
        if !errand.parts.is_empty() {
            let after = self.dice.up_to(BRIEF);
            return self.plan(after, Event::Intends);
        }
        if let Some(errand) = self.me.errands.pop_front() {
            self.errand_ends(errand);
        }
        self.go_on_asking();
    }

    /// The intent is written down, or cannot be.
    pub(super) fn intends(&mut self) {
        let Some(part) = self.me.errands.front().and_then(|it| it.parts.front()).cloned() else { return };
        let (kind, kit) = (part.kind, Arc::clone(&part.kit));
        if self.mutation == Some(Mutation::IntentAfter) && kind == DeedKind::Provision {
            return self.set_out(Asking::begin(kind, "", Ok(0)).ok(), None, part);
        }
        let (terms, account) = (kit.terms.clone(), Some(self.me.account()));
        let intent =
            self.write(|store, owner| store.intend(owner, (kind, terms), account, kit.request.clone()));
        let number = intent.as_ref().ok().copied();
        let asking = match (intent, self.mutation) {
            (Err(JournalError::Full { .. }), Some(Mutation::RentUnwritten)) => {
                Asking::begin(DeedKind::Terminate, "", Err(JournalError::Full { folder: "it".into() }))
            }
            (intent, _) => Asking::begin(kind, &kit.request.offer.provider, intent),
        };
        match asking {
            Ok(asking) => self.set_out(Some(asking), number, part),
            Err(error) => {
                let (reason, kind) = (error.to_string(), part.kind);
                let shortfall =
                    Shortfall { reason: reason.clone(), kind: error.kind, after: None, unsure: error.unsure };
                self.part_ends(match kind {
                    DeedKind::Prepare | DeedKind::Terminate => Answer::Done(Err(reason)),
                    DeedKind::Provision => Answer::Given(Vec::new(), Some(shortfall)),
                    DeedKind::Teardown => Answer::TornDown(Err(reason)),
                });
            }
        }
    }

    fn set_out(&mut self, asking: Option<Asking>, deed: Option<i64>, part: Part) {
        if let Some(errand) = self.me.errands.front_mut() {
            errand.asking = asking;
        }
        let most = if self.dice.chance(100) { self.timing.provision } else { self.timing.provision / 20 };
        let after = self.dice.up_to(most);
        let program = self.me.number;
        // Who asks is killed now and then before there is an answer.
        let dies = self.dice.up_to(after);
        if part.kind == DeedKind::Provision && self.dice.chance(self.weather.unreported / 8) {
            self.plan(dies, Event::Owner(Owner::Dies));
        }
        self.plan(after, Event::Acts(Box::new(Order { program, deed, part })));
    }

    /// A cloud does what it is asked for.
    pub(super) fn acts(&mut self, Order { program, deed, part }: Order) {
        let makes = matches!(part.kind, DeedKind::Prepare | DeedKind::Provision);
        let is_over = self.journal.entry().is_none_or(|it| it.id != part.kit.request.pool);
        // What is set up costs nothing and has the pool's name, so that a preparation is waited for by nobody who gives
        // the pool back: not that of a dead program, and not that of one that has lost the pool. It may come once its
        // pool is forgotten, or, a moment before that, once all is undone where it was meant for.
        let place = (part.kit.request.pool.clone(), part.kit.request.offer.provider.clone());
        let is_late = is_over || self.undone.get(&place).is_some_and(|by| program < *by);
        if part.kind == DeedKind::Prepare && is_late && !self.is_alive(program) {
            return;
        }
        if part.kind == DeedKind::Prepare && is_late && program < self.newest_owner {
            let answer = Box::new(Answer::Done(Ok(())));
            return self.plan_for(program, self.now, Event::Answered(answer));
        }
        if part.kind == DeedKind::Provision && !self.is_alive(program) && is_over {
            // Clocks that are set, and computers that sleep, make what is on its way look older than it is.
            if self.set_forward.is_zero() && self.summary.slept == 0 {
                let what = format!(
                    "a request for machines was on its way when {}'s entry was forgotten",
                    part.kit.request.pool
                );
                self.breach(Law::NothingLeft, what);
            }
            return;
        }
        if makes && !deed.is_some_and(|it| self.journal.knows(it)) {
            let what = format!("{:?} is asked for, and not in the journal", part.kind);
            return self.breach(Law::Written, what);
        }
        let is_stranger = self.program(program).is_some_and(|it| it.stranger);
        let answer = match part.kind {
            // To the key of another account there is nothing of it.
            DeedKind::Teardown if is_stranger => Answer::TornDown(Ok(Vec::new())),
            _ if is_stranger => Answer::Done(Ok(())),
            DeedKind::Prepare => Answer::Done(self.prepare(&part.kit)),
            DeedKind::Provision => {
                let (instances, shortfall) = self.provision(program, part.count, &part.kit);
                Answer::Given(instances, shortfall)
            }
            DeedKind::Terminate => Answer::Done(self.terminate(program, &part.instances)),
            DeedKind::Teardown => Answer::TornDown(self.teardown(program, &part.kit)),
        };
        let at = self.now + self.dice.up_to(BRIEF);
        self.plan_for(program, at, Event::Answered(Box::new(answer)));
    }

    /// The answer is there, and is written down.
    pub(super) fn answered(&mut self, answer: Answer) {
        let Some(errand) = self.me.errands.front() else { return };
        let (Some(asking), Some(part)) = (errand.asking, errand.parts.front().cloned()) else { return };
        let note = match &answer {
            Answer::Done(Ok(())) if part.kind == DeedKind::Terminate => asking.gone(part.instances.clone()),
            Answer::Done(result) => asking.ended(result.clone().err()),
            Answer::Given(instances, shortfall) => match shortfall {
                Some(shortfall) if instances.is_empty() => {
                    asking.refused(!shortfall.unsure, shortfall.reason.clone())
                }
                shortfall => {
                    asking.rented(instances.clone(), !shortfall.as_ref().is_some_and(|it| it.unsure))
                }
            },
            Answer::TornDown(result) => asking.ended(result.as_ref().err().cloned()),
        };
        if let Some(note) = note {
            let provider = part.kit.request.offer.provider.clone();
            // What cannot be written down is told a person, and nothing else.
            let _ = self.write(|store, owner| store.note(owner, &provider, note));
        }
        if part.kind == DeedKind::Provision {
            self.judge_hourly();
        }
        self.part_ends(answer);
    }

    fn part_ends(&mut self, answer: Answer) {
        let Some(errand) = self.me.errands.front_mut() else { return };
        errand.parts.pop_front();
        if matches!(errand.why, Why::Undo) {
            // It sends the next itself.
            self.me.errands.pop_front();
            return self.undone(answer);
        }
        errand.take_in(answer);
        self.go_on_asking();
    }

    fn errand_ends(&mut self, errand: Errand) {
        let result = errand.result();
        let heard = match errand.why {
            Why::Prepare(kit) => {
                self.summary.candidates += 1;
                let message = match result {
                    Ok(()) => PoolMessage::Prepared(kit),
                    Err(reason) => {
                        let provider = kit.request.offer.provider.clone();
                        PoolMessage::Unprepared(kit, StartError::Prepare { provider, reason })
                    }
                };
                return self.cast_pool(message);
            }
            Why::Readopt(kits, unheard) => match result {
                Ok(()) => {
                    self.cast_pool(PoolMessage::Readopted(kits));
                    return self.look_for_strays(Look { kits: unheard, is_first: true, rest: Looks::all() });
                }
                Err(reason) => {
                    Heard::Prepared(Err(StartError::Prepare { provider: "cloud".to_owned(), reason }))
                }
            },
            Why::Look(look) => {
                if result.is_ok() {
                    self.settle(&look.kits);
                }
                let is_first = look.is_first;
                let next = look.rest.after(result.map_err(|_| Failed), self.timing.release_retry);
                self.look_later(look.kits, next);
                if !is_first {
                    return;
                }
                Heard::Looked
            }
            Why::Provision(request, kit) => {
                let (instances, shortfall) = errand.given.unwrap_or_default();
                if shortfall.as_ref().is_some_and(|it| it.unsure) {
                    self.look_later(vec![Arc::clone(&kit)], Looks::begin(self.timing.release_retry));
                }
                if let Some(pool) = &mut self.me.pool {
                    pool.rented_with(&kit, &instances);
                }
                Heard::Provisioned { request, instances, shortfall }
            }
            Why::Release(instances) => Heard::Released { instances, result },
            Why::Terminate => Heard::Terminated(result),
            Why::Teardown => Heard::TornDown(result.map(|()| errand.left)),
            Why::Undo => return,
        };
        // What is told of without its name comes once, or it would be taken for the answer to the next request.
        let is_named = !matches!(heard, Heard::Terminated(_));
        if self.dice.chance(self.weather.twice) && is_named {
            let after = self.dice.up_to(Duration::from_secs(10));
            self.plan(after, Event::Pool(PoolMessage::Heard(heard.clone())));
        }
        self.cast_pool(PoolMessage::Heard(heard));
    }

    /// Gives back what clouds list of a pool and nobody knows, once nothing is being rented.
    fn look_for_strays(&mut self, look: Look) {
        let rents = |it: &Errand| matches!(it.why, Why::Provision(..));
        if self.me.errands.iter().any(rents) {
            return self.plan(PAUSE, Event::Looks(look));
        }
        let mut parts = Vec::new();
        for kit in &look.kits {
            let place = (kit.request.pool.clone(), kit.request.offer.provider.clone());
            let is_stray = |it: &&Machine| it.place == place && it.is_listed(self.now) && !self.me.knows(it);
            let instances: Vec<InstanceId> =
                self.own_machines().filter(is_stray).map(|it| it.name.clone()).collect();
            if !instances.is_empty() {
                self.summary.strays += instances.len() as u64;
                parts.push(Part { instances, ..Part::new(DeedKind::Terminate, Arc::clone(kit)) });
            }
        }
        // Whoever ended the errand before the first goes on with the next.
        let is_first = look.is_first;
        self.me.errands.push_back(Errand::new(Why::Look(look), parts));
        if !is_first && self.me.errands.len() == 1 {
            self.go_on_asking();
        }
    }

    /// It is time for another look, if the pool is still there.
    pub(super) fn look_again(&mut self, look: Look) {
        if self.me.pool.as_ref().is_some_and(|it| !it.ended) {
            self.look_for_strays(look);
        }
    }

    /// Whether a request may yet bring machines whose answer nobody heard.
    pub(super) fn may_yet_come(&self) -> bool {
        let (wall, known) = (self.wall(), self.mutation != Some(Mutation::ForgetUnheard));
        let mut deeds = self.journal.entry().into_iter().flat_map(|it| &it.deeds);
        known && deeds.any(|it| it.may_yet_bring(wall).is_some())
    }

    fn look_later(&mut self, kits: Vec<Arc<Kit>>, next: Option<(Duration, Looks)>) {
        if let Some((after, rest)) = next {
            self.plan(after, Event::Looks(Look { kits, is_first: false, rest }));
        }
    }

    /// Requests that can bring nothing any more count as answered.
    fn settle(&mut self, kits: &[Arc<Kit>]) {
        let wall = self.wall();
        let deeds = self.journal.entry().into_iter().flat_map(|it| &it.deeds);
        let over = deeds.filter(|it| {
            let same = kits.iter().any(|kit| kit.request == it.request);
            same && it.is_unheard() && it.may_yet_bring(wall).is_none()
        });
        let over: Vec<i64> = over.map(|it| it.number).collect();
        // The next look does it.
        let _ = self.write(|store, owner| store.answered(owner, &over));
    }

    /// Writes something into the journal as this program, unless the disk takes nothing.
    pub(super) fn write<T>(
        &mut self,
        change: impl FnOnce(&mut super::store::Store, &(PoolId, crate::model::Epoch)) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let Some(owner) = self.me.owner.clone() else {
            return Err(JournalError::NoFolder);
        };
        self.journal.full = self.dice.chance(self.weather.unwritten);
        self.journal.now = self.wall();
        let written = change(&mut self.journal, &owner);
        self.journal.full = false;
        if let Err(by @ JournalError::Superseded { .. }) = &written {
            self.superseded(by.clone());
        }
        if written.is_ok() && self.newest_owner > self.me.number {
            let what = format!("program {} writes, and {} owns the pool", self.me.number, self.newest_owner);
            self.breach(Law::Older, what);
        }
        written
    }
}

/// What is missing when nothing was given.
pub(super) fn short(reason: &str, kind: ProviderErrorKind) -> Option<Shortfall> {
    let unsure = matches!(kind, ProviderErrorKind::Transient);
    Some(Shortfall { reason: reason.to_owned(), kind, after: None, unsure })
}

/// Between two looks of which the first could not tell.
const PAUSE: Duration = Duration::from_secs(5);

/// How long a step takes that waits for nobody else, at most.
const BRIEF: Duration = Duration::from_millis(20);
