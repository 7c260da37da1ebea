//! One pool's entry, as its owner writes it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};
use tokio::sync::watch;

use super::JournalError;
use super::asking::Note;
use super::error::of_folder;
use super::inputs::Inputs;
use super::keys;
use super::living::Unwritten;
use super::lock::Lock;
use super::state::{DeedKind, KnownPool};
use super::store::Journal;
use super::successor::Successor;
use crate::model::{Epoch, KeyPrint, PoolId, Secret};
use crate::provider::Request;

/// A pool's entry in the journal, for as long as this process owns the pool: it has the pool's lock.
#[derive(Debug)]
pub struct Record {
    journal: Journal,
    pool: PoolId,
    epoch: Epoch,
    /// By which another program could attach to it.
    name: Option<String>,
    /// Saved with the keys of a new pool.
    salt: Option<Secret<String>>,
    pub(super) unwritten: Mutex<Unwritten>,
    lock: Mutex<Option<Lock>>,
    /// That another program has the pool, once it is known.
    lost: watch::Sender<Option<JournalError>>,
}

/// A pool that is to be begun.
#[derive(Clone, Debug)]
pub struct NewPool {
    /// Its id.
    pub id: PoolId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What tells this program from others.
    pub program: String,
    /// What tells its specs from others.
    pub specs: String,
    /// What it is given beside them.
    pub inputs: Inputs,
    /// What the hash of its secrets was made with.
    pub salt: Secret<String>,
    /// What it was asked to be, for who attaches to it by its name; nothing for a pool without one.
    pub recipe: String,
}

/// What a cloud is about to be asked.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub(super) kind: DeedKind,
    pub(super) provider: String,
    pub(super) settings: String,
    pub(super) account: Option<KeyPrint>,
    pub(super) request: Request,
    pub(super) terms: String,
}

impl Record {
    /// Begins a pool's entry. The lock is the pool's own.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(journal: &Journal, lock: Lock, pool: NewPool) -> Result<Self, JournalError> {
        let NewPool { id, name, program, specs, inputs, salt, recipe } = pool;
        let now = now();
        journal.write(|it| {
            it.execute(
                "INSERT INTO pools (id, name, program, specs, epoch, ttl_ms, begun_ms, seen_ms, files, secrets, recipe) \
                 VALUES (?1, ?2, ?3, ?4, 1, 0, ?5, ?5, ?6, ?7, ?8)",
                params![id.as_str(), name, program, specs, now, inputs.files, inputs.secrets, recipe],
            )
        })?;
        let lock = Mutex::new(Some(lock));
        let (journal, salt) = (journal.clone(), Some(salt));
        let (unwritten, lost) = (Mutex::default(), watch::Sender::new(None));
        Ok(Self { journal, pool: id, epoch: Epoch(1), name, salt, unwritten, lock, lost })
    }

    /// Becomes the next owner of a pool.
    ///
    /// # Errors
    /// When that cannot be written, or the pool is another's by now.
    pub fn attach(journal: &Journal, lock: Lock, pool: &KnownPool) -> Result<Self, JournalError> {
        // Its machines are no younger for it: that they live is written once one of them was linked.
        Self::take(journal, lock, pool, millis(pool.seen))
    }

    /// Becomes the next owner of a pool to give it back: nobody attaches to what may be gone in part.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    pub fn claim(journal: &Journal, lock: Lock, pool: &KnownPool) -> Result<Self, JournalError> {
        Self::take(journal, lock, pool, 0)
    }

    fn take(journal: &Journal, lock: Lock, pool: &KnownPool, seen: i64) -> Result<Self, JournalError> {
        let epoch = pool.epoch.next();
        let raised = journal.write(|it| {
            it.execute(
                "UPDATE pools SET epoch = epoch + 1, seen_ms = ?3 WHERE id = ?1 AND epoch = ?2",
                params![pool.id.as_str(), number(pool.epoch), seen],
            )
        })?;
        if raised == 0 {
            let (pool, epoch, by) = (pool.title().to_owned(), pool.epoch, Successor::Unknown);
            return Err(JournalError::Superseded { pool, epoch, by });
        }
        let (journal, name, lock) = (journal.clone(), pool.name.clone(), Mutex::new(Some(lock)));
        let (unwritten, lost) = (Mutex::default(), watch::Sender::new(None));
        Ok(Self { journal, pool: pool.id.clone(), epoch, name, salt: None, unwritten, lock, lost })
    }

    /// The journal that it is in.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The pool.
    pub const fn pool(&self) -> &PoolId {
        &self.pool
    }

    /// Which owner of the pool this is.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// That another program has the pool instead of this one, if that is known: nothing more is to be done with it.
    pub(crate) fn lost(&self) -> Option<JournalError> {
        self.lost.borrow().clone()
    }

    /// Waits until another program has the pool instead of this one.
    pub(crate) async fn superseded(&self) -> JournalError {
        let mut lost = self.lost.subscribe();
        loop {
            if let Some(lost) = lost.borrow_and_update().clone() {
                return lost;
            }
            if lost.changed().await.is_err() {
                // It has the sender itself.
                std::future::pending::<()>().await;
            }
        }
    }

    /// A worker has heard of a newer owner.
    pub(crate) fn is_refused_by_a_worker(&self) {
        self.lose(self.successor());
    }

    /// Whether the pool is still this program's.
    ///
    /// # Errors
    /// [`JournalError::Superseded`] when it is not, and when that cannot be read.
    pub(crate) async fn is_own(self: &Arc<Self>) -> Result<(), JournalError> {
        self.change(|_, _| Ok(())).await
    }

    /// Writes the pool's keys into its folder, each under its name. A pool without a name needs none of them, as
    /// nobody attaches to it: its folder says that there is such a pool, should the file be damaged.
    ///
    /// # Errors
    /// When they cannot be written.
    pub async fn save_keys(
        self: &Arc<Self>,
        mut keys: Vec<(&'static str, Secret<Vec<u8>>)>,
    ) -> Result<(), JournalError> {
        keys.extend(self.salt.as_ref().map(|it| (SALT, Secret::new(it.reveal().clone().into_bytes()))));
        self.on_thread(move |it| {
            let folder = it.journal.folder();
            let keys = if it.name.is_some() { keys.as_slice() } else { &[] };
            keys::save(folder, &it.pool, keys).map_err(|error| of_folder(folder, &error))
        })
        .await
    }

    /// One of the pool's keys.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn key(&self, name: &str) -> Result<Secret<Vec<u8>>, JournalError> {
        self.journal.key(&self.pool, name)
    }

    /// Writes down that the pool is being given back: from now on nobody attaches to what may be gone in part, and
    /// whose workers take nothing more.
    ///
    /// # Errors
    /// When that cannot be written.
    pub async fn close(self: &Arc<Self>) -> Result<(), JournalError> {
        self.change(|it, id| it.execute("UPDATE pools SET seen_ms = 0 WHERE id = ?1", [id]).map(drop)).await
    }

    /// Frees the pool for another owner. Nothing more is to be done with it here.
    pub fn free(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Removes the entry and the keys: everything is given back.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub async fn forget(self: &Arc<Self>) -> Result<(), JournalError> {
        self.on_thread(|it| {
            let folder = it.journal.folder();
            it.now(|_, _| Ok(()))?;
            // An entry without keys is found again, keys without an entry are not.
            keys::remove(folder, &it.pool).map_err(|error| of_folder(folder, &error))?;
            it.now(|change, id| change.execute("DELETE FROM pools WHERE id = ?1", [id]).map(drop))
        })
        .await
    }

    /// Removes the entry and frees the pool, if nothing was asked of any cloud for it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn withdraw(self: &Arc<Self>) -> Result<(), JournalError> {
        let unused = "DELETE FROM pools WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM deeds WHERE pool = ?1)";
        // A pool that keeps machines which failed is there still.
        let withdrawn = self.change(move |it, id| it.execute(unused, [id])).await;
        let withdrawn = withdrawn.map(|rows| {
            if rows > 0 {
                self.free()
            }
        });
        match withdrawn {
            // Its pool has ended, and forgot it.
            Err(JournalError::Superseded { .. }) => Ok(()),
            withdrawn => withdrawn,
        }
    }

    /// Writes down what a cloud is about to be asked.
    pub(super) async fn intend(self: &Arc<Self>, intent: Intent) -> Result<i64, JournalError> {
        let Intent { kind, provider, settings, account, request, terms } = intent;
        let account = account.map(|it| it.to_string());
        let lease = i64::try_from(request.lease.as_millis()).unwrap_or(i64::MAX);
        let request = serde_json::to_string(&request).unwrap_or_default();
        self.change(move |it, id| {
            it.execute(
                "INSERT INTO deeds (pool, kind, provider, settings, account, request, terms, begun_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![id, kind.word(), provider, settings, account, request, terms, now()],
            )?;
            let number = it.last_insert_rowid();
            it.execute("UPDATE pools SET ttl_ms = max(ttl_ms, ?2) WHERE id = ?1", params![id, lease])?;
            Ok(number)
        })
        .await
    }

    /// Writes down that what came of requests without an answer was looked for, and given back.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn answered(self: &Arc<Self>, deeds: Vec<i64>) -> Result<(), JournalError> {
        self.change(move |it, _| deeds.iter().try_for_each(|deed| end(it, *deed, "looked for"))).await
    }

    /// Writes down what a cloud of this name answered.
    pub(super) async fn note(self: &Arc<Self>, provider: &str, note: Note) -> Result<(), JournalError> {
        let provider = provider.to_owned();
        if let Note::Gone { instances, .. } = &note {
            self.unwritten().nodes.retain(|it, _| !instances.contains(it));
        }
        self.change(move |it, id| match note {
            Note::Ended { deed, result } => {
                end(it, deed, &result)?;
                prune(it, id, deed)
            }
            Note::Rented { deed, instances, is_over } => {
                for instance in &instances {
                    it.execute(
                        "INSERT OR REPLACE INTO machines (pool, instance, provider, deed) VALUES (?1, ?2, ?3, ?4)",
                        params![id, instance.as_str(), provider, deed],
                    )?;
                }
                if !is_over {
                    return Ok(());
                }
                end(it, deed, &format!("{} machines", instances.len()))?;
                prune(it, id, deed)
            }
            Note::Gone { deed, instances } => {
                for instance in &instances {
                    it.execute(
                        "UPDATE machines SET gone_ms = ?3 WHERE pool = ?1 AND instance = ?2 AND gone_ms IS NULL",
                        params![id, instance.as_str(), now()],
                    )?;
                }
                // An older intent to give machines back says nothing that is not known now.
                let old = "DELETE FROM deeds WHERE pool = ?1 AND kind = 'terminate' AND seq < ?2";
                it.execute(old, params![id, deed])?;
                end(it, deed, "gone")
            }
        })
        .await
    }

    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&Transaction<'_>, &str) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.on_thread(|it| it.now(change)).await
    }

    /// Changes something, unless the pool has another owner by now.
    pub(super) fn now<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>, &str) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        let id = self.pool.as_str();
        let changed = self.journal.write(|it| {
            let own = it.query_row("SELECT epoch FROM pools WHERE id = ?1", [id], |row| row.get::<_, i64>(0));
            Ok(match own.optional()? {
                Some(epoch) if epoch == number(self.epoch) => Ok(change(it, id)?),
                Some(_) => Err(self.successor()),
                None => Err(Successor::GaveBack),
            })
        })?;
        changed.map_err(|by| self.lose(by))
    }

    /// Who has the lock that this one had.
    fn successor(&self) -> Successor {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.as_ref().is_some_and(Lock::is_current) {
            return Successor::Unknown;
        }
        let holder = Lock::holder(self.journal.folder(), &self.pool, self.name.as_deref());
        holder.map_or(Successor::Unknown, Successor::Known)
    }

    /// The pool is another's: from now on nothing is done with it. What was known first is told.
    fn lose(&self, by: Successor) -> JournalError {
        let pool = self.name.clone().unwrap_or_else(|| self.pool.to_string());
        let lost = JournalError::Superseded { pool, epoch: self.epoch, by };
        self.lost.send_if_modified(|it| it.is_none().then(|| *it = Some(lost.clone())).is_some());
        self.lost().unwrap_or(lost)
    }

    /// The disk is not waited for on a thread of the runtime. What is begun is ended, whoever waits for it.
    pub(super) async fn on_thread<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Self) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let record = Arc::clone(self);
        let acted = tokio::task::spawn_blocking(move || act(&record)).await;
        acted.unwrap_or_else(|error| {
            let folder = self.journal.folder().to_owned();
            Err(JournalError::Access { folder, reason: error.to_string() })
        })
    }
}

/// The name under which the salt lies among the keys.
pub(super) const SALT: &str = "salt";

fn end(change: &Transaction<'_>, deed: i64, result: &str) -> rusqlite::Result<()> {
    let text = "UPDATE deeds SET ended_ms = ?2, result = ?3 WHERE seq = ?1";
    change.execute(text, params![deed, now(), result]).map(drop)
}

/// Removes older requests for the same that have ended and brought nothing, as those of a cloud that is sold out: each
/// new one says what they said. How long machines may live alone may differ.
fn prune(change: &Transaction<'_>, pool: &str, deed: i64) -> rusqlite::Result<()> {
    let text = "DELETE FROM deeds WHERE pool = ?1 AND seq < ?2 AND ended_ms IS NOT NULL \
                AND NOT EXISTS (SELECT 1 FROM machines WHERE machines.pool = ?1 AND machines.deed = deeds.seq) \
                AND EXISTS (SELECT 1 FROM deeds AS new WHERE new.seq = ?2 AND new.kind IN ('prepare', 'provision') \
                AND new.kind = deeds.kind AND new.provider = deeds.provider AND new.settings = deeds.settings \
                AND new.account IS deeds.account AND new.terms = deeds.terms \
                AND CASE WHEN json_valid(new.request) AND json_valid(deeds.request) \
                THEN json_remove(new.request, '$.lease') = json_remove(deeds.request, '$.lease') ELSE 0 END)";
    change.execute(text, params![pool, deed]).map(drop)
}

fn number(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(i64::MAX)
}

pub(super) fn now() -> i64 {
    millis(Journal::now())
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
