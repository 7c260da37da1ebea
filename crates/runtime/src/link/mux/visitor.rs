//! The worker's side of a connection of bytes: who is there, and of which link.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::pki_types::CertificateDer;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::driver::{broken, drive};
use super::shared::{ARRIVALS, Shared, Together};
use super::{Mux, PREFACE, Purpose, Token};
use crate::link::error::LinkError;
use crate::link::identity::CLIENT;
use crate::link::tls;
use crate::link::wire::WireError;
use crate::timing::Timing;

/// The links that are there, by their tokens, so that further connections find them.
#[derive(Clone, Debug, Default)]
pub(in crate::link) struct Links {
    all: Arc<Mutex<BTreeMap<Token, Weak<Shared>>>>,
}

/// What a connection turned out to be.
pub(in crate::link) enum Visit {
    /// A new link.
    Link(Box<Mux>),
    /// One more connection of a link that is there, which serves it.
    Joined,
}

/// Goes through the handshake on a connection and takes it in.
pub(in crate::link) async fn visit(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    links: &Links,
    together: &Together,
    timing: &Timing,
) -> Result<Visit, LinkError> {
    // Not fatal: it only makes small messages slower.
    let _ = stream.set_nodelay(true);
    let mut stream = acceptor.accept(stream).await.map_err(|it| broken(&it))?;
    check(&stream)?;
    let mut preface = [0; PREFACE];
    stream.read_exact(&mut preface).await.map_err(|it| broken(&it))?;
    let [purpose, token @ ..] = preface;
    if purpose == Purpose::Main as u8 {
        let (arrived, arrivals) = mpsc::channel(ARRIVALS);
        let main = Shared::new(false, arrived);
        links.add(token, &main);
        together.add(&main);
        tokio::spawn(drive(Arc::clone(&main), stream, timing.clone()));
        let arrivals = tokio::sync::Mutex::new(arrivals);
        let link = Mux { main, arrivals, road: None, timing: timing.clone() };
        Ok(Visit::Link(Box::new(link)))
    } else if purpose == Purpose::Large as u8 {
        let unknown = || LinkError::Broken { reason: "the link that it belongs to is over".to_owned() };
        let child = links.find(&token).ok_or_else(unknown)?.child(false)?;
        tokio::spawn(drive(child, stream, timing.clone()));
        Ok(Visit::Joined)
    } else {
        Err(LinkError::Garbled(WireError::Kind(purpose)))
    }
}

/// The handshake has verified the certificate; here it must be the client's.
fn check(stream: &TlsStream<TcpStream>) -> Result<(), LinkError> {
    let (_, session) = stream.get_ref();
    let shown: Option<&CertificateDer<'_>> = session.peer_certificates().and_then(<[_]>::first);
    if !shown.is_some_and(|it| tls::is_named(it, CLIENT)) {
        return Err(LinkError::Untrusted { reason: "not the client's certificate".to_owned() });
    }
    if session.alpn_protocol() != Some(tls::BYTES) {
        return Err(LinkError::Untrusted { reason: "another protocol than ours".to_owned() });
    }
    Ok(())
}

impl Links {
    fn add(&self, token: Token, link: &Arc<Shared>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, it| it.strong_count() > 0);
        all.insert(token, Arc::downgrade(link));
    }

    fn find(&self, token: &Token) -> Option<Arc<Shared>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).get(token).and_then(Weak::upgrade)
    }
}
