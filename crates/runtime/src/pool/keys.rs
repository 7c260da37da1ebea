//! The keys of one pool: made before the first machine is rented, held in memory, gone with the pool.

use std::sync::Arc;

use crate::control::Cluster;
use crate::link::{Authority, CLIENT, Dialer};
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
    /// Makes all keys and opens the client's ends.
    pub(super) async fn make(pool: &PoolId, timing: &Timing) -> Result<Self, String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("failed to {what}: {error}");
        let ssh = ClientKey::generate().map_err(|it| failed("make an ssh key", &it))?;
        let authority = Authority::new(pool).map_err(|it| failed("make the pool's authority", &it))?;
        let client = authority.issue(CLIENT).map_err(|it| failed("make the client's certificate", &it))?;
        let cookie =
            Secret::new(random::text(COOKIE_LETTERS).map_err(|it| failed("make the cluster's secret", &it))?);
        let dialer =
            Dialer::new(&client, timing).map_err(|it| failed("use the client's certificate", &it))?;
        let cluster = Cluster::start(pool, &cookie, &client).await.map_err(|it| it.to_string())?;
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
