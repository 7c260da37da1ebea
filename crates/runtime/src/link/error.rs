//! Why a link could not be made, or is over. The node's actor asks `retry()`; people read the text.

use std::net::SocketAddr;
use std::time::Duration;

use super::hello::Refusal;
use super::identity::IdentityError;
use super::wire::WireError;

/// What went wrong with a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Nothing answers there, or nothing can be sent there.
    #[error("failed to reach the worker at {address}: {reason}; a firewall may drop UDP on that port")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// In the network's words.
        reason: String,
    },
    /// There is no way through the machine's SSH server.
    #[error("failed to reach the worker through SSH: {reason}")]
    NoTunnel {
        /// In the words of whoever looked for one.
        reason: String,
        /// Whether there may be one later.
        retry: bool,
    },
    /// The dial, hello included, did not end in time.
    #[error(
        "failed to link to the worker at {address} within {after:?}; it may be overloaded, or a firewall drops UDP"
    )]
    Late {
        /// Where.
        address: SocketAddr,
        /// The deadline.
        after: Duration,
    },
    /// One side does not accept the other's certificate: it is of another pool or another life of the
    /// worker, or a stranger holds the port.
    #[error(
        "failed to authenticate: {reason}; the other side is not of this pool, or is another life of the worker"
    )]
    Untrusted {
        /// In the TLS library's words.
        reason: String,
    },
    /// The worker answered the hello with a no.
    #[error("the worker refused this client: {0}")]
    Refused(#[from] Refusal),
    /// The other side has been silent for too long.
    #[error("the other side fell silent: it, its machine or the network in between is gone or frozen")]
    Silent,
    /// The connection ended without a reason given.
    #[error("the connection broke: {reason}")]
    Broken {
        /// In the transport's words.
        reason: String,
    },
    /// One side closed the link on purpose.
    #[error("{by} closed the link: {reason}")]
    Closed {
        /// Who closed it.
        by: Side,
        /// Why, for programs.
        cause: Cause,
        /// Why, for people.
        reason: String,
    },
    /// A call's arguments or outcome are larger than this link carries.
    #[error(
        "failed to carry {what} of {length} bytes: the limit is {limit}; pass a path or an address of the data instead"
    )]
    TooLarge {
        /// The arguments or the outcome.
        what: &'static str,
        /// Their size.
        length: u64,
        /// The most that is carried.
        limit: u64,
    },
    /// The node cannot keep a value that calls share.
    #[error(
        "failed to keep a value that calls share, for want of room on the node: {reason}; see the room on its disk and \
         its memory"
    )]
    NoRoom {
        /// In the words of the node.
        reason: String,
    },
    /// The other side sent something that the protocol does not allow.
    #[error("failed to understand the other side: {0}")]
    Garbled(WireError),
    /// This process cannot use its own certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// This process cannot open a socket.
    #[error("failed to open a socket: {reason}")]
    Socket {
        /// In the system's words.
        reason: String,
    },
}

/// A side of a link, seen from the one who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This process.
    Us,
    /// The process at the other end.
    Peer,
}

/// Why a side closed a link, as the number that travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is no longer needed.
    Done,
    /// The other side broke the protocol.
    Protocol,
    /// The same owner has dialled again.
    Replaced,
    /// The worker ends.
    Ended,
    /// A reason that this version does not know.
    Other(u32),
}

impl LinkError {
    /// Whether dialling again can help.
    pub const fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Late { .. } | Self::Silent | Self::Broken { .. } => true,
            Self::NoTunnel { retry, .. } => *retry,
            Self::Untrusted { .. }
            | Self::Refused(_)
            | Self::Closed { .. }
            | Self::TooLarge { .. }
            | Self::NoRoom { .. }
            | Self::Garbled(_)
            | Self::Identity(_)
            | Self::Socket { .. } => false,
        }
    }
}

impl Cause {
    /// The number that travels.
    pub const fn code(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Protocol => 1,
            Self::Replaced => 2,
            Self::Ended => 3,
            Self::Other(code) => code,
        }
    }
}

impl From<u32> for Cause {
    fn from(code: u32) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Protocol,
            2 => Self::Replaced,
            3 => Self::Ended,
            code => Self::Other(code),
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Us => "this side",
            Self::Peer => "the other side",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_survives_its_number() {
        for code in 0..10 {
            assert_eq!(Cause::from(code).code(), code);
        }
    }
}
