//! One pool, from its specs to the last machine given back.
//!
//! ```text
//! choosing → preparing → living: ranks are wanted → starting → ready → (lost: wanted again)
//!     └──────────┴───────────┴──→ stopping → stopped
//! ```
//!
//! While it lives, the pool does one thing over and over: it rents machines for the ranks that have
//! none. A lost rank gets another machine as a new attempt; a rank that fails too often before it is
//! ready, or in a way that no other machine can mend, is given up.
//!
//! Stopping is entered from everywhere, and always in the same order: the queue refuses, the nodes
//! finish and end, the machines are terminated, the provider tears down.

mod actor;
pub(crate) mod effect;
mod error;
mod handle;
mod keys;
mod lives;
pub(crate) mod messages;
mod request;
mod roster;
pub(crate) mod state;
mod steps;

pub use error::StartError;
pub use handle::{Pool, Stopped};
pub use request::{PoolRequest, Spec, Worker};
