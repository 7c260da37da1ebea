//! Who asks: each request is signed here, and everything secret is known here, so that it can be struck
//! out of what clouds say.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use skyward_runtime::model::Secret;

use super::bucket::Moment;

/// How a cloud knows its customers.
///
/// ```
/// use skyward_providers::http::Auth;
/// use skyward_runtime::model::Secret;
/// let auth = Auth::Bearer(Secret::new("hunter2".to_owned()));
/// assert_eq!(format!("{auth:?}"), "Bearer(***)");
/// ```
#[derive(Clone, Debug)]
pub enum Auth {
    /// `Authorization: Bearer key`.
    Bearer(Secret<String>),
    /// A header of the cloud's own.
    Header {
        /// Its name, in lower case, such as `x-api-key`.
        name: &'static str,
        /// Its value.
        key: Secret<String>,
    },
    /// `Authorization: Basic`: a name and a password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret<String>,
    },
    /// OAuth 2 client credentials: a short-lived bearer token is fetched, and again before it ends, and
    /// when the cloud does not take it any more.
    ClientCredentials {
        /// The path of the token endpoint below the base URL.
        token_path: &'static str,
        /// The client's id.
        id: String,
        /// The client's secret.
        secret: Secret<String>,
        /// Whether the endpoint takes JSON and not, as the standard has it, a form.
        json: bool,
    },
}

/// An [`Auth`] in use, with the token of the moment.
pub(super) struct Signer {
    auth: Auth,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: Secret<String>,
    ends: Moment,
}

/// What a token endpoint answers.
#[derive(Deserialize)]
pub(super) struct Granted {
    access_token: Secret<String>,
    /// Seconds. Some say nothing, and then it is fetched again when it is refused.
    expires_in: Option<u64>,
}

/// What a request still needs before it can be signed.
pub(super) struct TokenNeeded {
    pub(super) path: &'static str,
    pub(super) body: Secret<String>,
    pub(super) content_type: &'static str,
}

impl Signer {
    pub(super) fn new(auth: Auth) -> Self {
        Self { auth, token: Mutex::new(None) }
    }

    /// The token to fetch before anything can be signed, if one is missing or about to end.
    pub(super) fn needs(&self, now: Moment) -> Option<TokenNeeded> {
        let Auth::ClientCredentials { token_path, id, secret, json } = &self.auth else { return None };
        if self.token().as_ref().is_some_and(|it| now < it.ends) {
            return None;
        }
        let pairs =
            [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret.reveal())];
        let (body, content_type) = if *json {
            let object: BTreeMap<_, _> = pairs.into_iter().collect();
            (serde_json::to_string(&object).unwrap_or_default(), "application/json")
        } else {
            (form(&pairs), "application/x-www-form-urlencoded")
        };
        Some(TokenNeeded { path: token_path, body: Secret::new(body), content_type })
    }

    /// Keeps a fetched token until shortly before it ends.
    pub(super) fn granted(&self, granted: Granted, now: Moment) {
        let lasts = granted.expires_in.map_or(UNSAID, Duration::from_secs);
        // Clocks and queues may cost a minute; of a token that lasts no longer, half.
        let ends = now.saturating_add(lasts.saturating_sub(MARGIN).max(lasts / 2));
        *self.token() = Some(Token { text: granted.access_token, ends });
    }

    /// Forgets the token, because it was refused. Returns whether there can be another one.
    pub(super) fn forget(&self) -> bool {
        self.token().take().is_some()
    }

    pub(super) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.auth {
            Auth::Bearer(key) => request.bearer_auth(key.reveal()),
            Auth::Header { name, key } => match HeaderValue::from_str(key.reveal()) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    request.header(*name, value)
                }
                // Refused by the cloud, with an error that says what to check.
                Err(_) => request,
            },
            Auth::Basic { user, password } => request.basic_auth(user, Some(password.reveal())),
            Auth::ClientCredentials { .. } => match self.token().as_ref() {
                Some(token) => request.bearer_auth(token.text.reveal()),
                None => request,
            },
        }
    }

    /// The text without what is secret.
    pub(super) fn scrub(&self, text: &str) -> String {
        let own = match &self.auth {
            Auth::Bearer(key) | Auth::Header { key, .. } => key,
            Auth::Basic { password, .. } => password,
            Auth::ClientCredentials { secret, .. } => secret,
        };
        let token = self.token().as_ref().map(|it| it.text.clone());
        [Some(own), token.as_ref()].into_iter().flatten().filter(|it| !it.reveal().is_empty()).fold(
            text.to_owned(),
            |text, secret| {
                // Clouds show the part of a key that they know it by.
                let shown = secret.reveal().get(..SHOWN).filter(|_| secret.reveal().len() > 2 * SHOWN);
                let text = text.replace(secret.reveal(), "***");
                shown.map_or_else(|| text.clone(), |it| text.replace(it, "***"))
            },
        )
    }

    fn token(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.auth.fmt(f)
    }
}

/// Names and values as a form sends them.
fn form(pairs: &[(&str, &str)]) -> String {
    // The encoding of a query is the one of a form, and the library has that one.
    let encoded = Url::parse_with_params("http://form", pairs);
    encoded.ok().and_then(|it| it.query().map(str::to_owned)).unwrap_or_default()
}

/// How long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(60);

/// How long a token is used whose cloud does not say how long it lasts.
const UNSAID: Duration = Duration::from_secs(600);

/// How many characters of the beginning of a secret give it away.
const SHOWN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_encoded() {
        assert_eq!(form(&[("a", "b c"), ("d", "ü&=")]), "a=b+c&d=%C3%BC%26%3D");
    }

    #[test]
    fn a_key_is_struck_out_whole_and_in_part() {
        let signer = Signer::new(Auth::Bearer(Secret::new("dop_v1_0123456789abcdef0123456789".into())));
        let said = signer.scrub("dop_v1_0123456789abcdef0123456789 and dop_v1_01234... are not known");
        assert_eq!(said, "*** and ***... are not known");
        assert_eq!(Signer::new(Auth::Bearer(Secret::new(String::new()))).scrub("text"), "text");
        assert!(!format!("{signer:?}").contains("dop"));
    }

    #[test]
    fn a_token_is_fetched_when_there_is_none_and_before_it_ends() {
        let secret = Secret::new("s".into());
        let auth = Auth::ClientCredentials { token_path: "/t", id: "me".into(), secret, json: true };
        let signer = Signer::new(auth);
        let at = Duration::from_secs;
        let needed = signer.needs(at(0)).expect("there is none yet");
        let body = r#"{"client_id":"me","client_secret":"s","grant_type":"client_credentials"}"#;
        assert_eq!((needed.body.reveal().as_str(), needed.content_type), (body, "application/json"));
        let granted = |expires_in| Granted { access_token: Secret::new("t".into()), expires_in };
        signer.granted(granted(Some(300)), at(100));
        assert!(signer.needs(at(339)).is_none());
        assert!(signer.needs(at(340)).is_some());
        signer.granted(granted(Some(20)), at(0));
        assert!(signer.needs(at(9)).is_none());
        assert!(signer.forget() && !signer.forget());
        assert!(signer.needs(at(9)).is_some());
    }
}
