//! Who is let in and who is not, and what they are told.

use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use skyward_runtime::link::{CLIENT, Dialer, Hello, LinkError, Outcome, PROTOCOL, Refusal};
use skyward_runtime::model::{Epoch, Incarnation, PoolId};
use skyward_runtime::timing::Timing;

use crate::node::{Client, Node, SOON, call};
use crate::tests;

tests!(
    another_build_of_the_program_is_refused,
    another_life_of_the_worker_is_refused,
    another_pool_is_refused,
    another_version_is_refused,
    an_older_owner_is_refused_and_a_newer_one_takes_over,
    a_certificate_of_another_pool_is_not_let_in,
    a_workers_certificate_is_not_the_clients,
    a_stranger_without_a_certificate_is_not_let_in,
    a_worker_with_another_name_is_not_believed,
    nothing_at_the_port_ends_in_time,
);

async fn refused(node: &Node, hello: Hello) -> Refusal {
    match node.dial(hello).await {
        Err(error @ LinkError::Refused(_)) => {
            assert!(!error.retry());
            let LinkError::Refused(refusal) = error else { panic!("{error:?}") };
            // The worker goes on with the rightful owner.
            let link = node.link().await;
            assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
            refusal
        }
        other => panic!("{other:?}"),
    }
}

async fn another_build_of_the_program_is_refused() {
    let node = Node::start().await;
    let refusal = refused(&node, Hello { registry: [9; 32], ..node.hello.clone() }).await;
    assert!(matches!(refusal, Refusal::Registry { .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("another build of this program"), "{refusal}");
}

async fn another_life_of_the_worker_is_refused() {
    let node = Node::start().await;
    // The certificate says so first; a worker with the right name and another life says it itself.
    let hello = Hello { incarnation: Incarnation::new("another"), ..node.hello.clone() };
    let error = node.dial(hello).await.expect_err("not believed");
    assert!(matches!(error, LinkError::Untrusted { .. }), "{error:?}");
    let node = Node::start_with(|it| it.incarnation = Incarnation::new("second life")).await;
    let error = node.dial(node.hello.clone()).await.expect_err("refused");
    let expected = Refusal::Incarnation { worker: Incarnation::new("second life") };
    assert_eq!(error, LinkError::Refused(expected));
}

async fn another_pool_is_refused() {
    let node = Node::start().await;
    let refusal = refused(&node, Hello { pool: PoolId::new("other"), ..node.hello.clone() }).await;
    assert_eq!(refusal, Refusal::Pool { worker: node.client.pool.clone() });
}

async fn another_version_is_refused() {
    let node = Node::start().await;
    let refusal = refused(&node, Hello { protocol: 77, ..node.hello.clone() }).await;
    assert_eq!(refusal, Refusal::Protocol { worker: PROTOCOL, client: 77 });
}

async fn an_older_owner_is_refused_and_a_newer_one_takes_over() {
    let node = Node::start().await;
    let refusal = refused(&node, Hello { epoch: Epoch(2), ..node.hello.clone() }).await;
    assert_eq!(refusal, Refusal::Epoch { owner: Epoch(3) });
    let old = node.link().await;
    let new = node.dial(Hello { epoch: Epoch(4), ..node.hello.clone() }).await.expect("welcome");
    assert!(matches!(old.closed().await, LinkError::Closed { .. }));
    let error = node.dial(node.hello.clone()).await.expect_err("older now");
    assert_eq!(error, LinkError::Refused(Refusal::Epoch { owner: Epoch(4) }));
    assert_eq!(call(&new, "echo", "on").await, Outcome::Returned("on".into()));
}

/// Dials with somebody else's certificate and the right hello, but trusting the worker's authority.
async fn untrusted(node: &Node, identity: &skyward_runtime::link::Identity) {
    let link = node.link().await;
    let dialer = Dialer::new(identity, &Timing::short()).expect("usable");
    let error = dialer.dial(node.address, node.hello.clone(), SOON).await.expect_err("not let in");
    assert!(!error.retry(), "{error:?}");
    assert!(matches!(error, LinkError::Untrusted { .. } | LinkError::Closed { .. }), "{error:?}");
    assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
}

async fn a_certificate_of_another_pool_is_not_let_in() {
    let node = Node::start().await;
    let other = Client::new();
    // Once not trusting the worker, once believing it.
    untrusted(&node, &other.identity).await;
    let mut believing = other.authority.issue(CLIENT).expect("issued");
    believing.authority = node.client.identity.authority.clone();
    untrusted(&node, &believing).await;
}

async fn a_workers_certificate_is_not_the_clients() {
    let node = Node::start().await;
    let identity = node.client.authority.issue(node.hello.incarnation.as_str()).expect("issued");
    untrusted(&node, &identity).await;
}

async fn a_stranger_without_a_certificate_is_not_let_in() {
    let node = Node::start().await;
    let link = node.link().await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(node.client.identity.authority.clone())).expect("added");
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("supported")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"skyward/1".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("usable")));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("bound");
    // Its name does not matter: what the stranger checks is the stranger's business.
    let connecting = endpoint.connect_with(config, node.address, "anything.invalid").expect("begun");
    let ended = match connecting.await {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    assert!(
        matches!(
            ended,
            quinn::ConnectionError::ConnectionClosed(_) | quinn::ConnectionError::TransportError(_)
        ),
        "{ended:?}"
    );
    assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
}

async fn a_worker_with_another_name_is_not_believed() {
    let node = Node::start().await;
    let hello = Hello { incarnation: Incarnation::new("somebody"), ..node.hello.clone() };
    let error = node.dial(hello).await.expect_err("not believed");
    assert!(matches!(error, LinkError::Untrusted { .. }), "{error:?}");
}

async fn nothing_at_the_port_ends_in_time() {
    let client = Client::new();
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let dialer = Dialer::new(&client.identity, &Timing::short()).expect("usable");
    let address = silent.local_addr().expect("bound");
    let deadline = std::time::Duration::from_millis(200);
    let error = dialer.dial(address, client.hello(1), deadline).await.expect_err("nobody");
    assert_eq!(error, LinkError::Late { address, after: deadline });
    assert!(error.retry());
}
