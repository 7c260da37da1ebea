//! Why something over SSH failed, and whether dialling again can help.

use std::time::Duration;

/// Why something over SSH failed. An `endpoint` is shown as `user@host:port`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SshError {
    /// No key could be made.
    #[error("failed to make an SSH key: {reason}")]
    Key {
        /// What the system said.
        reason: String,
    },
    /// Nobody answers at the address.
    #[error(
        "failed to reach {endpoint}: {source}; a machine that is still booting answers later: try again, \
         and if it stays so check that its firewall lets SSH in"
    )]
    Unreachable {
        /// Who was dialled.
        endpoint: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection stands but nothing came of it in time.
    #[error(
        "failed to log in to {endpoint} within {after:?}: something listens there but does not finish \
         the SSH handshake; a machine that is still booting does later: try again"
    )]
    DialDeadline {
        /// Who was dialled.
        endpoint: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke during the handshake.
    #[error("failed to log in to {endpoint}: {source}; a machine that is still booting may do so: try again")]
    Handshake {
        /// Who was dialled.
        endpoint: String,
        /// What happened.
        source: russh::Error,
    },
    /// The host key that we were told to expect is not one.
    #[error("failed to dial {endpoint}: its expected host key is not an OpenSSH public key: {reason}")]
    KnownKey {
        /// Who was to be dialled.
        endpoint: String,
        /// Why the key cannot be read.
        reason: String,
    },
    /// Somebody else answers.
    #[error(
        "refused to log in to {endpoint}: its host key is {actual} but must be {expected}; this is \
         another machine, or somebody in between: do not trust it, give the machine back"
    )]
    HostKey {
        /// Who was dialled.
        endpoint: String,
        /// The fingerprint of the key that we know.
        expected: String,
        /// The fingerprint of the key that was shown.
        actual: String,
    },
    /// The server does not let our key in.
    #[error(
        "failed to log in to {endpoint}: it refuses our key; a machine that has just booted may not have \
         it yet, else check that the key was given to the right user"
    )]
    Rejected {
        /// Who was dialled.
        endpoint: String,
    },
    /// The server lets none of the user's own keys in.
    #[error(
        "failed to log in to {endpoint} with the keys of this user: {tried}; see whether `ssh` gets in, and name \
         the right user and key (`IdentityFile`, `ssh-add`)"
    )]
    NoIdentity {
        /// Who was dialled.
        endpoint: String,
        /// What became of each key.
        tried: String,
    },
    /// The session is over.
    #[error("lost the SSH session with {endpoint}: {reason}; dial again")]
    Closed {
        /// Whose session it was.
        endpoint: String,
        /// Why it ended, as far as known.
        reason: String,
    },
    /// The server takes no more channels, or not this one.
    #[error("failed to open a channel for {what} on {endpoint}: {reason}")]
    Channel {
        /// What the channel was for.
        what: String,
        /// Whose server.
        endpoint: String,
        /// What the server said.
        reason: String,
    },
    /// The server forwards no connections, or not there.
    #[error(
        "failed to reach {to} through {endpoint}: its SSH server does not forward connections; allow it \
         with `AllowTcpForwarding yes` in its configuration"
    )]
    ForwardRefused {
        /// Where to.
        to: String,
        /// Whose server.
        endpoint: String,
    },
    /// The server does not run commands.
    #[error("failed to run a command on {endpoint}: its SSH server refuses to; check the user's login shell")]
    ExecRefused {
        /// Whose server.
        endpoint: String,
    },
    /// A command went on talking.
    #[error(
        "{endpoint} says more than it was asked for, without an end; see what its user's shell prints at login, or \
         use another machine"
    )]
    Endless {
        /// Where it runs.
        endpoint: String,
    },
    /// A command took too long.
    #[error("a command on {endpoint} did not end within {after:?}: {command}")]
    CommandDeadline {
        /// Where it runs.
        endpoint: String,
        /// How long was waited.
        after: Duration,
        /// The command's beginning.
        command: String,
    },
    /// A file did not arrive in time.
    #[error("failed to upload {to} to {endpoint} within {after:?}; the connection may be too slow")]
    UploadDeadline {
        /// The remote path.
        to: String,
        /// Where to.
        endpoint: String,
        /// How long was waited.
        after: Duration,
    },
    /// The machine could not write a file.
    #[error(
        "failed to write {to} on {endpoint}: {stderr}; if its disk is full ask for a machine with a larger one"
    )]
    UploadWrite {
        /// The remote path.
        to: String,
        /// Where to.
        endpoint: String,
        /// What the machine's tools said.
        stderr: String,
    },
    /// A file arrived as something else.
    #[error("uploaded {to} to {endpoint} but it arrived damaged: {stderr}; upload it again")]
    UploadDamaged {
        /// The remote path.
        to: String,
        /// Where to.
        endpoint: String,
        /// What the machine found.
        stderr: String,
    },
    /// The machine's shell did not do what every POSIX shell does.
    #[error(
        "failed to upload {to} to {endpoint}: its shell ended with {code:?} and said: {stderr}; check that \
         the user's login shell can run `sh -c`"
    )]
    UploadShell {
        /// The remote path.
        to: String,
        /// Where to.
        endpoint: String,
        /// How the shell ended.
        code: Option<i32>,
        /// What it said.
        stderr: String,
    },
}

impl SshError {
    /// Whether dialling again can help, with no other change. A refused key ([`Self::Rejected`]) says
    /// no; who has just booted the machine may try all the same.
    pub const fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::DialDeadline { .. }
            | Self::Handshake { .. }
            | Self::Closed { .. }
            | Self::UploadDamaged { .. }
            | Self::UploadDeadline { .. } => true,
            Self::Key { .. }
            | Self::KnownKey { .. }
            | Self::HostKey { .. }
            | Self::Rejected { .. }
            | Self::NoIdentity { .. }
            | Self::Channel { .. }
            | Self::ForwardRefused { .. }
            | Self::ExecRefused { .. }
            | Self::Endless { .. }
            | Self::CommandDeadline { .. }
            | Self::UploadWrite { .. }
            | Self::UploadShell { .. } => false,
        }
    }
}
