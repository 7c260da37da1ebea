//! The keys of one pool: made before the first machine is rented, gone with the pool. Those of a pool that is in the
//! journal are files beside it, so that another program can be its owner; all others are in memory alone.

use std::sync::Arc;

use crate::control::Cluster;
use crate::journal::{Journal, Record};
use crate::link::{Authority, CLIENT, Dialer, Identity};
use crate::model::{PoolId, Secret};
use crate::node::NodeKit;
use crate::random;
use crate::ssh::ClientKey;
use crate::timing::Timing;

/// How long the secret of the cluster's handshake is, at five bits a letter.
const COOKIE_LETTERS: usize = 52;

/// Who the client is to its machines, and who its machines are to it.
pub(super) struct Keys {
    pub(super) ssh: ClientKey,
    pub(super) authority: Arc<Authority>,
    pub(super) dialer: Dialer,
    pub(super) cluster: Cluster,
    pub(super) cookie: Secret<String>,
}

impl Keys {
    /// Makes all keys, writes them beside the pool's entry if it has one, and opens the client's ends.
    pub(super) async fn make(
        pool: &PoolId,
        timing: &Timing,
        record: Option<&Arc<Record>>,
    ) -> Result<Self, String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("failed to {what}: {error}");
        let ssh = ClientKey::generate().map_err(|it| failed("make an ssh key", &it))?;
        let authority = Authority::new(pool).map_err(|it| failed("make the pool's authority", &it))?;
        let client = authority.issue(CLIENT).map_err(|it| failed("make the client's certificate", &it))?;
        let cookie =
            Secret::new(random::text(COOKIE_LETTERS).map_err(|it| failed("make the cluster's secret", &it))?);
        if let Some(record) = record {
            let text = |it: &Secret<String>| Secret::new(it.reveal().clone().into_bytes());
            let private = ssh.private().map_err(|it| failed("encode the ssh key", &it))?;
            let keys = vec![
                (SSH, text(&private)),
                (AUTHORITY, authority.key()),
                (AUTHORITY_CERTIFICATE, Secret::new(client.authority.clone())),
                (CLIENT_KEY, client.key.clone()),
                (CLIENT_CERTIFICATE, Secret::new(client.certificate.clone())),
                (COOKIE, text(&cookie)),
            ];
            record.save_keys(keys).await.map_err(|it| it.to_string())?;
        }
        Self::open(pool, timing, ssh, authority, &client, cookie).await
    }

    /// Reads the keys of a pool that had another owner, and opens this client's ends.
    pub(super) async fn restore(record: &Record, timing: &Timing) -> Result<Self, String> {
        let pool = record.pool();
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("failed to {what}: {error}");
        let key = |name: &str| record.key(name).map_err(|it| it.to_string());
        let text = |name: &str| {
            let text = String::from_utf8(key(name)?.reveal().clone());
            text.map(Secret::new).map_err(|it| failed("read a key of the pool", &it.utf8_error()))
        };
        let ssh = ssh_key(record.journal(), pool)?;
        let certificate = key(AUTHORITY_CERTIFICATE)?.reveal().clone();
        let authority = Authority::restore(pool, certificate.clone(), &key(AUTHORITY)?);
        let authority = authority.map_err(|it| failed("use the pool's authority", &it))?;
        let (own, private) = (key(CLIENT_CERTIFICATE)?.reveal().clone(), key(CLIENT_KEY)?);
        let client = Identity { certificate: own, key: private, authority: certificate };
        Self::open(pool, timing, ssh, authority, &client, text(COOKIE)?).await
    }

    async fn open(
        pool: &PoolId,
        timing: &Timing,
        ssh: ClientKey,
        authority: Authority,
        client: &Identity,
        cookie: Secret<String>,
    ) -> Result<Self, String> {
        let dialer = Dialer::new(client, timing);
        let dialer = dialer.map_err(|it| format!("failed to use the client's certificate: {it}"))?;
        let cluster = Cluster::start(pool, &cookie, client).await.map_err(|it| it.to_string())?;
        Ok(Self { ssh, authority: Arc::new(authority), dialer, cluster, cookie })
    }

    /// The keys that a kit was made with: a pool has one authority and one client, whoever rents to it.
    pub(super) fn of(kit: &NodeKit) -> Self {
        Self {
            ssh: kit.ssh_key.clone(),
            authority: Arc::clone(&kit.authority),
            dialer: kit.dialer.clone(),
            cluster: kit.cluster.clone(),
            cookie: kit.cookie.clone(),
        }
    }
}

/// The key that the machines of a pool let in.
///
/// # Errors
/// When it cannot be read: only pools with a name have one there.
pub fn ssh_key(journal: &Journal, pool: &PoolId) -> Result<ClientKey, String> {
    let read = journal.key(pool, SSH).map_err(|it| it.to_string())?;
    let text = String::from_utf8(read.reveal().clone()).map(Secret::new);
    let text = text.map_err(|it| format!("failed to read a key of the pool: {}", it.utf8_error()))?;
    ClientKey::restore(&text).map_err(|it| format!("failed to use the pool's ssh key: {it}"))
}

/// The names of the files.
const SSH: &str = "ssh";
const AUTHORITY: &str = "authority.key";
const AUTHORITY_CERTIFICATE: &str = "authority.der";
const CLIENT_KEY: &str = "client.key";
const CLIENT_CERTIFICATE: &str = "client.der";
const COOKIE: &str = "cookie";
