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
    /// How long the cloud wants to be left alone, if it said so.
    pub after: Option<Duration>,
    /// Some of what was asked for may have been done all the same, as nobody heard an answer.
    pub unsure: bool,
    /// The cause beneath, if any.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Classes of failure that the pool treats differently. What an answer means is the provider's to find
/// out, from its body before its status: some clouds say "failed" with a 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProviderErrorKind {
    /// The credentials are missing, wrong or out of date. Nothing of this provider is tried again.
    Auth,
    /// The credentials are good, and may not do this. Nothing of this provider is tried again.
    Permission,
    /// The account has no money left. Nothing of this provider is tried again.
    InsufficientFunds,
    /// The account may not have more of these. The offer's other market, or another offer, is tried.
    Quota,
    /// No machine of this kind is free now. The same is tried again; then its other market, then another
    /// offer.
    NoCapacity,
    /// The offer is not there any more, as on a marketplace. Another offer is tried.
    OfferGone,
    /// The request itself is wrong. Another offer is tried.
    InvalidRequest,
    /// Asked too often. The same is tried again, not before [`RATE_LIMITED`](Self::RATE_LIMITED), or what
    /// the cloud says, has passed.
    RateLimited,
    /// What was asked about is not there. Whoever gives it back takes this for success.
    NotFound,
    /// Something else happens to the same thing right now. The same is tried again.
    Conflict,
    /// Something on the way failed, or took too long; the same request may succeed.
    Transient,
    /// A tool or file on this computer is missing or refuses. Nothing of this provider is tried again.
    Local,
}

impl ProviderErrorKind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Auth,
        Self::Permission,
        Self::InsufficientFunds,
        Self::Quota,
        Self::NoCapacity,
        Self::OfferGone,
        Self::InvalidRequest,
        Self::RateLimited,
        Self::NotFound,
        Self::Conflict,
        Self::Transient,
        Self::Local,
    ];

    /// How long a cloud that was asked too often, and does not say, is left alone.
    pub const RATE_LIMITED: Duration = Duration::from_secs(10);

    /// Whether to try the same request again.
    pub const fn retry(self) -> Retry {
        match self {
            Self::NoCapacity | Self::Conflict | Self::Transient => Retry::After(Duration::ZERO),
            Self::RateLimited => Retry::After(Self::RATE_LIMITED),
            Self::Auth
            | Self::Permission
            | Self::InsufficientFunds
            | Self::Quota
            | Self::OfferGone
            | Self::InvalidRequest
            | Self::NotFound
            | Self::Local => Retry::Never,
        }
    }
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
    /// An error of a kind with its message. What is [`Transient`](ProviderErrorKind::Transient) is unsure.
    pub fn new(kind: ProviderErrorKind, message: impl Into<String>) -> Self {
        let unsure = matches!(kind, ProviderErrorKind::Transient);
        Self { kind, message: message.into(), after: None, unsure, source: None }
    }

    /// Some of what was asked for may have been done all the same: the pool looks for machines that came of it.
    #[must_use]
    pub const fn unsure(mut self) -> Self {
        self.unsure = true;
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Keeps how long the cloud wants to be left alone.
    #[must_use]
    pub const fn after(mut self, after: Duration) -> Self {
        self.after = Some(after);
        self
    }

    /// Whether to try the same request again: by the kind, and by what the cloud said.
    pub fn retry(&self) -> Retry {
        match (self.kind.retry(), self.after) {
            (Retry::After(least), after) => Retry::After(after.unwrap_or(least)),
            (Retry::Never, _) => Retry::Never,
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
