//! Sends calls: waits for its buckets, signs, tries again, and reads what came back.

use std::error::Error as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, Proxy, RequestBuilder, Url, redirect};
use serde::de::DeserializeOwned;
use skyward_runtime::backoff::Backoff;
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};
use tokio::time::sleep;

use super::auth::{Granted, Signer};
use super::bucket::{Buckets, Moment};
use super::failure::{Trouble, advice, by_status, excerpt};
use super::{Access, Answer, Auth, Call, Limit, Said};

/// What is known of a cloud's interface before anything is asked.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// The cloud's name for people, such as `DigitalOcean`.
    pub name: &'static str,
    /// Where its interface is, without a path.
    pub base_url: &'static str,
    /// Where people put the key, for the error when it is refused, such as `DIGITALOCEAN_TOKEN`.
    pub key: &'static str,
    /// How often it lets itself be asked.
    pub limits: &'static [Limit],
    /// Reads what the body says. `None` when it says nothing that the status does not say; for a success,
    /// when it is one.
    pub said: fn(&Answer) -> Option<Said>,
}

/// The way to one cloud, for one customer.
pub struct Client {
    service: Service,
    access: Access,
    base: Url,
    http: reqwest::Client,
    signer: Signer,
    buckets: Mutex<Buckets>,
    began: Instant,
    doubts: AtomicU64,
}

impl Client {
    /// A client. Connects to nothing yet.
    ///
    /// # Errors
    /// `InvalidRequest` or `Local`, when the access cannot be as it is described.
    pub fn new(service: Service, access: Access, auth: Auth) -> Result<Self, ProviderError> {
        let base = base(service.name, access.base_url.as_deref().unwrap_or(service.base_url))?;
        let http = transport(service.name, &access)?;
        let buckets = Mutex::new(Buckets::new(service.limits, access.pace));
        let (signer, began, doubts) = (Signer::new(auth), Instant::now(), AtomicU64::new(0));
        Ok(Self { service, access, base, http, signer, buckets, began, doubts })
    }

    /// Of how many requests to make something nobody knows all that they made.
    pub fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Relaxed)
    }

    /// Something is about to be made again that nothing has shown in time, or not all of it was shown.
    pub(crate) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends a call, again when that may help and does no harm, and reads its answer.
    ///
    /// # Errors
    /// What the cloud said, classified; `RateLimited` and `Transient` only after all tries.
    ///
    /// # Cancellation
    /// When it is dropped, the call may have arrived or not.
    pub async fn send<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ProviderError> {
        let mut tried = 0;
        loop {
            let trouble = match self.once(call).await {
                Ok(value) => return Ok(value),
                Err(trouble) => trouble,
            };
            let pause = self.pause(&trouble, tried).filter(|_| call.repeatable || !trouble.unsure);
            let Some(pause) = pause else { return Err(trouble.error) };
            tracing::debug!(?call, tried, ?pause, error = %trouble.error, "trying again");
            sleep(pause).await;
            tried += 1;
        }
    }

    /// One try, in its turn.
    pub(super) async fn once<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Trouble> {
        let answer = match self.answer(call).await? {
            // A token may be taken back before its time.
            refused if refused.status == 401 && self.signer.forget() => self.answer(call).await?,
            answer => answer,
        };
        self.read(call, &answer)
    }

    /// How long to wait before try number `tried + 1`; `None` when it is not worth it.
    pub(super) fn pause(&self, trouble: &Trouble, tried: u32) -> Option<Duration> {
        if tried + 1 >= self.access.tries.max(1) {
            return None;
        }
        trouble.again(self.access.backoff.delay(tried), self.access.patience)
    }

    /// How long what was made may take to be listed, and the pauses between the looks.
    pub(super) const fn settling(&self) -> (Duration, Backoff) {
        (self.access.settles, self.access.backoff)
    }

    async fn answer(&self, call: &Call) -> Result<Answer, Trouble> {
        if let Some(needed) = self.signer.needs(self.now()) {
            let body = needed.body.reveal().clone();
            let token = Call::get("log in", needed.path);
            let request = self.http.post(self.url(&token)?).body(body);
            let request = request.header(CONTENT_TYPE, needed.content_type);
            let answer = self.exchange(&token, request).await.map_err(|it| Trouble::sure(it.error))?;
            let granted: Granted = self.read(&token, &answer).map_err(|it| Trouble::sure(it.error))?;
            self.signer.granted(granted, self.now());
        }
        let mut request = self.http.request(call.method.clone(), self.url(call)?);
        if let Some(body) = &call.body {
            let body = body.clone().map_err(|error| {
                let message = format!("failed to {}: the request cannot be written: {error}", call.what);
                Trouble::sure(ProviderError::new(ProviderErrorKind::InvalidRequest, message))
            })?;
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        self.exchange(call, self.signer.sign(request)).await
    }

    /// Waits for room, sends, and receives the whole answer.
    async fn exchange(&self, call: &Call, request: RequestBuilder) -> Result<Answer, Trouble> {
        let wait = self.buckets().take(call.endpoint, self.now());
        if !wait.is_zero() {
            tracing::debug!(?call, ?wait, "waiting for the cloud's rate limit");
            sleep(wait).await;
        }
        let broken = |error: reqwest::Error| self.broken(call, &error);
        let mut response = request.header(ACCEPT, "application/json").send().await.map_err(broken)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > MOST_BYTES {
                let message = format!("the answer is longer than {MOST_BYTES} bytes");
                return Err(Trouble::unsure(self.error(call, ProviderErrorKind::Transient, &message)));
            }
            body.extend_from_slice(&chunk);
        }
        let answer = Answer { status: response.status().as_u16(), headers: response.headers().clone(), body };
        tracing::debug!(?call, status = answer.status, bytes = answer.body.len(), "the cloud answered");
        Ok(answer)
    }

    /// What an answer comes to: first its body is asked, then its status.
    fn read<T: DeserializeOwned>(&self, call: &Call, answer: &Answer) -> Result<T, Trouble> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let wait = answer.wait(now);
        let said = (self.service.said)(answer).or_else(|| {
            by_status(answer)
                .map(|kind| Said::new(kind, format!("HTTP {}: {}", answer.status, excerpt(&answer.body))))
        });
        let Some(said) = said else {
            if let Some(wait) = wait {
                // Nothing is wrong yet: the next one would be too many.
                self.buckets().close(call.endpoint, wait, self.now());
            }
            return answer.json().map_err(|error| {
                let message = format!("the answer is not what its documentation says: {error}");
                Trouble::unsure(self.error(call, ProviderErrorKind::Transient, &message))
            });
        };
        let mut error = self.error(call, said.kind, &said.message);
        if let Some(wait) = wait.or(said.after) {
            error = error.after(wait);
            if said.kind == ProviderErrorKind::RateLimited {
                self.buckets().close(call.endpoint, wait.min(self.access.patience), self.now());
            }
        }
        // A server that fails, or a gateway before it, says nothing about what was done behind it, whatever
        // the status: some say every failure with a success.
        let unsure = said.kind == ProviderErrorKind::Transient;
        Err(Trouble { error, unsure })
    }

    /// What a broken exchange comes to.
    fn broken(&self, call: &Call, error: &reqwest::Error) -> Trouble {
        let message = if error.is_timeout() {
            let limit = self.access.request_timeout;
            format!("no answer within {limit:?}; if the cloud is slow, raise `request_timeout`")
        } else if error.is_connect() {
            format!("{}; is this computer online, and is HTTPS_PROXY right where it is set?", deepest(error))
        } else {
            deepest(error)
        };
        let told = self.error(call, ProviderErrorKind::Transient, &message);
        if error.is_connect() { Trouble::sure(told) } else { Trouble::unsure(told) }
    }

    fn error(&self, call: &Call, kind: ProviderErrorKind, message: &str) -> ProviderError {
        let Service { name, key, .. } = self.service;
        let mut text = format!("failed to {} at {name}: {}", call.what, self.signer.scrub(message));
        if kind == ProviderErrorKind::Auth {
            text.push_str(&format!("; check the key in {key}"));
        } else if let Some(advice) = advice(kind) {
            text.push_str(&format!("; {advice}"));
        }
        ProviderError::new(kind, text)
    }

    fn url(&self, call: &Call) -> Result<Url, Trouble> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path().trim_end_matches('/'), call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("cloud", &self.service.name).finish_non_exhaustive()
    }
}

/// Where an interface is.
///
/// # Errors
/// `InvalidRequest`, when a key would cross a network in the open, or it is no URL.
pub(crate) fn base(name: &str, text: &str) -> Result<Url, ProviderError> {
    let invalid = |what: String| unreachable_by(name, ProviderErrorKind::InvalidRequest, &what);
    let base = Url::parse(text).map_err(|error| invalid(format!("`{text}` is no URL: {error}")))?;
    if base.scheme() != "https" && !is_loopback(&base) {
        return Err(invalid(format!("`{text}` is not https, and not on this computer")));
    }
    Ok(base)
}

/// What sends requests, as `access` has it.
///
/// # Errors
/// `InvalidRequest` or `Local`, when it cannot be as it is described.
pub(crate) fn transport(name: &str, access: &Access) -> Result<reqwest::Client, ProviderError> {
    let local = |what: String| unreachable_by(name, ProviderErrorKind::Local, &what);
    let mut http = reqwest::Client::builder()
        .user_agent(concat!("skyward/", env!("CARGO_PKG_VERSION")))
        .timeout(access.request_timeout)
        // Interfaces do not move; a redirect would take a key to where nobody meant it to go.
        .redirect(redirect::Policy::none());
    if let Some(proxy) = &access.proxy {
        // The address may hold a password.
        let no_url =
            |_| unreachable_by(name, ProviderErrorKind::InvalidRequest, "the proxy's address is no URL");
        http = http.proxy(Proxy::all(proxy).map_err(no_url)?);
    }
    if let Some(path) = &access.ca_file {
        let unread =
            |error: &dyn std::fmt::Display| local(format!("certificates in {}: {error}", path.display()));
        let pem = std::fs::read(path).map_err(|error| unread(&error))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| unread(&error))?;
        http = http.tls_certs_merge(certificates);
    }
    http.build().map_err(|error| local(deepest(&error)))
}

fn unreachable_by(name: &str, kind: ProviderErrorKind, what: &str) -> ProviderError {
    ProviderError::new(kind, format!("failed to set up the way to {name}: {what}"))
}

/// The cause beneath all causes, which is the one that helps; never the URL.
pub(crate) fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.source().is_none() { "the connection failed".to_owned() } else { cause.to_string() }
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
        }
        None => false,
    }
}

/// The longest body that is taken in: a page of a catalog has at most a few hundred kilobytes.
const MOST_BYTES: usize = 16 * 1024 * 1024;
