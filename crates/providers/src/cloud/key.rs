//! Where a cloud's key is found: in the settings, in the environment, or where the cloud's own tool keeps it.

use std::fmt;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use skyward_runtime::model::{KeyPrint, Secret};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};

/// The places, in the order in which they are looked at, after the settings.
#[derive(Clone, Copy, Debug)]
pub struct KeyPlaces {
    /// Environment variables.
    pub variables: &'static [&'static str],
    /// A file of the cloud's own tool.
    pub file: Option<KeyFile>,
}

/// A file that another tool wrote.
#[derive(Clone, Copy, Debug)]
pub struct KeyFile {
    /// Where it is below the home folder.
    pub path: &'static str,
    /// The key in its text.
    pub read: fn(&str) -> Option<String>,
}

/// A key, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The key.
    pub key: Secret<String>,
    /// Where, for people.
    pub place: String,
}

impl Found {
    /// What tells this key from others, and nothing of it.
    pub fn print(&self) -> KeyPrint {
        print(self.key.reveal())
    }
}

/// The beginning of a text's hash: of a key, which nobody finds by trying.
pub(crate) fn print(text: &str) -> KeyPrint {
    let hash = Sha256::digest(text.as_bytes());
    KeyPrint::new(hash.iter().take(PRINTED).map(|it| format!("{it:02x}")).collect::<String>())
}

/// The bytes of a hash that are told: no two of anybody's keys have the same.
const PRINTED: usize = 8;

impl KeyPlaces {
    /// The key of the settings, or the first that is found.
    ///
    /// # Errors
    /// `Auth` when there is none.
    pub(crate) fn find(
        &self,
        title: &str,
        configured: Option<&Secret<String>>,
    ) -> Result<Found, ProviderError> {
        let home = std::env::home_dir();
        self.find_with(
            title,
            configured,
            |name| std::env::var(name).ok(),
            |path| std::fs::read_to_string(home.as_deref()?.join(path)).ok(),
        )
    }

    fn find_with(
        &self,
        title: &str,
        configured: Option<&Secret<String>>,
        variable: impl Fn(&str) -> Option<String>,
        file: impl Fn(&PathBuf) -> Option<String>,
    ) -> Result<Found, ProviderError> {
        if let Some(key) = configured {
            return Ok(Found { key: key.clone(), place: "the settings".to_owned() });
        }
        let some = |text: String| Some(text.trim().to_owned()).filter(|it| !it.is_empty());
        for name in self.variables {
            if let Some(key) = variable(name).and_then(some) {
                return Ok(Found { key: Secret::new(key), place: format!("the variable {name}") });
            }
        }
        if let Some(KeyFile { path, read }) = self.file
            && let Some(key) = file(&PathBuf::from(path)).and_then(|it| read(&it)).and_then(some)
        {
            return Ok(Found { key: Secret::new(key), place: format!("the file ~/{path}") });
        }
        let message = format!(
            "failed to find a key for {title}: it is in none of {self}; set the first of them, or see its page in docs/providers"
        );
        Err(ProviderError::new(ProviderErrorKind::Auth, message))
    }
}

impl fmt::Display for KeyPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variables.join(", "))?;
        match self.file {
            Some(file) => write!(f, ", ~/{}", file.path),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: KeyPlaces = KeyPlaces {
        variables: &["ONE", "OTHER"],
        file: Some(KeyFile { path: ".cloud/key", read: |text| text.strip_prefix("key=").map(str::to_owned) }),
    };

    #[test]
    fn a_print_tells_keys_apart_and_nothing_of_them() {
        assert_eq!(print("abc"), KeyPrint::new("ba7816bf8f01cfea"));
        assert_ne!(print("abc"), print("abd"));
    }

    #[test]
    fn the_settings_come_first_then_the_environment_then_the_file() {
        let secret = Secret::new("set".to_owned());
        for (configured, other, file, expected) in [
            (Some(&secret), Some("env"), Some("key=file"), Ok(("set", "the settings"))),
            (None, Some(" env\n"), Some("key=file"), Ok(("env", "the variable OTHER"))),
            (None, Some(" "), Some("key=file\n"), Ok(("file", "the file ~/.cloud/key"))),
            (None, None, Some("else"), Err(ProviderErrorKind::Auth)),
        ] {
            let variable = |name: &str| other.filter(|_| name == "OTHER").map(str::to_owned);
            let found = PLACES.find_with("Cloud", configured, variable, |_| file.map(str::to_owned));
            let found = found.as_ref().map(|it| (it.key.reveal().as_str(), it.place.as_str()));
            assert_eq!(found.map_err(|it| it.kind), expected);
        }
        let error = PLACES.find_with("Cloud", None, |_| None, |_| None).expect_err("there is none");
        assert_eq!(
            error.to_string(),
            "failed to find a key for Cloud: it is in none of ONE, OTHER, ~/.cloud/key; set the first of them, or see its page in docs/providers"
        );
    }
}
