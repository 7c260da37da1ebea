//! The words of Skyward: plain data that every floor shares. `std` and `serde` only.
//!
//! A new word is defined here before it is used anywhere else.

pub mod accelerator;
mod architecture;
mod bill;
mod capabilities;
mod carrier;
mod crash;
mod end;
mod event;
mod ids;
mod image;
mod invalid;
mod key;
mod line;
mod machine;
mod nodes;
mod offer;
mod panic;
mod price;
mod requirements;
mod retention;
mod roster;
mod secret;
mod selection;
mod timeout;
mod usd;
mod volume;
mod worker;

pub use accelerator::{Accelerator, accelerators};
pub use architecture::Architecture;
pub use bill::{Bill, FunctionCost, MachineCost, Rented};
pub use capabilities::Capabilities;
pub use carrier::Carrier;
pub use crash::Crash;
pub use end::End;
pub use event::{Event, EventKind, Leftover, NodePhase, PoolPhase};
pub use ids::{Attempt, Epoch, FunctionId, Incarnation, InstanceId, PoolId, Rank, TaskId};
pub use image::{Image, PipIndex};
pub use invalid::InvalidRequest;
pub use key::{Key, KeyError};
pub use line::{Line, OutputStream};
pub use machine::{HostKey, Instance, InstanceState, KeptMachine, SshEndpoint};
pub use nodes::Nodes;
pub use offer::{InstanceType, Offer};
pub use panic::Panic;
pub use price::{Allocation, Billing, BillingUnit, Conversion, Market, Price, Tariff};
pub use requirements::Requirements;
pub use retention::Retention;
pub use roster::{Peer, Roster};
pub use secret::Secret;
pub use selection::{Choice, Choose, Selection};
pub use timeout::Timeout;
pub use usd::{InvalidUsd, Usd, usd};
pub use volume::Volume;
pub use worker::{Executor, Worker};
