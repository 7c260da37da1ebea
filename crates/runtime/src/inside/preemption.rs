//! Whether the machine under a running function will be taken by its cloud, or given up because it is not well, and
//! when. The worker says so when it hears it; functions ask.

use std::sync::LazyLock;
use std::time::Instant;

use tokio::sync::watch;

static DEADLINE: LazyLock<watch::Sender<Option<Instant>>> = LazyLock::new(|| watch::Sender::new(None));

/// Says that the machine will be taken at this moment. What is said first counts.
pub fn declare_preemption(deadline: Instant) {
    DEADLINE.send_if_modified(|it| it.is_none() && it.replace(deadline).is_none());
}

/// When the machine that this function runs on will be taken by its cloud, or is given up because it is not well;
/// `None` while nobody has said so, and outside of a worker.
///
/// ```
/// use skyward_runtime::inside::preempted;
///
/// fn search(candidates: &[u64]) -> Option<u64> {
///     candidates.iter().copied().take_while(|_| preempted().is_none()).find(|it| it % 97 == 0)
/// }
/// assert_eq!(search(&[1, 194]), Some(194));
/// ```
pub fn preempted() -> Option<Instant> {
    *DEADLINE.borrow()
}

/// Resolves when it is heard that the machine that this function runs on will be taken by its cloud, or is given up
/// because its probe failed too often (after [`Timing::drain`](crate::timing::Timing::drain)), with the moment at which
/// that is. The node gets no other calls then, and another machine is rented for its rank; the
/// function may go on until that moment, is cancelled shortly before it, and is tried again elsewhere. So what it
/// wants to keep, it puts away now.
///
/// It never resolves where the cloud gives no notice and no probe fails, and outside of a worker. It can be awaited again and again, on
/// any runtime; dropping the future costs nothing.
///
/// ```
/// use skyward_runtime::inside::preemption;
///
/// async fn work() -> u64 { 42 }
///
/// # async fn train() -> Option<u64> {
/// tokio::select! {
///     done = work() => Some(done),
///     deadline = preemption() => {
///         println!("{:?} left for a checkpoint", deadline.saturating_duration_since(std::time::Instant::now()));
///         None
///     }
/// }
/// # }
/// ```
pub async fn preemption() -> Instant {
    let mut deadline = DEADLINE.subscribe();
    // The sender is never dropped.
    match deadline.wait_for(Option::is_some).await.map(|it| *it) {
        Ok(Some(deadline)) => deadline,
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_first_notice_counts_and_is_heard_by_who_waits_and_by_who_asks_later() {
        let waiting = preemption();
        assert_eq!((preempted(), preemption().now_or_never()), (None, None));
        let deadline = Instant::now() + Duration::from_secs(30);
        declare_preemption(deadline);
        declare_preemption(deadline + Duration::from_secs(5));
        assert_eq!((waiting.now_or_never(), preempted()), (Some(deadline), Some(deadline)));
    }
}
