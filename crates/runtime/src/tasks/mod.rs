//! The queue of a pool: who may run where, and what happens to a task whose node is lost.
//!
//! ```text
//! queued --a slot is free--> granted --answered--> over
//!    ^                          |
//!    +---- lost, tries left ----+---- lost, none left --> refused
//! ```
//!
//! Bytes never pass through the actor: it hands out grants, and the caller's own future
//! ([`Running`]) carries arguments and outcome over the granted link. The reader of a stream is a caller
//! too ([`Flow`]): the task is granted until the stream's end, and tried again before its first item only.

mod actor;
mod blame;
mod flow;
mod messages;
mod meter;
mod order;
mod running;
pub(crate) mod state;
mod supply;

pub use actor::Tasks;
pub use flow::Flow;
pub(crate) use messages::TasksMessage;
pub use meter::Meter;
pub use order::{GroupId, Lost, OnLost, Order, Retries, Target, Undone};
pub use running::Running;
