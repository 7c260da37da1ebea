//! How a start becomes the owner of its pool: of a new one, or of one that another program has left.
//!
//! ```text
//! no name, this computer -> nothing is written down
//! name, or a cloud -> lock -> not there: begun | left with nodes: attached to | left without: given back, then begun
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use skyward_providers::local::Local;
use skyward_runtime::bootstrap::{Includes, Program};
use skyward_runtime::journal::{Found, Inputs, Journal, JournalError, KnownPool, Lock, NewPool, Record};
use skyward_runtime::model::{Epoch, Image, Instance, InstanceState, PoolId, Secret};
use skyward_runtime::pool::{Candidate, Spec, StartError};
use skyward_runtime::provider::Provider;
use skyward_runtime::registry::Registry;
use skyward_runtime::timing::Timing;

use crate::error::Error;
use crate::journal::{give_back_with, provider_of};

/// What is to be owned.
pub(super) struct Asked {
    pub(super) entry: Entry,
    pub(super) id: PoolId,
    pub(super) name: Option<String>,
    pub(super) state: Option<PathBuf>,
    pub(super) specs: Vec<Spec>,
    /// What of the rest of the request must be as it was.
    pub(super) terms: String,
    /// The image of specs that have none of their own.
    pub(super) image: Image,
    pub(super) secrets: BTreeMap<String, Secret<String>>,
    /// What it is asked to be, for a program that attaches by its name.
    pub(super) recipe: String,
}

/// Whether a pool may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Where there is none to attach to.
    Start,
    /// Never: what it is was read from the journal.
    Attach,
}

/// What is owned.
pub(super) struct Owned {
    pub(super) id: PoolId,
    pub(super) record: Option<Arc<Record>>,
    pub(super) adopted: Option<Arc<KnownPool>>,
    /// Why it is in no journal, though it was to be.
    pub(super) unrecorded: Option<String>,
}

/// What a look into the journal came to.
enum Owner {
    Begun(Record),
    Attached(Record, KnownPool),
    /// It has to be given back first, unless somebody looks whether its machines live, and they do.
    Stale(Journal, KnownPool, bool),
}

/// Why nothing is owned.
struct Refused {
    error: StartError,
    /// A pool of this name was there.
    is_known: bool,
}

impl From<StartError> for Refused {
    fn from(error: StartError) -> Self {
        Self { error, is_known: false }
    }
}

impl Asked {
    /// Becomes the owner.
    pub(super) async fn own(self) -> Result<Owned, Error> {
        let is_here = |it: &Spec| it.provider().capabilities().same_computer;
        let (all_here, id, entry) = (self.specs.iter().all(is_here), self.id.clone(), self.entry);
        let none = |unrecorded| Owned { id: id.clone(), record: None, adopted: None, unrecorded };
        if all_here && self.name.is_none() {
            return Ok(none(None));
        }
        if let Some(name) = &self.name {
            check(name)?;
        }
        let own: Vec<Arc<dyn Provider>> = self.specs.iter().map(|it| Arc::clone(it.provider())).collect();
        let asked = Arc::new(self);
        // A pool that was left without nodes is given back once; then there is none of its name.
        let mut seen = None;
        for _ in 0..TRIES {
            let (looked, lives) = (Arc::clone(&asked), seen.take());
            match tokio::task::spawn_blocking(move || looked.look(lives.as_ref())).await? {
                Ok(Owner::Begun(record)) => {
                    return Ok(Owned { record: Some(Arc::new(record)), ..none(None) });
                }
                Ok(Owner::Attached(record, pool)) => {
                    let (id, record) = (pool.id.clone(), Some(Arc::new(record)));
                    return Ok(Owned { id, record, adopted: Some(Arc::new(pool)), unrecorded: None });
                }
                Ok(Owner::Stale(journal, pool, may_live)) => {
                    if may_live && let Some(living) = living(&pool, &own).await {
                        seen = Some(living);
                        continue;
                    }
                    if entry == Entry::Attach {
                        let pool = pool.name.unwrap_or_default();
                        let reason =
                            "its machines have ended, as far as they can; `sky reap` gives back the rest";
                        return Err(StartError::NotThere { pool, reason }.into());
                    }
                    let left = give_back_with(&journal, &pool, own.clone()).await?;
                    if let Some(first) = left.first() {
                        let title = pool.title();
                        return Err(Error::from(format!(
                            "failed to give back what pool {title} had left before: {first}; `sky reap` tries again"
                        )));
                    }
                }
                // Machines of this computer cost nothing and end by their leases, written down or not. One that is known
                // to be there is not begun a second time.
                Err(Refused { error: StartError::Journal(error), is_known: false })
                    if all_here && entry == Entry::Start && !matches!(error, JournalError::Held { .. }) =>
                {
                    return Ok(none(Some(error.to_string())));
                }
                Err(Refused { error, .. }) => return Err(error.into()),
            }
        }
        Err(Error::from("other programs begin and leave pools of this name again and again; try again"))
    }

    /// Looks into the journal, and writes down who has the pool. `living`: this one's machines are there, with this
    /// owner, however old it is. Blocks.
    fn look(&self, living: Option<&Living>) -> Result<Owner, Refused> {
        let (journal, lock, known) = self.find()?;
        let Some(pool) = known else { return Ok(self.begin(&journal, lock)?) };
        let living = living.filter(|it| (&it.id, it.epoch) == (&pool.id, pool.epoch));
        let owner = self.take(journal, lock, pool, living);
        owner.map_err(|error| Refused { error, is_known: true })
    }

    /// The journal, the pool's lock, and the pool if there is one of its name.
    fn find(&self) -> Result<(Journal, Lock, Option<KnownPool>), StartError> {
        let folder = match &self.state {
            Some(folder) => folder.clone(),
            None => Journal::folder_of_user().map_err(StartError::Journal)?,
        };
        let journal = Journal::open(&folder).map_err(StartError::Journal)?;
        let lock = journal.lock(&self.id, self.name.as_deref()).map_err(StartError::Journal)?;
        let known = match &self.name {
            Some(name) => journal.named(name).map_err(StartError::Journal)?,
            None => None,
        };
        Ok((journal, lock, known))
    }

    /// Begins a pool.
    fn begin(&self, journal: &Journal, lock: Lock) -> Result<Owner, StartError> {
        if self.entry == Entry::Attach {
            let pool = self.name.clone().unwrap_or_default();
            return Err(StartError::NotThere { pool, reason: "it was given back just now" });
        }
        let (program, specs, files) = (self.program()?, self.specs(), self.files()?);
        let salt = Inputs::salt().map_err(|error| StartError::Internal(error.to_string()))?;
        let inputs = Inputs::new(&salt, files, &self.secrets);
        let (id, name, salt) = (self.id.clone(), self.name.clone(), Secret::new(salt));
        let recipe = self.name.as_ref().map_or_else(String::new, |_| self.recipe.clone());
        let pool = NewPool { id, name, program, specs, inputs, salt, recipe };
        Record::begin(journal, lock, pool).map(Owner::Begun).map_err(StartError::Journal)
    }

    /// Becomes the next owner of a pool, if it is to be gone on with.
    fn take(
        &self,
        journal: Journal,
        lock: Lock,
        pool: KnownPool,
        living: Option<&Living>,
    ) -> Result<Owner, StartError> {
        let (program, specs, files) = (self.program()?, self.specs(), self.files()?);
        let damaged = |reason| {
            let (folder, pools) = (journal.folder().to_owned(), vec![pool.id.to_string()]);
            StartError::Journal(JournalError::Damaged { folder, reason, pools })
        };
        let found = match (living, pool.found_living(&program, &specs)) {
            // What only looks alive is not kept for another program.
            (Some(it), found) if it.is_sure || found == Found::Attach => found,
            _ => pool.found(&program, &specs, Journal::now()),
        };
        match found {
            Found::Attach => {}
            Found::GiveBack => return Ok(Owner::Stale(journal, pool, living.is_none())),
            Found::Unreadable => {
                return Err(damaged(format!(
                    "something that it says of pool {} cannot be read",
                    pool.title()
                )));
            }
            Found::Differs(what) => {
                return Err(StartError::Differs { pool: pool.title().to_owned(), what });
            }
        }
        let differs = |what| StartError::Differs { pool: pool.title().to_owned(), what };
        let salt = journal.salt(&pool.id).map_err(StartError::Journal)?;
        let inputs = Inputs::new(salt.reveal(), files, &self.secrets);
        if let Some(what) = pool.inputs.differs_from(&inputs) {
            return Err(differs(what));
        }
        for deed in pool.undos() {
            let candidate: Candidate = serde_json::from_str(&deed.terms).map_err(|error| {
                damaged(format!("what pool {} was rented for cannot be read: {error}", pool.title()))
            })?;
            let account = self.specs.get(candidate.spec).and_then(|it| it.provider().account());
            if !deed.is_of(account.as_ref()) {
                return Err(differs("it was rented with the key of another account"));
            }
        }
        let record = Record::attach(&journal, lock, &pool).map_err(StartError::Journal)?;
        Ok(Owner::Attached(record, pool))
    }

    /// What tells this program from others: its functions, and its content.
    fn program(&self) -> Result<String, StartError> {
        if self.name.is_none() {
            // Nobody attaches to it.
            return Ok(String::new());
        }
        let failed = |error: &dyn std::fmt::Display| {
            StartError::Internal(format!("failed to read the running program: {error}"))
        };
        let registry = Registry::global().map_err(|error| failed(&error))?.hash();
        let functions: String = registry.iter().map(|it| format!("{it:02x}")).collect();
        Ok(format!("{functions} {}", Program::of_running(false).map_err(|error| failed(&error))?.hash()))
    }

    /// The hashes of what the images include.
    fn files(&self) -> Result<String, StartError> {
        if self.name.is_none() {
            return Ok(String::new());
        }
        let mut hashes: Vec<String> = Vec::new();
        for image in self.specs.iter().map(|it| it.own_image().unwrap_or(&self.image)) {
            let packed = Includes::pack(image).map_err(|error| StartError::Image(error.to_string()))?;
            hashes.push(packed.archive().map_or_else(String::new, |it| it.hash.clone()));
        }
        Ok(hashes.join(" "))
    }

    fn specs(&self) -> String {
        let settings: Vec<String> = self.specs.iter().map(|it| it.provider().settings()).collect();
        format!("{:?} {settings:?} {}", self.specs, self.terms)
    }
}

/// A pool whose time is over, as far as anybody has written down, and whose machines are there.
struct Living {
    id: PoolId,
    epoch: Epoch,
    /// Its machines would have ended themselves. Others may be there though nobody is at home any more.
    is_sure: bool,
}

/// Looks whether any node's machine is there. One that cannot be asked for counts as there: what attaches in vain ends
/// nothing.
async fn living(pool: &KnownPool, own: &[Arc<dyn Provider>]) -> Option<Living> {
    if !pool.may_live() {
        return None;
    }
    let within = Timing::default().provision;
    let nodes = pool.machines.iter().filter(|it| it.node.is_some());
    let asked = nodes.map(async |machine| {
        let deed = pool.deed(machine.deed)?;
        // Giving it back says what is missing.
        let provider = provider_of(deed, own).ok()?;
        let told = tokio::time::timeout(within, provider.describe(&deed.request, &machine.instance)).await;
        let is_gone = matches!(told, Ok(Ok(Instance { state: InstanceState::Gone { .. }, .. })));
        (!is_gone).then(|| matches!(told, Ok(Ok(_))) && provider.capabilities().ends_itself)
    });
    let is_sure = join_all(asked).await.into_iter().flatten().max()?;
    Some(Living { id: pool.id.clone(), epoch: pool.epoch, is_sure })
}

/// A name is part of a file's name, and is typed.
fn check(name: &str) -> Result<(), Error> {
    let fits = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    if (1..=LONGEST).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    let allowed = format!("must have 1 to {LONGEST} letters, digits, `-`, `_` and `.`");
    Err(skyward_runtime::model::InvalidRequest::new("name", format!("{name:?}"), allowed).into())
}

/// The spec where none is given.
pub(super) fn or_local(specs: Vec<Spec>) -> Vec<Spec> {
    if specs.is_empty() { vec![Spec::on(Local::default())] } else { specs }
}

const LONGEST: usize = 64;

const TRIES: u32 = 3;
