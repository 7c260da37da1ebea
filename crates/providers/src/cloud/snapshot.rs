//! One look at all machines for everybody who asks at the same time: clouds count requests, and a pool of
//! thirty that boots would use up a minute's worth in a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use skyward_runtime::provider::{ProviderError, ProviderErrorKind};
use tokio::sync::Semaphore;

/// The newest list, and who may ask for the next.
#[derive(Debug)]
pub(crate) struct Snapshot<T> {
    turn: Semaphore,
    last: Mutex<Option<(Instant, Arc<Vec<T>>)>>,
}

impl<T> Snapshot<T> {
    /// A list that was asked for after this call began: by this call, or by another one that waited with it.
    ///
    /// # Errors
    /// Those of the list. Who waits then asks for itself.
    pub(crate) async fn fresh<F>(&self, list: impl FnOnce() -> F + Send) -> Result<Arc<Vec<T>>, ProviderError>
    where
        F: Future<Output = Result<Vec<T>, ProviderError>> + Send,
    {
        let wanted = Instant::now();
        let _turn = self.turn.acquire().await.map_err(|error| {
            let message = format!("failed to wait for a list: {error}");
            ProviderError::new(ProviderErrorKind::Local, message)
        })?;
        if let Some((asked, found)) = self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
            && *asked >= wanted
        {
            return Ok(Arc::clone(found));
        }
        let asked = Instant::now();
        let found = Arc::new(list().await?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, Arc::clone(&found)));
        Ok(found)
    }
}

impl<T> Default for Snapshot<T> {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), last: Mutex::new(None) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_at_once_share_one_list_and_whoever_comes_later_gets_a_newer_one() {
        let (snapshot, lists) = (Snapshot::default(), AtomicU32::new(0));
        let list = || async {
            // The others get their turn to come.
            tokio::task::yield_now().await;
            Ok(vec![lists.fetch_add(1, Ordering::Relaxed)])
        };
        let first = join_all((0..30).map(|_| snapshot.fresh(list))).await;
        let first: Vec<_> = first.into_iter().map(|it| it.expect("a list")[0]).collect();
        assert!(lists.load(Ordering::Relaxed) <= 2, "{first:?}");
        let before = lists.load(Ordering::Relaxed);
        assert_eq!(*snapshot.fresh(list).await.expect("a list"), [before]);
        let failing = || async { Err(ProviderError::new(ProviderErrorKind::Transient, "no")) };
        assert!(snapshot.fresh(failing).await.is_err());
        assert_eq!(*snapshot.fresh(list).await.expect("a list"), [before + 1]);
    }
}
