//! The journal as a program holds it: opened once, shared by threads, with short transactions that other
//! programs' take turns with.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Row, Transaction, TransactionBehavior};

use super::error::of_file;
use super::inputs::Inputs;
use super::lock::{Holder, Lock};
use super::state::{Deed, DeedKind, KnownPool, Machine, PastMachine, Reading};
use super::{JournalError, file};
use crate::model::{Epoch, InstanceId, KeyPrint, PoolId, Secret};

/// The journal of one user. Clones share it. Every call may wait for the disk, and for other programs, so an
/// async program calls from a blocking thread.
#[derive(Clone, Debug)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    connection: Mutex<Connection>,
}

impl Journal {
    /// Opens the journal in this folder, or makes an empty one.
    ///
    /// # Errors
    /// When the folder or the file cannot be used.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let connection = Mutex::new(file::open(folder, BUSY)?);
        Ok(Self { inner: Arc::new(Inner { folder: folder.to_owned(), connection }) })
    }

    /// Where the user's journal is: `$XDG_STATE_HOME/skyward`, else `~/.local/state/skyward`.
    ///
    /// # Errors
    /// When neither that variable nor `HOME` names an absolute folder.
    pub fn folder_of_user() -> Result<PathBuf, JournalError> {
        let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
        let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")));
        Ok(state.ok_or(JournalError::NoFolder)?.join("skyward"))
    }

    /// Whether there is one in this folder, or nobody can tell: then opening it says why.
    pub fn exists(folder: &Path) -> bool {
        !matches!(folder.join(super::schema::FILE).try_exists(), Ok(false))
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Everything that is known. What cannot be read is told and keeps nothing else from being read.
    ///
    /// # Errors
    /// When not even the list of pools can be read.
    pub fn read(&self) -> Result<Reading, JournalError> {
        let connection = self.connection();
        let failed = |error: rusqlite::Error| of_file(self.folder(), &error);
        let mut statement =
            connection.prepare("SELECT id FROM pools ORDER BY begun_ms, id").map_err(failed)?;
        let ids = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
        let mut reading = Reading::default();
        for id in ids {
            match id.and_then(|id| read_pool(&connection, &id, &mut reading.damage)) {
                Ok(pool) => reading.pools.push(pool),
                Err(error) => reading.damage.push(format!("a pool: {error}")),
            }
        }
        Ok(reading)
    }

    /// The pool of this name, the newest if there are several.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn named(&self, name: &str) -> Result<Option<KnownPool>, JournalError> {
        let mut reading = self.read()?;
        reading.pools.retain(|it| it.name.as_deref() == Some(name));
        match (reading.pools.pop(), reading.damage.is_empty()) {
            (None, false) => Err(JournalError::Damaged {
                folder: self.folder().to_owned(),
                reason: reading.damage.join("; "),
                pools: super::keys::pools_in(self.folder()),
            }),
            (pool, _) => Ok(pool),
        }
    }

    /// One of the keys of a pool.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn key(&self, pool: &PoolId, name: &str) -> Result<Secret<Vec<u8>>, JournalError> {
        let failed =
            |error| JournalError::Keys { pool: pool.to_string(), reason: format!("{name}: {error}") };
        super::keys::read(self.folder(), pool, name).map_err(failed)
    }

    /// What the hash of a pool's secrets was made with.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn salt(&self, pool: &PoolId) -> Result<Secret<String>, JournalError> {
        let salt = self.key(pool, super::record::SALT)?;
        Ok(Secret::new(String::from_utf8_lossy(salt.reveal()).into_owned()))
    }

    /// Takes the lock of a pool.
    ///
    /// # Errors
    /// [`JournalError::Held`] with who has it.
    pub fn lock(&self, pool: &PoolId, name: Option<&str>) -> Result<Lock, JournalError> {
        Lock::take(self.folder(), (pool, name), PATIENCE)
    }

    /// Removes what programs left that were killed before they had written anything else down.
    pub fn sweep(&self) {
        Lock::sweep(self.folder());
    }

    /// Who holds the lock of a pool, if anybody does.
    pub fn holder(&self, pool: &KnownPool) -> Option<Holder> {
        Lock::holder(self.folder(), &pool.id, pool.name.as_deref())
    }

    /// The time since 1970, as entries have it.
    pub fn now() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// Changes it in one transaction.
    pub(super) fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let mut connection = self.connection();
        let changed = (|| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let changed = change(&transaction)?;
            transaction.commit()?;
            Ok(changed)
        })();
        changed.map_err(|error| of_file(self.folder(), &error))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.inner.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_pool(connection: &Connection, id: &str, damage: &mut Vec<String>) -> rusqlite::Result<KnownPool> {
    let text = "SELECT name, program, specs, epoch, ttl_ms, begun_ms, seen_ms, files, secrets, recipe, size FROM pools WHERE id = ?1";
    let mut pool = connection.query_row(text, [id], |row| {
        Ok(KnownPool {
            id: PoolId::new(id),
            name: row.get(0)?,
            program: row.get(1)?,
            specs: row.get(2)?,
            epoch: Epoch(row.get::<_, u32>(3)?.into()),
            ttl: millis(row, 4)?,
            begun: millis(row, 5)?,
            seen: millis(row, 6)?,
            inputs: Inputs { files: row.get(7)?, secrets: row.get(8)? },
            recipe: row.get(9)?,
            size: row.get(10)?,
            deeds: Vec::new(),
            machines: Vec::new(),
            past: Vec::new(),
            whole: true,
        })
    })?;
    let before = damage.len();
    let text = "SELECT seq, kind, provider, settings, request, terms, ended_ms, account, begun_ms FROM deeds WHERE pool = ?1 ORDER BY seq";
    let mut statement = connection.prepare(text)?;
    for deed in statement.query_map([id], deed)? {
        match deed? {
            Ok(deed) => pool.deeds.push(deed),
            Err(why) => damage.push(format!("something that was asked of a cloud for pool {id}: {why}")),
        }
    }
    let text = "SELECT instance, deed, gone_ms FROM machines WHERE pool = ?1 AND gone_ms IS NOT NULL ORDER BY instance";
    let past = |row: &Row<'_>| {
        let instance = InstanceId::new(row.get::<_, String>(0)?);
        Ok(PastMachine { instance, deed: row.get(1)?, gone: millis(row, 2)? })
    };
    pool.past = connection.prepare(text)?.query_map([id], past)?.collect::<rusqlite::Result<_>>()?;
    let text = "SELECT instance, provider, deed, node FROM machines WHERE pool = ?1 AND gone_ms IS NULL ORDER BY instance";
    let mut statement = connection.prepare(text)?;
    for machine in statement.query_map([id], machine)? {
        let (machine, trouble) = machine?;
        damage.extend(trouble.map(|why| format!("the node on machine {}: {why}", machine.instance)));
        pool.machines.push(machine);
    }
    pool.whole = damage.len() == before && pool.machines.iter().all(|it| pool.deed(it.deed).is_some());
    Ok(pool)
}

fn deed(row: &Row<'_>) -> rusqlite::Result<Result<Deed, String>> {
    let (kind, request) = (row.get::<_, String>(1)?, row.get::<_, String>(4)?);
    let kind = DeedKind::ALL.into_iter().find(|it| it.word() == kind).ok_or_else(|| format!("kind {kind:?}"));
    let request = serde_json::from_str(&request).map_err(|error| error.to_string());
    let (number, provider, settings) = (row.get(0)?, row.get(2)?, row.get(3)?);
    let (terms, ended) = (row.get(5)?, row.get::<_, Option<i64>>(6)?.is_some());
    let account = row.get::<_, Option<String>>(7)?.map(KeyPrint::new);
    let begun = millis(row, 8)?;
    let known =
        |kind, request| Deed { number, kind, provider, settings, account, request, terms, begun, ended };
    Ok(kind.and_then(|kind| Ok(known(kind, request?))))
}

fn machine(row: &Row<'_>) -> rusqlite::Result<(Machine, Option<String>)> {
    let node = row.get::<_, Option<String>>(3)?.map(|it| serde_json::from_str(&it));
    let (node, trouble) = match node.transpose() {
        Ok(node) => (node, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let instance = InstanceId::new(row.get::<_, String>(0)?);
    Ok((Machine { instance, provider: row.get(1)?, deed: row.get(2)?, node }, trouble))
}

fn millis(row: &Row<'_>, column: usize) -> rusqlite::Result<Duration> {
    let millis: i64 = row.get(column)?;
    Ok(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

/// How long other programs' transactions are waited for. Each takes some milliseconds.
const BUSY: Duration = Duration::from_secs(10);

/// How long a lock that somebody has is asked for: who only looks has it for a moment.
const PATIENCE: Duration = Duration::from_millis(300);
