//! A function's items as they are made and as they travel: records in a buffer, made by a [`Producer`]
//! on a node or, for a call that runs in the caller's process, there.
//!
//! ```text
//! starting --the function gave its stream--> making --its end, an error, a panic--> ended
//! ```

mod feed;
mod here;
mod producer;
pub mod record;

pub use here::Here;
pub use producer::{Filled, Finish, Panicked, Producer};
pub use record::ITEM_LIMIT;
