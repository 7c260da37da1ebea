//! A value that never shows itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Holds a secret and prints as stars, so that it cannot reach a log or an error by accident.
///
/// ```
/// let key = skyward_runtime::model::Secret::new("hunter2");
/// assert_eq!(format!("{key:?}"), "***");
/// assert_eq!(*key.reveal(), "hunter2");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps the value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Whoever calls this answers for where it goes.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
