//! What this user's programs have rented and not given back: the journal of pools, for those who look at it, and who
//! give back what nobody owns.
//!
//! Pools at clouds, and pools with a [name](crate::Builder::name), are written down before anything is rented for
//! them, in `$XDG_STATE_HOME/skyward`, else `~/.local/state/skyward`. `sky reap` is made of this.
//!
//! ```no_run
//! # async fn look() -> skyward::Result<()> {
//! use skyward::journal::{Journal, Standing, give_back};
//!
//! let journal = Journal::open(&Journal::folder_of_user()?)?;
//! for pool in journal.read()?.pools {
//!     if pool.standing(journal.holder(&pool), Journal::now()) == Standing::Lapsed {
//!         let left = give_back(&journal, &pool).await?;
//!         println!("{}: {} things are left", pool.title(), left.len());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod foreign;
mod visit;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skyward_providers::cloud;
use skyward_providers::local::Local;
use skyward_runtime::journal::{Record, Recorded, Undo, Undoing};
use skyward_runtime::model::{InstanceId, KeyPrint, Leftover};
use skyward_runtime::pool::Candidate;
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind};
use skyward_runtime::timing::Timing;

use crate::engine::Engine;
use crate::error::Error;

pub use foreign::{ForeignPool, Foreigners, foreigners, foreigners_of};
pub use skyward_runtime::journal::{
    Deed, DeedKind, Holder, Journal, JournalError, KnownNode, KnownPool, Machine, PastMachine, Reading,
    Standing,
};
pub use visit::{Command, Piece, SeenNode, Visit};

/// Gives back everything of a pool that nobody owns, and takes it from the journal when nothing is left. What is left
/// is in the answer, and stays in the journal: also what was rented with another key than clouds are asked with now,
/// or at a provider of a program's own, which is known to that program alone ([`give_back_with`]).
///
/// # Errors
/// When somebody has the pool, or the journal cannot be written.
pub async fn give_back(journal: &Journal, pool: &KnownPool) -> Result<Vec<Leftover>, Error> {
    give_back_with(journal, pool, Vec::new()).await
}

/// The same by way of these providers: of a program's own, or with keys that are not where keys are looked for. Each
/// gives back what its like rented with the same key; what none of them has rented is given back by the others.
///
/// # Errors
/// As [`give_back`].
///
/// ```no_run
/// # async fn end(other: std::sync::Arc<dyn skyward::Provider>) -> skyward::Result<()> {
/// use skyward::journal::{Journal, give_back_with};
///
/// let journal = Journal::open(&Journal::folder_of_user()?)?;
/// for pool in journal.read()?.pools {
///     give_back_with(&journal, &pool, vec![other.clone()]).await?;
/// }
/// # Ok(())
/// # }
/// ```
pub async fn give_back_with(
    journal: &Journal,
    pool: &KnownPool,
    providers: Vec<Arc<dyn Provider>>,
) -> Result<Vec<Leftover>, Error> {
    let (journal, pool) = (journal.clone(), pool.clone());
    let undoing = async move { undo(&journal, pool, &providers, &Timing::default()).await };
    let undone = Engine::get()?.handle().spawn(undoing);
    undone.await.map_err(Error::from)?
}

/// What [`give_back`] could not give back of a pool as things are, and why. Asks nobody.
///
/// ```no_run
/// # fn look(pool: &skyward::journal::KnownPool) {
/// for left in skyward::journal::obstacles(pool) {
///     println!("{left}"); // its key is not there
/// }
/// # }
/// ```
pub fn obstacles(pool: &KnownPool) -> Vec<Leftover> {
    let mut undoing = Undoing::of(pool);
    loop {
        let deed = match undoing.next() {
            Undo::Terminate(deed, _) | Undo::Teardown(deed) => deed,
            Undo::Forget => return Vec::new(),
            Undo::Keep(left) => return left,
        };
        match provider_of(&deed, &[]) {
            Ok(_) => {
                undoing.terminated(Ok(()));
                undoing.torn_down(Ok(Vec::new()), None);
            }
            Err(reason) => undoing.unasked(reason),
        }
    }
}

/// Takes a pool that nobody owns from the journal, and gives nothing back: what it has is nobody's from then on, and
/// costs until somebody ends it by hand. For what can never be given back, as its key does not exist any more.
///
/// # Errors
/// When somebody has the pool, or the journal cannot be written.
///
/// ```no_run
/// # async fn drop_it(pool: skyward::journal::KnownPool) -> skyward::Result<()> {
/// use skyward::journal::{Journal, forget};
///
/// let journal = Journal::open(&Journal::folder_of_user()?)?;
/// forget(&journal, &pool).await?;
/// # Ok(())
/// # }
/// ```
pub async fn forget(journal: &Journal, pool: &KnownPool) -> Result<(), Error> {
    let (journal, pool) = (journal.clone(), pool.clone());
    let forgotten = Engine::get()?.handle().spawn(async move {
        if let Some((_, record)) = claim(&journal, pool).await? {
            record.forget().await?;
            record.free();
        }
        Ok(())
    });
    forgotten.await.map_err(Error::from)?
}

/// Becomes the owner of a pool that nobody has, with what the journal says of it now. Nothing if it is not there.
async fn claim(journal: &Journal, pool: KnownPool) -> Result<Option<(KnownPool, Arc<Record>)>, Error> {
    let taken = journal.clone();
    let owned = tokio::task::spawn_blocking(move || {
        let lock = taken.lock(&pool.id, pool.name.as_deref())?;
        // Its owner of before may have given it back just now.
        let pool = taken.read()?.pools.into_iter().find(|it| it.id == pool.id);
        let record = pool.as_ref().map(|it| Record::claim(&taken, lock, it)).transpose()?;
        Ok::<_, JournalError>(pool.zip(record.map(Arc::new)))
    });
    Ok(owned.await??)
}

async fn undo(
    journal: &Journal,
    pool: KnownPool,
    own: &[Arc<dyn Provider>],
    timing: &Timing,
) -> Result<Vec<Leftover>, Error> {
    let Some((pool, record)) = claim(journal, pool).await? else { return Ok(Vec::new()) };
    let mut undoing = Undoing::of(&pool);
    let left = loop {
        let (deed, machines) = match undoing.next() {
            Undo::Terminate(deed, machines) => (deed, Some(machines)),
            Undo::Teardown(deed) => (deed, None),
            Undo::Forget => {
                record.forget().await?;
                break Vec::new();
            }
            Undo::Keep(left) => break left,
        };
        let provider = match provider_of(&deed, own) {
            Ok(provider) => provider,
            Err(reason) => {
                undoing.unasked(reason);
                continue;
            }
        };
        let can = provider.capabilities();
        let recorded = Recorded::new(provider, Arc::clone(&record), deed.terms.clone());
        match machines {
            Some(machines) => {
                let ended = terminate(&recorded, &deed, &machines, timing).await;
                undoing.terminated(ended.map_err(|error| error.to_string()));
            }
            None => {
                let within = timing.giving_back(pool.machines.len(), can.pace);
                let torn = tokio::time::timeout(within, recorded.teardown(&deed.request)).await;
                let torn = torn.unwrap_or_else(|_| Err(late(&deed.provider, within)));
                let now = (!can.same_computer).then(Journal::now);
                undoing.torn_down(torn.map_err(|error| error.to_string()), now);
            }
        }
    };
    record.free();
    Ok(left)
}

/// Ends machines by their names, some at a time: those that are gone are written down, whatever becomes of the others.
///
/// # Errors
/// The first reason why some of them may be there still.
async fn terminate(
    recorded: &Recorded,
    deed: &Deed,
    machines: &[InstanceId],
    timing: &Timing,
) -> Result<(), ProviderError> {
    let mut result = Ok(());
    for some in machines.chunks(AT_ONCE) {
        let within = timing.giving_back(some.len(), recorded.capabilities().pace);
        match tokio::time::timeout(within, recorded.terminate(&deed.request, some)).await {
            Ok(ended) => result = result.and(ended),
            // Who does not answer is not waited for again and again.
            Err(_) => return result.and(Err(late(&deed.provider, within))),
        }
    }
    result
}

/// How many machines are ended together. Fewer, and a cloud that takes a minute until they are gone takes one for each
/// few; more, and more of it is done again when it is broken off.
const AT_ONCE: usize = 50;

fn late(provider: &str, within: Duration) -> ProviderError {
    let message = format!("{provider} did not answer within {within:?}; is it reachable?");
    ProviderError::new(ProviderErrorKind::Transient, message)
}

/// Who can undo a deed: one of a program's own, of which the one of the deed's spec goes first, or one that is made
/// from what was written down. It must ask with the key that was asked with then.
pub(crate) fn provider_of(deed: &Deed, own: &[Arc<dyn Provider>]) -> Result<Arc<dyn Provider>, String> {
    let spec = serde_json::from_str::<Candidate>(&deed.terms).ok().and_then(|it| own.get(it.spec));
    let likes = |it: &&Arc<dyn Provider>| it.name() == deed.provider && it.settings() == deed.settings;
    let mut keys: Vec<KeyPrint> = Vec::new();
    for known in spec.into_iter().chain(own).filter(likes) {
        let account = known.account();
        if deed.is_of(account.as_ref()) {
            return Ok(Arc::clone(known));
        }
        keys.extend(account);
    }
    let made = match provider(&deed.provider, &deed.settings) {
        Ok(made) => made,
        // The one that was known had another key.
        Err(_) if !keys.is_empty() => return Err(other_key(deed, &keys)),
        Err(error) => return Err(error.to_string()),
    };
    let account = made.account();
    if deed.is_of(account.as_ref()) {
        return Ok(made);
    }
    keys.extend(account);
    Err(other_key(deed, &keys))
}

/// What to do about a key that is not there.
fn other_key(deed: &Deed, keys: &[KeyPrint]) -> String {
    let wanted = deed.account.as_ref().map_or("", KeyPrint::as_str);
    let mut there: Vec<&str> = keys.iter().map(KeyPrint::as_str).collect();
    there.dedup();
    let there = match there.as_slice() {
        [] => "there is none now".to_owned(),
        keys => format!("the one that is there now is {}", keys.join(", ")),
    };
    let places = cloud::named(&deed.provider).map_or_else(String::new, |it| format!(" in {}", it.keys));
    format!(
        "it was rented with the key {wanted} (the beginning of its sha256), and {there}: put that key{places} and try \
         again"
    )
}

/// The provider of this name, with these settings.
pub(crate) fn provider(name: &str, settings: &str) -> Result<Arc<dyn Provider>, Error> {
    let settings: Value = serde_json::from_str(settings)?;
    if name == Local::default().name() {
        let local = Local::default();
        let directory = settings.get("directory").and_then(Value::as_str);
        return Ok(Arc::new(match directory {
            Some(directory) => local.directory(directory),
            None => local,
        }));
    }
    let Some(cloud) = cloud::named(name) else {
        return Err(Error::from(format!(
            "{name} is a provider of a program's own: run that program to give its machines back"
        )));
    };
    let account: Arc<dyn cloud::Account> = Arc::from((cloud.open)(settings)?);
    Ok(account)
}

#[cfg(test)]
#[path = "journal/giving_back_tests.rs"]
mod tests;
