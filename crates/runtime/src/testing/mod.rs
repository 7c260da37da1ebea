//! The simulated world: whole lives of pools, drawn from a seed, in which every law is checked after
//! every event.
//!
//! ```text
//! seed → weather, callers, ending → events in the order of a simulated clock → summary | broken law
//!                                        ↑                        │
//!                                        └── effects ← state.rs ←─┘
//! ```
//!
//! What decides is the real thing: the `state.rs` of pool, node and tasks, what workers keep
//! ([`crate::retention`]), and [`crate::lease::Guard`].
//! What does (actors, providers, links, workers, callers) is written once more here, against a clock and
//! a network that are data. No actor runs, nothing waits, and a seed is a life, again and again.

mod agenda;
mod asking;
mod calls;
mod cloud;
mod decoders;
mod dice;
mod ending;
mod event;
mod failure;
mod knobs;
mod leaving;
mod ledger;
mod letter;
mod link;
mod machine;
mod market;
mod node;
mod once;
mod pool;
mod probing;
mod program;
mod provider;
mod reaping;
mod scripted;
mod sizing;
mod store;
mod stuck;
mod tasks;
#[cfg(test)]
mod tests;
mod universe;
mod worker;
mod world;

pub use decoders::{DECODERS, Decoder, again, now, read};
pub use failure::{Failure, Law, Summary};
pub use knobs::{Knobs, Mutation};
pub use machine::Machine;
pub use scripted::{Answer, Asked, Scripted};

use universe::Universe;

/// Lives the life of a seed.
///
/// ```
/// use skyward_runtime::testing::{Knobs, simulate};
/// let summary = simulate(7, &Knobs::default()).expect("every law is kept");
/// assert!(summary.events > 0);
/// ```
///
/// # Errors
/// The law that it broke, with a transcript.
pub fn simulate(seed: u64, knobs: &Knobs) -> Result<Summary, Box<Failure>> {
    Universe::draw(seed, knobs, false).live(seed).map_err(|broken| {
        // The same once more, written down. It cannot end otherwise; if it does, the first is told.
        let told = Universe::draw(seed, knobs, true).live(seed);
        Box::new(told.err().unwrap_or(broken))
    })
}
