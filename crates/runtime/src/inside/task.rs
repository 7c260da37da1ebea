//! Whether a running function is still wanted. Whoever runs a function puts a [`TaskContext`] around
//! it; the function, and what it hands the [`Cancellation`] to, ask.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::model::TaskId;

tokio::task_local! {
    static TASK: Cancellation;
}

/// What surrounds one running function. Dropping it says that nobody waits for the outcome any more.
#[derive(Debug)]
pub struct TaskContext {
    cancellation: Cancellation,
}

/// Whether one call is still wanted, for those who cannot ask [`cancelled`]: threads and tasks that the
/// function itself starts. Clones are the same.
#[derive(Clone, Debug)]
pub struct Cancellation {
    call: Arc<Call>,
    task: Option<TaskId>,
}

/// What is known of one call.
#[derive(Debug, Default)]
struct Call {
    is_unwanted: AtomicBool,
    /// Made for the first who waits: most calls are over before anybody would.
    token: OnceLock<CancellationToken>,
}

impl TaskContext {
    /// The context of a new task that has no number: one of a `.local()` call.
    pub fn new() -> Self {
        Self::numbered(None)
    }

    /// The context of a task of a pool.
    pub fn of(task: TaskId) -> Self {
        Self::numbered(Some(task))
    }

    /// Becomes the context of the next task, as if this one were dropped.
    pub fn renew(&mut self, task: TaskId) {
        // Nobody could be told anything: then it is as good as new, which most are.
        if Arc::get_mut(&mut self.cancellation.call).is_some() {
            self.cancellation.task = Some(task);
        } else {
            *self = Self::of(task);
        }
    }

    fn numbered(task: Option<TaskId>) -> Self {
        Self { cancellation: Cancellation { call: Arc::default(), task } }
    }

    /// Runs an async function in this context.
    pub fn surround<F: Future>(&self, function: F) -> impl Future<Output = F::Output> + use<F> {
        TASK.scope(self.cancellation.clone(), function)
    }

    /// What a plain function is run with, on whichever thread, by [`Cancellation::surround`].
    pub fn cancellation(&self) -> Cancellation {
        self.cancellation.clone()
    }
}

impl Drop for TaskContext {
    fn drop(&mut self) {
        let Call { is_unwanted, token } = &*self.cancellation.call;
        is_unwanted.store(true, Ordering::SeqCst);
        // Who waits makes the token and looks at the mark then; so one of the two sees the other.
        fence(Ordering::SeqCst);
        if let Some(token) = token.get() {
            token.cancel();
        }
    }
}

impl Default for TaskContext {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancellation {
    /// Whether nobody waits for the call's outcome any more; see [`cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.call.is_unwanted.load(Ordering::SeqCst)
    }

    /// Resolves when [`is_cancelled`](Self::is_cancelled) is true.
    pub async fn cancelled(&self) {
        let token = self.call.token.get_or_init(CancellationToken::new);
        fence(Ordering::SeqCst);
        if !self.is_cancelled() {
            token.cancelled().await;
        }
    }

    /// Runs a plain function as part of this task, on this thread: [`cancelled`] answers for it there.
    pub fn surround<T>(self, function: impl FnOnce() -> T) -> T {
        TASK.sync_scope(self, function)
    }
}

/// Whether nobody waits for the outcome of the call that this function answers: its caller dropped it,
/// its time is over, its link is lost, or its node drained and does not wait any longer.
///
/// An async function hardly needs it, because it is dropped at its next await. A plain function cannot
/// be interrupted and keeps its slot until it returns, so one that runs for long asks now and then, and
/// returns anything: nobody reads it. On threads that the function started itself the answer is always
/// no; hand them a [`cancellation`].
///
/// In a process of its own ([`Executor::Process`](crate::model::Executor)) a function hears it on
/// SIGTERM, and has [`Timing::kill`](crate::timing::Timing) to return before it is killed. The process of
/// a call whose worker is gone is killed at once.
///
/// Outside of any task it is `false`.
///
/// ```
/// use skyward_runtime::inside::cancelled;
///
/// fn search(candidates: &[u64]) -> Option<u64> {
///     candidates.iter().copied().take_while(|_| !cancelled()).find(|it| it % 97 == 0)
/// }
/// assert_eq!(search(&[1, 194]), Some(194));
/// ```
pub fn cancelled() -> bool {
    TASK.try_with(Cancellation::is_cancelled).unwrap_or(false)
}

/// The task that this thread runs now; `None` outside of any, and in a `.local()` call.
pub fn task() -> Option<TaskId> {
    TASK.try_with(|it| it.task).ok().flatten()
}

/// [`cancelled`] as a value that can be sent to other threads, and awaited. Outside of any task it
/// never comes true.
///
/// ```
/// use skyward_runtime::inside::cancellation;
///
/// let cancellation = cancellation();
/// let helper = std::thread::spawn(move || cancellation.is_cancelled());
/// assert!(!helper.join().expect("joined"));
/// ```
pub fn cancellation() -> Cancellation {
    let never = || Cancellation { call: Arc::default(), task: None };
    TASK.try_with(Clone::clone).unwrap_or_else(|_| never())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn outside_of_a_task_nothing_is_cancelled() {
        assert!(!cancelled());
        assert!(cancellation().cancelled().now_or_never().is_none());
    }

    #[test]
    fn a_dropped_context_cancels_its_task_and_no_other() {
        let (one, other) = (TaskContext::new(), TaskContext::new());
        let (mine, theirs) = (one.cancellation(), other.cancellation());
        drop(one);
        assert!(mine.clone().surround(cancelled));
        assert!(mine.cancelled().now_or_never().is_some());
        assert!(!theirs.surround(cancelled));
    }

    #[test]
    fn a_context_that_is_used_again_cancels_the_task_before_and_not_the_next() {
        let mut context = TaskContext::of(TaskId(1));
        let kept = context.cancellation();
        context.renew(TaskId(2));
        assert!(kept.is_cancelled());
        assert_eq!(context.cancellation().surround(|| (task(), cancelled())), (Some(TaskId(2)), false));
        context.renew(TaskId(3));
        let last = context.cancellation();
        assert_eq!((last.clone().surround(task), last.is_cancelled()), (Some(TaskId(3)), false));
        drop(context);
        assert!(last.is_cancelled());
    }

    #[test]
    fn async_and_plain_functions_find_their_own_task() {
        let context = TaskContext::new();
        let inner = context.surround(async { cancellation() }).now_or_never().expect("ready");
        assert!(!inner.is_cancelled());
        drop(context);
        assert!(inner.is_cancelled());
    }
}
