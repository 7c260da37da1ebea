//! Things that many nodes need, sent by the client once and then passed on from node to node: in chunks, each verified
//! by a manifest that came from the client, so that a node need not trust whoever gives it one.
//!
//! ```text
//! client --Offer: key, manifest--> node --Have--> over
//!                                  node --NoRoom: why--> over
//!                                  node --Next: from which chunk on, and what was wrong with the last source--> client
//! client --Mine--> the chunks follow
//! client --Ask: another node--> node --key, from which chunk on--> other node, which may still be getting it
//! ```
//!
//! `state` decides who asks whom, `spreads` is the client's side of a pool, `held` what a node has, `fetch` how it gets
//! that, and `serve` how it gives it on ([decision 34](../../../../docs/decisions/0034-spread-from-node-to-node.md)).

mod fetch;
mod held;
mod manifest;
mod serve;
mod spreads;
mod state;
pub(crate) mod wire;

pub use fetch::{FetchError, Open, fetch};
pub use held::{Held, Store};
pub use manifest::{Absurd, CHUNK, Manifest};
pub use serve::serve;
pub use spreads::Spreads;
pub use state::Fault;
pub use wire::{Door, Offer, read_offer};
