//! The science of the sweep, with no word about machines: the wine data, the grid of settings, and
//! the score of one setting. `sweep.rs` runs it, once on nodes and once in its own process.

mod data;
mod setting;
mod validation;

pub use setting::{Setting, grid};
pub use validation::{FOLDS, Score, cross_validate};
