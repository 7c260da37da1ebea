//! `latency`, `bulk`, `bulk-result`, `behind-bulk` and `stream` with `--carrier ssh`: calls over SSH beside TLS on
//! one forwarded connection of an SSH session to a machine of the same kind, in turns in one run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::client::{self, Handle, Msg};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelStream, cipher};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_bytes::ByteBuf;
use skyward::Bytes;
use skyward::prelude::*;
use skyward::provider::{
    InstanceState, Market, Offer, PoolId, Provider, Request, SshEndpoint, stream::StreamExt,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::stream::{BYTES, ITEMS, rate, read};
use crate::{Report, median};

/// The payload of a small call.
const SMALL: usize = 64;

/// The payload of a large one.
const LARGE: usize = 256 << 20;

/// Before anything counts: connections open, code and caches warm.
const WARM_UP: usize = 200;

/// How long the floor's machine may live if this process is killed.
const LEASE: Duration = Duration::from_secs(600);

/// What the floor's server is called.
const NAME: &str = "floor";

#[skyward::function]
async fn echo(bytes: ByteBuf) -> ByteBuf {
    bytes
}

#[skyward::function]
async fn take(bytes: Bytes) -> u64 {
    bytes.len() as u64
}

#[skyward::function]
async fn give(length: u64) -> Bytes {
    Bytes::from(vec![7; usize::try_from(length).unwrap_or_default()])
}

/// Whether the arguments ask for one of these.
pub(crate) fn is_asked(arguments: &[String]) -> bool {
    arguments.windows(2).any(|it| it == ["--carrier", "ssh"])
}

/// One case, so many rounds.
pub(crate) async fn measure(case: &str, rounds: Option<usize>) -> skyward::Result<Report> {
    let worker = Worker { concurrency: 4, ..Worker::default() };
    let compute = Compute::builder().nodes(1).carrier(Carrier::Ssh).worker(worker).start().await?;
    let report = match case {
        "latency" => latency(&compute, rounds.unwrap_or(2000)).await?,
        "bulk" => bulk(&compute, "bulk-ssh", rounds.unwrap_or(5)).await?,
        "bulk-result" => bulk(&compute, "bulk-result-ssh", rounds.unwrap_or(5)).await?,
        "behind-bulk" => behind_bulk(&compute, rounds.unwrap_or(5)).await?,
        "stream" => stream(&compute, rounds.unwrap_or(5)).await?,
        _ => return Err("over ssh there are latency, bulk, bulk-result, behind-bulk and stream".into()),
    };
    compute.stop().await?;
    Ok(report)
}

/// The median of 64-byte calls, one after the other.
async fn latency(compute: &Compute, rounds: usize) -> skyward::Result<Report> {
    let mut floor = Floor::start().await?;
    let payload = ByteBuf::from(vec![7_u8; SMALL]);
    let (mut ours, mut floors) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for round in 0..WARM_UP + rounds {
        let began = Instant::now();
        let answer = (echo(payload.clone()) >> compute).await?;
        let took = began.elapsed();
        let floor_took = floor.exchange(SMALL, SMALL).await?;
        if answer != payload {
            return Err("an echo came back changed".into());
        }
        if round >= WARM_UP {
            ours.push(took);
            floors.push(floor_took);
        }
    }
    floor.stop().await?;
    let micros = |times| median(times).as_secs_f64() * 1e6;
    Ok(Report { case: "latency-ssh", ours: micros(ours), floor: Some(micros(floors)), unit: "us", rounds })
}

/// How fast 256 MiB are an argument, or a result.
async fn bulk(compute: &Compute, case: &'static str, rounds: usize) -> skyward::Result<Report> {
    let mut floor = Floor::start().await?;
    let is_result = case == "bulk-result-ssh";
    let (mut ours, mut floors) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for round in 0..=rounds {
        // Made before the clock runs, as the floor's is.
        let payload = Bytes::from(vec![7_u8; if is_result { 0 } else { LARGE }]);
        let began = Instant::now();
        let length = if is_result {
            (give(LARGE as u64) >> compute).await?.len()
        } else {
            usize::try_from((take(payload) >> compute).await?).unwrap_or_default()
        };
        let took = began.elapsed();
        if length != LARGE {
            return Err("a large call came out short".into());
        }
        let floor_took =
            if is_result { floor.exchange(8, LARGE).await? } else { floor.exchange(LARGE, 8).await? };
        // The first round is the warm-up.
        if round > 0 {
            ours.push(took);
            floors.push(floor_took);
        }
    }
    floor.stop().await?;
    let rate = |times| (LARGE >> 20) as f64 / median(times).as_secs_f64();
    Ok(Report { case, ours: rate(ours), floor: Some(rate(floors)), unit: "MiB/s", rounds })
}

/// How many items of a stream are read in a second, beside as many bytes.
async fn stream(compute: &Compute, rounds: usize) -> skyward::Result<Report> {
    let mut floor = Floor::start().await?;
    let bytes = usize::try_from(ITEMS)? * BYTES;
    let (mut ours, mut floors) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for round in 0..=rounds {
        let (took, raw) = (read(compute).await?, floor.exchange(8, bytes).await?);
        // The first round is the warm-up.
        if round > 0 {
            ours.push(took);
            floors.push(raw);
        }
    }
    floor.stop().await?;
    Ok(Report::beside("stream-ssh", rate(ours), rate(floors), "items/s", rounds))
}

/// The 99th percentile of 64-byte calls while 256 MiB move to the same node, so many times.
async fn behind_bulk(compute: &Compute, rounds: usize) -> skyward::Result<Report> {
    let payload = ByteBuf::from(vec![7_u8; SMALL]);
    let mut times = Vec::new();
    for _ in 0..rounds {
        let large = compute.spawn(take(Bytes::from(vec![7_u8; LARGE])));
        let moving = async { large.await.map(|_| ()) };
        let mut moving = std::pin::pin!(moving);
        loop {
            let began = Instant::now();
            let small = async {
                let answered = (echo(payload.clone()) >> compute).await;
                (answered, began.elapsed())
            };
            let (answered, took) = tokio::select! {
                moved = &mut moving => {
                    moved?;
                    break;
                }
                answered = small => answered,
            };
            answered?;
            times.push(took);
        }
    }
    times.sort_unstable();
    let millis = times.get(times.len() * 99 / 100).copied().unwrap_or_default().as_secs_f64() * 1e3;
    Ok(Report { case: "behind-bulk-ssh", ours: millis, floor: None, unit: "ms (p99)", rounds })
}

/// TLS on a forwarded connection of an SSH session to a local machine, to a server in this process.
struct Floor {
    stream: TlsStream<ChannelStream<Msg>>,
    _session: Handle<Anyone>,
    provider: Local,
    request: Request,
}

/// Believes any host: the machine was started by us a moment ago, on loopback.
struct Anyone;

impl client::Handler for Anyone {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

impl Floor {
    async fn start() -> skyward::Result<Self> {
        let provider = Local::default();
        let offer: Offer = provider.offers().next().await.ok_or("this computer is not for rent")??;
        let key = client_key()?;
        let id = format!("floor-{}", std::process::id());
        let ssh_key = key.public_key().to_openssh()?;
        let request = Request {
            pool: PoolId::new(id),
            offer,
            market: Market::OnDemand,
            disk_gb: None,
            volumes: Vec::new(),
            ssh_key,
            lease: LEASE,
        };
        provider.prepare(&request).await?;
        let endpoint = boot(&provider, &request).await?;
        let mut session =
            client::connect(Arc::new(config()), (endpoint.host.as_str(), endpoint.port), Anyone).await?;
        let signer = PrivateKeyWithHashAlg::new(Arc::new(key), None::<HashAlg>);
        if !session.authenticate_publickey(endpoint.user, signer).await?.success() {
            return Err("the floor's machine does not let us in".into());
        }
        let (port, certificate) = serve().await?;
        let channel = session.channel_open_direct_tcpip("127.0.0.1", u32::from(port), "127.0.0.1", 0).await?;
        let name = ServerName::try_from(NAME)?;
        let stream = trusting(certificate)?.connect(name, channel.into_stream()).await?;
        Ok(Self { stream, _session: session, provider, request })
    }

    /// Sends so many bytes and waits for so many others; how long that took. Bytes are made before and
    /// land in one place.
    async fn exchange(&mut self, up: usize, down: usize) -> skyward::Result<Duration> {
        let mut message = Vec::with_capacity(16 + up);
        message.extend_from_slice(&(up as u64).to_be_bytes());
        message.extend_from_slice(&(down as u64).to_be_bytes());
        message.resize(16 + up, 7);
        let mut answer = Vec::with_capacity(down);
        let began = Instant::now();
        self.stream.write_all(&message).await?;
        self.stream.flush().await?;
        (&mut self.stream).take(down as u64).read_to_end(&mut answer).await?;
        let took = began.elapsed();
        if answer.len() == down { Ok(took) } else { Err("the floor ended early".into()) }
    }

    async fn stop(self) -> skyward::Result<()> {
        let left = self.provider.teardown(&self.request).await?;
        if left.is_empty() { Ok(()) } else { Err(format!("the floor left {left:?}").into()) }
    }
}

/// Rents a machine and waits until its SSH server is there.
async fn boot(provider: &Local, request: &Request) -> skyward::Result<SshEndpoint> {
    let given = provider.provision(request, 1).await?;
    let instance = given.instances.first().ok_or("no machine was given")?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        match provider.describe(request, &instance.id).await?.state {
            InstanceState::Running { ssh, .. } => return Ok(ssh),
            InstanceState::Pending => tokio::time::sleep(Duration::from_millis(5)).await,
            InstanceState::Leaving { reason, .. } | InstanceState::Gone { reason, .. } => {
                return Err(reason.into());
            }
        }
    }
    Err("the floor's machine does not come up".into())
}

/// As a link's session is set.
fn config() -> client::Config {
    let mut preferred = russh::Preferred::DEFAULT;
    preferred.cipher = vec![cipher::AES_256_GCM].into();
    client::Config {
        window_size: 8 << 20,
        maximum_packet_size: 65_535,
        channel_buffer_size: 1024,
        nodelay: true,
        preferred,
        ..client::Config::default()
    }
}

fn client_key() -> skyward::Result<PrivateKey> {
    use russh::keys::ssh_key::private::Ed25519Keypair;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(PrivateKey::from(Ed25519Keypair::from_seed(&seed)))
}

/// A server that takes as many bytes as it is told to and answers with as many.
async fn serve() -> skyward::Result<(u16, CertificateDer<'static>)> {
    let key = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = key.cert.der().clone();
    let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
    let tls = rustls::ServerConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], private)?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        if let Ok((stream, _)) = listener.accept().await {
            // Its end is the end of the measurement.
            let _ = answer(acceptor, stream).await;
        }
    });
    Ok((port, certificate))
}

async fn answer(acceptor: TlsAcceptor, stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    loop {
        let (up, down) = (stream.read_u64().await?, stream.read_u64().await?);
        let mut landed = Vec::with_capacity(usize::try_from(up).unwrap_or_default());
        (&mut stream).take(up).read_to_end(&mut landed).await?;
        let bytes = vec![7; usize::try_from(down).unwrap_or_default()];
        stream.write_all(&bytes).await?;
        stream.flush().await?;
    }
}

fn trusting(certificate: CertificateDer<'static>) -> skyward::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let tls = rustls::ClientConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(tls)))
}

fn crypto() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
