//! What can be set for RunPod.

use std::time::Duration;

use serde::Deserialize;
use skyward_runtime::model::{Secret, Usd};
use skyward_runtime::usd;

use crate::cloud::KeyPlaces;
use crate::http::{self, Access};

/// What can be set for RunPod. Read from settings, unknown names are refused.
///
/// ```
/// use skyward_providers::runpod::{CloudType, Config, RunPod};
/// let cheap = RunPod::new(Config { cloud_type: CloudType::Community, ..Config::default() });
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The API key. Default: `RUNPOD_API_KEY`, or the one of `runpodctl`.
    pub api_key: Option<Secret<String>>,
    /// Whose computers: RunPod's own, or those of others. Default secure.
    pub cloud_type: CloudType,
    /// Whether each pod is rented by itself, or all of them as one of RunPod's clusters. Default individual;
    /// clusters are refused, see [`ClusterMode::Instant`].
    pub cluster_mode: ClusterMode,
    /// Whether pods get an address that all pods of the account reach. For NVIDIA machines on demand, in
    /// data centers that have it; slow. Default: not asked for.
    pub global_networking: Option<bool>,
    /// The data centers to rent in, such as `EU-RO-1`. Default: all of them.
    pub data_center_ids: Vec<String>,
    /// The image of every pod. It must have an SSH server or be of the Debian family, where one is
    /// installed. Default: [`ubuntu`](super::RunPod::ubuntu) for pods with accelerators, and Docker Hub's
    /// plain Ubuntu for others.
    pub image: Option<String>,
    /// The version of Ubuntu in the default image. Default newest.
    pub ubuntu: Ubuntu,
    /// The version of CUDA in the default image, which is also the least that a computer's driver must
    /// know. Default `12.8.1`. A lower one finds more computers, a higher one fewer.
    pub cuda: String,
    /// The container's own disk, in GB, which ends with the pod, where the spec asks for none. Default 50;
    /// pods without accelerators get at most 10 for each of their processors.
    pub container_disk_gb: u32,
    /// A second disk, in GB, at least 10, on pods with accelerators. 0 is none. Default 20. It costs while
    /// a pod is stopped, too.
    pub volume_gb: u32,
    /// What a GB of these disks costs in a month while the pod runs, in dollars. Default 0.10. The cloud does not say
    /// it with its prices.
    pub disk_monthly: Usd,
    /// Where that is mounted. Default `/workspace`.
    pub volume_mount_path: String,
    /// The container's ports that are reached from outside, such as `8888/http`. The one of SSH, `22/tcp`,
    /// is always there. Default none but that.
    pub ports: Vec<String>,
    /// The kind of processors of pods without accelerators: `3c`, `3g`, `3m`, `5c`, `5g` or `5m`. Default
    /// `3c`.
    pub cpu_clock: String,
    /// What is bid for a spot machine, as a multiple of the least that is taken. Default 1. What is bid is
    /// paid; a higher bid is taken back later.
    pub bid_multiplier: f64,
    /// After how long RunPod itself ends a spot machine, whatever becomes of us. Default seven days. Longer
    /// than the longest pool must live: the cloud's timer cannot be set back.
    #[serde(deserialize_with = "http::seconds")]
    pub terminate_after: Duration,
    /// The credential of the account for a private registry, by its name. Default `docker hub`, which is
    /// used for images of Docker Hub where the account has it.
    pub registry_auth: Option<String>,
    /// How the cloud is reached.
    pub access: Access,
}

/// Whose computers pods run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudType {
    /// RunPod's own data centers.
    #[default]
    Secure,
    /// Other people's computers: cheaper, without a data center, and as trustworthy as their owners.
    Community,
}

/// How the pods of a pool belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterMode {
    /// Each by itself. They reach each other only through the client.
    #[default]
    Individual,
    /// One of RunPod's instant clusters. Refused: their pods can neither be given back nor replaced one by
    /// one, which is what a pool does with its machines.
    Instant,
}

/// A version of Ubuntu.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Ubuntu {
    /// 20.04.
    #[serde(rename = "20.04")]
    Focal,
    /// 22.04.
    #[serde(rename = "22.04")]
    Jammy,
    /// 24.04.
    #[serde(rename = "24.04")]
    Noble,
    /// The newest that the default image comes in: 24.04.
    #[default]
    #[serde(rename = "newest")]
    Newest,
}

impl Ubuntu {
    /// The version as images write it.
    pub const fn version(self) -> &'static str {
        match self {
            Self::Focal => "20.04",
            Self::Jammy => "22.04",
            Self::Noble | Self::Newest => "24.04",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_key: None,
            cloud_type: CloudType::default(),
            cluster_mode: ClusterMode::default(),
            global_networking: None,
            data_center_ids: Vec::new(),
            image: None,
            ubuntu: Ubuntu::default(),
            cuda: "12.8.1".to_owned(),
            container_disk_gb: 50,
            volume_gb: 20,
            disk_monthly: usd!(0.10),
            volume_mount_path: "/workspace".to_owned(),
            ports: Vec::new(),
            cpu_clock: "3c".to_owned(),
            bid_multiplier: 1.0,
            terminate_after: Duration::from_secs(7 * 24 * 3600),
            registry_auth: Some(DOCKER_HUB.to_owned()),
            access: Access::default(),
        }
    }
}

/// The name of a credential that is there for images of Docker Hub and no others.
pub(super) const DOCKER_HUB: &str = "docker hub";

/// Where the key is looked for.
pub(crate) const KEYS: KeyPlaces = KeyPlaces {
    variables: &["RUNPOD_API_KEY"],
    file: Some(crate::cloud::KeyFile { path: ".runpod/config.toml", read: runpodctl }),
};

/// The key in the settings of the cloud's own tool.
fn runpodctl(text: &str) -> Option<String> {
    let (_, key) = text
        .lines()
        .filter_map(|it| it.split_once('='))
        .find(|(name, _)| ["api_key", "apikey"].contains(&name.trim().to_ascii_lowercase().as_str()))?;
    Some(key.trim().trim_matches(['"', '\'']).to_owned())
}

#[test]
fn the_key_of_runpodctl_is_read() {
    assert_eq!(runpodctl("[default]\napi_key = \"rpa_x\"\n").as_deref(), Some("rpa_x"));
    assert_eq!(runpodctl("apiKey = 'rpa_y'\napiUrl = \"https://x\"\n").as_deref(), Some("rpa_y"));
    assert_eq!(runpodctl("[default]\n"), None);
}

#[test]
fn settings_are_written_as_they_are_told() {
    let text =
        r#"{"cloud_type": "community", "ubuntu": "22.04", "terminate_after": 3600, "registry_auth": null}"#;
    let config: Config = serde_json::from_str(text).expect("settings");
    assert_eq!((config.cloud_type, config.ubuntu.version()), (CloudType::Community, "22.04"));
    assert_eq!((config.terminate_after, config.registry_auth), (Duration::from_secs(3600), None));
    assert!(serde_json::from_str::<Config>(r#"{"ubuntu": "23.10"}"#).is_err());
}
