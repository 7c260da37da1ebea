//! How the pool of a simulated world ends: given back, left to another program, or lost to one.

use super::event::Event;
use super::failure::Law;
use super::knobs::Mutation;
use super::node::NodeMessage;
use super::pool::PoolMessage;
use super::world::{HICCUP, World};
use crate::journal::{JournalError, Successor};
use crate::model::{InstanceId, Leftover};
use crate::pool::StartError;
use crate::pool::messages::Heard;

impl World {
    /// It is written down that the pool is being given back; who has it, if that is another program. Here the disk has
    /// always room for it.
    pub(super) fn closes(&mut self) -> Option<JournalError> {
        let owner = self.me.owner.clone().filter(|_| self.mutation != Some(Mutation::ForgetClose))?;
        match self.journal.close(&owner) {
            Err(by @ JournalError::Superseded { .. }) if self.mutation != Some(Mutation::GoOnSuperseded) => {
                Some(by)
            }
            _ => None,
        }
    }

    /// Another program has the pool, as the journal says or a worker. The pool hears it once.
    pub(super) fn superseded(&mut self, by: JournalError) {
        if self.me.pool.as_ref().is_none_or(|it| it.ended) {
            return;
        }
        let now = self.now.saturating_sub(self.me.slept);
        match self.me.superseded {
            None => {
                self.me.superseded = Some(now);
                if self.mutation != Some(Mutation::GoOnSuperseded) {
                    self.cast_pool(PoolMessage::Heard(Heard::Superseded(by)));
                }
            }
            Some(since) if now > since + HICCUP * 2 => {
                let what =
                    format!("program {} goes on {:?} after it lost its pool", self.me.number, now - since);
                self.breach(Law::LetsGo, what);
            }
            Some(_) => {}
        }
    }

    /// Whether the pool is another program's, asked of the journal before a worker is started.
    pub(super) fn is_lost(&mut self) -> bool {
        let lost = self.write(|store, owner| store.is_own(owner));
        matches!(lost, Err(JournalError::Superseded { .. }))
            && self.mutation != Some(Mutation::GoOnSuperseded)
    }

    /// A worker obeys another owner.
    pub(super) fn refused_by_worker(&mut self) {
        if let Some(by) = self.loss() {
            self.superseded(by);
        }
    }

    /// That another program has the pool, where the pool itself has not heard of that.
    pub(super) fn unheard_loss(&self) -> Option<JournalError> {
        let is_deaf = self.mutation == Some(Mutation::GoOnSuperseded);
        self.me.superseded.filter(|_| !is_deaf)?;
        self.loss()
    }

    fn loss(&self) -> Option<JournalError> {
        let (pool, epoch) = self.me.owner.clone()?;
        Some(JournalError::Superseded { pool: pool.to_string(), epoch, by: Successor::Unknown })
    }

    /// The program lets go of the pool, and, where it leaves it to another, of what its calls would cancel.
    pub(super) fn detach(&mut self) {
        if self.me.pool.as_ref().is_some_and(|it| it.lost) {
            self.summary.superseded += 1;
        } else {
            self.summary.left += 1;
            self.me.calls.clear();
            self.me.open_calls = 0;
            self.me.queue = None;
        }
        let number = self.me.number;
        for life in self.lives.iter_mut().filter(|it| it.program == number) {
            life.alive = false;
        }
        for link in self.links_by(number) {
            self.break_link(link, "the pool's owner has left it");
        }
    }

    pub(super) fn end_pool(&mut self, failure: Option<&StartError>, left: &[Leftover]) {
        self.note(|| format!("    pool ended: {failure:?}, left {left:?}"));
        let number = self.me.number;
        let Some(pool) = &mut self.me.pool else { return };
        pool.ended = true;
        let stays = pool.detached || pool.is_adopted() && pool.kits.is_empty();
        // Its actor's timers end with it.
        self.agenda.retain(|(program, event)| *program != number || !matches!(event, Event::PoolTimer(_)));
        let Some(pool) = &mut self.me.pool else { return };
        let detached = pool.detached;
        for life in std::mem::take(&mut pool.nodes).into_values() {
            self.cast_node(life, NodeMessage::Stop);
        }
        self.end_queue();
        if !stays && self.newest_owner == number {
            self.judge_what_is_left(left);
        }
        let forgets = self.mutation == Some(Mutation::ForgetEntry);
        if (left.is_empty() && !self.may_yet_come() || forgets) && !detached {
            self.forget();
        }
        self.said |= !left.is_empty();
        self.journal.free(number);
        self.after_program();
    }

    fn judge_what_is_left(&mut self, left: &[Leftover]) {
        let named = |name: &InstanceId| left.iter().any(|it| it.what.ends_with(&format!(" {name}")));
        let own = self.me.owner.as_ref().map(|it| &it.0);
        let there = |it: &&super::cloud::Machine| {
            Some(&it.place.0) == own && self.me.knows(it) && it.is_paid() && !named(&it.name)
        };
        let forgotten = self.own_machines().find(there).map(|it| it.name.clone());
        let paid = |it: &&super::cloud::Machine| {
            Some(&it.place.0) == own && self.me.knows(it) && it.dead.is_none() && !it.lied && named(&it.name)
        };
        let waited = self.me.pool.as_ref().and_then(|it| it.stopping).map(|it| self.now.saturating_sub(it));
        let given_up = waited.is_some_and(|it| it + self.timing.provision < self.timing.insist);
        let paid = self.own_machines().find(paid).map(|it| it.name.clone());
        if let Some(machine) = paid.filter(|_| self.unattended && given_up) {
            let what = format!("{machine} is left after {waited:?}, and nothing else ends it");
            return self.breach(Law::Insists, what);
        }
        let is_set_up = self.prepared.iter().any(|it| Some(&it.0) == own);
        if let Some(machine) = forgotten {
            self.breach(Law::NothingLeft, format!("the pool has ended without a word of {machine}"));
        } else if is_set_up && left.is_empty() {
            self.breach(Law::NothingLeft, "what was prepared is still there, and not named".to_owned());
        }
    }
}
