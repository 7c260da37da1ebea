//! Where the catalog is and how long its offers count as fresh.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

use super::CatalogError;
use crate::timing::Timing;

/// Where the catalog is kept, and for how long what it holds is believed.
///
/// ```
/// use skyward_runtime::catalog::Settings;
/// use std::time::Duration;
/// let mut settings = Settings::in_folder("/var/cache/sky");
/// settings.ages.insert("vast".to_owned(), Duration::from_secs(60));
/// assert_eq!(settings.age_of("vast"), Duration::from_secs(60));
/// assert_eq!(settings.age_of("aws"), Duration::from_secs(15 * 60));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder, on a local disk. It is made when it is missing.
    pub folder: PathBuf,
    /// How old a provider's offers may be before they are asked for again. Default 15 minutes: list
    /// prices change in months and spot prices by the hour, so a quarter of an hour is rarely wrong and
    /// spares a cloud most of the questions of an afternoon. Longer shows machines that are gone;
    /// shorter asks slow clouds before every plan.
    pub max_age: Duration,
    /// Providers that differ from it, by name, such as a marketplace whose offers go in a minute.
    pub ages: BTreeMap<String, Duration>,
    /// How long to wait for other programs, and for one query of [`Catalog::sql`](super::Catalog::sql).
    /// Default [`Timing::catalog`].
    pub busy: Duration,
}

impl Settings {
    /// The defaults, in this folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            max_age: Duration::from_secs(15 * 60),
            ages: BTreeMap::new(),
            busy: Timing::default().catalog,
        }
    }

    /// The defaults, in the user's cache: `$XDG_CACHE_HOME/skyward`, else `~/.cache/skyward`.
    ///
    /// # Errors
    /// When neither that variable nor `HOME` names an absolute folder.
    pub fn of_user() -> Result<Self, CatalogError> {
        let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
        let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
        Ok(Self::in_folder(cache.ok_or(CatalogError::NoFolder)?.join("skyward")))
    }

    /// How old this provider's offers may be.
    pub fn age_of(&self, provider: &str) -> Duration {
        self.ages.get(provider).copied().unwrap_or(self.max_age)
    }
}
