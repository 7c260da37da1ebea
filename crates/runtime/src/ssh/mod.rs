//! Reaching a machine over SSH: one connection per machine, everything multiplexed on it.

use std::time::Duration;

use bytes::Bytes;

use crate::model::{Secret, SshEndpoint};
use crate::timing::Timing;

/// The client's SSH key of one pool. Lives in memory.
#[derive(Clone, Debug)]
pub struct ClientKey {
    private: Secret<String>,
    public: String,
}

/// One authenticated SSH connection. Clones share it; the last one closes it.
#[derive(Clone, Debug)]
pub struct Session {}

/// Why something over SSH failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SshError {
    /// (more variants as needed)
    #[error("placeholder")]
    Placeholder,
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` when a signal ended it or the session broke.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// One piece of a running command's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// From standard output.
    Stdout(Bytes),
    /// From standard error.
    Stderr(Bytes),
    /// It ended. `None`: by a signal.
    Exit(Option<i32>),
}

/// A running command.
#[derive(Debug)]
pub struct Running {}

impl ClientKey {
    /// A fresh Ed25519 key.
    pub fn generate() -> Result<Self, SshError> {
        todo!()
    }
    /// The OpenSSH public key line.
    pub fn public(&self) -> &str {
        &self.public
    }
}

impl Session {
    /// One try.
    pub async fn connect(_endpoint: &SshEndpoint, _key: &ClientKey, _timing: &Timing) -> Result<Self, SshError> {
        todo!()
    }
    /// Runs a command in the login shell, feeding `stdin` and then closing it.
    pub async fn run(&self, _command: &str, _stdin: Bytes, _deadline: Duration) -> Result<Output, SshError> {
        todo!()
    }
    /// Starts a command and streams its output. Its standard input is given whole.
    pub async fn start(&self, _command: &str, _stdin: Bytes) -> Result<Running, SshError> {
        todo!()
    }
    /// Resolves when the session is over.
    pub async fn closed(&self) {
        todo!()
    }
}

impl Running {
    /// The next piece; `None` after `Exit` or when the session broke before it.
    pub async fn next(&mut self) -> Option<Piece> {
        todo!()
    }
}
