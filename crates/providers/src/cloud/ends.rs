//! Waiting for a cloud to be done with something, such as the end of a machine.

use std::time::Duration;

use skyward_runtime::backoff::Backoff;
use skyward_runtime::provider::ProviderError;
use tokio::time::{Instant, sleep};

/// Looks again and again until there is an answer; `None` when there is none within `deadline`. The last
/// look is at the deadline.
///
/// # Errors
/// The look's own.
pub(crate) async fn until<T, F>(
    deadline: Duration,
    pauses: Backoff,
    mut look: impl FnMut() -> F + Send,
) -> Result<Option<T>, ProviderError>
where
    F: Future<Output = Result<Option<T>, ProviderError>> + Send,
{
    let end = Instant::now() + deadline;
    for pause in pauses.delays() {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        sleep(pause.min(left)).await;
    }
    Ok(None)
}
