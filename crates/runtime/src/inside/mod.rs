//! What a function can know of where it runs: its node, its secrets, whether it is still wanted. The
//! worker says it before and while it runs functions; the public crate passes it on to them.

mod common;
mod directory;
mod instance;
mod preemption;
mod secrets;
mod task;

pub use common::{common, common_name, find_commons_in, forget_common, forget_gone_commons, keep_common};
pub use directory::{declare_directory, directory};
pub use instance::{InstanceInfo, instance_info, peers, place, rank};
pub use preemption::{declare_preemption, preempted, preemption};
pub use secrets::{declare_secrets, secret};
pub use task::{Cancellation, TaskContext, cancellation, cancelled, task};
