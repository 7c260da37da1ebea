//! What is left of pools that nobody has any more, and that nothing guards: removed by the next pool's start.

use std::collections::BTreeSet;

use skyward_runtime::model::PoolId;

use super::command::POOL;
use super::engine::Engine;
use super::guard::Guard;
use super::launch::remove;
use super::map::Listed;
use super::now;

/// Removes what is nobody's any more: containers that have ended or stand still, and networks without any, of pools
/// whose time is over. Does what it can.
pub(super) async fn sweep(engine: &Engine) {
    let now = now().as_secs();
    let containers = engine.list("list containers", &engine.runtime.list(POOL)).await.unwrap_or_default();
    let networks = engine.list("list networks", &engine.runtime.networks(POOL)).await.unwrap_or_default();
    // Of a pool that has one that runs, nothing is dead: the labels say only when each thing was made.
    let alive: BTreeSet<_> = containers.iter().filter(|it| it.runs).filter_map(Listed::pool).collect();
    // One that stands still may be somebody's, who has paused it; then a guard is there.
    let is_guarded =
        |it: &&Listed| it.is_paused && it.pool().is_some_and(|it| Guard::is_there(&PoolId::new(it)));
    let guarded: BTreeSet<_> = containers.iter().filter(is_guarded).filter_map(Listed::pool).collect();
    let is_dead = |it: &&Listed| {
        it.is_stale(now) && it.pool().is_some_and(|it| !alive.contains(it) && !guarded.contains(it))
    };
    for dead in containers.iter().filter(is_dead) {
        tracing::info!(container = dead.name, "sweeping a dead container");
        let _ = remove(engine, &dead.name).await;
    }
    for dead in networks.iter().filter(is_dead) {
        // One that is used refuses to go.
        let _ = engine.ask("remove a network", &engine.runtime.remove_network(&dead.name)).await;
    }
}
