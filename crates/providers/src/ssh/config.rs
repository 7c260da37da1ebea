//! What can be set for hosts that you already have.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use skyward_runtime::model::Usd;
use skyward_runtime::usd;

use crate::http::seconds;

/// What can be set. Read from settings, unknown names are refused.
///
/// ```
/// use skyward_providers::ssh::{Config, Ssh};
/// let lab = Ssh::new(Config { hosts: vec!["gpu1".into(), "me@10.0.0.7:2222".into()], slots: 2, ..Config::default() });
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The hosts: names or addresses, or hosts of the `ssh` client's own settings. Default none.
    pub hosts: Vec<Host>,
    /// The user to log in as, where neither the host nor the `ssh` client's settings name one.
    pub user: Option<String>,
    /// The settings of the `ssh` client. Default: what `ssh` reads itself, such as `~/.ssh/config`.
    pub ssh_config: Option<PathBuf>,
    /// The list of known hosts. Default: those of the `ssh` client's settings, such as `~/.ssh/known_hosts`.
    pub known_hosts: Option<PathBuf>,
    /// Whether a host that no list knows is taken at its first word, for as long as this provider lives. Nothing is
    /// written to any list. Default no, unless the `ssh` client's settings say so. A host that is known by another
    /// key is refused in any case.
    pub accept_new: bool,
    /// How many machines there may be on each host, each a node of its own. Default 1.
    pub slots: u32,
    /// Whether other pools may be on the same hosts, if they say so, too. Default no: a host is one pool's.
    pub share: bool,
    /// Whether an image may install system packages, which stay there. Default no. The user must be root, or may
    /// become it with `sudo`.
    pub root: bool,
    /// Whether UDP reaches the hosts from here. Default yes; where it does not, links take `Timing::quic` longer to
    /// find out.
    pub udp: bool,
    /// What an hour of one machine costs. Default nothing.
    pub hourly_cost: Usd,
    /// The folder of the machines, below the user's home or absolute. Default `.skyward-hosts`. It goes with the last
    /// machine, unless programs are kept.
    pub directory: String,
    /// Whether programs are kept on the hosts, so that the next start need not send them again. Those that were not
    /// used for 30 days go. Default no: nothing is left.
    pub cache: bool,
    /// How long a host may take to let us in. Default 15 s. In settings a number of seconds.
    #[serde(deserialize_with = "seconds")]
    pub connect_timeout: Duration,
}

/// A host. Made of its name, of `user@name`, and of `user@name:port`; what is not said here is what the `ssh`
/// client's settings say.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Written")]
pub struct Host {
    /// Its name or address.
    pub name: String,
    /// The user to log in as.
    pub user: Option<String>,
    /// The port of its SSH server.
    pub port: Option<u16>,
    /// The file of the private key.
    pub identity_file: Option<PathBuf>,
    /// The servers to go through, as `ssh -J` takes them.
    pub jump: Option<String>,
    /// How many machines there may be on it.
    pub slots: Option<u32>,
    /// What an hour of one machine on it costs.
    pub hourly_cost: Option<Usd>,
}

/// A host as it stands in settings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    Whole(Whole),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    name: String,
    user: Option<String>,
    port: Option<u16>,
    identity_file: Option<PathBuf>,
    jump: Option<String>,
    slots: Option<u32>,
    hourly_cost: Option<Usd>,
}

impl From<Written> for Host {
    fn from(written: Written) -> Self {
        match written {
            Written::Name(name) => Self::from(name.as_str()),
            Written::Whole(it) => Self {
                identity_file: it.identity_file,
                jump: it.jump,
                slots: it.slots,
                hourly_cost: it.hourly_cost,
                ..Self::from(it.name.as_str()).at(it.user, it.port)
            },
        }
    }
}

impl Host {
    fn at(self, user: Option<String>, port: Option<u16>) -> Self {
        Self { user: user.or(self.user), port: port.or(self.port), ..self }
    }
}

impl From<&str> for Host {
    fn from(written: &str) -> Self {
        let (user, rest) = match written.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, written),
        };
        // An address of IPv6 has colons of its own, so its port is behind brackets.
        let plain = |it: &str| it.trim_start_matches('[').trim_end_matches(']').to_owned();
        let split = rest.rsplit_once(':').filter(|(name, _)| name.ends_with(']') || !name.contains(':'));
        let (name, port) = match split.and_then(|(name, port)| Some((name, port.parse().ok()?))) {
            Some((name, port)) => (plain(name), Some(port)),
            None => (plain(rest), None),
        };
        Self { name, user, port, ..Self::default() }
    }
}

impl From<String> for Host {
    fn from(written: String) -> Self {
        Self::from(written.as_str())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            user: None,
            ssh_config: None,
            known_hosts: None,
            accept_new: false,
            slots: 1,
            share: false,
            root: false,
            udp: true,
            hourly_cost: usd!(0),
            directory: ".skyward-hosts".to_owned(),
            cache: false,
            connect_timeout: Duration::from_secs(15),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_written_as_ssh_takes_it() {
        for (written, user, name, port) in [
            ("gpu1", None, "gpu1", None),
            ("me@gpu1", Some("me"), "gpu1", None),
            ("me@10.0.0.7:2222", Some("me"), "10.0.0.7", Some(2222)),
            ("fe80::1", None, "fe80::1", None),
            ("[fe80::1]:22", None, "fe80::1", Some(22)),
            ("me@corp@gpu1", Some("me@corp"), "gpu1", None),
        ] {
            let host = Host::from(written);
            assert_eq!(
                (host.user.as_deref(), host.name.as_str(), host.port),
                (user, name, port),
                "{written}"
            );
        }
    }

    #[test]
    fn settings_hold_names_and_whole_hosts_and_nothing_unknown() {
        let read = |text| serde_json::from_str::<Config>(text);
        let config =
            read(r#"{"hosts": ["a", {"name": "b", "slots": 2, "hourly_cost": "0.50"}], "share": true}"#);
        let config = config.expect("settings");
        let whole = Host { slots: Some(2), hourly_cost: Some(usd!(0.50)), ..Host::from("b") };
        assert_eq!(config.hosts, [Host::from("a"), whole]);
        assert!(config.share && !config.accept_new);
        assert!(read(r#"{"host": ["a"]}"#).is_err());
        assert!(read(r#"{"hosts": [{"name": "b", "prot": 1}]}"#).is_err());
    }

    #[test]
    fn settings_have_times_in_seconds() {
        let read = |text| serde_json::from_str::<Config>(text).map(|it| it.connect_timeout);
        assert_eq!(read(r#"{"connect_timeout": 15}"#).expect("seconds"), Duration::from_secs(15));
        assert_eq!(read(r#"{"connect_timeout": 0.5}"#).expect("parts of one"), Duration::from_millis(500));
        assert!(read(r#"{"connect_timeout": -1}"#).is_err());
    }
}
