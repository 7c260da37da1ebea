//! Ractor's node server as both sides use it: no peers but those handed to it, bounded frames, and
//! its own TCP listener, which cannot be turned off, on loopback behind the same mutual TLS.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorRef, SpawnErr};
use ractor_cluster::node::NodeConnectionMode;
use ractor_cluster::{
    BoxRead, BoxWrite, ClusterBidiStream, IncomingEncryptionMode, NodeServer, NodeServerMessage,
};
use tokio::sync::watch;

use super::error::ControlError;
use super::presence::{Presence, Presences, Subscription};
use crate::link::{Identity, Stream, acceptor};
use crate::model::Secret;

/// The largest control frame. Commands are small; what is large has streams of its own.
const FRAME_LIMIT: u64 = 1 << 20;

/// A node server with the sessions that it was given. Dropping it ends both.
#[derive(Debug)]
pub(super) struct Node {
    server: ActorRef<NodeServerMessage>,
    presences: Presences,
}

/// A worker's side of one control stream. Each has a node server of its own: were they to share one,
/// a redial would run against the session that it replaces, and ractor lets a random one of two live.
#[derive(Debug)]
pub struct Attachment {
    node: Node,
    presence: watch::Receiver<Presence>,
}

/// A link's stream as ractor wants it.
struct ControlStream {
    stream: Stream,
    label: String,
}

impl Node {
    pub(super) async fn start(
        name: &str,
        cookie: &Secret<String>,
        identity: &Identity,
    ) -> Result<Self, ControlError> {
        // Tokio-rustls inside ractor may look for the process's default; whoever was first is fine.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = NodeServer::new(
            0,
            cookie.reveal().clone(),
            name.to_owned(),
            // Must be unique too: ractor takes an equal host for itself.
            format!("{name}.skyward.invalid"),
            Some(IncomingEncryptionMode::Tls(acceptor(identity)?)),
            Some(NodeConnectionMode::Isolated),
        )
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .with_max_inbound_frame_size(FRAME_LIMIT);
        let (server, _) = Actor::spawn(None, server, ()).await.map_err(|it| failed(cause(it)))?;
        let presences = Presences::default();
        let subscription = Box::new(Subscription(presences.clone()));
        server
            .cast(NodeServerMessage::SubscribeToEvents { id: name.to_owned(), subscription })
            .map_err(failed)?;
        Ok(Self { server, presences })
    }

    /// Gives a stream to the node server.
    pub(super) fn attach(
        &self,
        stream: Stream,
        label: &str,
        is_server: bool,
    ) -> Result<watch::Receiver<Presence>, ControlError> {
        let presence = self.presences.expect(label);
        let stream = Box::new(ControlStream { stream, label: label.to_owned() });
        let opened = self.server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server });
        opened.map_err(|_| {
            self.presences.gone(label);
            ControlError::Stopped
        })?;
        Ok(presence)
    }

    pub(super) async fn stop(&self) {
        // Already stopped is as good.
        let _ = self.server.stop_and_wait(None, None).await;
        self.presences.all_gone();
    }
}

impl Attachment {
    /// Takes part in the cluster over a control stream that the client opened. The worker's actor must
    /// have been spawned before any other.
    ///
    /// # Errors
    /// When the node server cannot be started.
    pub async fn new(
        name: &str,
        cookie: &Secret<String>,
        identity: &Identity,
        stream: Stream,
    ) -> Result<Self, ControlError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let node = Node::start(&name, cookie, identity).await?;
        let presence = node.attach(stream, "client", true)?;
        Ok(Self { node, presence })
    }

    /// Resolves when the session is over.
    pub async fn over(&self) {
        let mut presence = self.presence.clone();
        // An error means that the node server dropped its side: over as well.
        let _ = presence.wait_for(Presence::is_gone).await;
    }

    /// Leaves.
    pub async fn stop(self) {
        self.node.stop().await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.stop(None);
    }
}

impl ClusterBidiStream for ControlStream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        (self.stream.incoming, self.stream.outgoing)
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

/// What is at the bottom of it: ractor wraps the error of an actor's start, and that of its child's.
fn cause(error: SpawnErr) -> String {
    match error {
        SpawnErr::StartupFailed(inner) => match inner.downcast::<SpawnErr>() {
            Ok(inner) => cause(*inner),
            Err(inner) => inner.to_string(),
        },
        other => other.to_string(),
    }
}

fn failed(reason: impl std::fmt::Display) -> ControlError {
    ControlError::Start { reason: reason.to_string() }
}
