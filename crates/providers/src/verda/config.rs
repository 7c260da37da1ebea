//! What can be set for Verda.

use serde::Deserialize;
use skyward_runtime::model::{Secret, Usd};
use skyward_runtime::usd;

use crate::cloud::KeyPlaces;
use crate::http::Access;

/// What can be set for Verda. Read from settings, unknown names are refused.
///
/// ```
/// use skyward_providers::verda::{Config, Verda};
/// let finland = Verda::new(Config { regions: vec!["FIN-01".into()], ..Config::default() });
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The id of the OAuth client. Default: `VERDA_CLIENT_ID`.
    pub client_id: Option<String>,
    /// Its secret. Default: `VERDA_CLIENT_SECRET`.
    pub client_secret: Option<Secret<String>>,
    /// The locations to rent in, such as `FIN-01`. Default: all that have what is wanted.
    pub regions: Vec<String>,
    /// The image of every machine. Default: of those that fit the kind of machine, the newest Ubuntu with CUDA
    /// and drivers, or without where there is no accelerator.
    pub image: Option<String>,
    /// Keys of the account to let in besides the pool's own, by their ids. Default none.
    pub ssh_key_ids: Vec<String>,
    /// A script that each machine runs as root when it first boots. Default none.
    pub startup_script: Option<String>,
    /// The size of each machine's disk, in GB. Default 50. Its cost is part of every price, so a spec that asks
    /// for a larger one is refused until this is raised.
    pub os_volume_gb: u32,
    /// What a GB of that disk costs in a month, in dollars. Default 0.20. The cloud's catalog does not say it.
    pub os_volume_monthly: Usd,
    /// The user to log in as, who must be root or may become it. Default `root`.
    pub user: String,
    /// The port of the machines' SSH server. Default 22.
    pub ssh_port: u16,
    /// How the cloud is reached.
    pub access: Access,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_id: None,
            client_secret: None,
            regions: Vec::new(),
            image: None,
            ssh_key_ids: Vec::new(),
            startup_script: None,
            os_volume_gb: 50,
            os_volume_monthly: usd!(0.20),
            user: "root".to_owned(),
            ssh_port: 22,
            access: Access::default(),
        }
    }
}

/// Where the secret is looked for.
pub(crate) const KEYS: KeyPlaces = KeyPlaces { variables: &["VERDA_CLIENT_SECRET"], file: None };

/// Where the id that belongs to it is looked for.
pub(super) const IDS: KeyPlaces = KeyPlaces { variables: &["VERDA_CLIENT_ID"], file: None };
