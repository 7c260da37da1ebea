//! What a failed request means: one class, a text for people, and whether it may have had an effect.

use std::time::Duration;

use skyward_runtime::provider::{ProviderError, ProviderErrorKind};

use super::Answer;

/// What a cloud's own words mean, read by its `map.rs` from the body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The class.
    pub kind: ProviderErrorKind,
    /// The cloud's own words.
    pub message: String,
    /// How long it asks to wait, where the body says that and no header does.
    pub after: Option<Duration>,
}

impl Said {
    /// A class and the cloud's words.
    pub fn new(kind: ProviderErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), after: None }
    }

    /// With the wait that the body asks for.
    #[must_use]
    pub fn after(self, after: Option<Duration>) -> Self {
        Self { after, ..self }
    }
}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: ProviderError,
    /// It may have done what it was for all the same.
    pub(super) unsure: bool,
}

impl Trouble {
    /// It was refused, or never sent.
    pub(super) const fn sure(error: ProviderError) -> Self {
        Self { error, unsure: false }
    }

    /// Nobody can tell whether it was done.
    pub(super) const fn unsure(error: ProviderError) -> Self {
        Self { error, unsure: true }
    }

    /// How long to wait before it is sent again; `None` when that cannot help, or is not worth it.
    pub(super) fn again(&self, own_pause: Duration, patience: Duration) -> Option<Duration> {
        use ProviderErrorKind::{RateLimited, Transient};
        let wait = self.error.after.unwrap_or_default();
        // What the pool should hear of, such as no capacity, is not sat out down here.
        let passes = matches!(self.error.kind, RateLimited | Transient) && wait <= patience;
        passes.then(|| wait.max(own_pause))
    }
}

/// What the status alone says.
pub(super) fn by_status(answer: &Answer) -> Option<ProviderErrorKind> {
    use ProviderErrorKind as Kind;
    Some(match answer.status {
        200..=299 => return None,
        401 => Kind::Auth,
        402 => Kind::InsufficientFunds,
        403 => Kind::Permission,
        404 | 410 => Kind::NotFound,
        408 | 425 | 500..=599 => Kind::Transient,
        409 => Kind::Conflict,
        429 => Kind::RateLimited,
        _ => Kind::InvalidRequest,
    })
}

/// What a person can do about it, where that is the same for all clouds.
pub(crate) const fn advice(kind: ProviderErrorKind) -> Option<&'static str> {
    use ProviderErrorKind as Kind;
    match kind {
        Kind::Permission => {
            Some("give the key the permissions that the provider's page in docs/providers names")
        }
        Kind::InsufficientFunds => Some("see to the account's payment in the cloud's console"),
        Kind::Quota => Some("ask the cloud to raise the limit, or rent fewer"),
        Kind::NoCapacity | Kind::OfferGone => Some("try another region or kind of machine, or later"),
        Kind::RateLimited => Some("something else uses the same account, or try later"),
        _ => None,
    }
}

/// The first of a text, on one line.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..SHOWN * 4).unwrap_or(body)).into_owned();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None if line.is_empty() => "no words".to_owned(),
        None => line,
    }
}

/// How many characters of a body that nobody understands are shown.
const SHOWN: usize = 200;
