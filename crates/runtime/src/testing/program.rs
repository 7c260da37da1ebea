//! The programs of a simulated world: each is a process that owns the pool, attaches to what another one left, or gives
//! back what nobody owns; that may be killed at any event, sleep, and be run again.
//!
//! ```text
//! run ─lock free─> begun | attached | given back first, then run again       ─lock held─> refused
//!  └─> pool starts, calls are asked for ─> given back | left | killed | asleep → awake (its lock may be another's)
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::asking::Errand;
use super::calls::Call;
use super::cloud::Machine;
use super::event::{Event, Owner};
use super::failure::Law;
use super::knobs::Mutation;
use super::pool::Pool;
use super::tasks::Queue;
use super::worker::Work;
use super::world::World;
use crate::journal::{Found, Inputs, JournalError, KnownPool, Undoing};
use crate::model::{Epoch, InstanceId, KeyPrint, PoolId, TaskId};
use crate::tasks::GroupId;

/// One process, and everything that vanishes with it.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) number: u32,
    pub(super) alive: bool,
    /// The pool, and as which of its owners; `None` when it owns none.
    pub(super) owner: Option<(PoolId, Epoch)>,
    pub(super) pool: Option<Pool>,
    pub(super) queue: Option<Queue>,
    pub(super) calls: BTreeMap<TaskId, Call>,
    pub(super) open_calls: usize,
    /// Groups of which a call has failed.
    pub(super) failed: BTreeSet<GroupId>,
    /// The owner gives the pool back when the last call is over.
    pub(super) stops_when_done: bool,
    /// What its clouds are asked for: the first is under way.
    pub(super) errands: VecDeque<Errand>,
    /// How many renewals it sent.
    pub(super) renewals: u64,
    /// The machines that it has read of in the journal.
    pub(super) inherited: BTreeSet<InstanceId>,
    /// What it gives back, when that is all that it does, and whether the program is run then.
    pub(super) undoing: Option<(Undoing, bool)>,
    /// It has the key of another account than the pool's owners.
    pub(super) stranger: bool,
    /// How long it has slept, and until when it does.
    pub(super) slept: Duration,
    pub(super) asleep: Duration,
    /// When it heard, on its own clock of intervals, that another program has its pool.
    pub(super) superseded: Option<Duration>,
}

impl Program {
    pub(super) fn new(number: u32, owner: Option<(PoolId, Epoch)>) -> Self {
        Self {
            number,
            alive: owner.is_some(),
            owner,
            pool: None,
            queue: None,
            calls: BTreeMap::new(),
            open_calls: 0,
            failed: BTreeSet::new(),
            stops_when_done: false,
            errands: VecDeque::new(),
            renewals: 0,
            inherited: BTreeSet::new(),
            undoing: None,
            stranger: false,
            slept: Duration::ZERO,
            asleep: Duration::ZERO,
            superseded: None,
        }
    }

    /// Whether it knows of a machine.
    pub(super) fn knows(&self, machine: &Machine) -> bool {
        machine.told == Some(self.number) || self.inherited.contains(&machine.name)
    }

    /// Which account's key it asks with.
    pub(super) fn account(&self) -> KeyPrint {
        KeyPrint::new(if self.stranger { "another" } else { "own" })
    }

    fn epoch(&self) -> Epoch {
        self.owner.as_ref().map_or(Epoch(0), |it| it.1)
    }
}

impl World {
    pub(super) fn program(&self, number: u32) -> Option<&Program> {
        std::iter::once(&self.me).chain(&self.others).find(|it| it.number == number)
    }

    pub(super) fn is_alive(&self, number: u32) -> bool {
        self.program(number).is_some_and(|it| it.alive)
    }

    /// As which owner a program speaks.
    pub(super) fn epoch_of(&self, number: u32) -> Epoch {
        self.program(number).map_or(Epoch(0), Program::epoch)
    }

    /// What happens from now on happens in this program. Returns whether it lives.
    pub(super) fn become_program(&mut self, number: u32) -> bool {
        if self.me.number != number
            && let Some(other) = self.others.iter_mut().find(|it| it.number == number)
        {
            std::mem::swap(&mut self.me, other);
        }
        self.me.number == number && self.me.alive
    }

    /// The clock on the wall, which can be set.
    pub(super) fn wall(&self) -> Duration {
        (EPOCH + self.now + self.set_forward).saturating_sub(self.set_back)
    }

    pub(super) fn owner_does(&mut self, owner: Owner) {
        match owner {
            Owner::Runs => self.run(),
            Owner::Reaps { named } => self.reap(named),
            Owner::Sets { length, forward } => match forward {
                true => self.set_forward += length,
                false => self.set_back += length,
            },
            // These happen inside of a program.
            Owner::Stops
            | Owner::Dies
            | Owner::Leaves
            | Owner::Resizes(_)
            | Owner::Sleeps(_)
            | Owner::Wakes => {}
        }
    }

    /// The program is run: it owns the pool then, or is told why not.
    pub(super) fn run(&mut self) {
        let number = self.next_program();
        if !self.takes_lock(number) {
            self.summary.held += 1;
            return self.note(|| format!("    program {number} is refused: the pool is in use"));
        }
        let wall = self.wall();
        let found = self.journal.entry().map(|it| (it.clone(), it.found("", "", wall)));
        self.note(|| format!("    program {number}: {:?}", found.as_ref().map(|it| it.1)));
        let is_strange = found.is_some() && self.dice.chance(self.weather.strange);
        match found {
            None => self.begin_anew(number),
            Some((_, Found::Attach)) if is_strange => {
                self.summary.strangers += 1;
                self.journal.free(number);
            }
            Some((pool, Found::Attach)) => self.attach(number, pool),
            Some((pool, Found::GiveBack)) => self.give_back(number, &pool, true),
            Some((_, Found::Unreadable | Found::Differs(_))) => self.journal.free(number),
        }
    }

    pub(super) fn next_program(&mut self) -> u32 {
        self.programs += 1;
        self.programs
    }

    fn takes_lock(&mut self, number: u32) -> bool {
        if self.mutation == Some(Mutation::ShareLock) && self.journal.holder().is_some() {
            let what = format!("program {number} has the pool's lock, which is held");
            self.breach(Law::Alone, what);
        }
        self.journal.lock(number)
    }

    fn begin_anew(&mut self, number: u32) {
        self.pools += 1;
        let id = PoolId::new(format!("p{}x{}", self.number, self.pools));
        let (name, wall) = (self.named.then(|| "train".to_owned()), self.wall());
        self.journal.full = self.dice.chance(self.weather.unwritten);
        let begun = self.journal.begin((id.clone(), name), Inputs::default(), wall);
        self.journal.full = false;
        match begun {
            Ok(epoch) => self.install(number, id, epoch, None),
            Err(_) => {
                self.summary.unbegun += 1;
                self.journal.free(number);
            }
        }
    }

    fn attach(&mut self, number: u32, pool: KnownPool) {
        // Its machines are no younger for it.
        match self.take(&pool, pool.seen) {
            Ok(epoch) => {
                self.summary.attached += 1;
                self.install(number, pool.id.clone(), epoch, Some(pool));
            }
            Err(_) => self.journal.free(number),
        }
    }

    pub(super) fn take(&mut self, pool: &KnownPool, seen: Duration) -> Result<Epoch, JournalError> {
        if self.mutation == Some(Mutation::KeepEpoch) {
            return Ok(pool.epoch);
        }
        self.journal.full = self.dice.chance(self.weather.unwritten);
        let taken = self.journal.take(pool, seen);
        self.journal.full = false;
        taken
    }

    fn install(&mut self, number: u32, id: PoolId, epoch: Epoch, adopted: Option<KnownPool>) {
        *self.owners.entry(id.clone()).or_default() += 1;
        let before = std::mem::replace(&mut self.me, Program::new(number, Some((id, epoch))));
        if before.alive {
            self.others.push(before);
        }
        self.newest_owner = number;
        self.me.inherited =
            adopted.iter().flat_map(|it| &it.machines).map(|it| it.instance.clone()).collect();
        let is_first = adopted.is_none();
        self.begin_pool(adopted);
        if is_first {
            self.draw_calls();
        }
        self.draw_ending();
        // The machines of an older owner live on only once one of them is linked.
        if is_first {
            self.plan(Duration::ZERO, Event::Fresh);
        }
    }

    /// The pool's owner writes down that it lives.
    pub(super) fn fresh(&mut self) {
        let is_over = self.me.pool.as_ref().is_none_or(|it| it.ended);
        if is_over {
            return;
        }
        let wall = self.wall();
        // The next will do.
        let _ = self.write(|store, owner| store.fresh(owner, wall));
        let after = self.timing.renew();
        self.plan(after, Event::Fresh);
    }

    /// The client is killed: everything in its process vanishes; what was asked of a cloud may still happen.
    pub(super) fn client_dies(&mut self) {
        if self.me.alive && !self.me.pool.as_ref().is_some_and(|it| it.ended) {
            (self.killed, self.died) = (true, true);
            self.program_ends();
        }
    }

    /// The client of another pool was killed, and with it what of this world is in the same process.
    pub(super) fn dies_too(&mut self, now: Duration) {
        if self.me.number == 1 && self.others.is_empty() {
            self.now = self.now.max(now);
            self.client_dies();
            self.killed = false;
        }
    }

    /// The present program is no more.
    pub(super) fn program_ends(&mut self) {
        let number = self.me.number;
        self.me = Program { alive: false, ..Program::new(number, None) };
        self.journal.free(number);
        for life in self.lives.iter_mut().filter(|it| it.program == number) {
            life.alive = false;
        }
        for id in self.links_by(number) {
            if let Some(link) = self.links.get_mut(id.0) {
                link.alive = false;
                link.running.clear();
            }
            let after = self.dice.up_to(self.timing.detect);
            self.plan(after, Event::Work(id, Work::Over));
        }
        let dice = &mut self.dice;
        self.agenda.retain(|(_, event)| match event {
            Event::Acts(order) => order.program != number || dice.chance(500),
            _ => true,
        });
        self.after_program();
    }

    /// What may follow once the pool has no owner: the program is run again, and what is left is reaped.
    pub(super) fn after_program(&mut self) {
        if self.journal.entry().is_none() {
            return;
        }
        let ttl = self.timing.lease;
        if self.named && self.programs < MOST && self.dice.chance(750) {
            // Now and then at once, while what was begun under keys still runs.
            let most = match self.dice.below(10) {
                0..=3 => Duration::from_secs(5),
                4..=7 => ttl,
                _ => ttl * 3,
            };
            let after = self.dice.up_to(most);
            self.plan(after, Event::Owner(Owner::Runs));
        }
        self.plan_reap(ttl * 2 + self.timing.provision);
    }

    /// The computer sleeps, and its clock of intervals stands still; now and then what keeps its locks forgets that
    /// it has one.
    pub(super) fn sleeps(&mut self, length: Duration) {
        let number = self.me.number;
        if !self.me.alive || self.me.asleep > self.now {
            return;
        }
        self.me.asleep = self.now + length;
        self.me.slept += length;
        self.agenda.put_off(length, |(program, _)| *program == number);
        self.summary.slept += 1;
        if self.named && self.dice.chance(self.weather.unlocked) && self.journal.holder() == Some(number) {
            self.journal.free(number);
            let after = self.dice.up_to(length);
            self.plan(after, Event::Owner(Owner::Runs));
        }
        if length >= self.timing.detect {
            let detect = self.timing.detect;
            for link in self.links_by(number) {
                self.plan(detect, Event::Work(link, Work::Over));
            }
        }
        let at = self.me.asleep;
        self.plan_for(number, at, Event::Owner(Owner::Wakes));
    }

    /// It is awake, and its peers have given its links up.
    pub(super) fn wakes(&mut self) {
        let number = self.me.number;
        self.note_what_lapsed(number);
        let gone = self.links_by(number).into_iter().filter(|it| !self.is_linked_to(*it));
        let gone: Vec<super::link::LinkId> = gone.collect();
        for link in gone {
            self.break_link(link, "silent for too long");
        }
    }
}

/// When the first program is run, since 1970.
const EPOCH: Duration = Duration::from_secs(1_000_000_000);

/// How often the program is run, or something is reaped, at most.
pub(super) const MOST: u32 = 6;
