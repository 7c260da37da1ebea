//! What a pool is given beside its specs, as hashes: whoever goes on with it has to give the same.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::model::Secret;
use crate::random;

/// The files and the secrets of a pool, as far as it takes to tell whether others are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The hashes of the packed files of each image, in order.
    pub files: String,
    /// The hash of the secrets with their names; nothing when there are none.
    pub secrets: String,
}

impl Inputs {
    /// A salt for a new pool.
    ///
    /// # Errors
    /// When the operating system has no random numbers to give.
    pub fn salt() -> Result<String, getrandom::Error> {
        random::text(SALT)
    }

    /// The inputs with this salt, which is another one in each pool, and lies among its keys.
    pub fn new(salt: &str, files: String, secrets: &BTreeMap<String, Secret<String>>) -> Self {
        Self { files, secrets: keyed(salt, secrets) }
    }

    /// What of them is another, in words.
    pub fn differs_from(&self, other: &Self) -> Option<&'static str> {
        match () {
            () if self.files != other.files => Some("its included files are others"),
            () if self.secrets != other.secrets => Some("its secrets are others"),
            () => None,
        }
    }
}

/// A hash of secrets that tells nothing to whoever does not know the salt. Made twice over, so that nobody can make
/// the hash of more from it.
fn keyed(salt: &str, secrets: &BTreeMap<String, Secret<String>>) -> String {
    if secrets.is_empty() {
        return String::new();
    }
    let mut inner = Sha256::new_with_prefix(salt);
    for text in secrets.iter().flat_map(|(name, value)| [name, value.reveal()]) {
        inner.update((text.len() as u64).to_be_bytes());
        inner.update(text);
    }
    hex::encode(Sha256::new_with_prefix(salt).chain_update(inner.finalize()).finalize())
}

/// Letters of a salt, at five bits each.
const SALT: usize = 52;

#[test]
fn inputs_differ_by_files_by_secrets_and_by_nothing_else() {
    let secrets = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned()))).collect()
    };
    let inputs =
        |salt: &str, files: &str, pairs: &[(&str, &str)]| Inputs::new(salt, files.into(), &secrets(pairs));
    let own = inputs("s", "f", &[("A", "1"), ("B", "2")]);
    for (other, expected) in [
        (inputs("s", "f", &[("B", "2"), ("A", "1")]), None),
        (inputs("s", "g", &[("A", "1"), ("B", "2")]), Some("its included files are others")),
        (inputs("s", "f", &[("A", "1"), ("B", "3")]), Some("its secrets are others")),
        (inputs("s", "f", &[("A", "1"), ("C", "2")]), Some("its secrets are others")),
        (inputs("s", "f", &[("A", "1B2")]), Some("its secrets are others")),
        (inputs("s", "f", &[]), Some("its secrets are others")),
    ] {
        assert_eq!(own.differs_from(&other), expected, "{other:?}");
    }
    assert_ne!(own.secrets, inputs("t", "f", &[("A", "1"), ("B", "2")]).secrets, "the salt counts");
    assert_ne!(Inputs::salt(), Inputs::salt());
}
