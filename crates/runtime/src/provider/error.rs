//! One error for all clouds, which knows whether trying again can help.

use std::fmt;
use std::time::Duration;

/// Why a provider could not do what was asked.
#[derive(Debug)]
pub struct ProviderError {
    /// The class, by which the pool decides.
    pub kind: ProviderErrorKind,
    /// What failed and what to do, for people.
    pub message: String,
    /// The cause beneath, if any.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Classes of failure that the pool treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderErrorKind {
    /// No machine of this kind is free now.
    NoCapacity,
    /// The request itself is wrong.
    InvalidRequest,
    /// Something on the way failed; the same request may succeed.
    Transient,
    /// A tool or file on this computer is missing or refuses.
    Local,
}

/// Whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Trying again cannot help.
    Never,
    /// Trying again may help, not before this long.
    After(Duration),
}

impl ProviderError {
    /// An error of a kind with its message.
    pub fn new(kind: ProviderErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether to try the same request again.
    pub const fn retry(&self) -> Retry {
        match self.kind {
            ProviderErrorKind::NoCapacity | ProviderErrorKind::Transient => Retry::After(Duration::ZERO),
            ProviderErrorKind::InvalidRequest | ProviderErrorKind::Local => Retry::Never,
        }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ProviderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|it| it as _)
    }
}
