//! What can be set for DigitalOcean.

use serde::Deserialize;
use skyward_runtime::model::Secret;

use crate::cloud::{KeyFile, KeyPlaces};
use crate::http::Access;

/// What can be set for DigitalOcean. Read from settings, unknown names are refused.
///
/// ```
/// use skyward_providers::digitalocean::{Config, DigitalOcean};
/// let near = DigitalOcean::new(Config { regions: vec!["fra1".into(), "ams3".into()], ..Config::default() });
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The token. Default: `DIGITALOCEAN_TOKEN`, `DIGITALOCEAN_ACCESS_TOKEN`, or the one of `doctl`.
    pub token: Option<Secret<String>>,
    /// The regions to rent in, such as `nyc3`. Default: all of them.
    pub regions: Vec<String>,
    /// The image of every machine: a slug, or the number of an image of your own. Default: Ubuntu 24.04,
    /// and for machines with accelerators the image that has their drivers.
    pub image: Option<String>,
    /// The user to log in as, who must be root or may become it. Default `root`.
    pub user: String,
    /// The port of the machines' SSH server. Default 22.
    pub ssh_port: u16,
    /// The VPC to put machines in, by its UUID. It must be in the region that is rented in, so name one
    /// region with it. Default: the account's own VPC of the region.
    pub vpc_uuid: Option<String>,
    /// Whether each pool gets a firewall that lets in SSH, UDP from 1024 on, and everything between the pool's machines.
    /// Default yes; without one, droplets are open but for what the account's other firewalls say.
    pub firewall: bool,
    /// Who may reach the machines, as networks. Default: everybody, who then has to show a key or a
    /// certificate.
    pub allow_from: Vec<String>,
    /// Whether to install the cloud's monitoring agent. Default no: it costs a little of each machine.
    pub monitoring: bool,
    /// Whether machines get an IPv6 address, too. Default no.
    pub ipv6: bool,
    /// More tags for the machines: letters, digits, `-`, `_` and `:`. Default none.
    pub tags: Vec<String>,
    /// How the cloud is reached.
    pub access: Access,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            token: None,
            regions: Vec::new(),
            image: None,
            user: "root".to_owned(),
            ssh_port: 22,
            vpc_uuid: None,
            firewall: true,
            allow_from: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
            monitoring: false,
            ipv6: false,
            tags: Vec::new(),
            access: Access::default(),
        }
    }
}

/// Where the token is looked for.
pub(crate) const KEYS: KeyPlaces = KeyPlaces {
    variables: &["DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN"],
    file: Some(KeyFile { path: ".config/doctl/config.yaml", read: doctl }),
};

/// The token in the settings of the cloud's own tool.
fn doctl(text: &str) -> Option<String> {
    let token = text.lines().find_map(|it| it.strip_prefix("access-token:"))?;
    Some(token.trim().trim_matches(['"', '\'']).to_owned())
}

#[test]
fn the_token_of_doctl_is_read() {
    let text = "auth-contexts: {}\naccess-token: \"dop_v1_x\"\ncontext: default\n";
    assert_eq!(doctl(text).as_deref(), Some("dop_v1_x"));
    assert_eq!(doctl("auth-contexts:\n  access-token: no\n"), None);
}
