//! The SSH server of a machine: public keys only, one key. It runs commands and shells and
//! connects to loopback; everything else of SSH is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey, run_stream,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodKind, MethodSet};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::config::MachineStart;
use super::brake::{Brake, Braked, Loads};
use super::exec::Exec;
use super::forward::{forward, target};
use super::log;
use super::reaper::Reaper;

/// A fresh host key.
pub(super) fn host_key() -> io::Result<PrivateKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(PrivateKey::from(Ed25519Keypair::from_seed(&seed)))
}

/// The server.
pub(super) struct Server {
    config: Arc<Config>,
    authorized: PublicKey,
    directory: PathBuf,
    reaper: Reaper,
    forwards: bool,
    /// Changes when every connection is to be cut.
    cut: watch::Sender<()>,
}

impl Server {
    pub(super) fn new(start: &MachineStart, key: PrivateKey, reaper: Reaper) -> io::Result<Self> {
        let authorized = PublicKey::from_openssh(&start.authorized)
            .map_err(|error| io::Error::other(format!("the client's key is not one: {error}")))?;
        let config = Config {
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            // Comparing public keys keeps no secret that an answer's time could tell.
            auth_rejection_time: Duration::ZERO,
            keys: vec![key],
            window_size: WINDOW,
            maximum_packet_size: PACKET,
            channel_buffer_size: BUFFERED,
            event_buffer_size: EVENTS,
            max_auth_attempts: 3,
            inactivity_timeout: None,
            keepalive_interval: Some(KEEPALIVE),
            nodelay: true,
            ..Config::default()
        };
        let directory = start.directory.clone();
        let (cut, _) = watch::channel(());
        Ok(Self { config: Arc::new(config), authorized, directory, reaper, forwards: start.forwards, cut })
    }

    /// Cuts every connection, as when the processes of an SSH server that serve them are killed. What was
    /// started over them lives on.
    pub(super) fn cut_all(&self) {
        self.cut.send_replace(());
    }

    /// Serves for ever.
    pub(super) async fn run(&self, listener: TcpListener) -> io::Result<()> {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.serve(stream),
                Err(error) => {
                    // Mostly too many open files: going on at once would only spin.
                    log(format_args!("failed to accept a connection: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream) {
        let brake = Arc::new(Brake::default());
        let stream_brake = Arc::clone(&brake);
        let client = Client {
            authorized: self.authorized.clone(),
            directory: self.directory.clone(),
            reaper: self.reaper.clone(),
            forwards: self.forwards,
            channels: BTreeMap::new(),
            at_terminal: BTreeSet::new(),
            loads: Loads::new(brake),
        };
        let mut cut = self.cut.subscribe();
        let config = Arc::clone(&self.config);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let stream = Braked::new(stream, stream_brake);
            // A stranger that says nothing is not waited for.
            let Ok(Ok(session)) = timeout(GREETING, run_stream(config, stream, client)).await else { return };
            let handle = session.handle();
            tokio::select! {
                _ = session => {}
                // The session runs on a task of its own.
                Ok(()) = cut.changed() => {
                    let _ = handle.disconnect(Disconnect::ByApplication, "cut".to_owned(), String::new()).await;
                }
            }
        });
    }
}

/// One connection.
struct Client {
    authorized: PublicKey,
    directory: PathBuf,
    reaper: Reaper,
    forwards: bool,
    /// Channels on which no command runs yet.
    channels: BTreeMap<ChannelId, Channel<Msg>>,
    /// Channels for which a terminal was asked, and refused.
    at_terminal: BTreeSet<ChannelId>,
    loads: Loads,
}

impl Client {
    fn judge(&self, shown: &PublicKey) -> Auth {
        if shown.key_data() == self.authorized.key_data() { Auth::Accept } else { Auth::reject() }
    }
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.judge(offer.public_key))
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.judge(key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        match target(host, port).filter(|_| self.forwards) {
            Some(target) => {
                let load = self.loads.channel(channel.id());
                tokio::spawn(forward(target, channel, reply, load));
            }
            None => reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&id);
        self.at_terminal.remove(&id);
        self.loads.closed(id);
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        self.loads.arrived(id, data.len());
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(channel) = self.channels.remove(&id) else { return session.channel_failure(id) };
        match Exec::start(command, &self.directory, &self.reaper) {
            Ok(exec) => {
                let load = self.loads.channel(id);
                tokio::spawn(exec.serve(channel, session.handle(), load));
                session.channel_success(id)
            }
            Err(error) => {
                log(format_args!("failed to start a command: {error}"));
                session.channel_failure(id)
            }
        }
    }

    /// A shell on pipes: there are no terminals here. Whoever asked for one gets a prompt nevertheless.
    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        let command = if self.at_terminal.remove(&id) { "exec sh -i" } else { "exec sh" };
        self.exec_request(id, command.as_bytes(), session).await
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.at_terminal.insert(id);
        session.channel_failure(id)
    }
}

/// How many bytes a client may send on one channel before it is told to go on.
const WINDOW: u32 = 8 * 1024 * 1024;

/// The largest packet to be sent to us, in bytes: the largest that the library allows.
const PACKET: u32 = 65_535;

/// How many messages of one channel may wait for their process. So many that it is never reached: the
/// library would stop the whole connection, output included. The brake is what bounds them.
const BUFFERED: usize = 1 << 24;

/// How many messages of all processes may wait for the client.
const EVENTS: usize = 32;

/// How often a silent client is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How long a new connection may take to say that it speaks SSH.
const GREETING: Duration = Duration::from_secs(10);

/// How long to wait when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
