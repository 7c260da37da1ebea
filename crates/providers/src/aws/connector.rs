//! The SDK's requests over the HTTP client that every cloud has: one stack for proxies, certificates and
//! connections, and one log line for each answer.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

/// Sends what is signed already.
#[derive(Clone, Debug)]
pub(super) struct Connector(reqwest::Client);

/// What came back.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) reason: String,
    /// It never left, so nothing was done.
    pub(super) is_unsent: bool,
}

impl Connector {
    pub(super) const fn new(http: reqwest::Client) -> Self {
        Self(http)
    }

    /// One exchange, whatever the status.
    pub(super) async fn exchange(
        &self,
        method: &str,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Answered, Broken> {
        let malformed = |reason: String| Broken { reason, is_unsent: true };
        let method = Method::from_bytes(method.as_bytes()).map_err(|it| malformed(it.to_string()))?;
        let url = Url::parse(url).map_err(|it| malformed(it.to_string()))?;
        let request = self.0.request(method, url).headers(headers).body(body);
        let mut response = request.send().await.map_err(broken)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > MOST_BYTES {
                let reason = format!("the answer is longer than {MOST_BYTES} bytes");
                return Err(Broken { reason, is_unsent: false });
            }
            body.extend_from_slice(&chunk);
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answered { status, headers, body })
    }

    async fn carry(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let other = |it: Broken| ConnectorError::other(Box::new(it), None);
        let headers = request.headers().iter().filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        });
        let headers: HeaderMap = headers.collect();
        // Every request of EC2 has its whole body in memory.
        let body = request.body().bytes().unwrap_or_default().to_vec();
        let answered = self.exchange(request.method(), request.uri(), headers, body).await.map_err(other)?;
        let status = answered.status.try_into().map_err(|_| {
            let reason = format!("{} is no status", answered.status);
            other(Broken { reason, is_unsent: false })
        })?;
        let mut response = HttpResponse::new(status, SdkBody::from(answered.body));
        for (name, value) in &answered.headers {
            if let Ok(value) = value.to_str() {
                response.headers_mut().append(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(response)
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().carry(request))
    }
}

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Broken {}

fn broken(error: reqwest::Error) -> Broken {
    let is_unsent = error.is_connect();
    let reason = if error.is_timeout() {
        "no answer in time; if the cloud is slow, raise `request_timeout`".to_owned()
    } else {
        crate::http::deepest(&error)
    };
    Broken { reason, is_unsent }
}

/// The longest body that is taken in: a page of kinds of machines has about a megabyte.
const MOST_BYTES: usize = 16 * 1024 * 1024;
