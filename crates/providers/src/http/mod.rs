//! HTTP as every cloud needs it: who asks, how often, what is tried again, and what an error means.
//!
//! ```text
//! Call --its buckets have room--> signed, sent --answer--> what the body says | what the status says
//!   ^                                  |                        |                  |
//!   |                                  '--broken, too late--.   |                  '--> ProviderError
//!   '--pause: Retry-After or backoff <--may be repeated-----+---'
//!                                       may have happened --> `create` looks for it first
//! ```

mod access;
mod auth;
mod bucket;
pub(crate) mod call;
mod client;
mod create;
mod failure;
mod pages;

pub use access::Access;
pub(crate) use access::seconds;
pub use auth::Auth;
pub use bucket::{Limit, Rate};
pub use call::Answer;
/// Under a longer name outside: where another `Call` is in sight, compilers spell out the path of a user's.
pub use call::Call as HttpCall;
pub(crate) use call::Call;
pub use client::{Client, Service};
#[cfg(feature = "aws")]
pub(crate) use client::{base, deepest, transport};
pub use failure::Said;
#[cfg(feature = "aws")]
pub(crate) use failure::{advice, excerpt};
