//! What is the same for every cloud, and the table of them. Adding one is a folder beside this one (`mod.rs`
//! its story and `impl Provider`, `config.rs` what can be set, `api.rs` its calls and their bodies, `map.rs`
//! from those to our words and back, without waiting for anything), one row here, and a page in
//! `docs/providers`. The command line, the conformance suite and the documents' test go by the rows.

mod ends;
mod key;
mod label;
mod lately;
mod machine;
pub(crate) mod setup;
mod snapshot;
mod ubuntu;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use skyward_runtime::provider::{Provider, ProviderError, ProviderErrorKind};

pub use key::{Found, KeyFile, KeyPlaces};
pub use ubuntu::ubuntu;

pub(crate) use ends::{GONE, Rental, end_all, leftovers, none_left, until};
#[cfg(feature = "aws")]
pub(crate) use key::print;
pub(crate) use label::{SKYWARD, is_plain, machine_name, pool_name, sighting};
pub(crate) use lately::Lately;
pub(crate) use machine::{found_or_stranger, reached, sold, stranger};
pub(crate) use snapshot::Snapshot;

/// A provider that has an account at a cloud.
#[async_trait]
pub trait Account: Provider {
    /// Where its key was found; asks nobody.
    ///
    /// # Errors
    /// `Auth` when there is none, with the places that were looked at.
    fn key(&self) -> Result<Found, ProviderError>;

    /// One cheap call that only this account may make. Says whose it is.
    ///
    /// # Errors
    /// What the cloud said, classified.
    async fn check(&self) -> Result<String, ProviderError>;
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Cloud {
    /// The name in settings and tags, and of its folder and its page: `digitalocean`.
    pub name: &'static str,
    /// The name for people: `DigitalOcean`.
    pub title: &'static str,
    /// Where its key is looked for.
    pub keys: KeyPlaces,
    /// A provider with these settings, which are the fields of its `Config`; an empty object is all
    /// defaults. Asks nobody.
    pub open: fn(serde_json::Value) -> Result<Box<dyn Account>, ProviderError>,
}

/// Every cloud, by name.
pub const CLOUDS: &[Cloud] = &[
    #[cfg(feature = "aws")]
    Cloud {
        name: crate::aws::NAME,
        title: crate::aws::TITLE,
        keys: crate::aws::KEYS,
        open: |settings| {
            let config = read(crate::aws::NAME, settings)?;
            Ok(Box::new(crate::aws::Aws::new(config)))
        },
    },
    Cloud {
        name: crate::digitalocean::NAME,
        title: crate::digitalocean::SERVICE.name,
        keys: crate::digitalocean::KEYS,
        open: |settings| {
            let config = read(crate::digitalocean::NAME, settings)?;
            Ok(Box::new(crate::digitalocean::DigitalOcean::new(config)))
        },
    },
    Cloud {
        name: crate::lambda::NAME,
        title: crate::lambda::SERVICE.name,
        keys: crate::lambda::KEYS,
        open: |settings| {
            let config = read(crate::lambda::NAME, settings)?;
            Ok(Box::new(crate::lambda::Lambda::new(config)))
        },
    },
    Cloud {
        name: crate::runpod::NAME,
        title: crate::runpod::SERVICE.name,
        keys: crate::runpod::KEYS,
        open: |settings| {
            let config = read(crate::runpod::NAME, settings)?;
            Ok(Box::new(crate::runpod::RunPod::new(config)))
        },
    },
    Cloud {
        name: crate::vastai::NAME,
        title: crate::vastai::SERVICE.name,
        keys: crate::vastai::KEYS,
        open: |settings| {
            let config = read(crate::vastai::NAME, settings)?;
            Ok(Box::new(crate::vastai::VastAi::new(config)))
        },
    },
    Cloud {
        name: crate::verda::NAME,
        title: crate::verda::SERVICE.name,
        keys: crate::verda::KEYS,
        open: |settings| {
            let config = read(crate::verda::NAME, settings)?;
            Ok(Box::new(crate::verda::Verda::new(config)))
        },
    },
];

/// The cloud of this name.
///
/// ```
/// assert_eq!(skyward_providers::cloud::named("lambda").map(|it| it.title), Some("Lambda"));
/// ```
pub fn named(name: &str) -> Option<&'static Cloud> {
    CLOUDS.iter().find(|it| it.name == name)
}

fn read<T: DeserializeOwned>(name: &str, settings: serde_json::Value) -> Result<T, ProviderError> {
    serde_json::from_value(settings).map_err(|error| {
        let message = format!("the settings of {name} cannot be read: {error}; see docs/providers/{name}.md");
        ProviderError::new(ProviderErrorKind::InvalidRequest, message)
    })
}
