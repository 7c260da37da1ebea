//! What Skyward does, on no cloud in particular: the words, the actors, and the links to machines.
//!
//! The floors, from the ground up (each module uses only those below it; `tests/floors.rs` checks it):
//!
//! ```text
//! testing                           the simulated world (feature `testing`)
//! supervisor                        the root actor: providers, pools
//! pool                              one pool, from specs to the last undo
//! node                              one rank: launching → … → ready → gone
//! tasks                             queue, slots, retries, broadcast
//! bootstrap                         what a bare machine must become
//! program                           the running program as the worker
//! spread                            what nodes pass on among themselves
//! ssh | link | control | files | output   reaching machines; calls, membership, files, output of a worker
//! events | items                    where facts go; the items of streams
//! catalog | journal                 what clouds have for rent; what was rented, in files
//! provider | registry | inside | status | ledger | lease | random | backoff | timing | payload
//! model                             the words
//! ```

pub mod backoff;
pub mod bootstrap;
pub mod catalog;
pub mod control;
pub mod events;
pub mod files;
pub mod inside;
pub mod items;
pub mod journal;
pub mod lease;
pub mod ledger;
pub mod link;
pub mod model;
pub mod node;
pub mod output;
pub mod payload;
pub mod pool;
pub mod program;
pub mod provider;
pub mod random;
pub mod registry;
pub mod retention;
pub mod spread;
pub mod ssh;
pub mod status;
pub mod supervisor;
pub mod tasks;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod timing;
