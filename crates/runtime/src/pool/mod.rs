//! One pool, from its specs to the last machine given back.
//!
//! ```text
//! choosing → preparing → provisioning → starting → ready
//!     └──────────┴────────────┴────────────┴─────────┴──→ stopping → stopped
//! ```
//!
//! Stopping is entered from everywhere, and always in the same order: the queue refuses, the nodes
//! finish and end, the machines are terminated, the provider tears down.

mod actor;
mod error;
mod handle;
mod keys;
mod messages;
mod request;
mod roster;
mod state;
mod steps;

pub use error::StartError;
pub use handle::{Pool, Stopped};
pub use request::{PoolRequest, Spec, Worker};
