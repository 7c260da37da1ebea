//! The secrets that the pool's owner gave to its functions. They came on standard input and are in
//! memory alone.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::model::Secret;

static SECRETS: OnceLock<BTreeMap<String, Secret<String>>> = OnceLock::new();

/// Declares the secrets. Later calls change nothing.
pub fn declare_secrets(secrets: BTreeMap<String, Secret<String>>) {
    let _ = SECRETS.set(secrets);
}

/// A secret that was given to the pool by `Compute::builder().secret(name, value)`; `None` when there
/// is none of that name, and outside of a worker, as in `.local()` calls.
///
/// The value reached this process on its standard input, inside the SSH session that started it. It is
/// in no file, environment variable, argument or log; it stays out of them as long as nobody who calls
/// [`Secret::reveal`] puts it there.
///
/// ```no_run
/// # use skyward_runtime::inside::secret;
/// if let Some(token) = secret("HF_TOKEN") {
///     let header = format!("Bearer {}", token.reveal());
/// #   drop(header);
/// }
/// ```
pub fn secret(name: &str) -> Option<Secret<String>> {
    SECRETS.get()?.get(name).cloned()
}
