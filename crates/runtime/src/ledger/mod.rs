//! What a pool costs: a fold over its facts, kept up to date as they happen. Pure: moments are durations
//! from the pool's start, told by whoever folds.
//!
//! ```text
//! rented --node ready--> ready --task starts--> busy --the last ends--> ready --given back--> closed
//!   boot                  idle                 tasks                     idle
//! ```

mod fold;
mod meters;

pub use fold::Ledger;
pub use meters::Meters;
