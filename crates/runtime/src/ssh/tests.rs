//! Dials that come to nothing. What works is tested in `crates/providers/tests/local.rs`, against the
//! SSH server of a real machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::keys::PublicKey;
use russh::server::{Auth, Config, Handler, PublicKeyOffer, run_stream};
use tokio::net::TcpListener;

use super::*;
use crate::model::{HostKey, SshEndpoint};
use crate::timing::Timing;

/// A server that lets nobody in: it says so, or it is gone when it is asked.
#[derive(Clone, Copy)]
enum Closed {
    Rejects,
    Dies,
}

impl Handler for Closed {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _: &str, _: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        match self {
            Self::Rejects => Ok(Auth::reject()),
            Self::Dies => Err(russh::Error::Disconnect),
        }
    }
}

fn endpoint(port: u16, host_key: HostKey) -> SshEndpoint {
    SshEndpoint {
        host: String::from("127.0.0.1"),
        port,
        user: String::from("somebody"),
        host_key,
        login: Box::default(),
    }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A server that lets nobody in, and its public host key.
async fn closed_server(how: Closed) -> (u16, String) {
    let key = ClientKey::generate().unwrap();
    let public = key.public().to_owned();
    let host_key = key.host_key();
    let (listener, port) = listener().await;
    let config = Config { keys: vec![host_key], auth_rejection_time: Duration::ZERO, ..Config::default() };
    let config = Arc::new(config);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(run_stream(Arc::clone(&config), stream, how));
        }
    });
    (port, public)
}

fn fingerprint(line: &str) -> String {
    key::fingerprint(&PublicKey::from_openssh(line).unwrap())
}

async fn refused(port: u16, host_key: HostKey, timing: &Timing) -> SshError {
    let key = ClientKey::generate().unwrap();
    Session::connect(&endpoint(port, host_key), &key, timing).await.unwrap_err()
}

#[tokio::test]
async fn a_wrong_host_key_is_refused_and_both_fingerprints_are_named() {
    let (port, right) = closed_server(Closed::Rejects).await;
    let wrong = ClientKey::generate().unwrap().public().to_owned();
    let error = refused(port, HostKey::Known(wrong.clone()), &Timing::short()).await;
    let text = error.to_string();
    assert!(matches!(error, SshError::HostKey { .. }), "{text}");
    assert!(text.contains(&fingerprint(&right)) && text.contains(&fingerprint(&wrong)), "{text}");
    assert!(!error.retry());
}

#[tokio::test]
async fn a_refused_key_is_said_and_not_worth_a_retry_by_itself() {
    let (port, right) = closed_server(Closed::Rejects).await;
    let error = refused(port, HostKey::Known(right), &Timing::short()).await;
    assert!(matches!(error, SshError::Rejected { .. }) && !error.retry(), "{error}");
}

#[tokio::test]
async fn a_server_that_dies_while_it_is_asked_has_refused_nothing() {
    let (port, right) = closed_server(Closed::Dies).await;
    let error = refused(port, HostKey::Known(right), &Timing::short()).await;
    assert!(matches!(error, SshError::Handshake { .. }) && error.retry(), "{error}");
}

#[tokio::test]
async fn a_dead_port_fails_at_once_and_a_retry_is_advised() {
    let (listener, port) = listener().await;
    drop(listener);
    let error = refused(port, HostKey::PinOnFirstUse, &Timing::short()).await;
    assert!(matches!(error, SshError::Unreachable { .. }) && error.retry(), "{error}");
    assert!(error.to_string().contains("try again"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_speaks_is_given_up_at_the_deadline() {
    let (listener, port) = listener().await;
    let silent = tokio::spawn(async move { listener.accept().await.map(|it| (it, listener)) });
    let timing = Timing { ssh_dial: Duration::from_millis(200), ..Timing::short() };
    let began = Instant::now();
    let error = refused(port, HostKey::PinOnFirstUse, &timing).await;
    assert!(matches!(error, SshError::DialDeadline { .. }) && error.retry(), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(silent.await);
}

#[tokio::test]
async fn a_server_that_hangs_up_in_the_handshake_is_worth_a_retry() {
    let (listener, port) = listener().await;
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let error = refused(port, HostKey::PinOnFirstUse, &Timing::short()).await;
    assert!(matches!(error, SshError::Handshake { .. }) && error.retry(), "{error}");
}

#[tokio::test]
async fn a_known_key_that_is_no_key_is_an_error_before_any_dial() {
    let error = refused(1, HostKey::Known(String::from("garbage")), &Timing::short()).await;
    assert!(matches!(error, SshError::KnownKey { .. }) && !error.retry(), "{error}");
}

#[test]
fn a_key_never_shows_its_private_half() {
    let key = ClientKey::generate().unwrap();
    let shown = format!("{key:?}");
    assert!(shown.contains("***") && shown.contains(key.public()), "{shown}");
}
