//! Membership, leases and draining: ractor_cluster over one stream of each link.
//!
//! ```text
//! Cluster::join(link) --control stream--> connecting --both sides in step--> Member
//! Member --renew, drain, ping--> the worker's one remotable actor, always with a deadline
//! Member --the session ended--> down, for good; the next link joins anew
//! ```
//!
//! The client has a [`Cluster`] per pool and no remotable actor: every remotable actor of a process is
//! advertised to, and callable by, every session of that process, whatever pool it belongs to. For the
//! same reason no actor of the client may take a message that ractor itself can serialise (`String`,
//! `Vec<u8>`, numbers). The worker has an [`Attachment`] per link and one actor.

mod cluster;
mod error;
mod member;
mod messages;
mod node;
mod presence;

pub use cluster::Cluster;
pub use error::ControlError;
pub use member::Member;
pub use messages::{ControlMessage, DrainOrder, Drained, Garbled, LeaseState, Packed, Renewal, Taken};
pub use node::Attachment;
