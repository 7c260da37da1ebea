//! The process that outlives this program when that is killed: it waits until the pool's containers have ended by
//! their leases, and removes them and their network.

use std::process::Stdio;

use skyward_runtime::model::PoolId;
use skyward_runtime::provider::ProviderError;
use skyward_runtime::ssh::quote;
use tokio::process::{Child, Command};

use super::engine::{Engine, local};

/// The guard of one pool. It begins when this is dropped, or this program ends.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
}

impl Guard {
    /// Starts one. `network` is to be removed, too.
    pub(super) fn start(
        engine: &Engine,
        pool: &PoolId,
        prefix: &str,
        network: Option<&str>,
    ) -> Result<Self, ProviderError> {
        let line = |words: &[String]| {
            let words = std::iter::once(&engine.binary).chain(words).map(|it| quote(it));
            words.collect::<Vec<_>>().join(" ")
        };
        let runtime = engine.runtime;
        let network = network.map(|it| line(&runtime.remove_network(it))).unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-c", include_str!("sh/guard.sh"), "skyward-guard"]);
        command.args([line(&runtime.names(pool, false)), line(&runtime.names(pool, true))]);
        command.args([line(&runtime.remove()), network, prefix.to_owned()]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own, so that Ctrl-C does not end it.
        let child = command.process_group(0).spawn().map_err(|error| {
            local("failed to start the shell (`sh`) that removes containers when this program is killed")
                .because(error)
        })?;
        Ok(Self { child })
    }

    /// Ends it, because there is nothing left to be removed.
    pub(super) async fn end(mut self) {
        // It may have ended meanwhile; it is waited for in either case.
        let _ = self.child.kill().await;
    }
}
