//! A look at a pool that a program has left, by one that need not know its functions.

use std::time::Duration;

use futures_util::future::join_all;
use skyward_runtime::journal::{Journal, JournalError, KnownPool, Standing};
use skyward_runtime::model::{InstanceId, InstanceState, InvalidRequest, Leftover, Rank, SshEndpoint, Usd};
use skyward_runtime::pool::{spent, ssh_key};
use skyward_runtime::ssh::{ClientKey, Running, Session};
use skyward_runtime::timing::Timing;

use super::{give_back, provider_of};
use crate::engine::Engine;
use crate::error::Error;

pub use skyward_runtime::ssh::Piece;

/// A pool that nobody had when it was looked at. A program may attach to it at any time.
///
/// Nothing is changed by looking. Machines go on to end by their leases, which only a program that attaches renews.
///
/// ```no_run
/// # async fn look() -> skyward::Result<()> {
/// use skyward::journal::{Journal, Visit};
///
/// let journal = Journal::open(&Journal::folder_of_user()?)?;
/// let visit = Visit::begin(&journal, "sweep").await?;
/// println!("{} so far", visit.cost());
/// for node in visit.nodes().await {
///     println!("{}: {:?}", node.instance, node.state);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Visit {
    journal: Journal,
    pool: KnownPool,
}

/// A node of a pool that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenNode {
    /// Its rank; nothing for a machine that has not become a node.
    pub rank: Option<Rank>,
    /// Its cloud.
    pub provider: String,
    /// What the cloud calls its machine.
    pub instance: InstanceId,
    /// How its machine is reached, if it was.
    pub ssh: Option<SshEndpoint>,
    /// What its cloud says of it, or why nobody could ask.
    pub state: Result<InstanceState, String>,
}

impl Visit {
    /// Begins to look at the pool of this name or id.
    ///
    /// # Errors
    /// When there is none ([`InvalidRequest`]), somebody has it ([`JournalError::Held`], which says who), or the journal
    /// cannot be used.
    pub async fn begin(journal: &Journal, named: &str) -> Result<Self, Error> {
        let (journal, named) = (journal.clone(), named.to_owned());
        let begun = Engine::get()?.handle().spawn_blocking(move || {
            let is_it = |it: &KnownPool| it.name.as_deref() == Some(&*named) || it.id.as_str() == named;
            let find = || Ok::<_, JournalError>(journal.read()?.pools.into_iter().rfind(is_it));
            let none = || {
                let allowed = "must be the name or the id of a pool that `sky reap` lists";
                Error::from(InvalidRequest::new("name", &named, allowed))
            };
            let pool = find()?.ok_or_else(none)?;
            // Held for a moment, so that no program that attaches is kept waiting.
            drop(journal.lock(&pool.id, pool.name.as_deref())?);
            // Who had it may have given it back just now.
            let pool = find()?.ok_or_else(none)?;
            Ok(Self { journal: journal.clone(), pool })
        });
        begun.await.map_err(Error::from)?
    }

    /// What the journal says of it.
    pub const fn pool(&self) -> &KnownPool {
        &self.pool
    }

    /// What it has cost until now.
    pub fn cost(&self) -> Usd {
        spent(&self.pool, Journal::now())
    }

    /// For how long its machines live yet without a program; nothing when they have ended, or should have.
    pub fn lease_left(&self) -> Option<Duration> {
        match self.pool.standing(None, Journal::now()) {
            Standing::Attachable(left) => Some(left),
            Standing::Owned(_) | Standing::Lapsed => None,
        }
    }

    /// Asks each cloud for its machines, all at once.
    pub async fn nodes(&self) -> Vec<SeenNode> {
        let asked = self.pool.machines.iter().map(async |machine| {
            let node = machine.node.as_ref();
            let state = match self.pool.deed(machine.deed).map(|it| (it, provider_of(it, &[]))) {
                Some((deed, Ok(provider))) => {
                    let within = Timing::default().provision;
                    let told =
                        tokio::time::timeout(within, provider.describe(&deed.request, &machine.instance));
                    let late = |_| format!("{} did not answer within {within:?}", provider.name());
                    let told = told.await.map_err(late);
                    told.and_then(|it| it.map(|it| it.state).map_err(|error| error.to_string()))
                }
                Some((_, Err(reason))) => Err(reason),
                None => Err("the journal does not say how it was rented".to_owned()),
            };
            SeenNode {
                rank: node.map(|it| it.rank),
                provider: machine.provider.clone(),
                instance: machine.instance.clone(),
                ssh: node.map(|it| it.ssh.clone()),
                state,
            }
        });
        let mut nodes = join_all(asked).await;
        nodes.sort_by(|a, b| {
            (a.rank.is_none(), a.rank, &a.instance).cmp(&(b.rank.is_none(), b.rank, &b.instance))
        });
        nodes
    }

    /// Starts a shell command on a node, beside what its tasks do there, in the home folder of its machine. Dropping
    /// what is returned leaves the command alone.
    ///
    /// # Errors
    /// When the pool has no node of this rank, or its machine cannot be reached.
    pub async fn command(&self, rank: Rank, command: &str) -> Result<Command, Error> {
        let node = self.pool.machines.iter().filter_map(|it| it.node.as_ref()).filter(|it| it.rank == rank);
        let node = node.max_by_key(|it| it.attempt).ok_or_else(|| {
            let mut ranks: Vec<Rank> =
                self.pool.machines.iter().filter_map(|it| Some(it.node.as_ref()?.rank)).collect();
            ranks.sort_unstable();
            let ranks: Vec<String> = ranks.iter().map(ToString::to_string).collect();
            let allowed = format!("must be the rank of a node that was left: {}", ranks.join(", "));
            Error::from(InvalidRequest::new("node", rank, allowed))
        })?;
        let key: ClientKey = ssh_key(&self.journal, &self.pool.id).map_err(Error::from)?;
        let (endpoint, command) = (node.ssh.clone(), command.to_owned());
        let started = Engine::get()?.handle().spawn(async move {
            let session = Session::connect(&endpoint, &key, &Timing::default()).await?;
            session.start(&command, bytes::Bytes::new()).await
        });
        let running = started.await.map_err(Error::from)?.map_err(|error| Error::from(error.to_string()))?;
        Ok(Command { running })
    }

    /// Gives it back; what is left.
    ///
    /// # Errors
    /// As [`give_back`].
    pub async fn stop(self) -> Result<Vec<Leftover>, Error> {
        give_back(&self.journal, &self.pool).await
    }
}

/// A command that runs on a node.
pub struct Command {
    running: Running,
}

impl Command {
    /// The next piece of what it writes, and at last how it ended. `None` after that, or when its machine cannot be
    /// reached any more. Dropping the wait loses nothing.
    pub async fn next(&mut self) -> Option<Piece> {
        self.running.next().await
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}
