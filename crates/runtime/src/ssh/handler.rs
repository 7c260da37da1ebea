//! What the SSH library asks us while a session lives: whether the host key is right, and what to
//! remember of how it ended.

use std::sync::{Arc, OnceLock};

use russh::client::{DisconnectReason, Handler};
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};
use tokio::sync::watch;

use super::key::fingerprint;
use crate::model::{HostKey, SshEndpoint};
use crate::ssh::SshError;

/// Our side of one session. The library owns it and drops it when the session is over, which is what
/// [`Ended`] waits for.
pub(crate) struct Client {
    /// Any of these, or any at all when there is none.
    expected: Vec<PublicKey>,
    seen: Arc<OnceLock<Shown>>,
    reason: watch::Sender<Option<String>>,
}

/// The key that a server has shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) fingerprint: String,
    /// The OpenSSH public key line.
    pub(crate) line: String,
}

/// What a session tells about itself from outside.
#[derive(Clone)]
pub(crate) struct Ended {
    reason: watch::Receiver<Option<String>>,
}

impl Client {
    /// The handler, the key that it will have seen, and the end.
    pub(crate) fn new(endpoint: &SshEndpoint) -> Result<(Self, Arc<OnceLock<Shown>>, Ended), SshError> {
        let lines = match &endpoint.host_key {
            HostKey::Known(line) => std::slice::from_ref(line),
            HostKey::OneOf(lines) => lines,
            HostKey::PinOnFirstUse => &[],
        };
        let unknown = |reason: String| SshError::KnownKey { endpoint: endpoint.to_string(), reason };
        if lines.is_empty() && endpoint.host_key != HostKey::PinOnFirstUse {
            return Err(unknown(String::from("there is none")));
        }
        let read = |line: &String| PublicKey::from_openssh(line).map_err(|error| unknown(error.to_string()));
        let expected = lines.iter().map(read).collect::<Result<_, _>>()?;
        let seen = Arc::new(OnceLock::new());
        let (reason, ended) = watch::channel(None);
        Ok((Self { expected, seen: Arc::clone(&seen), reason }, seen, Ended { reason: ended }))
    }

    /// The host key algorithms to ask for: the known keys' first, for a server that has several.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        let mut all = russh::Preferred::DEFAULT.key.to_vec();
        let is_known = |it: &Algorithm| {
            self.expected.iter().any(|known| match (it, known.algorithm()) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (it, known) => *it == known,
            })
        };
        all.sort_by_key(|it| !is_known(it));
        all.retain(|it| *it != Algorithm::Rsa { hash: None });
        all
    }

    /// The fingerprint that the server must have, if it is known; all of them where it may have any of several.
    pub(crate) fn expected(&self) -> Option<String> {
        let all: Vec<_> = self.expected.iter().map(fingerprint).collect();
        (!all.is_empty()).then(|| all.join(" or "))
    }
}

impl Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let key = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.clone(),
            PublicKeyOrCertificate::Certificate(certificate) => certificate.public_key().clone().into(),
        };
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let _ = self.seen.set(Shown { fingerprint, line: key.to_openssh().unwrap_or_default() });
        let is_right = |expected: &PublicKey| expected.key_data() == key.key_data();
        Ok(self.expected.is_empty() || self.expected.iter().any(is_right))
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        self.reason.send_replace(Some(match reason {
            DisconnectReason::ReceivedDisconnect(info) => format!("the server ended it: {}", info.message),
            DisconnectReason::Error(error) => error.to_string(),
        }));
        Ok(())
    }
}

impl Ended {
    /// Resolves when the session is over.
    pub(super) async fn wait(&self) {
        let mut reason = self.reason.clone();
        while reason.changed().await.is_ok() {}
    }

    /// Why, as far as known.
    pub(super) fn reason(&self) -> String {
        self.reason.borrow().clone().unwrap_or_else(|| String::from("the connection ended"))
    }
}
