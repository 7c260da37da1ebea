//! The words of Skyward: plain data that every floor shares. `std` and `serde` only.
//!
//! A new word is defined here before it is used anywhere else.

mod capabilities;
mod crash;
mod end;
mod event;
mod ids;
mod image;
mod line;
mod machine;
mod nodes;
mod panic;
mod roster;
mod secret;
mod worker;

pub use capabilities::Capabilities;
pub use crash::Crash;
pub use end::End;
pub use event::{Event, EventKind, Leftover, NodePhase, PoolPhase};
pub use ids::{Attempt, Epoch, FunctionId, Incarnation, InstanceId, PoolId, Rank, TaskId};
pub use image::{Image, PipIndex};
pub use line::{Line, OutputStream};
pub use machine::{HostKey, Instance, InstanceState, KeptMachine, Offer, SshEndpoint};
pub use nodes::{InvalidNodes, Nodes};
pub use panic::Panic;
pub use roster::{Accelerator, Peer, Roster};
pub use secret::Secret;
pub use worker::{Executor, InvalidWorker, Worker};
