//! One request and its answer, as plain data.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One request to a cloud.
///
/// ```
/// use skyward_providers::http::HttpCall;
/// let call = HttpCall::get("list machines", "/v1/machines").with("page", 2).at("machines");
/// ```
#[derive(Clone)]
pub struct Call {
    /// What it is for, finishing "failed to ...".
    pub(super) what: &'static str,
    /// Which bucket it counts against.
    pub(super) endpoint: &'static str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Body>,
    /// Sending it twice does no more than sending it once.
    pub(super) repeatable: bool,
}

/// A body that was encoded, or why it could not be.
pub(super) type Body = Result<Vec<u8>, String>;

impl Call {
    /// Asks for something. `what` finishes "failed to ...".
    pub fn get(what: &'static str, path: impl Into<String>) -> Self {
        Self::new(what, Method::GET, path, true)
    }

    /// Removes something.
    pub fn delete(what: &'static str, path: impl Into<String>) -> Self {
        Self::new(what, Method::DELETE, path, true)
    }

    /// Makes something. Doing it twice makes two, unless it is said to be [`repeatable`](Self::repeatable).
    pub fn post(what: &'static str, path: impl Into<String>, body: &impl Serialize) -> Self {
        Self::new(what, Method::POST, path, false).carrying(body)
    }

    /// Sets something. Doing it twice makes two where it makes something, so it is no more
    /// [`repeatable`](Self::repeatable) than a post.
    pub fn put(what: &'static str, path: impl Into<String>, body: &impl Serialize) -> Self {
        Self::new(what, Method::PUT, path, false).carrying(body)
    }

    fn new(what: &'static str, method: Method, path: impl Into<String>, repeatable: bool) -> Self {
        let endpoint = super::Limit::ALL;
        Self { what, endpoint, method, path: path.into(), query: Vec::new(), body: None, repeatable }
    }

    /// With this body, where the method alone does not call for one.
    pub fn carrying(self, body: &impl Serialize) -> Self {
        Self { body: Some(serde_json::to_vec(body).map_err(|it| it.to_string())), ..self }
    }

    /// Counts it against the limit of this endpoint, besides that of all.
    pub fn at(self, endpoint: &'static str) -> Self {
        Self { endpoint, ..self }
    }

    /// With this in its query; what was there under the name is replaced.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.retain(|(it, _)| *it != name);
        self.query.push((name, value.to_string()));
        self
    }

    /// Doing it twice does no harm.
    pub fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Bodies and queries may hold what nobody should read in a log.
        write!(f, "{} {} (to {})", self.method, self.path, self.what)
    }
}

/// What a cloud answered.
#[derive(Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    pub(super) headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the status says that all is well. The body may say otherwise.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as a value. No body is read as `null`.
    ///
    /// # Errors
    /// Where the body is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        let body: &[u8] = if self.body.is_empty() { b"null" } else { &self.body };
        serde_json::from_slice(body)
    }

    /// How long the cloud asks to wait before the next request: its `Retry-After`, or the time until the
    /// limit that it says is used up starts again. `now` is in seconds since 1970.
    pub(super) fn wait(&self, now: u64) -> Option<Duration> {
        let retry_after = self.header(&["retry-after"]).and_then(|it| seconds_or_date(it, now));
        let used_up = || {
            let names = ["ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining"];
            let remaining: u64 = self.header(&names)?.parse().ok()?;
            let names = ["ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset"];
            let reset: u64 = self.header(&names)?.split('.').next()?.parse().ok()?;
            // Some say when it starts again, some in how many seconds.
            let wait = if reset >= EPOCH { reset.saturating_sub(now) } else { reset };
            (remaining == 0).then(|| Duration::from_secs(wait))
        };
        retry_after.or_else(used_up)
    }

    fn header(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.headers.get(*name)?.to_str().ok()).map(str::trim)
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A body may hold a key that was just made.
        f.debug_struct("Answer").field("status", &self.status).field("bytes", &self.body.len()).finish()
    }
}

/// A number of seconds, or a date as HTTP writes it.
fn seconds_or_date(text: &str, now: u64) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let date = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(date.as_secs().saturating_sub(now)))
}

/// A number of seconds from here on is a moment and no wait: September 2001, or 32 years.
const EPOCH: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(headers: &[(&'static str, &str)]) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| {
            (reqwest::header::HeaderName::from_static(name), value.parse().expect("a value"))
        });
        let answer = Answer { status: 429, headers: headers.collect(), body: Vec::new() };
        answer.wait(1_800_000_000).map(|it| it.as_secs())
    }

    #[test]
    fn the_wait_that_a_cloud_asks_for_is_read_in_every_form() {
        for (headers, expected) in [
            (&[][..], None),
            (&[("retry-after", "7")], Some(7)),
            (&[("retry-after", "Fri, 15 Jan 2027 08:00:30 GMT")], Some(30)),
            (&[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")], Some(0)),
            (&[("retry-after", "soon")], None),
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "1800000012")], Some(12)),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "3.5")], Some(3)),
            (&[("ratelimit-remaining", "4"), ("ratelimit-reset", "1800000012")], None),
            (
                &[("ratelimit-remaining", "0"), ("ratelimit-reset", "1800000099"), ("retry-after", "2")],
                Some(2),
            ),
        ] {
            assert_eq!(wait(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_query_has_each_name_once() {
        let call = Call::get("list", "/x").with("page", 1).with("tag", "t").with("page", 2);
        assert_eq!(call.query, [("tag", "t".to_owned()), ("page", "2".to_owned())]);
    }
}
