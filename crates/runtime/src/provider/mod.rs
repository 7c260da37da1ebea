//! The contract between the pool and a cloud. A provider knows how to rent and give back; it knows no
//! pool, spawns nothing of its own, and never decides to retry. The `ProviderActor` in `actor.rs`
//! serialises its writes; the pool reaches it through [`ProviderRef`].

mod actor;
mod error;
mod messages;
mod state;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::model::{Capabilities, Instance, InstanceId, KeyPrint, Leftover, Market, Offer, PoolId, Volume};

pub use actor::ProviderRef;
pub use error::{ProviderError, ProviderErrorKind, Retry};

/// A cloud, or anything else that has machines.
///
/// Every write may be repeated: the pool calls `teardown` twice if the first answer got lost, and
/// `terminate` of something that is gone is a success.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// The provider's name, in lower case, for people and tags.
    fn name(&self) -> &str;

    /// What its machines can and cannot do.
    fn capabilities(&self) -> Capabilities;

    /// The settings, as JSON text, with which another program can make this provider again to undo what it
    /// rented. They are written to the user's disk: no credential is among them. Default: none, `{}`.
    fn settings(&self) -> String {
        "{}".to_owned()
    }

    /// Which account's key it asks with, found out without asking anybody. It is written down with everything that
    /// is rented: to the key of another account a cloud lists nothing, as if all of it had been given back. Default:
    /// none, of a provider that has one account.
    fn account(&self) -> Option<KeyPrint> {
        None
    }

    /// The file of the program that its machines run, where that is another build of the running one: for another C
    /// library, say. It was seen to be the same program before a machine is handed over. Default: the running program.
    fn program(&self) -> Option<PathBuf> {
        None
    }

    /// What it has for rent, as it is found out.
    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>>;

    /// Sets up what all machines of a pool share: keys, networks, folders. Called once for
    /// each offer that a pool tries, before its first machine: what an earlier offer of the same pool left
    /// is used, or left alone, and so are the machines that run. What one that fails has made is removed by
    /// `teardown`, which follows when the pool ends.
    ///
    /// # Errors
    /// What the cloud said, classified.
    async fn prepare(&self, request: &Request) -> Result<(), ProviderError>;

    /// Rents `count` machines. Fewer is not an error: the answer says why the rest is missing.
    ///
    /// # Errors
    /// When there is none at all.
    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError>;

    /// Looks at one machine.
    ///
    /// # Errors
    /// When the cloud could not be asked. A machine that it does not know is `Gone`, not an error.
    async fn describe(&self, request: &Request, id: &InstanceId) -> Result<Instance, ProviderError>;

    /// Gives machines back and returns when they are certainly gone.
    ///
    /// # Errors
    /// When any of them may still exist.
    async fn terminate(&self, request: &Request, ids: &[InstanceId]) -> Result<(), ProviderError>;

    /// Removes what `prepare` set up and every machine of the pool that still exists.
    ///
    /// # Errors
    /// When the provider could not be asked at all; what it could not remove is in the answer.
    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError>;

    /// The machines that are there for any pool, as their names or tags tell, whoever began it: for those who look for
    /// what nobody remembers. Default: `None`, of a provider that cannot tell.
    ///
    /// # Errors
    /// When the cloud could not be asked.
    async fn sightings(&self) -> Result<Option<Vec<Sighting>>, ProviderError> {
        Ok(None)
    }
}

/// A machine that somebody rented for a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The pool.
    pub pool: PoolId,
    /// The machine.
    pub instance: InstanceId,
    /// Where it is, at a cloud that has to be told where to look.
    pub region: Option<String>,
    /// When it was rented, since 1970, if that is known.
    pub since: Option<Duration>,
    /// How long it lives without its client, if that is known.
    pub lease: Option<Duration>,
}

/// What a provider is told about the pool it rents for: the same in every call about one offer of a pool.
/// All offers of a pool have its id and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The pool, also the tag of everything that is created for it.
    pub pool: PoolId,
    /// What to rent.
    pub offer: Offer,
    /// From which of the offer's markets: what is rented from another would not cost what was agreed.
    pub market: Market,
    /// The disk that each machine gets, in GB, where its size can be chosen and was asked for.
    pub disk_gb: Option<u32>,
    /// What is mounted on each machine, where the provider can.
    pub volumes: Vec<Volume>,
    /// The client's SSH key to let in: an OpenSSH public key line.
    pub ssh_key: String,
    /// How long a machine may live without a renewal of its lease. Part of the create call.
    pub lease: Duration,
}

/// What came of a request for machines.
#[derive(Debug)]
pub struct Provisioned {
    /// The machines, in any state.
    pub instances: Vec<Instance>,
    /// Why there are fewer than asked for.
    pub shortfall: Option<ProviderError>,
}
