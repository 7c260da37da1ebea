//! What a worker keeps until its client has it: pure, driven by the worker and by the simulated world.
//!
//! ```text
//! arrived -> running --ended--> kept in memory -> moving -> kept on disk --released--> gone
//!               |                `-- a client asks --> delivered, and kept until it is released
//!               `-- released: cancelled
//! ```
//!
//! Plain calls of a lane stay with the lane (`sent.rs`) until the client has acknowledged their outcomes, many
//! at once; they come here when the link breaks. A client that links again says what it waits for: the rest
//! is released, which cancels what runs of it.

mod extents;
mod outcomes;
mod sent;

pub use extents::Extent;
pub use outcomes::{Arrived, Body, Left, Outcomes, Print, Released, Resumed, Run, Spill, Try};
pub use sent::{Sent, TooMany};
