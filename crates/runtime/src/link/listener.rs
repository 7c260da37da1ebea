//! The worker's side: a port that lets nobody in but the pool's owner.

use std::net::SocketAddr;
use std::time::Duration;

use quinn::Endpoint;

use super::carrier::{Carrier, Stream};
use super::error::{Cause, LinkError};
use super::hello::{self, Answer, Hello, Refusal};
use super::identity::{CLIENT, Identity};
use super::quic::{self, Quic};
use super::session::Session;
use super::wire::WireError;
use crate::timing::Timing;

/// How long a refused client is given to read the answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// A listening endpoint.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    port: u16,
}

/// Somebody at the port, unknown yet.
#[derive(Debug)]
pub struct Arrival(quinn::Incoming);

/// The pool's client with a hello, not yet answered.
#[derive(Debug)]
pub struct Guest {
    hello: Hello,
    carrier: Quic,
    stream: Stream,
}

impl Listener {
    /// Listens. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound or the identity cannot be used.
    pub fn bind(identity: &Identity, address: SocketAddr, timing: &Timing) -> Result<Self, LinkError> {
        let endpoint = quic::endpoint(address, Some(quic::server(identity, timing)?))?;
        let port = endpoint.local_addr().map_err(|it| LinkError::Socket { reason: it.to_string() })?.port();
        Ok(Self { endpoint, port })
    }

    /// The UDP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The next arrival; `None` once the listener was stopped.
    pub async fn accept(&self) -> Option<Arrival> {
        self.endpoint.accept().await.map(Arrival)
    }

    /// Closes the port and every connection, and waits a moment so that the other sides hear of it.
    pub async fn stop(&self, reason: &str) {
        quic::stop(&self.endpoint, Cause::Ended, reason).await;
    }
}

impl Arrival {
    /// Goes through the handshake and reads the hello.
    ///
    /// # Errors
    /// When it is not the pool's client, or does not say a proper hello within `deadline`. Then the
    /// connection is closed.
    pub async fn greet(self, deadline: Duration) -> Result<Guest, LinkError> {
        let address = self.0.remote_address();
        let greeted = tokio::time::timeout(deadline, self.hear());
        greeted.await.unwrap_or(Err(LinkError::Late { address, after: deadline }))
    }

    async fn hear(self) -> Result<Guest, LinkError> {
        let carrier = Quic::new(self.0.await.map_err(quic::link_error)?);
        if !carrier.is_with(CLIENT) {
            carrier.close(Cause::Protocol, "only the pool's client may link to a worker");
            return Err(LinkError::Untrusted { reason: "not the client's certificate".to_owned() });
        }
        let mut stream = carrier.accept().await?;
        match hello::listen(&mut stream).await {
            Ok(Ok(hello)) => Ok(Guest { hello, carrier, stream }),
            Ok(Err(refusal)) => {
                refuse(&carrier, &mut stream, refusal.clone()).await;
                Err(LinkError::Refused(refusal))
            }
            Err(error) => {
                carrier.close(Cause::Protocol, &error.to_string());
                Err(LinkError::Garbled(error))
            }
        }
    }
}

impl Guest {
    /// What the client said.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Lets the client in.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn welcome(mut self) -> Result<Session, LinkError> {
        match hello::answer(&mut self.stream, &Answer::Welcome).await {
            Ok(()) => Ok(Session::new(self.hello, Box::new(self.carrier))),
            Err(WireError::Interrupted(reason)) => {
                Err(self.carrier.over().unwrap_or(LinkError::Broken { reason }))
            }
            Err(other) => Err(LinkError::Garbled(other)),
        }
    }

    /// Sends the client away, with a reason.
    pub async fn refuse(mut self, refusal: Refusal) {
        refuse(&self.carrier, &mut self.stream, refusal).await;
    }
}

async fn refuse(carrier: &Quic, stream: &mut Stream, refusal: Refusal) {
    let reason = refusal.to_string();
    if hello::answer(stream, &Answer::Refused(refusal)).await.is_ok() {
        let _ = tokio::time::timeout(FAREWELL, carrier.closed()).await;
    }
    carrier.close(Cause::Done, &reason);
}
