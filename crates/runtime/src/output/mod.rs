//! What runs on nodes writes, line by line, on its way to whoever asked to see it.
//!
//! ```text
//! worker: task --line--> Queue --batches on a stream of the link--> client: Hub --Show?--> Queue of each reader
//!         Queue full -> the oldest line makes room, and is counted
//!         <-- one byte for each batch that is with the readers
//! ```
//!
//! Nobody who writes ever waits: a queue that is full forgets its oldest lines and says how many.

mod hub;
mod queue;
mod show;
mod wire;

pub use hub::{Hub, Reader};
pub use queue::Queue;
pub use show::Show;
pub use wire::{Delivered, collect, deliver};
