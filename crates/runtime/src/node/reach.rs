//! How a node's steps reach its machine and its worker: a live SSH session, and a link over the carrier
//! that gets through.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::messages::Trouble;
use super::steps::Steps;
use super::tunnel::SshTunnel;
use crate::bootstrap::{self, Listening};
use crate::control::Member;
use crate::link::{Hello, Link, LinkError, Refusal};
use crate::model::{Carrier, SshEndpoint};
use crate::ssh::Session;

/// What one step may use.
pub(super) struct Reach {
    pub(super) steps: Steps,
    /// Where the machine's SSH server is, once that is known.
    pub(super) ssh: Option<SshEndpoint>,
    /// The session that the node has, which may be over by now.
    pub(super) session: Option<Session>,
    /// Keeps a session that had to be dialled anew.
    pub(super) keep: Box<dyn Fn(Session) + Send + Sync>,
}

impl Reach {
    /// A session with the machine: the one that is there, or a new one.
    pub(super) async fn session(&self) -> Result<Session, Trouble> {
        match &self.session {
            Some(session) if !session.is_closed() => Ok(session.clone()),
            _ => self.new_session().await,
        }
    }

    /// Dials the worker over the carrier that the pool wants, and joins it to the cluster. `first` is
    /// what the node's first link ran over.
    pub(super) async fn link(
        &self,
        address: IpAddr,
        worker: Listening,
        first: Option<Carrier>,
    ) -> Result<(Link, Member), Trouble> {
        let kit = &self.steps.kit;
        let hello = self.steps.hello().await?;
        let address = SocketAddr::new(address, worker.port);
        let carrier = match (kit.carrier, first) {
            // UDP has never got through.
            (Carrier::Auto, Some(Carrier::Ssh)) => Carrier::Ssh,
            (carrier, _) => carrier,
        };
        let quic = |deadline: Duration| kit.dialer.dial(address, hello.clone(), deadline);
        let link = match carrier {
            Carrier::Quic => quic(kit.timing.dial).await.map_err(|it| self.trouble(&it))?,
            Carrier::Ssh => self.through_ssh(worker, &hello).await?,
            Carrier::Auto => match quic(kit.timing.quic.min(kit.timing.dial)).await {
                Ok(link) => link,
                Err(error) if error.retry() => {
                    tracing::info!(pool = %kit.request.pool, rank = %self.steps.rank, %error, "trying ssh");
                    self.through_ssh(worker, &hello).await?
                }
                Err(error) => return Err(self.trouble(&error)),
            },
        };
        let member = self.steps.join(&link).await?;
        Ok((link, member))
    }

    /// Links through the machine's SSH server. A session that brings us nowhere may be dead without
    /// anybody knowing, so a new one is tried before the dial has failed.
    async fn through_ssh(&self, worker: Listening, hello: &Hello) -> Result<Link, Trouble> {
        if let Some(session) = self.session.as_ref().filter(|it| !it.is_closed()) {
            match self.through(session.clone(), worker, hello).await {
                Err(error) if error.retry() => {}
                linked => return linked.map_err(|it| self.trouble(&it)),
            }
        }
        let session = self.new_session().await?;
        self.through(session, worker, hello).await.map_err(|it| self.trouble(&it))
    }

    /// What a dial failed for. A worker that obeys another owner says that the pool is not this program's any more:
    /// that is known before anything follows of it.
    fn trouble(&self, error: &LinkError) -> Trouble {
        if matches!(error, LinkError::Refused(Refusal::Epoch { .. })) {
            self.steps.superseded();
        }
        Trouble { retry: error.retry(), reason: error.to_string() }
    }

    async fn through(&self, session: Session, worker: Listening, hello: &Hello) -> Result<Link, LinkError> {
        let kit = &self.steps.kit;
        let never = |reason: String| LinkError::NoTunnel { reason, retry: false };
        let program = kit.program.get().await.map_err(never)?;
        let pipe = bootstrap::pipe_command(&program.path())
            .ok_or_else(|| never("this program never called `skyward::init()`".to_owned()))?;
        let tunnel = SshTunnel { session, port: worker.tcp, pipe };
        kit.dialer.dial_through(Arc::new(tunnel), hello.clone(), kit.timing.dial).await
    }

    async fn new_session(&self) -> Result<Session, Trouble> {
        let never = || Trouble { reason: "the machine has no address".to_owned(), retry: false };
        let endpoint = self.ssh.as_ref().ok_or_else(never)?;
        let kit = &self.steps.kit;
        let session = Session::connect(endpoint, &kit.ssh_key, &kit.timing)
            .await
            .map_err(|error| Trouble { retry: error.retry(), reason: error.to_string() })?;
        (self.keep)(session.clone());
        Ok(session)
    }
}
