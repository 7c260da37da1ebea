//! A panic as an outcome.

use std::any::Any;
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

impl Panic {
    /// What the payload of a panic says. Its place is known to the panic hook alone.
    pub fn caught(payload: &(dyn Any + Send)) -> Self {
        let literal: Option<&&str> = payload.downcast_ref();
        let formatted: Option<&String> = payload.downcast_ref();
        let text = literal.map(|it| (*it).to_owned()).or_else(|| formatted.cloned());
        Self { message: text.unwrap_or_else(|| "the panic's message is not text".to_owned()), place: None }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "panicked at {place}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}
