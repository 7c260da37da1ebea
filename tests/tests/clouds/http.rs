//! The HTTP below all clouds, against a server that misbehaves in every way that clouds do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use skyward::Secret;
use skyward_providers::http::{Access, Answer, Auth, Client, HttpCall as Call, Said, Service};
use skyward_runtime::backoff::Backoff;
use skyward_runtime::provider::{ProviderError, ProviderErrorKind as Kind, Retry};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::logs;
use crate::server::{Reply, Server};

/// Says errors with 200, as some clouds do.
fn said(answer: &Answer) -> Option<Said> {
    let body: Value = answer.json().ok()?;
    match body.get("trouble")?.as_str()? {
        "sold out" => Some(Said::new(Kind::NoCapacity, "sold out")),
        other => Some(Said::new(Kind::InvalidRequest, other)),
    }
}

const SERVICE: Service =
    Service { name: "Cloud", base_url: "https://cloud.invalid", key: "CLOUD_KEY", limits: &[], said };

fn access(server: &Server) -> Access {
    let pause = Duration::from_millis(1);
    Access {
        base_url: Some(server.url.clone()),
        request_timeout: Duration::from_millis(300),
        backoff: Backoff { first: pause, factor: 1, most: pause },
        settles: Duration::ZERO,
        ..Access::default()
    }
}

fn bearer(key: &str) -> Auth {
    Auth::Bearer(Secret::new(key.to_owned()))
}

fn client(server: &Server) -> Client {
    Client::new(SERVICE, access(server), bearer("key")).unwrap()
}

async fn get(client: &Client) -> Result<Value, ProviderError> {
    client.send(&Call::get("look", "/look")).await
}

#[tokio::test]
async fn each_kind_of_key_is_sent_where_its_cloud_looks_for_it() {
    let server = Server::script(vec![Reply::json(200, &json!(1))]).await;
    let key = || Secret::new("k:ü".to_owned());
    for (auth, header, value) in [
        (bearer("k"), "authorization", "Bearer k"),
        (Auth::Header { name: "x-api-key", key: Secret::new("k".into()) }, "x-api-key", "k"),
        (Auth::Basic { user: "me".into(), password: key() }, "authorization", "Basic bWU6azrDvA=="),
    ] {
        let client = Client::new(SERVICE, access(&server), auth).unwrap();
        assert_eq!(get(&client).await.unwrap(), json!(1));
        assert_eq!(server.seen().last().unwrap().header(header), value);
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_and_again_when_it_is_refused() {
    let tokens = AtomicU32::new(0);
    let server = Server::of(move |seen| match seen.path.as_str() {
        "/token" => {
            assert_eq!(
                String::from_utf8_lossy(&seen.body),
                "grant_type=client_credentials&client_id=me&client_secret=s+s"
            );
            let number = tokens.fetch_add(1, Ordering::Relaxed);
            Reply::json(200, &json!({"access_token": format!("t{number}"), "expires_in": 3600}))
        }
        _ if seen.header("authorization") == "Bearer t0" && seen.path == "/refused" => Reply::text(401, ""),
        _ => Reply::json(200, &json!(seen.header("authorization"))),
    })
    .await;
    let auth = Auth::ClientCredentials {
        token_path: "/token",
        id: "me".into(),
        secret: Secret::new("s s".into()),
        json: false,
    };
    let client = Client::new(SERVICE, access(&server), auth).unwrap();
    for (path, token) in [("/a", "Bearer t0"), ("/b", "Bearer t0"), ("/refused", "Bearer t1")] {
        let told: Value = client.send(&Call::get("look", path)).await.unwrap();
        assert_eq!(told, json!(token));
    }
    let paths: Vec<_> = server.seen().into_iter().map(|it| it.path).collect();
    assert_eq!(paths, ["/token", "/a", "/b", "/refused", "/token", "/refused"]);
}

#[tokio::test]
async fn every_status_has_its_class_and_the_body_comes_first() {
    for (status, kind) in [
        (400, Kind::InvalidRequest),
        (401, Kind::Auth),
        (402, Kind::InsufficientFunds),
        (403, Kind::Permission),
        (404, Kind::NotFound),
        (409, Kind::Conflict),
        (410, Kind::NotFound),
        (422, Kind::InvalidRequest),
        (429, Kind::RateLimited),
        (500, Kind::Transient),
        (503, Kind::Transient),
        (302, Kind::InvalidRequest),
    ] {
        let server = Server::script(vec![Reply::text(status, "words").header("location", "/else")]).await;
        let error = get(&client(&server)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status}");
        assert!(error.message.starts_with("failed to look at Cloud: HTTP"), "{}", error.message);
        assert!(server.seen().iter().all(|it| it.path == "/look"), "a redirect is not followed");
    }
    for status in [200, 500] {
        let server = Server::script(vec![Reply::json(status, &json!({"trouble": "sold out"}))]).await;
        let error = get(&client(&server)).await.unwrap_err();
        assert_eq!(error.kind, Kind::NoCapacity);
        assert_eq!(
            error.to_string(),
            "failed to look at Cloud: sold out; try another region or kind of machine, or later"
        );
        assert_eq!(server.seen().len(), 1, "the pool decides about capacity");
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_no_more_often_than_was_said() {
    let broken = Reply::text(502, "<html>bad gateway</html>");
    let server = Server::script(vec![broken.clone(), Reply::Cut, Reply::json(200, &json!(1))]).await;
    assert_eq!(get(&client(&server)).await.unwrap(), json!(1));
    assert_eq!(server.seen().len(), 3);

    let server = Server::script(vec![broken.clone()]).await;
    assert_eq!(get(&client(&server)).await.unwrap_err().kind, Kind::Transient);
    assert_eq!(server.seen().len(), 4);

    let server = Server::script(vec![Reply::Hang]).await;
    let error = get(&client(&server)).await.unwrap_err();
    let expected =
        "failed to look at Cloud: no answer within 300ms; if the cloud is slow, raise `request_timeout`";
    assert_eq!((error.kind, error.to_string().as_str()), (Kind::Transient, expected));
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_limited_request_waits_as_long_as_it_is_told_but_no_longer_than_the_patience() {
    let limited = Reply::text(429, "slow down");
    let ok = Reply::json(200, &json!(1));
    for refusal in [limited.clone(), limited.clone().header("retry-after", 0)] {
        let server = Server::script(vec![refusal, ok.clone()]).await;
        let made: Value = client(&server).send(&Call::post("make", "/make", &json!({}))).await.unwrap();
        assert_eq!((made, server.seen().len()), (json!(1), 2), "a refused request did nothing");
    }
    let server = Server::script(vec![limited.header("retry-after", 3600), ok]).await;
    let error = get(&client(&server)).await.unwrap_err();
    assert_eq!(error.kind, Kind::RateLimited);
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(3600)));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_request_that_makes_something_is_not_repeated_when_it_may_have_been_heard() {
    for reply in [Reply::Hang, Reply::Cut, Reply::text(500, ""), Reply::text(200, "<html>")] {
        let server = Server::script(vec![reply, Reply::json(200, &json!(1))]).await;
        let call = Call::post("make", "/make", &json!({}));
        let error = client(&server).send::<u32>(&call).await.unwrap_err();
        assert_eq!((error.kind, server.seen().len()), (Kind::Transient, 1));
    }
}

#[tokio::test]
async fn what_was_made_in_spite_of_a_lost_answer_is_found_and_not_made_twice() {
    for lost in [Reply::Hang, Reply::Cut, Reply::text(504, ""), Reply::text(200, "{")] {
        let replies = vec![lost, Reply::json(200, &json!({"made": "before"}))];
        let server = Server::script(replies).await;
        let client = client(&server);
        let call = Call::post("make", "/make", &json!({}));
        let find = || async { client.send(&Call::get("find", "/find")).await.map(Some) }.boxed();
        let made: Value = client.create(&call, find).await.unwrap();
        assert_eq!(made, json!({"made": "before"}));
        let paths: Vec<_> = server.seen().into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["/make", "/find"]);
    }
}

#[tokio::test]
async fn what_is_listed_late_is_found_and_not_made_twice() {
    let none = Reply::json(200, &Value::Null);
    let replies =
        vec![Reply::text(500, ""), none.clone(), Reply::text(422, "no"), none, Reply::json(200, &json!(7))];
    let server = Server::script(replies).await;
    let patient = Access { settles: Duration::from_secs(60), tries: 1, ..access(&server) };
    let client = Client::new(SERVICE, patient, bearer("key")).unwrap();
    let call = Call::post("make", "/make", &json!({}));
    let find = || async { client.send::<Option<u32>>(&Call::get("find", "/find")).await }.boxed();
    assert_eq!(client.create::<u32>(&call, find).await.unwrap(), 7, "though there are no tries left");
    assert_eq!(server.seen().iter().filter(|it| it.path == "/make").count(), 1);
}

#[tokio::test]
async fn what_was_not_made_is_made_again_and_the_tries_end() {
    let server = Server::script(vec![Reply::Cut, Reply::json(200, &json!(1))]).await;
    let it = client(&server);
    let call = Call::post("make", "/make", &json!({}));
    assert_eq!(it.create::<u32>(&call, || async { Ok(None) }.boxed()).await.unwrap(), 1);
    assert_eq!(server.seen().len(), 2);

    let server = Server::script(vec![Reply::text(503, "")]).await;
    let it = client(&server);
    let error = it.create::<u32>(&call, || async { Ok(None) }.boxed()).await.unwrap_err();
    assert_eq!((error.kind, server.seen().len()), (Kind::Transient, 4));

    let server = Server::script(vec![Reply::text(422, "no")]).await;
    let it = client(&server);
    let error = it.create::<u32>(&call, || async { Ok(None) }.boxed()).await.unwrap_err();
    assert_eq!((error.kind, server.seen().len()), (Kind::InvalidRequest, 1));
}

#[tokio::test]
async fn pages_are_asked_for_one_at_a_time_when_they_are_wanted() {
    let server = Server::of(|seen| {
        let page: u32 = seen.query.get("page").map_or(1, |it| it.parse().unwrap());
        Reply::json(200, &json!({"page": page, "next": (page < 5).then_some(page + 1)}))
    })
    .await;
    let client = client(&server);
    let next = |call: &Call, page: &Value| Some(call.clone().with("page", page["next"].as_u64()?));
    let pages = client.pages(Call::get("list", "/list"), next);
    let two: Vec<Value> = pages.take(2).try_collect().await.unwrap();
    assert_eq!((two.len(), server.seen().len()), (2, 2));
    let all: Vec<Value> = client.pages(Call::get("list", "/list"), next).try_collect().await.unwrap();
    assert_eq!(all.iter().map(|it| it["page"].clone()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_key_is_in_no_error_no_log_and_no_debug_text() {
    logs::capture();
    let key = "sk-0123456789-not-for-eyes-0123456789";
    let server = Server::of(move |seen| {
        let said = format!("the key {} is unknown", seen.header("authorization"));
        Reply::json(if seen.path == "/200" { 200 } else { 401 }, &json!({"trouble": said}))
    })
    .await;
    let client = Client::new(SERVICE, access(&server), bearer(key)).unwrap();
    for path in ["/200", "/401"] {
        let error = client.send::<Value>(&Call::get("look", path)).await.unwrap_err();
        assert!(error.to_string().contains("the key Bearer *** is unknown"), "{error}");
        assert!(!format!("{error:?} {client:?}").contains("sk-"), "{error:?}");
    }
    let secret = Call::post("make", "/make", &json!({"public": "not-for-eyes"}));
    assert!(!format!("{secret:?}").contains("not-for-eyes"));
    let _ = client.send::<Value>(&secret).await;
    let log = logs::text();
    assert!(log.contains("to look"), "something is logged");
    assert!(!log.contains("not-for-eyes"), "a secret is logged");
}

#[tokio::test]
async fn a_key_crosses_no_network_in_the_open() {
    let access = Access { base_url: Some("http://cloud.invalid".into()), ..Access::default() };
    let error = Client::new(SERVICE, access, bearer("k")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to set up the way to Cloud: `http://cloud.invalid` is not https, and not on this computer"
    );
}

#[tokio::test]
async fn a_proxy_is_used_when_it_is_named() {
    let proxy = Server::script(vec![Reply::json(200, &json!("by proxy"))]).await;
    let access = Access {
        base_url: Some("http://127.0.0.1:9".into()),
        proxy: Some(proxy.url.clone()),
        ..access(&proxy)
    };
    let client = Client::new(SERVICE, access, bearer("k")).unwrap();
    assert_eq!(get(&client).await.unwrap(), json!("by proxy"));
    assert_eq!(proxy.seen()[0].path, "http://127.0.0.1:9/look");
}

#[tokio::test]
async fn a_certificate_is_trusted_when_its_authority_is_named_and_only_then() {
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let pem = authority.pem();
    let issuer = rcgen::Issuer::new(params, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&server_key, &issuer).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let reply = Reply::json(200, &json!("over TLS"));
    let handler = Arc::new(move |_| {
        let reply = reply.clone();
        async move { reply }.boxed()
    });
    let server = Server::tls(handler, TlsAcceptor::from(Arc::new(config))).await;

    let error = get(&client(&server)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Transient);
    assert!(error.message.contains("certificate"), "{}", error.message);

    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let trusting = Access { ca_file: Some(ca_file), ..access(&server) };
    let client = Client::new(SERVICE, trusting, bearer("k")).unwrap();
    assert_eq!(get(&client).await.unwrap(), json!("over TLS"));
}
