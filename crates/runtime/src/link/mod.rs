//! An authenticated connection to one node, and calls over it.
//!
//! ```text
//! Dialer --QUIC, TLS 1.3, both sides certified by the pool's authority--> connected
//! connected --Hello--> Welcome -> Link        (only a Welcome counts: a TLS 1.3 client is
//!           `-Hello--> Refused -> LinkError    connected before its certificate was looked at)
//! Link --one stream per call--> Outcome
//! Link --broken, closed--> every pending call resolves with a LinkError at once
//! ```
//!
//! Everything above [`Carrier`] is the same whatever carries the streams. [`Dialer`] and [`Link`] are
//! the client's side, [`Listener`] and [`Session`] the worker's.

mod call;
mod carrier;
mod dialer;
mod error;
mod hello;
mod identity;
mod listener;
mod quic;
mod session;
mod tls;
mod wire;

pub(crate) use call::OutcomeKind;
pub use call::{CallRequest, Outcome, RequestHeader, read_arguments, read_header, write_outcome};
pub use carrier::{Carrier, Incoming, Outgoing, Stream};
pub use dialer::{Dialer, Link};
pub use error::{Cause, LinkError, Side};
pub use hello::{Hello, PROTOCOL, Refusal};
pub use identity::{Authority, CLIENT, Identity, IdentityError};
pub use listener::{Arrival, Guest, Listener};
pub use session::Session;
pub use tls::acceptor;
pub use wire::{BODY_LIMIT, FRAME_LIMIT, Kind, WireError, read_body, read_message, write_message};
