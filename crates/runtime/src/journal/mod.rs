//! What this user's programs have rented and not given back, written down before it is asked for: one file
//! for all of them, and a folder of keys for each pool.
//!
//! ```text
//! lock taken → pool written → keys written → [intent → cloud → result]… → all given back → forgotten
//!                                                   '- killed: the lock is free, the rest stays
//! ```
//!
//! Whoever holds a pool's lock owns it; each owner has an epoch, and what an older one wants to write is
//! refused. A pool whose lock nobody holds can be attached to, as long as its machines live, or reaped.

mod asking;
mod error;
mod file;
mod inputs;
mod keys;
mod living;
mod lock;
mod network;
mod record;
mod recorded;
mod schema;
mod state;
mod store;
mod successor;
mod undoing;

pub(crate) use asking::{Asking, Note};
pub use error::JournalError;
pub use inputs::Inputs;
pub use lock::{Holder, Lock};
pub use record::{NewPool, Record};
pub use recorded::Recorded;
pub(crate) use state::BRINGS;
pub use state::{Deed, DeedKind, Found, KnownNode, KnownPool, Machine, PastMachine, Reading, Standing};
pub use store::Journal;
pub use successor::Successor;
pub(crate) use undoing::pending;
pub use undoing::{Undo, Undoing};
