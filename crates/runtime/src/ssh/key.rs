//! The client's SSH key: one per pool, made when the pool starts and gone with it.

use std::fmt;
use std::sync::Arc;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};

use super::SshError;
use crate::model::Secret;

/// The client's SSH key of one pool. Lives in memory.
#[derive(Clone)]
pub struct ClientKey {
    private: Arc<PrivateKey>,
    public: String,
}

impl ClientKey {
    /// A fresh Ed25519 key.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self, SshError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| SshError::Key { reason: error.to_string() })?;
        let private = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        let public =
            private.public_key().to_openssh().map_err(|error| SshError::Key { reason: error.to_string() })?;
        Ok(Self { private: Arc::new(private), public })
    }

    /// A key that was written down before, from its [OpenSSH form](Self::private).
    ///
    /// # Errors
    /// When the text is no key.
    pub fn restore(private: &Secret<String>) -> Result<Self, SshError> {
        let failed = |error: russh::keys::ssh_key::Error| SshError::Key { reason: error.to_string() };
        let private = PrivateKey::from_openssh(private.reveal()).map_err(failed)?;
        let public = private.public_key().to_openssh().map_err(failed)?;
        Ok(Self { private: Arc::new(private), public })
    }

    /// The OpenSSH public key line, for a machine's `authorized_keys`.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The private key in OpenSSH's form, for a file that a person uses.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn private(&self) -> Result<Secret<String>, SshError> {
        let text = self.private.to_openssh(LineEnding::LF);
        let text = text.map_err(|error| SshError::Key { reason: error.to_string() })?;
        Ok(Secret::new(text.to_string()))
    }

    /// The key as a server would use it.
    #[cfg(test)]
    pub(super) fn host_key(&self) -> PrivateKey {
        (*self.private).clone()
    }

    pub(super) fn signer(&self) -> PrivateKeyWithHashAlg {
        PrivateKeyWithHashAlg::new(Arc::clone(&self.private), None)
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey").field("private", &"***").field("public", &self.public).finish()
    }
}

/// The way `ssh-keygen -l` shows a key.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}
