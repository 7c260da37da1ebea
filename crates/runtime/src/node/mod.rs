//! One life of one rank: from a rented machine to a worker that takes tasks, and to its end.
//!
//! ```text
//! launching → reaching → bootstrapping → joining → ready ⇄ redialling
//!     │           │            │            ↑ worker ended ┘
//!     └───────────┴────────────┴────────────┴────────┴──→ draining → gone
//! ```
//!
//! Where a pool has a probe (`health.rs`, `probe.rs`), a node is told to be ready only when that has passed, and one that
//! fails it too often leaves its rank.
//!
//! The NodeActor owns the SSH session, the link and the lease of its rank. It tells the pool what
//! became of it through the recipient it was given at birth.

mod actor;
pub(crate) mod effect;
mod files;
pub(crate) mod health;
mod kit;
pub(crate) mod messages;
mod noticing;
mod probe;
mod reach;
pub(crate) mod state;
mod steps;
mod tunnel;

pub use actor::NodeRef;
pub use kit::{NodeKit, ProgramCell};
pub use messages::{Leave, NodeReport, Recipient, Reported};
pub use probe::{Probe, Words};
