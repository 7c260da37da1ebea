//! The running program as a file that is uploaded, and as a process with a role: the client's, a
//! worker's, that of a worker's tasks, a pipe to a worker, what gets files where there is no worker yet, or that of a machine of the `Local` provider.

mod fetch;
mod fingerprint;
mod frame;
mod pipe;
pub(crate) mod role;
mod start;
mod task;

pub use fetch::{FetchStart, FetchUp};
pub use fingerprint::{fingerprint, read_fingerprint, say_fingerprint};
pub use frame::{FrameError, decode_answer, encode_order, read_order, write_answer};
pub use pipe::{PipeStart, PipeUp, pipe};
pub use role::{ROLE_VARIABLE, Role, declare_entry, entry_arguments, executable};
pub use start::{WorkerStart, WorkerUp};
pub use task::{TaskOrder, TaskReport, TaskStart};
