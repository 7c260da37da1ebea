//! An error that travels although its cause cannot: what it said, and what its sources said.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CallError, Error, chain};
use crate::bounds::TaskFailure;

/// The error of a function that has no error type of its own. `?` turns every standard error into it,
/// and `anyhow::Error`, `&str` and `String`; what travels is the text of the error and of its sources.
///
/// `Display` is the whole chain on one line, `Debug` one line for each cause.
///
/// ```
/// use skyward::Failure;
///
/// #[skyward::function]
/// async fn parse(text: String) -> Result<u32, Failure> {
///     if text.is_empty() {
///         return Err("nothing to parse")?;
///     }
///     Ok(text.parse::<u32>()?)
/// }
///
/// let failure = Failure::from("the disk is full").context("failed to write the checkpoint");
/// assert_eq!(failure.to_string(), "failed to write the checkpoint: the disk is full");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Failure {
    messages: Vec<String>,
}

impl Failure {
    /// A failure with a message.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { messages: vec![message.to_string()] }
    }

    /// Says above it what was being done.
    #[must_use]
    pub fn context(mut self, message: impl fmt::Display) -> Self {
        self.messages.insert(0, message.to_string());
        self
    }

    /// The messages, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(String::as_str)
    }

    pub(super) fn from_messages(messages: Vec<String>) -> Self {
        Self { messages }
    }

    pub(super) fn into_messages(self) -> Vec<String> {
        self.messages
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chain::line(&self.messages, f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chain::lines(&self.messages, f)
    }
}

impl<X: Into<Box<dyn StdError + Send + Sync>>> From<X> for Failure {
    fn from(error: X) -> Self {
        Self { messages: chain::messages(&*error.into()) }
    }
}

impl<E: TaskFailure> From<CallError<E>> for Failure {
    fn from(error: CallError<E>) -> Self {
        Error::from(error).into()
    }
}
