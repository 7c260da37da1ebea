//! What a link runs over.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the links to a pool's nodes run over. Calls, files and everything else are the same over each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Carrier {
    /// QUIC where it gets through within `Timing::quic`, else SSH. Machines whose provider says that UDP
    /// does not reach them are linked over SSH at once.
    #[default]
    Auto,
    /// QUIC alone, over UDP. A node that it does not reach is lost.
    Quic,
    /// The machine's SSH server, to the worker's port on the machine's loopback: a forwarded connection, or
    /// the program as a pipe where the server does not forward. It needs no open port but SSH's.
    Ssh,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Quic => "quic",
            Self::Ssh => "ssh",
        })
    }
}
