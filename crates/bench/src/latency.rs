//! `latency`: the median of 64-byte calls, one after the other, to one local node; the floor is 64 bytes
//! echoed on a QUIC stream each, in the same run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use skyward::prelude::*;

use crate::{Report, median};

/// The payload of a small call.
const BYTES: usize = 64;

/// Before anything counts: connections open, code and caches warm.
const WARM_UP: usize = 200;

#[skyward::function]
async fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// Ours and the floor, this many rounds each.
pub(crate) async fn measure(rounds: usize) -> skyward::Result<Report> {
    let payload = vec![7_u8; BYTES];
    let compute = Compute::builder().nodes(1).start().await?;
    let mut ours = Vec::with_capacity(rounds);
    for round in 0..WARM_UP + rounds {
        let began = Instant::now();
        let answer = (echo(payload.clone()) >> &compute).await?;
        keep(&mut ours, round, began.elapsed());
        check(&answer, &payload)?;
    }
    compute.stop().await?;

    let floor = Echo::start().await?;
    let mut floors = Vec::with_capacity(rounds);
    for round in 0..WARM_UP + rounds {
        let began = Instant::now();
        let answer = floor.call(&payload).await?;
        keep(&mut floors, round, began.elapsed());
        check(&answer, &payload)?;
    }
    let micros = |times| median(times).as_secs_f64() * 1e6;
    Ok(Report { case: "latency", ours: micros(ours), floor: Some(micros(floors)), unit: "us", rounds })
}

fn keep(times: &mut Vec<Duration>, round: usize, took: Duration) {
    if round >= WARM_UP {
        times.push(took);
    }
}

fn check(answer: &[u8], payload: &[u8]) -> skyward::Result<()> {
    if answer == payload { Ok(()) } else { Err("an echo came back changed".into()) }
}

/// quinn alone: a connection to an echo in this process.
struct Echo {
    connection: Connection,
    _endpoint: Endpoint,
}

impl Echo {
    async fn start() -> skyward::Result<Self> {
        const NAME: &str = "floor";
        const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let key = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let certificate = key.cert.der().clone();
        let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
        let server = Endpoint::server(server(certificate.clone(), private)?, LOOPBACK)?;
        let address = server.local_addr()?;
        tokio::spawn(async move {
            while let Some(incoming) = server.accept().await {
                if let Ok(connection) = incoming.await {
                    tokio::spawn(serve(connection));
                }
            }
        });
        let mut endpoint = Endpoint::client(LOOPBACK)?;
        endpoint.set_default_client_config(trusting(certificate)?);
        Ok(Self { connection: endpoint.connect(address, NAME)?.await?, _endpoint: endpoint })
    }

    /// One message there and back.
    async fn call(&self, payload: &[u8]) -> skyward::Result<Vec<u8>> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(payload).await?;
        send.finish()?;
        Ok(receive.read_to_end(payload.len()).await?)
    }
}

async fn serve(connection: Connection) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        tokio::spawn(async move {
            // A peer that goes away is the end of the measurement.
            if let Ok(message) = receive.read_to_end(1 << 16).await {
                let _ = send.write_all(&message).await;
                let _ = send.finish();
            }
        });
    }
}

pub(crate) fn trusting(certificate: CertificateDer<'static>) -> skyward::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let tls = rustls::ClientConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}

pub(crate) fn server(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> skyward::Result<ServerConfig> {
    let tls = rustls::ServerConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?)))
}

fn crypto() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
