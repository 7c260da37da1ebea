//! The way to AWS: a client of the SDK for each region, requests that we sign ourselves for the few services
//! beside it, and for both what is tried again and what an error means.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::config::{
    BehaviorVersion, IdentityCache, ProvideCredentials, Region, SharedCredentialsProvider,
    StalledStreamProtectionConfig,
};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use skyward_runtime::provider::{ProviderError, ProviderErrorKind as Kind};
use tokio::time::sleep;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::connector::{Answered, Broken, Connector};
use super::keys::{self, Keys};
use super::refusal::Refusal;
use super::{Config, TITLE};
use crate::http::{Access, base, transport};

/// The way to all regions, for one customer.
#[derive(Debug)]
pub(super) struct Way {
    access: Access,
    connector: Connector,
    keys: Arc<Keys>,
    regions: Mutex<BTreeMap<String, aws_sdk_ec2::Client>>,
}

/// A service that is asked without the SDK.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// Its name in addresses.
    pub(super) host: &'static str,
    /// Its name in signatures.
    pub(super) signs: &'static str,
}

/// The body of a request that we sign ourselves.
pub(super) enum Body {
    /// JSON, for the operation of this name.
    Json { target: &'static str, text: String },
    /// A form.
    Form(&'static str),
}

impl Way {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// `InvalidRequest` or `Local`, when the access cannot be as it is described.
    pub(super) fn new(config: &Config, keys: Arc<Keys>) -> Result<Self, ProviderError> {
        let mut access = config.access.clone();
        // Who sets these wants nobody else to be asked.
        let elsewhere =
            || keys::variable("AWS_ENDPOINT_URL_EC2").or_else(|| keys::variable("AWS_ENDPOINT_URL"));
        access.base_url = access.base_url.or_else(elsewhere);
        if let Some(url) = &access.base_url {
            base(TITLE, url)?;
        }
        let connector = Connector::new(transport(TITLE, &access)?);
        Ok(Self { access, connector, keys, regions: Mutex::default() })
    }

    pub(super) const fn access(&self) -> &Access {
        &self.access
    }

    /// The SDK's client of a region.
    pub(super) fn ec2(&self, region: &str) -> aws_sdk_ec2::Client {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.entry(region.to_owned()).or_insert_with(|| self.open(region)).clone()
    }

    fn open(&self, region: &str) -> aws_sdk_ec2::Client {
        let keys: Arc<dyn ProvideCredentials> = Arc::clone(&self.keys) as _;
        let keys = SharedCredentialsProvider::new(keys);
        // What is tried again is decided here, by the same rules as for every cloud.
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(region.to_owned()))
            .credentials_provider(keys)
            .identity_cache(IdentityCache::no_cache())
            .http_client(self.connector.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let config = match &self.access.base_url {
            Some(url) => config.endpoint_url(url),
            None => config,
        };
        aws_sdk_ec2::Client::from_conf(config.build())
    }

    /// Sends a request that asks, or names what it makes, so that a second one changes nothing; again when that
    /// may help.
    ///
    /// # Errors
    /// What the cloud said, classified; `RateLimited` and `Transient` only after all tries.
    pub(super) async fn send<T, F>(&self, what: &str, one: impl Fn() -> F) -> Result<T, ProviderError>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        self.attempt(what, one).await.map_err(|refusal| refusal.told(what))
    }

    /// The same, with what was said as it was said.
    pub(super) async fn attempt<T, F>(&self, what: &str, one: impl Fn() -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let mut tried = 0;
        loop {
            let refusal = match self.once(what, &one).await {
                Ok(told) => return Ok(told),
                Err(refusal) => refusal,
            };
            let Some(pause) = self.pause(&refusal, tried) else { return Err(refusal) };
            tracing::debug!(what, tried, ?pause, refusal = refusal.message, "trying again");
            sleep(pause).await;
            tried += 1;
        }
    }

    /// One try.
    pub(super) async fn once<T, F>(&self, what: &str, one: impl Fn() -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        // A key that is missing is said as it is, and not as a failure to sign.
        self.keys.now().await?;
        // The SDK's own log lines show whole requests, and in them what is in user data.
        let told = one().with_subscriber(NoSubscriber::default()).await;
        let code = told.as_ref().err().map(|it| it.code.as_str());
        tracing::debug!(what, code, "the cloud answered");
        told
    }

    /// How long to wait before try number `tried + 1`; `None` when it is not worth it.
    pub(super) fn pause(&self, refusal: &Refusal, tried: u32) -> Option<Duration> {
        if tried + 1 >= self.access.tries.max(1) {
            return None;
        }
        let wait = refusal.after.unwrap_or_default();
        // What the pool should hear of, such as no capacity, is not sat out down here.
        let passes = matches!(refusal.kind, Kind::RateLimited | Kind::Transient);
        (passes && wait <= self.access.patience).then(|| wait.max(self.access.backoff.delay(tried)))
    }

    /// A request to a service that we have no SDK of.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        service: Service,
        region: &str,
        target: &'static str,
        body: &serde_json::Value,
    ) -> Result<T, ProviderError> {
        let text = body.to_string();
        self.send(what, || async {
            let answered = self.signed(service, region, Body::Json { target, text: text.clone() }).await?;
            serde_json::from_slice(&answered).map_err(|error| Refusal::unreadable(&error))
        })
        .await
    }

    /// One try of a request that we sign ourselves.
    pub(super) async fn signed(
        &self,
        service: Service,
        region: &str,
        body: Body,
    ) -> Result<Vec<u8>, Refusal> {
        let url = match &self.access.base_url {
            Some(url) => format!("{}/", url.trim_end_matches('/')),
            None => format!("https://{}.{region}.amazonaws.com{}/", service.host, partition(region)),
        };
        let (content_type, target, text) = match body {
            Body::Json { target, text } => ("application/x-amz-json-1.1", Some(target), text),
            Body::Form(text) => ("application/x-www-form-urlencoded; charset=utf-8", None, text.to_owned()),
        };
        let mut headers = vec![("content-type", content_type)];
        headers.extend(target.map(|it| ("x-amz-target", it)));
        let malformed = |it: &dyn std::fmt::Display| Refusal::malformed(it.to_string());
        let identity = self.keys.now().await?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service.signs)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|it| malformed(&it))?;
        let signable = SignableRequest::new(
            "POST",
            url.as_str(),
            headers.iter().copied(),
            SignableBody::Bytes(text.as_bytes()),
        );
        let signable = signable.map_err(|it| malformed(&it))?;
        let (signature, _) = sign(signable, &params.into()).map_err(|it| malformed(&it))?.into_parts();
        let all = headers.iter().copied().chain(signature.headers());
        let all: HeaderMap = all
            .filter_map(|(name, value)| {
                Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
            })
            .collect();
        let answered = self.connector.exchange("POST", &url, all, text.into_bytes()).await;
        let Answered { status, headers, body } = answered.map_err(|it: Broken| Refusal::broken(&it))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let after = headers.get("retry-after").and_then(|it| it.to_str().ok());
        Err(Refusal::of_body(status, after, &body))
    }
}

/// What comes behind `amazonaws.com` in a region's addresses.
fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") { ".cn" } else { "" }
}

/// Seconds since 1970.
pub(super) fn epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}
