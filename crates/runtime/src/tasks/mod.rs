//! The queue of a pool: who may run where, and what happens to a task whose node is lost.
//!
//! ```text
//! queued --a slot is free--> granted --answered--> over
//!    ^                          |
//!    +---- lost, tries left ----+---- lost, none left --> refused
//! ```
//!
//! Bytes never pass through the actor: it hands out grants, and the caller's own future
//! ([`Running`]) carries arguments and outcome over the granted link.

mod actor;
mod blame;
mod messages;
mod order;
mod running;
pub(crate) mod state;

pub use actor::Tasks;
pub(crate) use messages::TasksMessage;
pub use order::{GroupId, Lost, OnLost, Order, Retries, Target, Undone};
pub use running::Running;
