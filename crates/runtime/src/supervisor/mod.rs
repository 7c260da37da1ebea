//! The root actor: one per process. It starts an actor for every distinct provider and one for every
//! pool, and knows when all pools have ended.

mod actor;
mod messages;
mod state;
#[cfg(test)]
mod tests;

pub use actor::Supervisor;
