//! Puts the program on a machine. Called by the node after its bootstrap, or before it where files go from node to node.

use std::time::Duration;

use super::program::Program;
use crate::ssh::{Session, SshError};

/// Where the program is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// Below the machine's `$HOME`, for [`super::start_worker`].
    pub path: String,
    /// Bytes that travelled, or would have.
    pub bytes: u64,
    /// Whether they did; not when the machine had the program already.
    pub sent: bool,
}

/// Uploads the program under its content's hash, unless it is there.
///
/// # Errors
/// When the upload fails or the deadline passes; [`SshError::retry`] tells whether to dial again.
pub async fn deploy(session: &Session, program: &Program, deadline: Duration) -> Result<Deployed, SshError> {
    let path = program.path();
    let uploaded = session.upload(program.blob(), &path, deadline).await?;
    Ok(Deployed { path, bytes: program.travels().len() as u64, sent: uploaded.sent })
}
