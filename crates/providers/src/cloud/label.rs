//! What everything that is made at a cloud is called, so that it is found again by its name alone.

use skyward_runtime::model::{InstanceId, PoolId};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};
use skyward_runtime::random;

/// The tag of all that is ours, whichever pool it is of.
pub(crate) const SKYWARD: &str = "skyward";

/// The name of what a pool has one of: its tag, its key, its firewall.
pub(crate) fn pool_name(pool: &PoolId) -> String {
    format!("{SKYWARD}-{pool}")
}

/// A name that no other machine has, so that one whose creation was not answered can be looked for.
///
/// # Errors
/// `Local`, when this computer has no random numbers.
pub(crate) fn machine_name(pool: &PoolId) -> Result<String, ProviderError> {
    let random = random::text(8).map_err(|error| {
        let message = format!("failed to name a machine: {error}");
        ProviderError::new(ProviderErrorKind::Local, message)
    })?;
    Ok(format!("{}-{random}", pool_name(pool)))
}

/// Whether an id can be a step of a path: what is not, no cloud gave us.
pub(crate) fn is_plain(id: &InstanceId) -> bool {
    let id = id.as_str();
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
}
