//! The worker's side: two ports that let nobody in but the pool's owner. One is QUIC's, where the
//! machine can be reached; the other is TCP's, on loopback alone, for who comes through SSH.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use quinn::Endpoint;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::error::{Cause, LinkError};
use super::hello::{self, Answer, Hello, Refusal};
use super::identity::{CLIENT, Identity};
use super::mux::{self, Links, Together, Visit};
use super::quic::{self, Quic};
use super::session::Session;
use super::tls;
use super::transport::{Stream, Transport};
use super::wire::WireError;
use crate::model::Incarnation;
use crate::timing::Timing;

/// How long a refused client is given to read the answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long to wait when no connection can be accepted: mostly too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

/// Listening ports.
pub struct Listener {
    endpoint: Endpoint,
    port: u16,
    tcp: TcpListener,
    tcp_port: u16,
    bytes: Bytes,
}

/// What connections of bytes need.
#[derive(Clone)]
struct Bytes {
    acceptor: TlsAcceptor,
    links: Links,
    together: Together,
    timing: Timing,
}

/// Somebody at a port, unknown yet.
pub struct Arrival(Door);

enum Door {
    Quic(Box<quinn::Incoming>),
    Bytes(TcpStream, SocketAddr, Box<Bytes>),
}

/// Who is at a port, by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The pool's client.
    Client,
    /// Another worker of the pool.
    Peer(Incarnation),
}

/// Somebody who may come in, with a hello that is not yet answered.
#[derive(Debug)]
pub struct Guest {
    who: Who,
    hello: Hello,
    carrier: Box<dyn Transport>,
    stream: Stream,
}

impl Listener {
    /// Listens: at this address with QUIC, and on loopback with TCP. Must be awaited inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// When a port cannot be bound or the identity cannot be used.
    pub async fn bind(identity: &Identity, address: SocketAddr, timing: &Timing) -> Result<Self, LinkError> {
        let failed = |it: std::io::Error| LinkError::Socket { reason: it.to_string() };
        let endpoint = quic::endpoint(address, Some(quic::server(identity, timing)?))?;
        let port = endpoint.local_addr().map_err(failed)?.port();
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let tcp_port = tcp.local_addr().map_err(failed)?.port();
        let bytes = Bytes {
            acceptor: tls::bytes_acceptor(identity)?,
            links: Links::default(),
            together: Together::default(),
            timing: timing.clone(),
        };
        Ok(Self { endpoint, port, tcp, tcp_port, bytes })
    }

    /// The UDP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The TCP port, on loopback.
    pub const fn tcp_port(&self) -> u16 {
        self.tcp_port
    }

    /// The next arrival; `None` once the listener was stopped.
    pub async fn accept(&self) -> Option<Arrival> {
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => return incoming.map(|it| Arrival(Door::Quic(Box::new(it)))),
                connection = self.tcp.accept() => match connection {
                    Ok((stream, from)) => return Some(Arrival(Door::Bytes(stream, from, Box::new(self.bytes.clone())))),
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    /// Closes the ports and every connection, and waits a moment so that the other sides hear of it.
    pub async fn stop(&self, reason: &str) {
        tokio::join!(
            quic::stop(&self.endpoint, Cause::Ended, reason),
            self.bytes.together.close(Cause::Ended, reason)
        );
    }
}

impl Arrival {
    /// Goes through the handshake and reads the hello. `None` is one more connection of a link that is
    /// there already. `peers` are the workers that may come in too.
    ///
    /// # Errors
    /// When it is neither the pool's client nor one of those, or does not say a proper hello within `deadline`. Then
    /// the connection is closed.
    pub async fn greet(self, deadline: Duration, peers: &[Incarnation]) -> Result<Option<Guest>, LinkError> {
        let address = match &self.0 {
            Door::Quic(incoming) => incoming.remote_address(),
            Door::Bytes(_, from, _) => *from,
        };
        let greeted = tokio::time::timeout(deadline, async {
            match self.enter(peers).await? {
                Some((who, carrier)) => hear(who, carrier).await.map(Some),
                None => Ok(None),
            }
        });
        greeted.await.unwrap_or(Err(LinkError::Late { address, after: deadline }))
    }

    async fn enter(self, peers: &[Incarnation]) -> Result<Option<(Who, Box<dyn Transport>)>, LinkError> {
        match self.0 {
            Door::Quic(incoming) => {
                let carrier = Quic::new((*incoming).await.map_err(quic::link_error)?);
                let peer = || peers.iter().find(|it| carrier.is_with(it.as_str())).cloned().map(Who::Peer);
                let who = if carrier.is_with(CLIENT) { Some(Who::Client) } else { peer() };
                let Some(who) = who else {
                    carrier.close(
                        Cause::Protocol,
                        "only the pool's client and nodes of its cluster may link to a worker",
                    );
                    return Err(LinkError::Untrusted { reason: "not the client's certificate".to_owned() });
                };
                Ok(Some((who, Box::new(carrier))))
            }
            Door::Bytes(stream, _, bytes) => {
                let Bytes { acceptor, links, together, timing } = *bytes;
                match mux::visit(stream, &acceptor, &links, &together, &timing).await? {
                    Visit::Link(carrier) => Ok(Some((Who::Client, carrier))),
                    Visit::Joined => Ok(None),
                }
            }
        }
    }
}

async fn hear(who: Who, carrier: Box<dyn Transport>) -> Result<Guest, LinkError> {
    let mut stream = carrier.accept().await?;
    match hello::listen(&mut stream).await {
        Ok(Ok(hello)) => Ok(Guest { who, hello, carrier, stream }),
        Ok(Err(refusal)) => {
            refuse(&*carrier, &mut stream, refusal.clone()).await;
            Err(LinkError::Refused(refusal))
        }
        Err(error) => {
            carrier.close(Cause::Protocol, &error.to_string());
            Err(LinkError::Garbled(error))
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("port", &self.port).field("tcp_port", &self.tcp_port).finish()
    }
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Door::Quic(_) => "Arrival(quic)",
            Door::Bytes(..) => "Arrival(bytes)",
        })
    }
}

impl Guest {
    /// Who it is.
    pub const fn who(&self) -> &Who {
        &self.who
    }

    /// What it said.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Lets it in.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn welcome(mut self) -> Result<Session, LinkError> {
        match hello::answer(&mut self.stream, &Answer::Welcome).await {
            Ok(()) => Ok(Session::new(self.hello, self.carrier)),
            Err(WireError::Interrupted(reason)) => {
                Err(self.carrier.over().unwrap_or(LinkError::Broken { reason }))
            }
            Err(other) => Err(LinkError::Garbled(other)),
        }
    }

    /// Sends it away, with a reason.
    pub async fn refuse(mut self, refusal: Refusal) {
        refuse(&*self.carrier, &mut self.stream, refusal).await;
    }
}

async fn refuse(carrier: &dyn Transport, stream: &mut Stream, refusal: Refusal) {
    let reason = refusal.to_string();
    if hello::answer(stream, &Answer::Refused(refusal)).await.is_ok() {
        let _ = tokio::time::timeout(FAREWELL, carrier.closed()).await;
    }
    carrier.close(Cause::Done, &reason);
}
