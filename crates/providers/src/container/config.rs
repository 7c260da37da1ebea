//! What can be set for containers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What can be set. Read from settings, unknown names are refused.
///
/// ```
/// use skyward_providers::container::{Config, Container};
/// let small = Container::new(Config {
///     image: "debian:bookworm-slim".into(),
///     cpus: Some(1.5),
///     memory_mb: Some(512),
///     ..Config::default()
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the containers are made of: any image that has a shell and a C library which can run this program. One that
    /// is on this computer is used as it is; another is pulled. Default `debian:stable-slim`.
    pub image: String,
    /// The user inside, as whom everything runs. Default `root`; an image may install system packages then.
    pub ssh_user: String,
    /// The command of the runtime: `docker`, `podman`, `nerdctl`, Apple's `container`, or a path to one of them. Default:
    /// the first of these that is there and answers.
    pub binary: Option<String>,
    /// What the names of containers and networks begin with. Default `skyward`.
    pub container_prefix: Option<String>,
    /// A network that is there already and that the containers join. Default: one of the pool's own, which goes with it.
    pub network: Option<String>,
    /// How many processors each container may use at most; a part of one can be said. Default: all.
    pub cpus: Option<f64>,
    /// How much memory each container may use at most, in MiB. Default: all.
    pub memory_mb: Option<u64>,
    /// Devices of this computer that each container has, as `--device` takes them: `/dev/kfd`. Default none.
    pub devices: Vec<String>,
    /// NVIDIA's accelerators that each container has: `all`, a number of them, or `device=0,2`. Default none.
    pub gpus: Option<String>,
    /// This program in a file, built for the C library of the image where that cannot run this one: for musl, say. It
    /// must be built from the same sources, which each container says before it is trusted. Default: this program.
    pub worker_binary: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            image: "debian:stable-slim".to_owned(),
            ssh_user: "root".to_owned(),
            binary: None,
            container_prefix: None,
            network: None,
            cpus: None,
            memory_mb: None,
            devices: Vec::new(),
            gpus: None,
            worker_binary: None,
        }
    }
}

impl Config {
    /// What names begin with.
    pub(super) fn prefix(&self) -> &str {
        self.container_prefix.as_deref().unwrap_or("skyward")
    }

    /// Whether commands inside are root's.
    pub(super) fn is_root(&self) -> bool {
        ["root", "0", "0:0"].contains(&self.ssh_user.as_str())
    }
}

#[test]
fn settings_hold_what_is_known_and_nothing_else() {
    let read = |text| serde_json::from_str::<Config>(text);
    let config = read(r#"{"image": "mine:1", "cpus": 0.5, "gpus": "all"}"#).expect("settings");
    assert_eq!((config.image.as_str(), config.cpus, config.prefix()), ("mine:1", Some(0.5), "skyward"));
    assert!(config.is_root() && config.network.is_none());
    assert!(read(r#"{"images": "mine:1"}"#).is_err());
}
