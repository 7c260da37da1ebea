//! What lies under every figure: quinn alone, with the same TLS. A floor's node is a process of its own, as
//! ours is, and echoes frames on one multiplexed stream with writes gathered as ours are, or takes and gives
//! bulk on a stream of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig,
    TransportConfig, VarInt,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// The case that a floor's node is started with.
pub(crate) const NODE: &str = "floor-node";

const NAME: &str = "floor";
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What a stream is for: its first byte.
const FRAMES: u8 = 1;
const TAKE: u8 = 2;
const GIVE: u8 = 3;

/// What one end reads at once.
const READ: usize = 64 * 1024;

/// What is asked for as the sockets' buffers, as ours are.
const SOCKET_BUFFER: usize = 8 << 20;

/// A connection to a floor's node, which ends with it.
pub(crate) struct Floor {
    pub(crate) connection: Connection,
    _endpoint: Endpoint,
    _node: Child,
}

/// One multiplexed stream of frames: how many bytes of content, then those.
pub(crate) struct Frames {
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
}

impl Floor {
    /// Starts a node and connects to it.
    pub(crate) async fn start() -> skyward::Result<Self> {
        let mut node = Command::new(std::env::current_exe()?)
            .arg(NODE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = node.stdout.take().ok_or("a piped output is missing")?;
        let line = BufReader::new(output).lines().next_line().await?.ok_or("a floor's node said nothing")?;
        let (port, certificate) = line.split_once(' ').ok_or("a floor's node said something else")?;
        let certificate = CertificateDer::from(decode(certificate)?);
        let mut endpoint = endpoint(None)?;
        endpoint.set_default_client_config(trusting(certificate)?);
        let address = SocketAddr::new(LOOPBACK.ip(), port.parse()?);
        let connection = endpoint.connect(address, NAME)?.await?;
        Ok(Self { connection, _endpoint: endpoint, _node: node })
    }

    /// So many nodes.
    pub(crate) async fn start_many(count: u32) -> skyward::Result<Vec<Self>> {
        let mut floors = Vec::new();
        for _ in 0..count {
            floors.push(Self::start().await?);
        }
        Ok(floors)
    }

    /// Opens a stream of frames.
    pub(crate) async fn frames(&self) -> skyward::Result<Frames> {
        let (mut send, receive) = self.connection.open_bi().await?;
        send.write_all(&[FRAMES]).await?;
        Ok(Frames { send, receive })
    }

    /// Sends bytes, which land in one piece, and waits until they have.
    pub(crate) async fn send_bulk(&self, bytes: bytes::Bytes) -> skyward::Result<()> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.set_priority(-1)?;
        send.write_all(&[TAKE]).await?;
        send.write_u64(bytes.len() as u64).await?;
        send.write_chunk(bytes).await?;
        send.finish()?;
        receive.read_exact(&mut [0; 1]).await?;
        Ok(())
    }

    /// Receives so many bytes in one piece.
    pub(crate) async fn receive_bulk(&self, length: usize) -> skyward::Result<Vec<u8>> {
        let (mut send, receive) = self.connection.open_bi().await?;
        send.write_all(&[GIVE]).await?;
        send.write_u64(length as u64).await?;
        send.finish()?;
        let mut landed = Vec::with_capacity(length);
        receive.take(length as u64).read_to_end(&mut landed).await?;
        Ok(landed)
    }
}

impl Frames {
    /// One message there and back.
    pub(crate) async fn echo(&mut self, content: &[u8]) -> skyward::Result<Vec<u8>> {
        let mut frame = Vec::with_capacity(4 + content.len());
        put(&mut frame, content);
        self.send.write_all(&frame).await?;
        let mut length = [0; 4];
        self.receive.read_exact(&mut length).await?;
        let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length))?];
        self.receive.read_exact(&mut answer).await?;
        Ok(answer)
    }

    /// So many messages there and back, with at most `window` of them under way. Returns how many came.
    pub(crate) async fn pump(
        &mut self,
        content: &[u8],
        count: usize,
        window: usize,
    ) -> skyward::Result<usize> {
        let (mut sent, mut came, mut read) = (0, 0, Vec::with_capacity(2 * READ));
        let mut buffer = Vec::new();
        while came < count {
            buffer.clear();
            while sent < count && sent - came < window {
                put(&mut buffer, content);
                sent += 1;
            }
            if !buffer.is_empty() {
                self.send.write_all(&buffer).await?;
            }
            if self.receive.read_buf(&mut read).await? == 0 {
                return Err("a floor's node ended".into());
            }
            came += take(&mut read, |_| {});
        }
        Ok(came)
    }
}

/// What the least that could be called a remote call costs on top: each frame has a number, and its answer is
/// awaited by a future of its own.
pub(crate) async fn call_all(
    frames: &mut Frames,
    content: usize,
    count: u64,
    window: usize,
) -> skyward::Result<()> {
    let (mut buffer, mut read) = (Vec::new(), Vec::with_capacity(2 * READ));
    let (mut waiting, mut calls) = (BTreeMap::new(), FuturesUnordered::new());
    let (mut next, mut done) = (0_u64, 0);
    let mut frame = vec![7; content];
    while done < count {
        buffer.clear();
        while next < count && calls.len() < window {
            let (sender, answer) = oneshot::channel::<()>();
            waiting.insert(next, sender);
            calls.push(answer);
            frame.splice(..8, next.to_be_bytes());
            put(&mut buffer, &frame);
            next += 1;
        }
        if !buffer.is_empty() {
            frames.send.write_all(&buffer).await?;
        }
        if frames.receive.read_buf(&mut read).await? == 0 {
            return Err("a floor's node ended".into());
        }
        let mut answered = 0;
        take(&mut read, |it| {
            let number = it.first_chunk().map(|it| u64::from_be_bytes(*it));
            if let Some(sender) = number.and_then(|it| waiting.remove(&it)) {
                // The receiver is among the calls.
                let _ = sender.send(());
                answered += 1;
            }
        });
        for _ in 0..answered {
            calls.next().await.transpose()?;
        }
        done += answered;
    }
    Ok(())
}

/// The process of a floor's node: says where it is, and serves until its input ends.
pub(crate) async fn node() -> skyward::Result<()> {
    let key = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = key.cert.der().clone();
    let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
    let endpoint = endpoint(Some(server(certificate.clone(), private)?))?;
    let mut output = std::io::stdout();
    writeln!(output, "{} {}", endpoint.local_addr()?.port(), encode(&certificate))?;
    output.flush()?;
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            if let Ok(connection) = incoming.await {
                tokio::spawn(serve(connection));
            }
        }
    });
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}

async fn serve(connection: Connection) {
    while let Ok((send, receive)) = connection.accept_bi().await {
        // A peer that goes away is the end of the measurement.
        tokio::spawn(async move { answer(send, receive).await.ok() });
    }
}

async fn answer(mut send: SendStream, mut receive: RecvStream) -> skyward::Result<()> {
    match receive.read_u8().await? {
        FRAMES => {
            let (mut read, mut buffer) = (Vec::with_capacity(2 * READ), Vec::new());
            while receive.read_buf(&mut read).await? > 0 {
                buffer.clear();
                take(&mut read, |it| put(&mut buffer, it));
                if !buffer.is_empty() {
                    send.write_all(&buffer).await?;
                }
            }
        }
        TAKE => {
            let length = receive.read_u64().await?;
            let mut landed = Vec::with_capacity(usize::try_from(length)?);
            receive.take(length).read_to_end(&mut landed).await?;
            send.write_all(&[u8::from(landed.len() as u64 == length)]).await?;
        }
        _ => {
            let length = usize::try_from(receive.read_u64().await?)?;
            send.write_chunk(bytes::Bytes::from(vec![7; length])).await?;
        }
    }
    send.finish()?;
    // Until all of it was taken.
    let _ = send.stopped().await;
    Ok(())
}

fn put(buffer: &mut Vec<u8>, content: &[u8]) {
    buffer.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes());
    buffer.extend_from_slice(content);
}

/// Takes every whole frame out of what was read; returns how many there were.
fn take(read: &mut Vec<u8>, mut each: impl FnMut(&[u8])) -> usize {
    let (mut rest, mut count) = (read.as_slice(), 0);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((content, after)) = after.split_at_checked(length) else { break };
        each(content);
        (rest, count) = (after, count + 1);
    }
    let taken = read.len() - rest.len();
    read.drain(..taken);
    read.reserve(READ);
    count
}

fn endpoint(server: Option<ServerConfig>) -> skyward::Result<Endpoint> {
    use quinn::udp::{UdpSockRef, UdpSocketState};
    let socket = std::net::UdpSocket::bind(LOOPBACK)?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
    let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
    Ok(Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(quinn::TokioRuntime))?)
}

/// As ours: windows that do not bound what loopback carries.
fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(16 << 20))
        .receive_window(VarInt::from_u32(64 << 20))
        .send_window(64 << 20)
        .keep_alive_interval(Some(std::time::Duration::from_secs(2)));
    Arc::new(transport)
}

pub(crate) fn trusting(certificate: CertificateDer<'static>) -> skyward::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let tls = rustls::ClientConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport());
    Ok(config)
}

pub(crate) fn server(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> skyward::Result<ServerConfig> {
    let tls = rustls::ServerConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport());
    Ok(config)
}

fn crypto() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

fn decode(text: &str) -> skyward::Result<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|it| Ok(u8::from_str_radix(std::str::from_utf8(it)?, 16)?));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole() {
        let (mut read, mut seen) = (Vec::new(), Vec::new());
        put(&mut read, b"one");
        put(&mut read, b"two");
        read.extend_from_slice(&[0, 0, 0, 9, 1]);
        assert_eq!(take(&mut read, |it| seen.push(it.to_vec())), 2);
        assert_eq!((seen, read), (vec![b"one".to_vec(), b"two".to_vec()], vec![0, 0, 0, 9, 1]));
    }

    #[test]
    fn hexadecimals_are_read_as_they_were_written() {
        assert_eq!(decode(&encode(&[0, 1, 254])).expect("read"), [0, 1, 254]);
        assert!(decode("xy").is_err());
    }
}
