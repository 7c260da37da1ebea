//! An authenticated connection to one node, and calls over it.
//!
//! ```text
//! Dialer --QUIC | a tunnel through SSH; TLS 1.3, both sides certified by the pool's authority--> connected
//! connected --Hello--> Welcome -> Link        (only a Welcome counts: a TLS 1.3 client is
//!           `-Hello--> Refused -> LinkError    connected before its certificate was looked at)
//! Link --small call on a lane, large one on a stream of its own--> Outcome
//! Link --one stream per call of streams, and one per stream that it takes--> items, then Outcome
//! Link --broken, closed--> every pending call resolves with a LinkError at once
//! ```
//!
//! Everything above [`Transport`] is the same whatever carries the streams. [`Dialer`] and [`Link`] are
//! the client's side, [`Listener`] and [`Session`] the worker's.

pub(crate) mod call;
mod calling;
mod congestion;
mod cork;
mod dialer;
mod error;
mod frame;
mod frames;
pub(crate) mod hello;
mod identity;
mod inbox;
mod lane;
mod listener;
pub(crate) mod mux;
mod outbox;
mod pending;
mod quic;
mod room;
mod session;
mod shares;
mod stream;
mod tls;
mod transport;
mod wire;

pub use call::{
    CallRequest, Outcome, RequestHeader, read_arguments, read_header, read_number, write_outcome,
};
pub(crate) use call::{Held, OutcomeKind};
pub use calling::Calling;
pub(crate) use calling::Elsewhere;
pub use cork::{Cork, corked};
pub use dialer::{Dialer, InUse, Link};
pub use error::{Cause, LinkError, Side};
pub(crate) use frame::SmallCall;
pub use frame::{CREDIT_BYTES, CREDIT_CALLS, LANE_LIMIT, Reply, Request};
pub use frames::Frames;
pub use hello::{Hello, PROTOCOL, Refusal};
pub use identity::{Authority, CLIENT, Identity, IdentityError};
pub(crate) use inbox::Inbox;
pub(crate) use lane::Replied;
pub use listener::{Arrival, Guest, Listener, Who};
pub use mux::{Duplex, Tunnel};
pub use outbox::Outbox;
pub use room::{Room, Rooms};
pub use session::Session;
pub use shares::{confirm_common, read_common, refuse_common};
pub use stream::{Inflow, InputHeader, Items, Piece, Writer, read_input_header};
pub use tls::acceptor;
pub use transport::{Incoming, Outgoing, Stream, Transport};
pub use wire::{BODY_LIMIT, FRAME_LIMIT, Kind, WireError, read_body, read_message, write_message};
