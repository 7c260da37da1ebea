//! The name that a caller gives a call, under which a worker keeps its outcome.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a call is known by beyond the process that made it. Text of 1 to [`Key::MOST`] bytes.
///
/// ```
/// use skyward_runtime::model::Key;
/// let sweep = Key::new("sweep")?;
/// assert_eq!(sweep.at(3).as_str(), "sweep[3]");
/// assert!(Key::new("").is_err());
/// # Ok::<(), skyward_runtime::model::KeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(String);

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// It is empty or too long.
    Unfit {
        /// How many bytes it has.
        length: usize,
    },
    /// Another call of the pool that is not over has it.
    InUse {
        /// Which.
        key: Key,
    },
    /// A worker has an outcome under it, or a running call, of another function or other arguments.
    Differs {
        /// Which.
        key: Key,
    },
}

impl Key {
    /// The longest key, in bytes.
    pub const MOST: usize = 512;

    /// Takes the text as it is.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] when it is empty or longer than [`Key::MOST`].
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        match text.len() {
            1..=Self::MOST => Ok(Self(text)),
            length => Err(KeyError::Unfit { length }),
        }
    }

    /// The key of one of many that were given this one together. It may be longer than a key that a caller
    /// gives.
    #[must_use]
    pub fn at(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// A key as it has travelled: its length was looked at.
    pub(crate) const fn read(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub const fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit { length } => {
                write!(f, "a key has 1 to {} bytes, and this one has {length}", Key::MOST)
            }
            Self::InUse { key } => write!(
                f,
                "another call with the key {:?} is not over: wait for it, or give each call a key of its own",
                key.as_str()
            ),
            Self::Differs { key } => write!(
                f,
                "a node has the outcome of another call under the key {:?}: its function or its arguments differ; give \
                 this call another key",
                key.as_str()
            ),
        }
    }
}

impl std::error::Error for KeyError {}
