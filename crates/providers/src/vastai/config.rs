//! What can be set for Vast.ai.

use serde::Deserialize;
use skyward_runtime::model::Secret;

use crate::cloud::{KeyFile, KeyPlaces};
use crate::http::Access;

/// What can be set for Vast.ai. Read from settings, unknown names are refused.
///
/// ```
/// use skyward_providers::vastai::{Config, VastAi};
/// let near = VastAi::new(Config { geolocation: Some("EU".into()), ..Config::default() });
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The API key. Default: `VAST_API_KEY`, or the one in `~/.config/vastai/vast_api_key`.
    pub api_key: Option<Secret<String>>,
    /// The least reliability of a host, from 0 to 1. Default 0.95. Lower finds more machines, and more that
    /// vanish.
    pub min_reliability: f64,
    /// Whether only hosts that the market has verified are taken. Default yes.
    pub verified_only: bool,
    /// The least version of CUDA that a host's driver can run. Default 12.0.
    pub min_cuda: f64,
    /// Where machines may be: two-letter codes of countries such as `US` or `SE,NO`, and `EU` for all of the
    /// European Union. Default anywhere.
    pub geolocation: Option<String>,
    /// What is bid for an interruptible machine, as a multiple of the least that its host takes. Default 1.2.
    /// More is outbid later; what is bid is what is paid.
    pub bid_multiplier: f64,
    /// The container image, such as [`VastAi::ubuntu`](super::VastAi::ubuntu) names one. Default: NVIDIA's CUDA
    /// runtime on Ubuntu, of the newest version that the host's driver runs.
    pub docker_image: Option<String>,
    /// The disk of each machine, in GB. Default 100. Its cost is part of every price, so a spec that asks for
    /// a larger one is refused until this is raised.
    pub disk_gb: u32,
    /// Whether machines of one physical cluster get a private network between them. Default yes. Machines
    /// that are in no cluster have none.
    pub use_overlay: bool,
    /// How long a machine may take to be in that network, in seconds. Default 60; all of a request for
    /// machines has `Timing::provision`.
    pub overlay_timeout: u64,
    /// Whether only machines with ports of their own are taken. Default no: the others are reached through
    /// the market's SSH proxy, which is slower.
    pub require_direct_port: bool,
    /// How the cloud is reached.
    pub access: Access,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_key: None,
            min_reliability: 0.95,
            verified_only: true,
            min_cuda: 12.0,
            geolocation: None,
            bid_multiplier: 1.2,
            docker_image: None,
            disk_gb: 100,
            use_overlay: true,
            overlay_timeout: 60,
            require_direct_port: false,
            access: Access::default(),
        }
    }
}

impl Config {
    /// The countries that machines may be in; none is anywhere.
    pub(super) fn countries(&self) -> Vec<String> {
        let codes = self.geolocation.iter().flat_map(|it| it.split([',', ' '])).filter(|it| !it.is_empty());
        codes
            .flat_map(|code| match code.to_ascii_uppercase().as_str() {
                "EU" => EU.iter().map(|it| (*it).to_owned()).collect(),
                code => vec![code.to_owned()],
            })
            .collect()
    }
}

/// The members of the European Union.
const EU: [&str; 27] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT",
    "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
];

/// Where the key is looked for.
pub(crate) const KEYS: KeyPlaces = KeyPlaces {
    variables: &["VAST_API_KEY"],
    file: Some(KeyFile { path: ".config/vastai/vast_api_key", read: |text| Some(text.trim().to_owned()) }),
};

#[test]
fn places_are_countries_and_the_union_is_all_of_its_own() {
    let at =
        |geolocation: &str| Config { geolocation: Some(geolocation.into()), ..Config::default() }.countries();
    assert_eq!(Config::default().countries(), [""; 0]);
    assert_eq!(at("us, SE"), ["US", "SE"]);
    assert_eq!(at("EU").len(), 27);
}
