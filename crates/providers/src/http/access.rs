//! How a cloud's interface is reached: what people may have to set where they work.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use skyward_runtime::backoff::Backoff;

/// How a cloud's interface is reached. The defaults do at home; behind a company's gateway, or in front of
/// a server of one's own, some of it has to be said.
///
/// ```
/// use skyward_providers::http::Access;
/// use std::time::Duration;
/// let patient = Access { request_timeout: Duration::from_secs(90), ..Access::default() };
/// assert_eq!(patient.tries, 4);
/// ```
///
/// In settings, times are numbers of seconds.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Where the interface is, without a path. Default: the cloud's own address.
    pub base_url: Option<String>,
    /// How long one request may take, its answer included. Default 30 s. Shorter takes slow answers for
    /// lost ones; a request that rents something is then looked for before it is made again.
    #[serde(deserialize_with = "seconds")]
    pub request_timeout: Duration,
    /// How often a request is sent that fails in a way that may pass. Default 4, at least 1.
    pub tries: u32,
    /// The waits between those tries, where the cloud does not say how long. Default 500 ms doubling to
    /// 8 s.
    #[serde(skip)]
    pub backoff: Backoff,
    /// How long something that was just made may take to be listed: for so long it is looked for, when the
    /// answer to the request that makes it was lost, before it is made again. Default 15 s.
    #[serde(deserialize_with = "seconds")]
    pub settles: Duration,
    /// The longest wait that is sat out; a cloud that asks for more fails the request, with the time that
    /// it asked for. Default 60 s.
    #[serde(deserialize_with = "seconds")]
    pub patience: Duration,
    /// The address of a proxy, such as `http://proxy:3128`. Default: what `HTTPS_PROXY`, `HTTP_PROXY`,
    /// `ALL_PROXY` and `NO_PROXY` say.
    pub proxy: Option<String>,
    /// A PEM file with certificates to trust besides those of the system. Default none. `SSL_CERT_FILE`
    /// replaces those of the system.
    pub ca_file: Option<PathBuf>,
    /// How many times as fast as the cloud allows requests may follow each other. Default 1. Anything
    /// above is for a server of one's own.
    #[serde(skip)]
    pub pace: u32,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            base_url: None,
            request_timeout: Duration::from_secs(30),
            tries: 4,
            backoff: Backoff { first: Duration::from_millis(500), factor: 2, most: Duration::from_secs(8) },
            settles: Duration::from_secs(15),
            patience: Duration::from_secs(60),
            proxy: None,
            ca_file: None,
            pace: 1,
        }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A proxy's address may hold a password.
        f.debug_struct("Access")
            .field("base_url", &self.base_url)
            .field("request_timeout", &self.request_timeout)
            .field("tries", &self.tries)
            .field("proxy", &self.proxy.is_some())
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

/// A length of time in settings: a number of seconds.
pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
}

#[test]
fn settings_are_in_seconds_and_a_password_does_not_show() {
    let text = r#"{"request_timeout": 1.5, "proxy": "http://me:hunter2@proxy:1"}"#;
    let access: Access = serde_json::from_str(text).expect("settings");
    assert_eq!(access.request_timeout, Duration::from_millis(1500));
    assert!(!format!("{access:?}").contains("hunter2"));
    for wrong in [r#"{"request_timeout": -1}"#, r#"{"timeout": 1}"#] {
        assert!(serde_json::from_str::<Access>(wrong).is_err(), "{wrong}");
    }
}
