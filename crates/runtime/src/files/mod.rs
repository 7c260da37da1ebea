//! Files and folders between the client and one worker, each transfer on a stream of its own.
//!
//! ```text
//! upload:   client: kind, Request::Put, parcel           worker: answer
//! download: client: kind, Request::Get                   worker: parcel
//! parcel:   items, parents first; after a file its chunks and their hash; then the end, or a fault
//! file:     written beside its place under another name --whole, hash right--> renamed to it
//! ```
//!
//! Memory is one chunk, whatever the size; the stream's window is the backpressure. A transfer that is
//! given up, by either side, leaves files that are whole and nothing else. A folder is merged into what
//! is there.

mod artifact;
mod client;
mod error;
pub(crate) mod parcel;
pub(crate) mod place;
mod receive;
mod send;
mod worker;

pub use artifact::Artifact;
pub use client::{download, fetch, upload};
pub use error::{FileError, FileTrouble};
pub use parcel::Transferred;
pub use worker::serve;
