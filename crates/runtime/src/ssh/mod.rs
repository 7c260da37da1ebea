//! Reaching a machine over SSH: one connection per machine, everything multiplexed on it.
//!
//! ```text
//! connect --key exchange, host key verified, public key accepted--> Session
//! Session --run | start | upload | forward | pipe--> a channel each
//! Session --last clone dropped, or the peer silent for three keep-alives--> closed
//! ```
//!
//! A node dials, `bootstrap` runs commands and uploads, and a link goes through.

mod error;
mod exec;
pub(crate) mod handler;
mod identity;
mod key;
mod session;
mod transport;
mod upload;

pub use error::SshError;
pub use exec::{Output, Piece, Running};
pub use key::ClientKey;
pub use session::{Forward, Session};
pub use upload::{Blob, Uploaded};

/// Puts a text into single quotes, so that a shell takes it as one word and as nothing else.
///
/// ```
/// assert_eq!(skyward_runtime::ssh::quote("it's"), r"'it'\''s'");
/// ```
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
