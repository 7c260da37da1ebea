//! Making something exactly once, over a network that may lose the answer.

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use skyward_runtime::provider::ProviderError;
use tokio::time::sleep;

use super::{Call, Client};

impl Client {
    /// Sends a call that makes something. When nobody can tell whether it was made, `find` looks for it by
    /// the name that is its alone, and only what is not found is made again.
    ///
    /// # Errors
    /// As [`send`](Self::send), and those of `find`.
    ///
    /// # Cancellation
    /// When it is dropped, it may have been made; its tag finds it.
    pub async fn create<'a, T: DeserializeOwned>(
        &'a self,
        call: &Call,
        find: impl Fn() -> BoxFuture<'a, Result<Option<T>, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let mut tried = 0;
        loop {
            let trouble = match self.once(call).await {
                Ok(made) => return Ok(made),
                Err(trouble) => trouble,
            };
            let pause = self.pause(&trouble, tried);
            if trouble.unsure {
                // What was just made may take a moment to be listed, so there is a pause before the look.
                sleep(pause.unwrap_or_default()).await;
                tracing::debug!(?call, error = %trouble.error, "looking whether it was made");
                if let Some(found) = find().await? {
                    return Ok(found);
                }
                if pause.is_none() {
                    return Err(trouble.error);
                }
            } else {
                let Some(pause) = pause else { return Err(trouble.error) };
                sleep(pause).await;
            }
            tried += 1;
        }
    }
}
