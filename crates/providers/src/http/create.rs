//! Making something exactly once, over a network that may lose the answer.

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use skyward_runtime::provider::ProviderError;
use tokio::time::{Instant, sleep};

use super::{Call, Client};

impl Client {
    /// Sends a call that makes something. When nobody can tell whether it was made, `find` looks for it by
    /// the name that is its alone, and only what is not found is made again.
    ///
    /// # Errors
    /// As [`send`](Self::send), and those of `find`; [unsure](ProviderError::unsure) when it may have been made.
    ///
    /// # Cancellation
    /// When it is dropped, it may have been made; its tag finds it.
    pub async fn create<'a, T: DeserializeOwned>(
        &'a self,
        call: &Call,
        find: impl Fn() -> BoxFuture<'a, Result<Option<T>, ProviderError>>,
    ) -> Result<T, ProviderError> {
        self.create_some(call, |_| find()).await
    }

    /// The same for a call that makes several things at once. `find` is told when it is asked for the last time: what
    /// it has found then is all that there is; until then the others may only not be listed yet.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_some<'a, T: DeserializeOwned>(
        &'a self,
        call: &Call,
        find: impl Fn(bool) -> BoxFuture<'a, Result<Option<T>, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let mut tried = 0;
        loop {
            let trouble = match self.once(call).await {
                Ok(made) => return Ok(made),
                Err(trouble) => trouble,
            };
            if trouble.unsure {
                tracing::debug!(?call, error = %trouble.error, "looking whether it was made");
                if let Some(found) = self.settled(&find).await.map_err(ProviderError::unsure)? {
                    return Ok(found);
                }
            }
            let Some(pause) = self.pause(&trouble, tried) else {
                return Err(if trouble.unsure { trouble.error.unsure() } else { trouble.error });
            };
            sleep(pause).await;
            if trouble.unsure {
                self.doubt();
            }
            tried += 1;
        }
    }

    /// Looks for what may have been made, for as long as it may take to be listed. Looks may fail, but for the
    /// last one: without it nobody knows.
    async fn settled<'a, T>(
        &'a self,
        find: impl Fn(bool) -> BoxFuture<'a, Result<Option<T>, ProviderError>>,
    ) -> Result<Option<T>, ProviderError> {
        let (settles, backoff) = self.settling();
        let end = Instant::now() + settles;
        for pause in backoff.delays() {
            sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
            let late = Instant::now() >= end;
            let found = find(late).await;
            match found {
                Ok(Some(found)) => return Ok(Some(found)),
                Err(error) if late => return Err(error),
                Ok(None) if late => break,
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "a look for what may have been made failed"),
            }
        }
        Ok(None)
    }
}
