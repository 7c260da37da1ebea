//! A panic as an outcome.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a function that panicked left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    /// The panic's message, or a note that it was not text.
    pub message: String,
    /// `file:line:column` of the panic, where it is known.
    pub place: Option<String>,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "panicked at {place}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}
