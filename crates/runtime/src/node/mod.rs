//! One life of one rank: from a rented machine to a worker that takes tasks, and to its end.
//!
//! ```text
//! launching → reaching → bootstrapping → joining → ready ⇄ redialling
//!     │           │            │            ↑ worker ended ┘
//!     └───────────┴────────────┴────────────┴────────┴──→ draining → gone
//! ```
//!
//! The NodeActor owns the SSH session, the link and the lease of its rank. It tells the pool what
//! became of it through the recipient it was given at birth.

mod actor;
pub(crate) mod effect;
mod files;
mod kit;
pub(crate) mod messages;
mod reach;
pub(crate) mod state;
mod steps;
mod tunnel;

pub use actor::NodeRef;
pub use kit::{NodeKit, ProgramCell};
pub use messages::{Leave, NodeReport, Recipient, Reported};
