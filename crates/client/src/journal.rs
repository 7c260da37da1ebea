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

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skyward_providers::cloud;
use skyward_providers::local::Local;
use skyward_runtime::journal::{Record, Recorded, Undo, Undoing};
use skyward_runtime::model::Leftover;
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind};
use skyward_runtime::timing::Timing;

use crate::engine::Engine;
use crate::error::Error;

pub use skyward_runtime::journal::{
    Deed, DeedKind, Holder, Journal, JournalError, KnownNode, KnownPool, Machine, Reading, Standing,
};

/// Gives back everything of a pool that nobody owns, and takes it from the journal when nothing is left. What is left
/// is in the answer, and stays in the journal.
///
/// # Errors
/// When somebody has the pool, or what its machines were rented from cannot be asked: a provider of a program's own
/// is known to that program alone.
pub async fn give_back(journal: &Journal, pool: &KnownPool) -> Result<Vec<Leftover>, Error> {
    give_back_by(journal, pool, Vec::new()).await
}

/// The same with providers that are there already.
pub(crate) async fn give_back_by(
    journal: &Journal,
    pool: &KnownPool,
    own: Vec<Arc<dyn Provider>>,
) -> Result<Vec<Leftover>, Error> {
    let (journal, pool) = (journal.clone(), pool.clone());
    let undone = Engine::get()?.handle().spawn(async move { undo(&journal, pool, &own).await });
    undone.await.map_err(Error::from)?
}

async fn undo(journal: &Journal, pool: KnownPool, own: &[Arc<dyn Provider>]) -> Result<Vec<Leftover>, Error> {
    let taken = journal.clone();
    let owned = tokio::task::spawn_blocking(move || {
        let lock = taken.lock(&pool.id, pool.name.as_deref())?;
        // Its owner of before may have given it back just now.
        let pool = taken.read()?.pools.into_iter().find(|it| it.id == pool.id);
        let record = pool.as_ref().map(|it| Record::claim(&taken, lock, it)).transpose()?;
        Ok::<_, JournalError>(pool.zip(record))
    });
    let Some((pool, record)) = owned.await?? else { return Ok(Vec::new()) };
    let record = Arc::new(record);
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
        let known = own.iter().find(|it| it.name() == deed.provider && it.settings() == deed.settings);
        let provider =
            match known.map_or_else(|| provider(&deed.provider, &deed.settings), |it| Ok(Arc::clone(it))) {
                Ok(provider) => provider,
                Err(error) => {
                    undoing.unasked(error.to_string());
                    continue;
                }
            };
        let recorded = Recorded::new(provider, Arc::clone(&record), deed.terms.clone());
        let within = Timing::default().provision;
        match machines {
            Some(machines) => {
                let late = |_| Err(self::late(&deed.provider, within));
                let ended = tokio::time::timeout(within, recorded.terminate(&deed.request, &machines)).await;
                undoing.terminated(ended.unwrap_or_else(late).map_err(|error| error.to_string()));
            }
            None => {
                let torn = tokio::time::timeout(within, recorded.teardown(&deed.request)).await;
                let late = |_| Err(self::late(&deed.provider, within));
                undoing.torn_down(torn.unwrap_or_else(late).map_err(|error| error.to_string()));
            }
        }
    };
    record.free();
    Ok(left)
}

/// The provider of this name, with these settings.
fn provider(name: &str, settings: &str) -> Result<Arc<dyn Provider>, Error> {
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

fn late(provider: &str, within: Duration) -> ProviderError {
    let message = format!("{provider} did not tear down within {within:?}; is it reachable?");
    ProviderError::new(ProviderErrorKind::Transient, message)
}
