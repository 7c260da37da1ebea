//! The science of the training, with no word about machines: the wine data and its shards, a small
//! network and its gradient, and the descent that averages gradients. `train.rs` runs it, once with the
//! gradients computed on nodes and once in its own process.

mod data;
mod descent;
mod network;

pub use data::{BATCHES, Shard};
pub use descent::{Descent, Uncovered};
pub use network::{Gradient, Network};
