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
//! A machine that did not become a node may be kept for a person to look at (`timing.keep`). When the
//! start fails then, the rest is given back, the owner is told, and the pool waits in `keeping` until the
//! machine's time is over:
//!
//! ```text
//! stopping (what is not kept) → keeping → stopping → stopped
//! ```
//!
//! Stopping is entered from everywhere, and always in the same order: the queue refuses, the nodes
//! finish and end, the machines are terminated, the provider tears down.

mod actor;
pub(crate) mod adopting;
mod asking;
mod budget;
pub(crate) mod effect;
mod ending;
mod error;
mod fallback;
mod filter;
mod handle;
mod keeping;
mod key_file;
mod keys;
mod lives;
pub(crate) mod looks;
mod losing;
pub(crate) mod messages;
mod offers;
mod owner;
mod plan;
mod renting;
mod request;
mod roster;
mod scale;
mod sizing;
mod spec;
pub(crate) mod state;
mod steps;
mod strays;

pub use crate::model::{Executor, Worker};
pub use adopting::spent;
pub use asking::plan;
pub use error::StartError;
pub use filter::Filter;
pub use handle::{Pool, Stopped};
pub use keys::ssh_key;
pub use offers::{Asked, SHORTLIST, Terms, rank};
pub use plan::{Candidate, NearMiss, Plan, SpecReport};
pub use request::PoolRequest;
pub use spec::Spec;
