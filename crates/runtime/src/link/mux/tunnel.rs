//! The client's way to a worker's loopback port: somebody who opens connections of bytes, and TLS on
//! each of them.

use std::sync::Arc;

use async_trait::async_trait;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::driver::broken;
use super::{Purpose, Token};
use crate::link::error::LinkError;
use crate::link::identity::{Identity, IdentityError, dns_name};
use crate::link::tls;

/// A connection of bytes, both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Opens connections to one worker's loopback port, by whatever way there is. A link opens a few: one
/// for itself and one for each large transfer.
#[async_trait]
pub trait Tunnel: std::fmt::Debug + Send + Sync + 'static {
    /// Opens one.
    ///
    /// # Errors
    /// When there is no way; [`LinkError::retry`] says whether there may be one later.
    async fn open(&self) -> Result<Box<dyn Duplex>, LinkError>;
}

/// A tunnel and the TLS inside it.
#[derive(Clone)]
pub(in crate::link) struct Road {
    tunnel: Arc<dyn Tunnel>,
    connector: TlsConnector,
    worker: ServerName<'static>,
}

impl Road {
    pub(in crate::link) fn new(
        tunnel: Arc<dyn Tunnel>,
        identity: &Identity,
        incarnation: &str,
    ) -> Result<Self, IdentityError> {
        let connector = TlsConnector::from(Arc::new(tls::bytes_client(identity)?));
        let worker = ServerName::try_from(dns_name(incarnation))
            .map_err(|it| IdentityError::new("use", incarnation, it))?;
        Ok(Self { tunnel, connector, worker })
    }

    /// Opens a connection and says what it is for. Whether the worker wants it is not known yet.
    pub(super) async fn open(
        &self,
        purpose: Purpose,
        token: &Token,
    ) -> Result<TlsStream<Box<dyn Duplex>>, LinkError> {
        let bytes = self.tunnel.open().await?;
        let connected = self.connector.connect(self.worker.clone(), bytes).await;
        let mut stream = connected.map_err(|it| broken(&it))?;
        let preface = [&[purpose as u8][..], token].concat();
        stream.write_all(&preface).await.map_err(|it| broken(&it))?;
        stream.flush().await.map_err(|it| broken(&it))?;
        Ok(stream)
    }
}

impl std::fmt::Debug for Road {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Road").field("tunnel", &self.tunnel).finish_non_exhaustive()
    }
}
