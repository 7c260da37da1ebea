//! What can be set for Lambda.

use serde::Deserialize;
use skyward_runtime::model::Secret;

use crate::cloud::{KeyFile, KeyPlaces};
use crate::http::Access;

/// What can be set for Lambda. Read from settings, unknown names are refused.
///
/// ```
/// use skyward_providers::lambda::{Config, Lambda};
/// let texas = Lambda::new(Config { regions: vec!["us-south-1".into()], ..Config::default() });
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The API key. Default: `LAMBDA_API_KEY`, or the one in `~/.lambda_cloud/lambda_keys`.
    pub api_key: Option<Secret<String>>,
    /// The regions to rent in, such as `us-east-1`. Default: all of them.
    pub regions: Vec<String>,
    /// The family of the machines' image, such as `lambda-stack-22-04`. Default: the cloud's newest, which
    /// has the accelerators' drivers.
    pub image_family: Option<String>,
    /// The image itself, by its id; goes before the family. Default: by family.
    pub image_id: Option<String>,
    /// File systems of the account to mount, by name, below `/lambda/nfs`. They must be in the region that
    /// is rented in. Default none.
    pub file_systems: Vec<String>,
    /// The user to log in as, who must be root or may become it. Default `ubuntu`.
    pub user: String,
    /// The port of the machines' SSH server. Default 22.
    pub ssh_port: u16,
    /// Whether each pool gets a set of firewall rules that lets in SSH and the workers' ports. Default yes,
    /// but for regions that have none. Without it, the account's own rules must let UDP in.
    pub firewall: bool,
    /// Who may reach the machines, as IPv4 networks. Default: everybody, who then has to show a key or a
    /// certificate.
    pub allow_from: Vec<String>,
    /// How the cloud is reached.
    pub access: Access,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_key: None,
            regions: Vec::new(),
            image_family: None,
            image_id: None,
            file_systems: Vec::new(),
            user: "ubuntu".to_owned(),
            ssh_port: 22,
            firewall: true,
            allow_from: vec!["0.0.0.0/0".to_owned()],
            access: Access::default(),
        }
    }
}

/// Where the key is looked for.
pub(crate) const KEYS: KeyPlaces = KeyPlaces {
    variables: &["LAMBDA_API_KEY"],
    file: Some(KeyFile { path: ".lambda_cloud/lambda_keys", read: lambda_keys }),
};

/// The key in the file that other tools share.
fn lambda_keys(text: &str) -> Option<String> {
    let (_, key) =
        text.lines().filter_map(|it| it.split_once('=')).find(|(name, _)| name.trim() == "api_key")?;
    Some(key.trim().to_owned())
}

#[test]
fn the_key_of_the_shared_file_is_read() {
    assert_eq!(lambda_keys("# mine\napi_key = secret_x\n").as_deref(), Some("secret_x"));
    assert_eq!(lambda_keys("other = 1\n"), None);
}
