//! The journal of a simulated world: exactly what was committed of it at each moment, and who has the pool's lock. It
//! takes and refuses what `journal::Record` does; a test holds both to the same.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::journal::{
    Deed, DeedKind, Inputs, JournalError, KnownNode, KnownPool, Machine, Note, PastMachine, Successor,
};
use crate::model::{Epoch, InstanceId, KeyPrint, PoolId};
use crate::provider::Request;

/// What is on the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    entry: Option<KnownPool>,
    /// The number of the last intent.
    deeds: i64,
    /// The program that has the lock.
    lock: Option<u32>,
    /// Every intent that was ever committed.
    committed: BTreeSet<i64>,
    /// The time since 1970, as entries have it.
    pub(super) now: Duration,
    /// The disk takes nothing for now.
    pub(super) full: bool,
    /// An older owner may write.
    pub(super) unfenced: bool,
}

impl Store {
    /// The pool that is there.
    pub(super) const fn entry(&self) -> Option<&KnownPool> {
        self.entry.as_ref()
    }

    /// Whether this intent was ever committed.
    pub(super) fn knows(&self, deed: i64) -> bool {
        self.committed.contains(&deed)
    }

    /// Who has the lock.
    pub(super) const fn holder(&self) -> Option<u32> {
        self.lock
    }

    /// Takes the lock, unless another has it.
    pub(super) fn lock(&mut self, program: u32) -> bool {
        let is_free = self.lock.is_none_or(|it| it == program);
        if is_free {
            self.lock = Some(program);
        }
        is_free
    }

    /// Frees the lock, if this one has it.
    pub(super) fn free(&mut self, program: u32) {
        self.lock.take_if(|it| *it == program);
    }

    /// Begins an entry.
    pub(super) fn begin(
        &mut self,
        (id, name): (PoolId, Option<String>),
        inputs: Inputs,
        now: Duration,
    ) -> Result<Epoch, JournalError> {
        self.disk()?;
        let epoch = Epoch(1);
        self.entry = Some(KnownPool {
            id,
            name,
            program: String::new(),
            specs: String::new(),
            inputs,
            recipe: String::new(),
            size: None,
            epoch,
            ttl: Duration::ZERO,
            begun: now,
            seen: now,
            deeds: Vec::new(),
            machines: Vec::new(),
            past: Vec::new(),
            whole: true,
        });
        Ok(epoch)
    }

    /// Becomes the owner after this one. `seen`: nobody can attach to what was last seen in the year 1970.
    pub(super) fn take(&mut self, known: &KnownPool, seen: Duration) -> Result<Epoch, JournalError> {
        self.disk()?;
        let by = Successor::Unknown;
        let superseded =
            || JournalError::Superseded { pool: known.title().to_owned(), epoch: known.epoch, by };
        let entry = self.entry.as_mut().filter(|it| (&it.id, it.epoch) == (&known.id, known.epoch));
        let entry = entry.ok_or_else(superseded)?;
        (entry.epoch, entry.seen) = (entry.epoch.next(), seen);
        Ok(entry.epoch)
    }

    /// Writes an intent down, and tells its number.
    pub(super) fn intend(
        &mut self,
        owner: &(PoolId, Epoch),
        (kind, terms): (DeedKind, String),
        account: Option<KeyPrint>,
        request: Request,
    ) -> Result<i64, JournalError> {
        let (number, begun) = (self.deeds + 1, self.now);
        let entry = self.own(owner)?;
        entry.ttl = entry.ttl.max(request.lease);
        let (provider, settings) = (request.offer.provider.clone(), "{}".to_owned());
        let deed = Deed { number, kind, provider, settings, account, request, terms, begun, ended: false };
        entry.deeds.push(deed);
        self.deeds = number;
        self.committed.insert(number);
        Ok(number)
    }

    /// Writes an answer down.
    pub(super) fn note(
        &mut self,
        owner: &(PoolId, Epoch),
        provider: &str,
        note: Note,
    ) -> Result<(), JournalError> {
        let now = self.now;
        let entry = self.own(owner)?;
        let ended = match note {
            Note::Ended { deed, .. } => {
                prune(entry, deed);
                Some(deed)
            }
            Note::Rented { deed, instances, is_over } => {
                for instance in instances {
                    entry.machines.retain(|it| it.instance != instance);
                    entry.past.retain(|it| it.instance != instance);
                    entry.machines.push(Machine {
                        instance,
                        provider: provider.to_owned(),
                        deed,
                        node: None,
                    });
                }
                if is_over {
                    prune(entry, deed);
                }
                is_over.then_some(deed)
            }
            Note::Gone { deed, instances } => {
                for it in entry.machines.extract_if(.., |it| instances.contains(&it.instance)) {
                    entry.past.push(PastMachine { instance: it.instance, deed: it.deed, gone: now });
                }
                entry.past.sort_by(|one, other| one.instance.as_str().cmp(other.instance.as_str()));
                entry.deeds.retain(|it| it.kind != DeedKind::Terminate || it.number >= deed);
                Some(deed)
            }
        };
        entry.machines.sort_by(|one, other| one.instance.as_str().cmp(other.instance.as_str()));
        entry.deeds.iter_mut().filter(|it| Some(it.number) == ended).for_each(|it| it.ended = true);
        Ok(())
    }

    /// Writes down that what came of requests without an answer was looked for.
    pub(super) fn answered(&mut self, owner: &(PoolId, Epoch), deeds: &[i64]) -> Result<(), JournalError> {
        let entry = self.own(owner)?;
        entry.deeds.iter_mut().filter(|it| deeds.contains(&it.number)).for_each(|it| it.ended = true);
        Ok(())
    }

    /// Writes down which node a machine has become.
    pub(super) fn node(
        &mut self,
        owner: &(PoolId, Epoch),
        instance: &InstanceId,
        node: KnownNode,
    ) -> Result<(), JournalError> {
        let entry = self.own(owner)?;
        if let Some(machine) = entry.machines.iter_mut().find(|it| it.instance == *instance) {
            machine.node = Some(node);
        } else if let Some(deed) = entry.deeds.iter().rev().find(|it| it.kind == DeedKind::Provision) {
            let (provider, deed, instance) = (deed.provider.clone(), deed.number, instance.clone());
            entry.past.retain(|it| it.instance != instance);
            entry.machines.push(Machine { instance, provider, deed, node: Some(node) });
            entry.machines.sort_by(|one, other| one.instance.as_str().cmp(other.instance.as_str()));
        }
        Ok(())
    }

    /// Writes down how many nodes the owner asks for.
    pub(super) fn sized(&mut self, owner: &(PoolId, Epoch), nodes: u32) -> Result<(), JournalError> {
        self.own(owner)?.size = Some(nodes);
        Ok(())
    }

    /// Writes down that the node on a machine is told to finish.
    pub(super) fn leaves(
        &mut self,
        owner: &(PoolId, Epoch),
        instance: &InstanceId,
    ) -> Result<(), JournalError> {
        let machines = &mut self.own(owner)?.machines;
        machines.iter_mut().filter(|it| it.instance == *instance).for_each(|it| it.node = None);
        Ok(())
    }

    /// Writes down that the owner lives.
    pub(super) fn fresh(&mut self, owner: &(PoolId, Epoch), now: Duration) -> Result<(), JournalError> {
        let entry = self.own(owner)?;
        if !entry.seen.is_zero() {
            entry.seen = now;
        }
        Ok(())
    }

    /// Writes down that the pool is being given back.
    pub(super) fn close(&mut self, owner: &(PoolId, Epoch)) -> Result<(), JournalError> {
        self.own(owner)?.seen = Duration::ZERO;
        Ok(())
    }

    /// Whether the pool is still this owner's.
    pub(super) fn is_own(&mut self, owner: &(PoolId, Epoch)) -> Result<(), JournalError> {
        self.own(owner).map(drop)
    }

    /// Removes the entry.
    pub(super) fn forget(&mut self, owner: &(PoolId, Epoch)) -> Result<(), JournalError> {
        self.own(owner)?;
        self.entry = None;
        Ok(())
    }

    /// The entry, for its owner alone.
    fn own(&mut self, (pool, epoch): &(PoolId, Epoch)) -> Result<&mut KnownPool, JournalError> {
        self.disk()?;
        let unfenced = self.unfenced;
        let own = self.entry.as_mut().filter(|it| it.id == *pool && (unfenced || it.epoch == *epoch));
        let by = Successor::Unknown;
        own.ok_or_else(|| JournalError::Superseded { pool: pool.to_string(), epoch: *epoch, by })
    }

    fn disk(&self) -> Result<(), JournalError> {
        if self.full { Err(JournalError::Full { folder: "the disk".into() }) } else { Ok(()) }
    }
}

/// Removes older requests for the same that have ended and brought nothing.
fn prune(entry: &mut KnownPool, deed: i64) {
    let Some(new) = entry.deed(deed).filter(|it| it.kind.makes()).cloned() else { return };
    let machines = entry.machines.iter().map(|it| it.deed);
    let used: BTreeSet<i64> = machines.chain(entry.past.iter().map(|it| it.deed)).collect();
    entry.deeds.retain(|it| {
        let is_like = (it.kind, &it.terms) == (new.kind, &new.terms) && it.is_undone_with(&new);
        it.number >= deed || !it.ended || used.contains(&it.number) || !is_like
    });
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
