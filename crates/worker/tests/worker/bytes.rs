//! The worker's TCP port, where clients come through SSH: the same link, and nobody else gets in.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use skyward_runtime::control::Cluster;
use skyward_runtime::link::{
    CLIENT, CallRequest, Cause, Dialer, Duplex, Hello, Identity, Link, LinkError, Outcome, Refusal, Side,
    Tunnel,
};
use skyward_runtime::model::{Carrier, PoolId};
use skyward_runtime::timing::Timing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::node::{Client, Node, SOON, as_arguments, call, is_running, request, says, until};
use crate::tests;

tests!(
    a_link_by_tcp_calls_as_one_by_udp,
    a_thousand_calls_by_tcp_each_get_their_own_answer,
    a_dropped_call_by_tcp_drops_the_function,
    a_large_call_by_tcp_does_not_hold_up_a_small_one,
    a_link_by_tcp_is_a_member_and_renews_the_lease,
    a_refused_client_by_tcp_is_told_why,
    a_newer_link_by_tcp_replaces_the_older_one_whatever_carries_it,
    a_frozen_worker_is_noticed_by_tcp_in_time,
    a_killed_worker_is_noticed_by_tcp_at_once,
    an_idle_link_by_tcp_is_no_silent_one,
    a_stranger_at_the_tcp_port_is_not_let_in,
    a_certificate_of_another_pool_is_not_let_in_by_tcp,
    a_workers_certificate_is_not_the_clients_by_tcp,
    garbage_at_the_tcp_port_has_no_effect,
    garbage_from_the_client_closes_the_connection_with_a_reason,
    a_frame_over_the_limit_closes_the_connection_with_a_reason,
    nobody_joins_a_link_without_its_token,
    the_tcp_port_is_on_loopback_alone,
);

/// As a forwarded connection ends up at the worker.
#[derive(Debug)]
struct Direct(SocketAddr);

#[async_trait::async_trait]
impl Tunnel for Direct {
    async fn open(&self) -> Result<Box<dyn Duplex>, LinkError> {
        let connected = TcpStream::connect(self.0).await;
        let stream = connected.map_err(|it| LinkError::NoTunnel { reason: it.to_string(), retry: true })?;
        stream.set_nodelay(true).expect("set");
        Ok(Box::new(stream))
    }
}

fn tunnel(node: &Node) -> Arc<dyn Tunnel> {
    Arc::new(Direct(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), node.tcp)))
}

async fn dial(node: &Node, hello: Hello) -> Result<Link, LinkError> {
    node.dialer().dial_through(tunnel(node), hello, SOON).await
}

async fn link(node: &Node) -> Link {
    let link = dial(node, node.hello.clone()).await.expect("welcome");
    assert_eq!(link.carrier(), Carrier::Ssh);
    link
}

async fn works(link: &Link) {
    assert_eq!(call(link, "echo", "on").await, Outcome::Returned("on".into()));
}

async fn a_link_by_tcp_calls_as_one_by_udp() {
    let node = Node::start().await;
    let link = link(&node).await;
    works(&link).await;
    assert_eq!(call(&link, "echo", "").await, Outcome::Returned("".into()));
    assert_eq!(call(&link, "double", "hi").await, Outcome::Returned("hihi".into()));
    assert_eq!(call(&link, "fail", "mine").await, Outcome::Failed(Bytes::from_static(b"mine")));
    assert!(matches!(call(&link, "panic_async", "").await, Outcome::Panicked(_)));
    // The answer comes although the arguments are never read.
    let unknown = CallRequest {
        function: skyward_runtime::model::FunctionId(999),
        ..request("echo", vec![0; 32 << 20])
    };
    assert_eq!(link.call(unknown).await, Ok(Outcome::UnknownFunction));
}

async fn a_thousand_calls_by_tcp_each_get_their_own_answer() {
    let node = Node::start().await;
    let link = link(&node).await;
    let calls: Vec<_> = (0..1000_u32)
        .map(|number| tokio::spawn(link.call(request("echo", number.to_be_bytes().to_vec()))))
        .collect();
    for (number, call) in (0..1000_u32).zip(calls) {
        let expected = Outcome::Returned(number.to_be_bytes().to_vec().into());
        assert_eq!(call.await.expect("joined"), Ok(expected));
    }
}

async fn a_dropped_call_by_tcp_drops_the_function() {
    let node = Node::start().await;
    let link = link(&node).await;
    let note = node.file("note");
    let running = tokio::spawn(link.call(request("leave_a_note", as_arguments(&note))));
    until("the task runs", || says(&note) == "running").await;
    running.abort();
    until("the task is dropped", || says(&note) == "dropped").await;
    // That was a stream's end and not the link's.
    works(&link).await;
}

async fn a_large_call_by_tcp_does_not_hold_up_a_small_one() {
    let node = Node::start().await;
    let link = link(&node).await;
    let data = Bytes::from((0..48 << 20).map(|it: u32| it.to_le_bytes()[1]).collect::<Vec<_>>());
    let large = tokio::spawn(link.call(request("echo", data.clone())));
    let mut small = 0;
    while !large.is_finished() {
        works(&link).await;
        small += 1;
    }
    assert!(small >= 3, "the small ones had to wait for the large one: {small}");
    assert_eq!(large.await.expect("joined"), Ok(Outcome::Returned(data.into())));
    // A few more in a row: what belonged to the first is gone.
    for _ in 0..20 {
        let outcome = call(&link, "echo", vec![7; 5 << 20]).await;
        assert!(matches!(outcome, Outcome::Returned(bytes) if bytes.len() == 5 << 20));
    }
    let before = node.open_files();
    link.close("enough");
    until("the worker lets go", || node.open_files() < before).await;
}

async fn a_link_by_tcp_is_a_member_and_renews_the_lease() {
    let node = Node::start().await;
    let link = link(&node).await;
    let Client { pool, cookie, identity, .. } = &node.client;
    let cluster = Cluster::start(pool, cookie, identity).await.expect("started");
    let member = cluster.join(&link, &node.hello.incarnation, SOON).await.expect("joined");
    member.renew(SOON).await.expect("held");
    link.close("enough");
    member.down().await;
}

async fn a_refused_client_by_tcp_is_told_why() {
    let node = Node::start().await;
    let hello = Hello { pool: PoolId::new("other"), ..node.hello.clone() };
    let error = dial(&node, hello).await.expect_err("refused");
    assert_eq!(error, LinkError::Refused(Refusal::Pool { worker: node.client.pool.clone() }));
    works(&link(&node).await).await;
}

async fn a_newer_link_by_tcp_replaces_the_older_one_whatever_carries_it() {
    let node = Node::start().await;
    let udp = node.link().await;
    let tcp = link(&node).await;
    let replaced = |over| matches!(over, LinkError::Closed { by: Side::Peer, cause: Cause::Replaced, .. });
    assert!(replaced(udp.closed().await));
    works(&tcp).await;
    let again = node.link().await;
    assert!(replaced(tcp.closed().await));
    works(&again).await;
}

fn send(node: &Node, signal: Signal) {
    let pid = i32::try_from(node.worker_pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("signalled");
}

async fn a_frozen_worker_is_noticed_by_tcp_in_time() {
    let detect = Duration::from_secs(1);
    let node = Node::start_with(|it| it.detect = detect).await;
    let link = link(&node).await;
    let note = node.file("note");
    let pending = tokio::spawn(link.call(request("leave_a_note", as_arguments(&note))));
    until("the task runs", || says(&note) == "running").await;
    send(&node, Signal::STOP);
    let frozen = Instant::now();
    assert_eq!(link.closed().await, LinkError::Silent);
    assert!(frozen.elapsed() < detect + Duration::from_secs(8), "{:?}", frozen.elapsed());
    assert_eq!(pending.await.expect("joined"), Err(LinkError::Silent));
    send(&node, Signal::CONT);
    works(&self::link(&node).await).await;
}

async fn a_killed_worker_is_noticed_by_tcp_at_once() {
    let node = Node::start().await;
    let link = link(&node).await;
    send(&node, Signal::KILL);
    let over = tokio::time::timeout(Duration::from_secs(10), link.closed()).await.expect("at once");
    assert!(matches!(over, LinkError::Broken { .. }), "{over:?}");
    assert!(over.retry());
}

async fn an_idle_link_by_tcp_is_no_silent_one() {
    let detect = Duration::from_secs(1);
    let node = Node::start_with(|it| it.detect = detect).await;
    let link = link(&node).await;
    let over = tokio::time::timeout(detect * 3, link.closed()).await;
    assert!(over.is_err(), "{over:?}");
    works(&link).await;
}

/// A TLS connection to the port, with this certificate or none.
async fn connect(node: &Node, identity: Option<&Identity>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(node.client.identity.authority.clone())).expect("added");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("supported")
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(it) => {
            let key = PrivateKeyDer::Pkcs8(it.key.reveal().clone().into());
            let chain = vec![CertificateDer::from(it.certificate.clone())];
            config.with_client_auth_cert(chain, key).expect("usable")
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"skyward-bytes/1".to_vec()];
    let name = dns_name(node.hello.incarnation.as_str());
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, node.tcp)).await?;
    let name = ServerName::try_from(name).expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The host name that stands for a worker in its certificate.
fn dns_name(incarnation: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest: [u8; 32] = Sha256::digest(incarnation).into();
    format!("{}.skyward.invalid", hex::encode(&digest[..16]))
}

/// What the worker says before it hangs up: nothing, if it does not talk to us.
async fn rest(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut said = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut said)).await.expect("it hangs up");
    // An abrupt end is one as well.
    drop(read);
    said
}

async fn a_stranger_at_the_tcp_port_is_not_let_in() {
    let node = Node::start().await;
    let owner = link(&node).await;
    // In TLS 1.3 the client is done before the worker has looked at its certificate.
    if let Ok(mut stream) = connect(&node, None).await {
        let _ = stream.write_all(&[1; 17]).await;
        assert_eq!(rest(&mut stream).await, b"");
    }
    works(&owner).await;
}

async fn untrusted(node: &Node, identity: &Identity) {
    let owner = link(node).await;
    let dialer = Dialer::new(identity, &Timing::short()).expect("usable");
    let error = dialer.dial_through(tunnel(node), node.hello.clone(), SOON).await.expect_err("not let in");
    assert!(matches!(error, LinkError::Untrusted { .. } | LinkError::Broken { .. }), "{error:?}");
    works(&owner).await;
}

async fn a_certificate_of_another_pool_is_not_let_in_by_tcp() {
    let node = Node::start().await;
    let other = Client::new();
    // Once not trusting the worker, once believing it.
    untrusted(&node, &other.identity).await;
    let mut believing = other.authority.issue(CLIENT).expect("issued");
    believing.authority = node.client.identity.authority.clone();
    untrusted(&node, &believing).await;
}

async fn a_workers_certificate_is_not_the_clients_by_tcp() {
    let node = Node::start().await;
    let identity = node.client.authority.issue(node.hello.incarnation.as_str()).expect("issued");
    untrusted(&node, &identity).await;
}

async fn garbage_at_the_tcp_port_has_no_effect() {
    let node = Node::start().await;
    let owner = link(&node).await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &[0x16, 3, 1, 0xff, 0xff], b""] {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, node.tcp)).await.expect("connected");
        stream.write_all(garbage).await.expect("sent");
        stream.shutdown().await.expect("ended");
        let mut said = Vec::new();
        let read = tokio::time::timeout(SOON, stream.read_to_end(&mut said)).await.expect("it hangs up");
        drop(read);
        // At most a TLS alert.
        assert!(said.len() < 16, "{said:?}");
    }
    works(&owner).await;
}

/// Begins a link as the client would and sends these bytes; what the worker gives as the reason.
async fn closed_for(bytes: &[u8]) -> String {
    let node = Node::start().await;
    let owner = link(&node).await;
    let mut stream = connect(&node, Some(&node.client.identity)).await.expect("connected");
    let preface = [&[1][..], &[7; 16]].concat();
    stream.write_all(&[&preface, bytes].concat()).await.expect("sent");
    let said = rest(&mut stream).await;
    works(&owner).await;
    assert!(is_running(node.worker_pid));
    // A frame of kind `close`.
    assert_eq!(said.first(), Some(&8), "{said:?}");
    String::from_utf8_lossy(&said).into_owned()
}

async fn garbage_from_the_client_closes_the_connection_with_a_reason() {
    let reason = closed_for(&[0xc1; 8]).await;
    assert!(reason.contains("over the limit"), "{reason}");
    let reason = closed_for(&[99, 0, 0, 0, 0, 0, 0, 1]).await;
    assert!(reason.contains("no frame of kind 99"), "{reason}");
    let reason = closed_for(&[2, 0, 0, 0, 0, 0, 0, 1]).await;
    assert!(reason.contains("has not been opened"), "{reason}");
}

async fn a_frame_over_the_limit_closes_the_connection_with_a_reason() {
    let reason = closed_for(&[2, 0x01, 0, 0, 0, 0, 0, 1]).await;
    assert!(reason.contains("a frame of 65536 bytes is over the limit"), "{reason}");
}

async fn nobody_joins_a_link_without_its_token() {
    let node = Node::start().await;
    let owner = link(&node).await;
    let mut stream = connect(&node, Some(&node.client.identity)).await.expect("connected");
    let preface = [&[2][..], &[7; 16]].concat();
    stream.write_all(&preface).await.expect("sent");
    assert_eq!(rest(&mut stream).await, b"");
    works(&owner).await;
}

async fn the_tcp_port_is_on_loopback_alone() {
    let node = Node::start_with(|it| it.listen = Ipv4Addr::UNSPECIFIED.into()).await;
    let listening = std::fs::read_to_string(format!("/proc/{}/net/tcp", node.worker_pid)).expect("linux");
    let port = format!(":{:04X}", node.tcp);
    let address =
        listening.lines().filter_map(|it| it.split_whitespace().nth(1)).find(|it| it.ends_with(&port));
    assert_eq!(address, Some(format!("0100007F{port}").as_str()));
}
