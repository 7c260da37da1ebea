//! Work that was started in the background.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use super::{Dispatch, Work, sealed};

/// Work that runs in the background: a future of its outcome. Dropping it detaches: the work goes on,
/// and nobody hears of its outcome. [`cancel`](Self::cancel) stops it.
#[must_use = "dropping this lets the work go on unheard; keep it to hear of errors"]
pub struct Spawned<W: Work>(JoinHandle<<W as sealed::Start>::Output>);

impl<W: Work> Spawned<W> {
    pub(crate) fn start(dispatch: Dispatch<W>, engine: &tokio::runtime::Handle) -> Self {
        Self(engine.spawn(dispatch))
    }

    /// Cancels the work, as dropping a [`Dispatch`] does. Nothing happens when it is over.
    pub fn cancel(self) {
        self.0.abort();
    }

    /// Whether it is over.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<W: Work> Future for Spawned<W> {
    type Output = <W as sealed::Start>::Output;

    /// # Panics
    /// Goes on with a panic of Skyward itself, if there was one in the background.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.0).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(output)) => Poll::Ready(output),
            Poll::Ready(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // It was cancelled, which takes the handle, or the process ends.
                Err(_) => Poll::Pending,
            },
        }
    }
}

impl<W: Work> fmt::Debug for Spawned<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_finished() { "Spawned(finished)" } else { "Spawned(running)" })
    }
}
