//! The queue of a pool: who may run where, and what happens to a task whose node is lost.
//!
//! ```text
//! queued --a slot is free--> granted --answered--> over
//!    ^                          |--link broken--> suspended --linked again--> resumed, with what became of it
//!    +---- lost, tries left ----+---- lost, none left --> refused
//! ```
//!
//! A node may be given calls ahead of its free slots (`ahead.rs`); those that have not begun can be recalled.
//!
//! What decides is `state.rs`, behind a lock (`queue.rs`): callers ask it themselves, so that a call whose turn
//! it is goes from its caller to the socket without a mailbox in between. Bytes never pass through it: it
//! hands out grants, and the caller's own future ([`Running`], or a [`Batch`] of them) carries arguments and outcome
//! over the granted link. The reader of a stream is a caller too ([`Flow`]): the task is granted until the stream's
//! end, and tried again before its first item only.

pub(crate) mod ahead;
mod batch;
mod blame;
mod flow;
mod guarded;
mod holding;
mod inherited;
mod keys;
mod messages;
mod meter;
mod order;
mod queue;
mod running;
pub(crate) mod state;
mod supply;
mod task;
mod ticket;

pub use batch::Batch;
pub use flow::Flow;
pub(crate) use messages::TasksMessage;
pub use meter::Meter;
pub use order::{GroupId, Lost, OnLost, Order, Retries, Target, Undone};
pub use queue::Tasks;
pub use running::Running;
pub(crate) use state::Demand;
