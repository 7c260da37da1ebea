//! One host: how it is reached, once that is known, the session with it, and what our scripts there say.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use skyward_runtime::model::{InstanceType, SshEndpoint};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};
use skyward_runtime::ssh::{ClientKey, Session, SshError, quote};
use skyward_runtime::timing::Timing;

use super::config::{Config, Host as Named};
use super::map::{self, probed};
use super::openssh::{endpoint, local};

/// A host of the provider.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) named: Named,
    found: Mutex<Option<SshEndpoint>>,
    session: Mutex<Option<Session>>,
}

impl Host {
    pub(super) const fn new(named: Named) -> Self {
        Self { named, found: Mutex::new(None), session: Mutex::new(None) }
    }

    /// How many machines there may be on it.
    pub(super) fn slots(&self, config: &Config) -> u32 {
        self.named.slots.unwrap_or(config.slots).max(1)
    }

    /// How it is reached; asked of the `ssh` client once.
    pub(super) async fn endpoint(&self, config: &Config) -> Result<SshEndpoint, ProviderError> {
        if let Some(found) = lock(&self.found).clone() {
            return Ok(found);
        }
        let found = endpoint(config, &self.named).await?;
        Ok(lock(&self.found).get_or_insert(found).clone())
    }

    /// The address at which its UDP ports are reached from here; unspecified where it is behind another server, so
    /// that nothing is sent anywhere.
    pub(super) async fn address(&self, config: &Config) -> Result<IpAddr, ProviderError> {
        let endpoint = self.endpoint(config).await?;
        if !endpoint.login.through.is_empty() {
            return Ok(IpAddr::from([0, 0, 0, 0]));
        }
        let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
        let address = found.ok().and_then(|mut it| it.next()).map(|it| it.ip());
        address.ok_or_else(|| self.trouble(ProviderErrorKind::Transient, "its name has no address here"))
    }

    /// What it has, for each of its machines.
    pub(super) async fn probe(&self, config: &Config) -> Result<InstanceType, ProviderError> {
        let said = self.said(config, include_str!("sh/probe.sh"), &[], PROBE).await?;
        probed(&said, self.slots(config)).map_err(|why| self.trouble(ProviderErrorKind::Local, &why))
    }

    /// Runs a script there, for so long at most; again when its session was over, so that once more must change nothing.
    /// The word that it answers, and what follows.
    pub(super) async fn ask(
        &self,
        config: &Config,
        script: &str,
        arguments: &[&str],
        within: Duration,
    ) -> Result<(String, String), ProviderError> {
        let said = self.said(config, script, arguments, within).await?;
        let answer = map::answer(&said).map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()));
        answer.ok_or_else(|| {
            let why = "its shell did not run our script: see whether `ssh` runs `sh -s` there";
            self.trouble(ProviderErrorKind::Local, why)
        })
    }

    /// Forgets the session. What runs on it ends; machines do not.
    pub(super) fn leave(&self) {
        lock(&self.session).take();
    }

    async fn said(
        &self,
        config: &Config,
        script: &str,
        arguments: &[&str],
        within: Duration,
    ) -> Result<String, ProviderError> {
        let words: String = arguments.iter().map(|it| format!(" {}", quote(it))).collect();
        let command = format!("exec sh -s --{words}");
        let script = Bytes::copy_from_slice(script.as_bytes());
        // A session that nobody used for a while may be over without our knowing.
        for session in [self.known_session(), None] {
            let fresh = session.is_none();
            let session = match session {
                Some(session) => session,
                None if fresh => self.dial(config).await?,
                None => continue,
            };
            match session.run(&command, script.clone(), within).await {
                Ok(output) => return Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
                Err(error) if fresh || !error.retry() => return Err(self.refused(error)),
                Err(_) => self.leave(),
            }
        }
        Err(self.trouble(ProviderErrorKind::Transient, "no session with it lasted"))
    }

    fn known_session(&self) -> Option<Session> {
        lock(&self.session).clone().filter(|it| !it.is_closed())
    }

    async fn dial(&self, config: &Config) -> Result<Session, ProviderError> {
        let endpoint = self.endpoint(config).await?;
        // Not the key of any pool: the user's own are used.
        let key = ClientKey::generate().map_err(|error| self.refused(error))?;
        let timing = Timing { ssh_dial: config.connect_timeout, ..Timing::default() };
        let session =
            Session::connect(&endpoint, &key, &timing).await.map_err(|error| self.refused(error))?;
        *lock(&self.session) = Some(session.clone());
        Ok(session)
    }

    fn refused(&self, error: SshError) -> ProviderError {
        let kind = match &error {
            SshError::NoIdentity { .. } | SshError::Rejected { .. } => ProviderErrorKind::Auth,
            SshError::HostKey { .. } => {
                // Said at once, too: with other hosts a pool may start without it.
                tracing::error!(host = self.named.name, %error, "the host's key is not the one that is known");
                ProviderErrorKind::Local
            }
            SshError::CommandDeadline { .. } => ProviderErrorKind::Transient,
            error if error.retry() => ProviderErrorKind::Transient,
            _ => ProviderErrorKind::Local,
        };
        ProviderError::new(kind, format!("host {}", self.named.name)).because(error)
    }

    /// An error about this host.
    pub(super) fn trouble(&self, kind: ProviderErrorKind, why: &str) -> ProviderError {
        match kind {
            ProviderErrorKind::Local => local(format!("host {}: {why}", self.named.name)),
            kind => ProviderError::new(kind, format!("host {}: {why}", self.named.name)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a host may take to say what it has.
const PROBE: Duration = Duration::from_secs(20);
