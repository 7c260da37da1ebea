//! What functions use on a node beside what the runtime tells them: their share of the data, and what
//! is built once for each node.

mod node_state;
mod shard;
mod twister;

pub use node_state::{node_state, node_state_async, try_node_state, try_node_state_async};
pub use shard::{Column, Shard, ShardError, Shardable, shard};

/// Whether this is the head: the node of rank 0. Outside of a worker it is `true`, so that what the head
/// alone does is done by a `.local()` call too.
///
/// ```
/// #[skyward::function]
/// async fn report(loss: f64) -> Option<String> {
///     skyward::is_head().then(|| format!("loss {loss}"))
/// }
///
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     assert_eq!(report(0.5).local().await?.as_deref(), Some("loss 0.5"));
///     Ok(())
/// }
/// ```
pub fn is_head() -> bool {
    skyward_runtime::inside::rank().is_none_or(|it| it.0 == 0)
}
