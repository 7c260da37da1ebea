//! A list that comes in pages, as a stream that holds one of them at a time.

use futures_util::stream::{self, Stream};
use serde::de::DeserializeOwned;
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};

use super::{Call, Client};

impl Client {
    /// All pages of a list, each asked for when it is wanted. `next` makes the call for the page after the
    /// one that it is shown, and `None` after the last.
    pub fn pages<'a, P: DeserializeOwned + Send + 'a>(
        &'a self,
        first: Call,
        next: impl Fn(&Call, &P) -> Option<Call> + Send + Sync + 'a,
    ) -> impl Stream<Item = Result<P, ProviderError>> + Send + 'a {
        stream::try_unfold((Some(first), next, 0_u32), async move |(call, next, read)| {
            let Some(call) = call else { return Ok(None) };
            if read >= MOST_PAGES {
                let message =
                    format!("failed to {}: the list has no end after {MOST_PAGES} pages", call.what);
                return Err(ProviderError::new(ProviderErrorKind::Transient, message));
            }
            let page: P = self.send(&call).await?;
            let after = next(&call, &page);
            Ok(Some((page, (after, next, read + 1))))
        })
    }
}

/// How many pages a list may have: forty times the longest market that there is.
const MOST_PAGES: u32 = 10_000;
