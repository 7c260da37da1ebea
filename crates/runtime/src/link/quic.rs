//! QUIC behind the seam: sockets, transport settings, and quinn's streams as ours.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::udp::{UdpSockRef, UdpSocketState};
use quinn::{
    ConnectionError, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt,
};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::congestion::ShortQueue;
use super::error::{Cause, LinkError, Side};
use super::identity::{Identity, IdentityError};
use super::room::Rooms;
use super::tls;
use super::transport::{Incoming, Outgoing, Stream, Transport};
use crate::model::Carrier;
use crate::timing::Timing;

/// What both sides call the protocol inside TLS.
const ALPN: &[u8] = b"skyward/1";

/// How much one stream may have under way. Larger than bandwidth times round trip of the links that we
/// expect (10 Gbit/s at 13 ms); a limit, not an allocation.
const STREAM_WINDOW: u32 = 16 << 20;

/// How much all streams of a connection may have under way. Four times a stream's, so that one large
/// stream cannot hold up the others: measured, with equal windows small calls waited 9 to 18 ms. Streams of items,
/// which may wait for their readers, have room of their own beside it (`room.rs`).
const CONNECTION_WINDOW: u32 = 64 << 20;

/// How many streams a side may have open. More calls at once wait for a stream, in order.
const STREAMS: u32 = 4096;

/// What is asked for as the UDP socket's buffers, best effort: the system may give less. With the usual
/// 208 KiB thousands of packets are lost at full speed on loopback, with this none.
const SOCKET_BUFFER: usize = 8 << 20;

/// The largest packet that is tried, in bytes. Networks inside clouds and loopback carry such ones, and what bulk costs is
/// counted in packets. Ten of them, which quinn hands to the system at once, must fit into the 64 KiB of one send.
/// Elsewhere the search for what a path carries ends at its own limit.
const PACKET: u16 = 6500;

/// How much may be under way before anything was acknowledged, in bytes. quinn's own 14,720 are two such packets, and it
/// holds back a farewell while one more would not fit: the other side never hears why the connection was closed.
const FIRST: u64 = 10 * PACKET as u64;

/// How many strangers may be in the middle of connecting before further ones are dropped unanswered.
const MAX_INCOMING: usize = 256;

/// How long the last packets may take to leave. A round trip on most networks; who misses them finds
/// out by the silence.
const FLUSH: Duration = Duration::from_millis(200);

/// The error code with which a stream is given up.
const GIVEN_UP: VarInt = VarInt::from_u32(1);

/// A QUIC connection behind the seam.
#[derive(Debug)]
pub(super) struct Quic {
    connection: quinn::Connection,
    /// Why we closed it, which quinn does not keep.
    closed: OnceLock<(Cause, String)>,
    rooms: Arc<Rooms>,
}

struct QuicOutgoing(quinn::SendStream);

struct QuicIncoming(quinn::RecvStream);

impl Quic {
    pub(super) fn new(connection: quinn::Connection) -> Self {
        let widened = connection.clone();
        let rooms = Rooms::new(move |count| {
            let window = u64::from(CONNECTION_WINDOW) + u64::from(STREAM_WINDOW) * u64::from(count);
            widened.set_receive_window(VarInt::from_u64(window).unwrap_or(VarInt::MAX));
        });
        Self { connection, closed: OnceLock::new(), rooms }
    }

    /// What the end of this connection means.
    fn end(&self, error: ConnectionError) -> LinkError {
        match (error, self.closed.get()) {
            (ConnectionError::LocallyClosed, Some((cause, reason))) => {
                LinkError::Closed { by: Side::Us, cause: *cause, reason: reason.clone() }
            }
            (error, _) => link_error(error),
        }
    }

    /// Whether the other side's certificate, verified already, was issued for this name.
    pub(super) fn is_with(&self, name: &str) -> bool {
        let identity =
            self.connection.peer_identity().and_then(|it| it.downcast::<Vec<CertificateDer<'static>>>().ok());
        identity.as_deref().and_then(|it| it.first()).is_some_and(|it| tls::is_named(it, name))
    }
}

#[async_trait]
impl Transport for Quic {
    async fn open(&self) -> Result<Stream, LinkError> {
        self.connection.open_bi().await.map(stream).map_err(|it| self.end(it))
    }

    fn carrier(&self) -> Carrier {
        Carrier::Quic
    }

    fn rooms(&self) -> Option<&Arc<Rooms>> {
        Some(&self.rooms)
    }

    async fn accept(&self) -> Result<Stream, LinkError> {
        self.connection.accept_bi().await.map(stream).map_err(|it| self.end(it))
    }

    async fn closed(&self) -> LinkError {
        self.end(self.connection.closed().await)
    }

    fn over(&self) -> Option<LinkError> {
        self.connection.close_reason().map(|it| self.end(it))
    }

    fn round_trip(&self) -> Option<Duration> {
        Some(self.connection.rtt())
    }

    fn close(&self, cause: Cause, reason: &str) {
        // The first reason is the one that counts: the later ones close nothing.
        if self.connection.close_reason().is_none() {
            let _ = self.closed.set((cause, reason.to_owned()));
        }
        self.connection.close(VarInt::from_u32(cause.code()), reason.as_bytes());
    }
}

#[async_trait]
impl Outgoing for QuicOutgoing {
    fn reset(&mut self) {
        // It fails only when the stream is over already.
        let _ = self.0.reset(GIVEN_UP);
    }

    fn prioritise(&mut self, priority: i32) {
        let _ = self.0.set_priority(priority);
    }

    async fn write_bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        Ok(self.0.write_chunk(bytes).await?)
    }

    fn unwanted(&self) -> BoxFuture<'static, ()> {
        let stopped = self.0.stopped();
        Box::pin(async move {
            let _ = stopped.await;
        })
    }
}

impl AsyncWrite for QuicOutgoing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.0), cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Incoming for QuicIncoming {
    fn stop(&mut self) {
        let _ = self.0.stop(GIVEN_UP);
    }
}

impl AsyncRead for QuicIncoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.0), cx, buffer)
    }
}

/// The dialling side's settings.
pub(super) fn client(identity: &Identity, timing: &Timing) -> Result<quinn::ClientConfig, IdentityError> {
    let mut tls = tls::client(identity)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).map_err(|it| IdentityError::new("use", "the client", it))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(timing));
    Ok(config)
}

/// The listening side's settings.
pub(super) fn server(identity: &Identity, timing: &Timing) -> Result<quinn::ServerConfig, IdentityError> {
    let mut tls = tls::server(identity)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(|it| IdentityError::new("use", "the worker", it))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport(timing));
    config.max_incoming(MAX_INCOMING);
    Ok(config)
}

/// A socket with an endpoint on it. Must be called inside a tokio runtime.
pub(super) fn endpoint(
    address: SocketAddr,
    server: Option<quinn::ServerConfig>,
) -> Result<Endpoint, LinkError> {
    let failed = |it: io::Error| LinkError::Socket { reason: format!("{address}: {it}") };
    let socket = UdpSocket::bind(address).map_err(failed)?;
    enlarge(&socket);
    let mut config = EndpointConfig::default();
    // It refuses only what no packet can have.
    let _ = config.max_udp_payload_size(PACKET);
    Endpoint::new(config, server, socket, Arc::new(quinn::TokioRuntime)).map_err(failed)
}

/// Closes an endpoint with all its connections, and waits a moment for the last packets to leave.
pub(super) async fn stop(endpoint: &Endpoint, cause: Cause, reason: &str) {
    endpoint.close(VarInt::from_u32(cause.code()), reason.as_bytes());
    let _ = tokio::time::timeout(FLUSH, endpoint.wait_idle()).await;
}

fn transport(timing: &Timing) -> Arc<TransportConfig> {
    let mut search = MtuDiscoveryConfig::default();
    search.upper_bound(PACKET);
    let mut cubic = CubicConfig::default();
    cubic.initial_window(FIRST);
    let mut transport = TransportConfig::default();
    transport
        // An idle time too long to be written means none.
        .max_idle_timeout(IdleTimeout::try_from(timing.idle()).ok())
        .keep_alive_interval(Some(timing.keep_alive()))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .congestion_controller_factory(Arc::new(ShortQueue(Arc::new(cubic))))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .mtu_discovery_config(Some(search))
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

fn enlarge(socket: &UdpSocket) {
    let Ok(state) = UdpSocketState::new(UdpSockRef::from(socket)) else { return };
    for enlarged in [
        state.set_recv_buffer_size(UdpSockRef::from(socket), SOCKET_BUFFER),
        state.set_send_buffer_size(UdpSockRef::from(socket), SOCKET_BUFFER),
    ] {
        if let Err(error) = enlarged {
            tracing::debug!(%error, "the UDP socket's buffers stay as they are");
        }
    }
}

fn stream((send, receive): (quinn::SendStream, quinn::RecvStream)) -> Stream {
    Stream { outgoing: Box::new(QuicOutgoing(send)), incoming: Box::new(QuicIncoming(receive)) }
}

/// What the end of a connection means.
pub(super) fn link_error(error: ConnectionError) -> LinkError {
    // The codes of QUIC that carry a TLS alert.
    const CRYPTO: std::ops::Range<u64> = 0x100..0x200;
    match error {
        ConnectionError::ApplicationClosed(close) => LinkError::Closed {
            by: Side::Peer,
            cause: Cause::from(u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX)),
            reason: printable(&close.reason),
        },
        ConnectionError::LocallyClosed => LinkError::Closed {
            by: Side::Us,
            cause: Cause::Done,
            reason: "it was no longer needed".to_owned(),
        },
        ConnectionError::TimedOut => LinkError::Silent,
        ConnectionError::ConnectionClosed(close) if CRYPTO.contains(&u64::from(close.error_code)) => {
            LinkError::Untrusted { reason: format!("the worker does not accept our certificate: {close}") }
        }
        ConnectionError::TransportError(error) if CRYPTO.contains(&u64::from(error.code)) => {
            LinkError::Untrusted { reason: error.to_string() }
        }
        other @ (ConnectionError::ConnectionClosed(_)
        | ConnectionError::TransportError(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::Reset
        | ConnectionError::CidsExhausted) => LinkError::Broken { reason: other.to_string() },
    }
}

/// Text from the other side, fit for a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|it| !it.is_control()).collect()
}
