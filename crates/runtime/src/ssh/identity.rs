//! Logging in as the user of this computer, to servers that know them already: with the keys of an agent, then
//! with those of files, as `ssh` does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, PrivateKeyWithHashAlg, PublicKey, decode_secret_key};
use tokio::net::UnixStream;

use super::SshError;
use super::handler::Client;
use super::key::fingerprint;
use crate::model::SshEndpoint;

/// Tries one key after the other until one is let in.
pub(super) async fn log_in(
    handle: &mut Handle<Client>,
    endpoint: &SshEndpoint,
    agent: Option<&Path>,
    files: &[PathBuf],
    only: bool,
) -> Result<(), SshError> {
    let mut door = Door { handle, endpoint, tried: Vec::new() };
    let named = if only { public_keys(files).await } else { Vec::new() };
    if let Some(socket) = agent
        && door.agent(socket, only.then_some(&named)).await?
    {
        return Ok(());
    }
    for file in files {
        if door.file(file).await? {
            return Ok(());
        }
    }
    let tried = if door.tried.is_empty() {
        String::from("there is no agent and no key file")
    } else {
        door.tried.join(", ")
    };
    Err(SshError::NoIdentity { endpoint: endpoint.to_string(), tried })
}

/// A server that has not let us in yet, and what became of the keys that it was shown.
struct Door<'a> {
    handle: &'a mut Handle<Client>,
    endpoint: &'a SshEndpoint,
    tried: Vec<String>,
}

impl Door<'_> {
    /// Shows the agent's keys; only these, where they are given.
    async fn agent(&mut self, socket: &Path, only: Option<&Vec<PublicKey>>) -> Result<bool, SshError> {
        let mut agent = match AgentClient::<UnixStream>::connect_uds(socket).await {
            Ok(agent) => agent,
            Err(error) => {
                self.tried.push(format!("the agent at {} does not answer ({error})", socket.display()));
                return Ok(false);
            }
        };
        let identities = match agent.request_identities().await {
            Ok(identities) => identities,
            Err(error) => {
                self.tried.push(format!("the agent tells no keys ({error})"));
                return Ok(false);
            }
        };
        for identity in identities {
            let AgentIdentity::PublicKey { key, .. } = identity else { continue };
            if only.is_some_and(|only| !only.iter().any(|it| it.key_data() == key.key_data())) {
                continue;
            }
            let hash = match key.algorithm() {
                Algorithm::Rsa { .. } => self.handle.best_supported_rsa_hash().await.ok().flatten().flatten(),
                _ => None,
            };
            let shown = format!("the agent's key {}", fingerprint(&key));
            let user = self.endpoint.user.as_str();
            let answer = self.handle.authenticate_publickey_with(user, key, hash, &mut agent).await;
            match answer {
                Ok(answer) => {
                    if self.answered(&answer, shown)? {
                        return Ok(true);
                    }
                }
                Err(error) => self.tried.push(format!("{shown} cannot sign ({error})")),
            }
        }
        Ok(false)
    }

    async fn file(&mut self, file: &Path) -> Result<bool, SshError> {
        let shown = file.display().to_string();
        let text = match tokio::fs::read_to_string(file).await {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => {
                self.tried.push(format!("{shown} cannot be read ({error})"));
                return Ok(false);
            }
        };
        let key = match decode_secret_key(&text, None) {
            Ok(key) if matches!(key.algorithm(), Algorithm::Rsa { .. }) => {
                self.tried.push(format!("{shown} is an RSA key, which only an agent can use: `ssh-add` it"));
                return Ok(false);
            }
            Ok(key) => key,
            Err(error) => {
                let why = format!("{shown} cannot be used ({error}); one with a passphrase is for `ssh-add`");
                self.tried.push(why);
                return Ok(false);
            }
        };
        let signer = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let answer = self.handle.authenticate_publickey(self.endpoint.user.as_str(), signer).await;
        let broken = |source| SshError::Handshake { endpoint: self.endpoint.to_string(), source };
        let answer = answer.map_err(broken)?;
        self.answered(&answer, shown)
    }

    /// Whether we are in. A server that has seen enough keys hangs up.
    fn answered(&mut self, answer: &AuthResult, shown: String) -> Result<bool, SshError> {
        if answer.success() {
            return Ok(true);
        }
        self.tried.push(format!("{shown} is refused"));
        if !self.handle.is_closed() {
            return Ok(false);
        }
        self.tried.push(String::from("then the server hung up (with many keys set `IdentitiesOnly yes`)"));
        let tried = self.tried.join(", ");
        Err(SshError::NoIdentity { endpoint: self.endpoint.to_string(), tried })
    }
}

/// The public keys that lie beside these files.
async fn public_keys(files: &[PathBuf]) -> Vec<PublicKey> {
    let mut found = Vec::new();
    for file in files {
        let mut beside = file.clone().into_os_string();
        beside.push(".pub");
        // One that is not there, or is none, cannot be the agent's either.
        let text = tokio::fs::read_to_string(beside).await.unwrap_or_default();
        found.extend(PublicKey::from_openssh(text.trim()));
    }
    found
}
