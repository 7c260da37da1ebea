//! One authenticated connection: dialled, verified, shared.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use russh::client::{self, AuthResult, Handle, Msg};
use russh::{Channel, cipher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::exec::{Output, Running};
use super::handler::{Client, Ended, Shown};
use super::transport::Transport;
use super::upload::{self, Blob, Uploaded};
use super::{ClientKey, SshError, identity, quote};
use crate::model::{HostKey, Identity, SshEndpoint};
use crate::timing::Timing;

/// One authenticated SSH connection. Clones share it; it is closed when the last of them is dropped
/// and the commands and forwards that they started are.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: SshEndpoint,
    handle: Handle<Client>,
    pinned: Option<String>,
    seen: Arc<OnceLock<Shown>>,
    ended: Ended,
    open: Duration,
    /// The session that this one goes through; it ends with this one.
    _through: Option<Session>,
}

/// A TCP connection from the machine to somewhere that it can reach, carried by the session.
pub trait Forward: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Forward for T {}

impl Session {
    /// Dials once, verifies the host key and logs in. It takes at most `timing.ssh_dial`, not counting
    /// the wait for a turn when very many machines are dialled at once.
    ///
    /// # Errors
    /// What went wrong; [`SshError::retry`] tells whether another try can help.
    pub async fn connect(endpoint: &SshEndpoint, key: &ClientKey, timing: &Timing) -> Result<Self, SshError> {
        let (client, seen, ended) = Client::new(endpoint)?;
        let expected = client.expected();
        // Before a turn is taken, for which the way there may need one of its own.
        let through = match endpoint.login.through.split_last() {
            Some((last, before)) => {
                let mut last = last.clone();
                last.login.through = before.to_vec();
                Some(Box::pin(Self::connect(&last, key, timing)).await?)
            }
            None => None,
        };
        // The semaphore is never closed; were it, an unbounded dial would still be a right one.
        let _turn = DIALS.acquire().await.ok();
        let dialled = timeout(timing.ssh_dial, dial(endpoint, key, timing, client, through.as_ref())).await;
        let handle = match dialled {
            Ok(Ok(handle)) => handle,
            Ok(Err(SshError::Handshake { source: russh::Error::UnknownKey, .. })) => {
                return Err(SshError::HostKey {
                    endpoint: endpoint.to_string(),
                    expected: expected.unwrap_or_default(),
                    actual: seen.get().map(|it| it.fingerprint.clone()).unwrap_or_default(),
                });
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                return Err(SshError::DialDeadline {
                    endpoint: endpoint.to_string(),
                    after: timing.ssh_dial,
                });
            }
        };
        let pinned = pinned(endpoint, &seen);
        let (endpoint, open) = (endpoint.clone(), timing.ssh_dial);
        let shared = Shared { endpoint, handle, pinned, seen, ended, open, _through: through };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Runs a command in the login shell, feeding `stdin` and then closing it. Its output is kept in
    /// memory; [`Self::start`] is for commands that print much or long.
    ///
    /// # Errors
    /// When the command did not end within `deadline` (it goes on running there) or the session broke.
    /// A command that fails is not an error: see [`Output::code`].
    pub async fn run(&self, command: &str, stdin: Bytes, deadline: Duration) -> Result<Output, SshError> {
        timeout(deadline, async { self.start(command, stdin).await?.output().await }).await.map_err(|_| {
            SshError::CommandDeadline {
                endpoint: self.shared.endpoint.to_string(),
                after: deadline,
                command: command.chars().take(SHOWN_COMMAND).collect(),
            }
        })?
    }

    /// Starts a command and streams its output. Its standard input is given whole, while
    /// [`Running::next`] is waited for.
    ///
    /// # Errors
    /// When no channel could be opened.
    pub async fn start(&self, command: &str, stdin: Bytes) -> Result<Running, SshError> {
        let mut running = self.open(command).await?;
        running.feed(stdin);
        Ok(running)
    }

    /// Puts a file on the machine, unless it is there: its name must contain the hash. `to` is a path
    /// below `$HOME`; its folders are made. The file appears whole or not at all.
    ///
    /// # Errors
    /// When the machine could not store it, it arrived damaged, or `deadline` passed.
    pub async fn upload(&self, blob: &Blob, to: &str, deadline: Duration) -> Result<Uploaded, SshError> {
        timeout(deadline, upload::upload(self, blob, to)).await.map_err(|_| SshError::UploadDeadline {
            to: to.to_owned(),
            endpoint: self.shared.endpoint.to_string(),
            after: deadline,
        })?
    }

    /// Connects to `host:port` as the machine sees it. Dropping the stream closes the connection.
    ///
    /// # Errors
    /// [`SshError::ForwardRefused`] when the server does not forward there; others when it cannot connect
    /// there, or the session is over.
    pub async fn forward(&self, host: &str, port: u16) -> Result<impl Forward + use<>, SshError> {
        let (to, what) = (format!("{host}:{port}"), format!("a connection to {host}:{port}"));
        let opening = async {
            use russh::ChannelOpenFailure::{AdministrativelyProhibited, UnknownChannelType};
            let handle = &self.shared.handle;
            match handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await {
                Err(russh::Error::ChannelOpenFailure(AdministrativelyProhibited | UnknownChannelType)) => {
                    Ok(None)
                }
                opened => opened.map(Some),
            }
        };
        match self.opened(what, opening).await? {
            Some(channel) => Ok(channel.into_stream()),
            None => Err(SshError::ForwardRefused { to, endpoint: self.shared.endpoint.to_string() }),
        }
    }

    /// Starts a command whose standard input and output are the stream's two directions. What it writes
    /// to standard error is dropped. Dropping the stream closes both.
    ///
    /// # Errors
    /// When no channel could be opened.
    pub async fn pipe(&self, command: &str) -> Result<impl Forward + use<>, SshError> {
        Ok(self.exec(command).await?.into_stream())
    }

    /// Whether the session is known to be over.
    pub fn is_closed(&self) -> bool {
        self.shared.handle.is_closed()
    }

    /// Resolves when the session is over.
    pub async fn closed(&self) {
        self.shared.ended.wait().await;
    }

    /// The fingerprint of the host key, if it was accepted because nobody could tell us the right one.
    pub fn pinned(&self) -> Option<String> {
        self.shared.pinned.clone()
    }

    /// Whose session it is, with the key that the server has shown: where a later session finds the same one.
    pub fn verified(&self) -> SshEndpoint {
        let shown = self.shared.seen.get().filter(|it| !it.line.is_empty());
        let host_key = shown.map(|it| HostKey::Known(it.line.clone()));
        let endpoint = &self.shared.endpoint;
        SshEndpoint { host_key: host_key.unwrap_or_else(|| endpoint.host_key.clone()), ..endpoint.clone() }
    }

    /// Whose session it is.
    pub fn endpoint(&self) -> &SshEndpoint {
        &self.shared.endpoint
    }

    /// A command whose standard input is still to be given.
    pub(super) async fn open(&self, command: &str) -> Result<Running, SshError> {
        Ok(Running::new(self.exec(command).await?, self.clone()))
    }

    async fn exec(&self, command: &str) -> Result<Channel<Msg>, SshError> {
        let opening = self.shared.handle.channel_open_session();
        let channel = self.opened(String::from("a command"), opening).await?;
        let command = at_home(self.shared.endpoint.login.home.as_deref(), command);
        channel.exec(true, command).await.map_err(|_| self.broken())?;
        Ok(channel)
    }

    /// The error of a session that is over.
    pub(super) fn broken(&self) -> SshError {
        SshError::Closed { endpoint: self.shared.endpoint.to_string(), reason: self.shared.ended.reason() }
    }

    async fn opened<T>(
        &self,
        what: String,
        opening: impl Future<Output = Result<T, russh::Error>>,
    ) -> Result<T, SshError> {
        let endpoint = self.shared.endpoint.to_string();
        match timeout(self.shared.open, opening).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => {
                Err(SshError::Channel { what, endpoint, reason: format!("{reason:?}") })
            }
            Ok(Err(_)) => Err(self.broken()),
            Err(_) => {
                let reason = format!("no answer within {:?}", self.shared.open);
                Err(SshError::Channel { what, endpoint, reason })
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.shared.endpoint)
    }
}

async fn dial(
    endpoint: &SshEndpoint,
    key: &ClientKey,
    timing: &Timing,
    client: Client,
    through: Option<&Session>,
) -> Result<Handle<Client>, SshError> {
    let unreachable = |source| SshError::Unreachable { endpoint: endpoint.to_string(), source };
    let handshake = |source| SshError::Handshake { endpoint: endpoint.to_string(), source };
    let stream: Box<dyn Forward> = if let Some(session) = through {
        Box::new(session.forward(&endpoint.host, endpoint.port).await?)
    } else {
        let stream =
            TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        Box::new(stream)
    };
    let config = Arc::new(config(timing, &client));
    let patience = timing.ssh_keepalive * (KEEPALIVES + 1);
    let mut handle =
        client::connect_stream(config, Transport::new(stream, patience), client).await.map_err(handshake)?;
    if let Identity::Own { agent, files, only } = &endpoint.login.identity {
        identity::log_in(&mut handle, endpoint, agent.as_deref(), files, *only).await?;
        return Ok(handle);
    }
    match handle.authenticate_publickey(endpoint.user.as_str(), key.signer()).await.map_err(handshake)? {
        AuthResult::Success => Ok(handle),
        // The library calls it a failure, with no method left, when the server is gone before it answers.
        AuthResult::Failure { remaining_methods, .. }
            if remaining_methods.is_empty() && handle.is_closed() =>
        {
            Err(handshake(russh::Error::Disconnect))
        }
        AuthResult::Failure { .. } => Err(SshError::Rejected { endpoint: endpoint.to_string() }),
    }
}

/// A command as it is run: in the machine's home, which is not the user's, where it has one of its own.
fn at_home(home: Option<&str>, command: &str) -> String {
    let Some(home) = home else { return command.to_owned() };
    // One line without exclamation marks, so that any login shell hands it on to `sh` as it is.
    let script =
        "cd \"$1\" || exit 73; HOME=$1 SKYWARD_MACHINE=$1; export HOME SKYWARD_MACHINE; exec sh -c \"$2\"";
    format!("exec sh -c {} sh {} {}", quote(script), quote(home), quote(command))
}

fn config(timing: &Timing, client: &Client) -> client::Config {
    let mut preferred = russh::Preferred::DEFAULT;
    preferred.key = client.algorithms().into();
    // AES in hardware is several times as fast as ChaCha20, and every server of this decade has it.
    let mut ciphers = vec![cipher::AES_256_GCM];
    ciphers.extend(preferred.cipher.iter().filter(|it| **it != cipher::AES_256_GCM));
    preferred.cipher = ciphers.into();
    client::Config {
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: BUFFERED,
        keepalive_interval: Some(timing.ssh_keepalive),
        keepalive_max: KEEPALIVES as usize,
        nodelay: true,
        preferred,
        ..client::Config::default()
    }
}

fn pinned(endpoint: &SshEndpoint, seen: &OnceLock<Shown>) -> Option<String> {
    match endpoint.host_key {
        HostKey::Known(_) | HostKey::OneOf(_) => None,
        HostKey::PinOnFirstUse => {
            let fingerprint = seen.get()?.fingerprint.clone();
            tracing::warn!(%endpoint, %fingerprint, "pinned the host key seen first: nobody could confirm it");
            Some(fingerprint)
        }
    }
}

/// How many dials of this process run at once. Each costs a handshake's worth of processor time, so
/// more of them only make all of them late; many fewer make a large pool slow to reach.
static DIALS: Semaphore = Semaphore::const_new(64);

/// How many keep-alives may stay without an answer. Fewer end sessions on a bad network, more make a
/// machine that stands still late to be noticed.
const KEEPALIVES: u32 = 3;

/// How many bytes a server may send on one channel before we say go on. A window's worth travels per
/// round trip: 8 MiB is 80 MB/s at 100 ms.
const WINDOW: u32 = 8 * 1024 * 1024;

/// The largest packet to be sent to us, in bytes: the largest that the library allows.
const PACKET: u32 = 65_535;

/// How many messages of one channel may wait for their reader. When they are used up the session
/// waits, all channels of it; together with the packet size it bounds the memory at 64 MiB a channel.
const BUFFERED: usize = 1024;

/// How many characters of a command an error shows.
const SHOWN_COMMAND: usize = 200;
